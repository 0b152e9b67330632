"""``attach`` and ``train``: rules on a torch model, in the user's own loop or in ours."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import caveats
from . import rules as _rules  # noqa: F401  # their files bring signals, and have names to suggest
from .arguments import check_values, checked
from .compatibility import as_rules, refuse_no_last_rate
from .limits import Limit, limited
from .loop_checks import INSTEAD, NEEDS, check_loop, check_model, check_value
from .names import did_you_mean
from .rates import Factors
from .rule import Rule
from .rule_budget import budget_of
from .session import Session
from .starting_graph import Initial, _start_of, is_spread
from .world import World
from .worlds import registry
from .worlds.torch_model.base import TorchWorld
from .worlds.torch_model.declared import Kinds
from .worlds.torch_model.group import check_shards, ranks_of, reshard, wrapped
from .worlds.torch_model.layers import sparse_in_shards
from .worlds.torch_model.probe import Probe

if TYPE_CHECKING:
    from torch import nn

    from .graph import Graph


def masked_only(rule: Rule) -> bool:
    """Whether a rule needs what the sparse world lacks: silent edges, or a signal of the masked
    world alone.

    >>> import rewire
    >>> masked_only(rewire.RigL()), masked_only(rewire.EdgePopup())
    (False, True)
    """
    return not registry.get("sparse").can_serve(rule.needs, frozenset(rule.columns))


def torch_world(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    world: str = "masked",
    seed: int = 0,
    rules: Sequence[Rule] = (),
    group: Any = None,
    **options: Any,
) -> Any:
    """A torch model and its optimiser as the world of a name, for these rules.

    world: "masked", "sparse", "auto" (sparse where it is faster and the rules fit there), or an
    installed world of torch models. group, options: as for :func:`attach`.

    >>> import torch
    >>> model = torch.nn.Linear(20, 10)
    >>> world = torch_world(model, torch.optim.SGD(model.parameters(), lr=0.1), "sparse")
    >>> world.name, world.space.possible
    ('sparse', 200)
    """
    if world == "auto":
        alone = any(map(masked_only, rules)) or sparse_in_shards(model, **options)
        world, options = ("masked", options) if alone else ("sparse", {"choose": "auto", **options})
    if world not in registry.BUILT_IN and world not in (worlds := registry.available()):
        raise ValueError(
            "world is 'masked', 'sparse' or 'auto', or the name of an installed world of torch "
            f"models, got {world!r}{did_you_mean(world, [*worlds, 'auto'])}."
        )
    check_model(model, optimizer)
    reshard(model)
    inner = wrapped(model)
    kind = registry.get(world)
    if world == "masked" and sparse_in_shards(inner, **options):
        kind = registry.sharded()
    if not issubclass(kind, TorchWorld):
        raise ValueError(
            f"the {world} world is none of a torch model and its optimizer: make it, and give it "
            "to rewire.Session."
        )
    ranks = None if kind.sharded else ranks_of(inner, group)
    held_by = kind.attached(inner, optimizer, seed=seed, **options)
    if held_by.sharded:
        held_by.check_group(group)
    elif ranks is not None:
        held_by.join_ranks(ranks)
    else:
        check_shards(inner)
    return held_by


def _named(world: str | None, substrate: str | None) -> str:
    """The world's name, by the keyword of today or the old one."""
    if world is not None and substrate is not None:
        raise ValueError(
            f"substrate= is the old name of world=: give one of them, got world={world!r} and "
            f"substrate={substrate!r}."
        )
    return world or substrate or "masked"


def warn_of_dense(world: World) -> None:
    """Warn by name where most weights of a world's model stay dense though nobody asked for it."""
    warning = None if world.coverage is None else world.coverage.warning()
    if warning is not None:
        warnings.warn(warning, stacklevel=caveats.outside())


def check_born(world: TorchWorld, initial: Initial) -> None:
    """Raise ValueError where a topology is asked for by weights that are not there yet."""
    shapes = [p.shape for p in world.space.projections]
    weights = zip(shapes, world.sparse_parameters(), strict=True)
    looks = isinstance(initial, str) and initial in ("nonzero", "magnitude")
    if looks and any(tuple(p.shape) != s for s, p in weights):
        raise ValueError(
            f"initial={initial!r} looks at the model's weights, and it was built on the meta "
            "device, without any: start with initial='random', a Graph or masks."
        )


FEW_ZEROS = 0.01  # of a weight: more are no accident of its first numbers


def warn_of_zeros(world: TorchWorld, graph: Graph, initial: Initial) -> None:
    """Warn by name where synapses that a pruned model lacks, exact zeros, are edges to start from.

    A weight of zeros alone was not pruned but begins at 0, as a table of embeddings may in part.
    """
    if not is_spread(initial):
        return
    pruned, back = dict[str, int](), 0
    for i, (p, weight) in enumerate(zip(graph.projections, world.whole_weights(), strict=True)):
        if weight.is_meta or tuple(weight.shape) != p.shape or p.kind == "embedding":
            continue
        zeros = p.size - int(weight.detach().count_nonzero())
        if FEW_ZEROS * p.size <= zeros < p.size:
            pruned[p.name] = zeros
            edges = weight.detach().reshape(-1)[graph.local(i).to(weight.device)]
            back += len(edges) - int(edges.count_nonzero())
    if back:
        listed = ", ".join(f"{name!r} ({n:,})" for name, n in pruned.items())
        warnings.warn(
            f"this model has {sum(pruned.values()):,} exact zeros, as after pruning, in {listed}, "
            f"and {back:,} of them are edges of the topology to start from: initial='nonzero' "
            "keeps them absent and takes every other weight as an edge.",
            stacklevel=caveats.outside(),
        )


_OF_WORLD = ("include", "exclude", "embeddings", "projections", "positions", "probe", "group")
_BY_HINT = tuple(name for name in _OF_WORLD if name != "group")


@checked(*_BY_HINT, instead=INSTEAD, needs=NEEDS)
def attach(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rule: Rule | Sequence[Rule],
    *,
    density: float | None = None,
    seed: int = 0,
    steps: int | None = None,
    distribution: str | Mapping[str, float] | Sequence[int] = "erk",
    initial: Initial = "random",
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    embeddings: bool = False,
    projections: Kinds | None = None,
    positions: Mapping[str, Tensor | None] | None = None,
    probe: Probe | None = None,
    example: Any = None,
    world: str | None = None,
    substrate: str | None = None,
    limits: Sequence[Limit] = (),
    group: Any = None,
    scheduler: Any = None,
) -> Session:
    """Make a model sparse, and let ``rule`` rewire it in your own training loop.

    >>> import torch, rewire
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Linear(30, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> net = rewire.attach(model, optimizer, rule=rewire.DeepR(), density=0.1, seed=0)
    >>> model(torch.randn(8, 20)).sum().backward()
    >>> net.step()  # where optimizer.step() was
    >>> net.edges, net.graph.possible
    (66, 660)

    rule: a rule, or several in the order in which they act.
    density: edges / possible edges over all sparse weights; None keeps every edge. Rules that
        prune end at it: those that do so at the start (SNIP) begin with every edge, others
        (GMP, GraNet) with as many as they say.
    steps: length of the training, for rules that act at its end or at fractions of it.
    distribution: how the density is spread over layers: "erk", "er", "uniform", "balanced",
        densities by parameter name, or counts.
    initial: "random"; "magnitude" (a trained model keeps its largest weights); "nonzero" (a pruned
        one keeps its zeros; density is left out, or says the same); a Graph, also as networkx holds
        it (``graph.to_networkx()``); a mask for each sparse weight, {name: bool tensor}, as
        ``net.masks()`` gives; or at the density's counts "small-world", "scale-free",
        "receptive-field", "bipartite-receptive-field", "regular" or "ramanujan", or one of
        :mod:`rewire.starts` with fields of its own.
    include, exclude: patterns of parameter names; by default the weights of all linear,
        convolutional, recurrent and attention layers are sparse; embeddings=True adds those.
        ``net.coverage`` says what stays dense.
    projections: kinds of parameters of layers that are not known, by name or pattern:
        {"*.experts.up": "stacked", "kernel": "transposed"}; see :func:`rewire.layer`.
    positions: places of units in the sheet by population, (size, 2), for rules with distance.
    probe: data for rules that look at it in passes of their own (SNIP, GraSP, OBD, WoodFisher).
    example: what the model takes (a tensor, a tuple of arguments, a mapping of keyword arguments):
        by it ``net.graph.network`` joins the layers of any model into one network, traced when it
        is first asked for; by default what the probe's loss gives the model.
    world: "masked" (the default), dense weights under masks; "sparse", on the CPU, lists of edges
        that are all it computes with (a model on the "meta" device gets its weights here); "auto"
        chooses for each layer by its density, see ``net.world.forms``, and masked for rules with
        silent edges; or the name of an installed world of torch models. Rules that prune at the
        start (SNIP) look at the model while it is dense; the edges that they leave are held as
        lists. ``substrate`` is its old name.
    limits: what holds whatever the rules do: caps on fan-in, fan-out, distance and memory, signs
        and precision of weights; see :mod:`rewire.limits`.
    group: a process group of torch.distributed whose processes train this model together. One that
        DistributedDataParallel wraps needs none, but for rules that look at data in ``attach``
        (SNIP) before it is wrapped; needed where gradients are averaged by hand.
    scheduler: a scheduler of torch, of this optimizer and not yet stepped, which the session steps
        after each step: leave out your own ``scheduler.step()``.

    Raises ValueError before the first step for whatever cannot work.
    """
    held_by = torch_world(
        model,
        optimizer,
        _named(world, substrate),
        seed,
        as_rules(rule),
        include=include,
        exclude=exclude,
        embeddings=embeddings,
        projections=projections,
        positions=positions,
        probe=probe,
        group=group,
    )
    if held_by.trace is not None:
        held_by.trace.example = example
    warn_of_dense(held_by)
    held_by.space = limited(held_by.space, limits)
    check_born(held_by, initial)
    rules, graph = _start_of(held_by, rule, density, distribution, initial, seed)
    warn_of_zeros(held_by, graph, initial)
    net = Session(held_by, graph, rules, span=steps, seed=seed, limits=limits, scheduler=scheduler)
    caveats.warn_of_density(net.rules, span=steps, density=density)
    if is_spread(initial):
        caveats.warn_of_no_density(net.rules, density, net.density)
    net.listen()
    return net


@checked("on_step", "on_round", needs=NEEDS)
def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rule: Rule | Sequence[Rule],
    *,
    loss: Callable[[nn.Module, Any], Tensor],
    data: Callable[[int], Any] | Iterable[Any],
    steps: int,
    density: float | None = None,
    seed: int = 0,
    schedule: Callable[[int], float] | None = None,
    scheduler: Any = None,
    on_step: Callable[[Session, float], None] | None = None,
    on_round: Callable[[Session], None] | None = None,
    **options: Any,
) -> Session:
    """Train under rules that go back to saved steps (IMP), or under any others.

    >>> import torch, rewire
    >>> model = torch.nn.Linear(20, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> def loss(model, batch):
    ...     x, y = batch
    ...     return torch.nn.functional.cross_entropy(model(x), y)
    >>> batches = [(torch.randn(8, 20), torch.arange(8) % 2) for _ in range(5)]
    >>> rule = rewire.IMP(fraction=0.5, rounds=2)
    >>> net = rewire.train(model, optimizer, rule, loss=loss, data=batches, steps=10)
    >>> net.edges, net.clock.round  # 40, halved twice
    (10, 2)

    loss: (model, batch) -> scalar.
    data: step -> batch, counted from 0, so that a rewind meets the same batches again; or an
        iterable, which starts afresh where it ends and at every rewind of the data.
    steps: optimiser steps in a round.
    density: for rules that prune the density to end at (their ``to``); for others the one to keep.
    schedule: step -> factor on the optimiser's learning rates, as LambdaLR; it is called for the
        steps of one round, from 0, whose last factor holds for rules that train on at it.
    scheduler: instead of it a scheduler of torch, of this optimizer and not yet stepped; it is
        stepped here after each step, and goes back with a rewind of the schedule.
    on_step: called after each optimiser step, before the rules, with the session and the loss.
    on_round: called at the end of each round, before the rules act on it.
    options: as for :func:`attach` (distribution, initial, include, exclude, limits, ...).

    Returns the session, at the end of the last round.
    """
    unknown = options.keys() - inspect.signature(attach).parameters.keys()
    for option in sorted(unknown):
        if option in INSTEAD:
            raise TypeError(f"train has no argument {option!r}: {INSTEAD[option]}.")
        names = [*inspect.signature(attach).parameters, "loss", "data", "schedule", "on_step"]
        raise TypeError(f"train() does not take {option!r}{did_you_mean(option, names)}.")
    check_values("train", attach, {k: v for k, v in options.items() if k in _BY_HINT})
    as_rules(rule)
    check_loop(loss, data, steps, schedule)
    name = _named(options.pop("world", None), options.pop("substrate", None))
    of_world = {k: options.pop(k) for k in _OF_WORLD if k in options}
    world = torch_world(model, optimizer, name, seed, as_rules(rule), **of_world)
    example = options.pop("example", None)
    if world.trace is not None:
        world.trace.example = example
    warn_of_dense(world)
    distribution, initial = options.pop("distribution", "erk"), options.pop("initial", "random")
    limits = options.pop("limits", ())
    world.space = limited(world.space, limits)
    check_born(world, initial)
    rules, graph = _start_of(world, rule, density, distribution, initial, seed)
    warn_of_zeros(world, graph, initial)
    if schedule is not None and scheduler is not None:
        raise ValueError("schedule= and scheduler= both set the learning rate: give one of them.")
    net = Session(
        world, graph, rules, span=steps, seed=seed, rewinds=True, limits=limits, scheduler=scheduler
    )
    caveats.warn_of_density(net.rules, span=steps, density=density)
    if is_spread(initial):
        caveats.warn_of_no_density(net.rules, density, net.density)
    world.stand()
    rate = Factors(schedule, optimizer)
    if scheduler is None and any(budget_of(part).at_last_rate(part) for part in net.rules):
        refuse_no_last_rate(net.rules, rate.factors(steps).__getitem__, steps)
    batches = data if callable(data) else _Replay(data)
    while not net.done:
        rate.go_to(net.schedule_step)
        optimizer.zero_grad(set_to_none=True)
        batch = batches(net.data_step)
        if world.trace is not None and world.trace.probe is None:
            world.trace.probe = Probe([batch], loss)  # type: ignore[arg-type]
        value = loss(model, batch)
        check_value(value)
        value.backward()
        net.optimise()
        if on_step is not None:
            on_step(net, value.item())
        if on_round is not None and net.clock.step == net.clock.span:
            on_round(net)
        net.rewire()
    return net


class _Replay:
    """An iterable read by step: starts afresh where it ends, and when an earlier step is asked."""

    def __init__(self, data: Iterable[Any]):
        self._data, self._next, self._it = data, 0, iter(data)

    def __call__(self, step: int) -> Any:
        if step < self._next:
            self._next, self._it = 0, iter(self._data)
        while True:
            batch = self._draw()
            self._next += 1
            if self._next > step:
                return batch

    def _draw(self) -> Any:
        try:
            return next(self._it)
        except StopIteration:
            self._it = iter(self._data)
            try:
                return next(self._it)
            except StopIteration:
                raise ValueError("data is empty: train() needs at least one batch.") from None

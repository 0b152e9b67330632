"""``attach`` and ``train``: rules on a torch model, in the user's own loop or in ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from .graph import Graph
from .limits import Limit, limited
from .rule import Rule
from .session import Session
from .signals import registered
from .starting_graph import _start_of
from .worlds.masked.world import Masked
from .worlds.torch_model.probe import Probe

if TYPE_CHECKING:
    from torch import nn

    from .worlds.sparse.world import Sparse

Substrate = Literal["masked", "sparse", "auto"]


def masked_only(rule: Rule) -> bool:
    """Whether a rule needs what the sparse world lacks: silent edges, or a signal that a package
    brings for the masked world alone (no rule here does)."""
    from .worlds.sparse import world as sparse

    return rule.silences or not rule.needs <= registered(sparse.Sparse.name).keys()


def torch_world(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    substrate: Substrate = "masked",
    seed: int = 0,
    rules: Sequence[Rule] = (),
    **options: Any,
) -> Masked | Sparse:
    """A torch model and its optimiser as a world for these rules: options as for :func:`attach`."""
    if substrate == "auto" and any(map(masked_only, rules)):
        substrate = "masked"
    if substrate == "masked":
        return Masked(model, optimizer, **options)
    if substrate not in ("sparse", "auto"):
        raise ValueError(f"substrate is 'masked', 'sparse' or 'auto', got {substrate!r}.")
    from .worlds.sparse.world import Sparse

    return Sparse(model, optimizer, choose=substrate, seed=seed, **options)


def attach(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rule: Rule | Sequence[Rule],
    *,
    density: float | None = None,
    seed: int = 0,
    steps: int | None = None,
    distribution: str | Mapping[str, float] | Sequence[int] = "erk",
    initial: str | Graph = "random",
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    embeddings: bool = False,
    positions: Mapping[str, Tensor | None] | None = None,
    probe: Probe | None = None,
    substrate: Substrate = "masked",
    limits: Sequence[Limit] = (),
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
    initial: "random", "magnitude" (a trained model keeps its largest weights), or a Graph.
    include, exclude: patterns of parameter names; by default the weights of all linear,
        convolutional, recurrent and attention layers are sparse; embeddings=True adds those.
    positions: places of units in the sheet by population, (size, 2), for rules with distance.
    probe: data for rules that look at it in passes of their own (SNIP, GraSP, OBD, WoodFisher).
    substrate: "masked", dense weights under masks; "sparse", on the CPU, lists of edges that are
        all it computes with (a model on the "meta" device gets its weights here); "auto" chooses
        for each layer by its density, see ``net.world.forms``, and masked for rules with silent
        edges. Rules that prune at the start (SNIP) look at the model while it is dense; the edges
        that they leave are held as lists.
    limits: what holds whatever the rules do: caps on fan-in, fan-out, distance and memory, signs
        and precision of weights; see :mod:`rewire.limits`.

    Raises ValueError before the first step for whatever cannot work.
    """
    world = torch_world(
        model,
        optimizer,
        substrate,
        seed,
        (rule,) if isinstance(rule, Rule) else rule,
        include=include,
        exclude=exclude,
        embeddings=embeddings,
        positions=positions,
        probe=probe,
    )
    world.space = limited(world.space, limits)
    rules, graph = _start_of(world, rule, density, distribution, initial, seed)
    return Session(world, graph, rules, span=steps, seed=seed, limits=limits)


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
    on_step: Callable[[Session, float], None] | None = None,
    on_round: Callable[[Session], None] | None = None,
    **options: Any,
) -> Session:
    """Train under rules that go back to saved steps (IMP), or under any others.

    loss: (model, batch) -> scalar.
    data: step -> batch, counted from 0, so that a rewind meets the same batches again; or an
        iterable, which starts afresh where it ends and at every rewind of the data.
    steps: optimiser steps in a round.
    density: for rules that prune the density to end at (their ``to``); for others the one to keep.
    schedule: step -> factor on the optimiser's learning rates, as LambdaLR.
    on_step: called after each optimiser step, before the rules, with the session and the loss.
    on_round: called at the end of each round, before the rules act on it.
    options: as for :func:`attach` (distribution, initial, include, exclude, limits, ...).

    Returns the session, at the end of the last round.
    """
    names = ("include", "exclude", "embeddings", "positions", "probe")
    substrate = options.pop("substrate", "masked")
    given = {k: options.pop(k) for k in names if k in options}
    given["rules"] = (rule,) if isinstance(rule, Rule) else rule
    world = torch_world(model, optimizer, substrate, seed, **given)
    distribution, initial = options.pop("distribution", "erk"), options.pop("initial", "random")
    limits = options.pop("limits", ())
    world.space = limited(world.space, limits)
    if options:
        raise TypeError(f"train() does not take {', '.join(map(repr, options))}.")
    rules, graph = _start_of(world, rule, density, distribution, initial, seed)
    net = Session(world, graph, rules, span=steps, seed=seed, rewinds=True, limits=limits)
    rates = [group["lr"] for group in optimizer.param_groups]
    batches = data if callable(data) else _Replay(data)
    while not net.done:
        if schedule is not None:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(net.schedule_step)
        optimizer.zero_grad(set_to_none=True)
        value = loss(model, batches(net.data_step))
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

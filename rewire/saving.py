"""One file of a model, its optimizer and its session; :func:`rewire.load` is in ``loading``.

The file is a checkpoint (:mod:`rewire.checkpoint`): safetensors with a JSON text in the header,
written whole or not at all, with a digest, and nothing in it is code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import checkpoint
from .arguments import checked
from .compatibility import beyond_limits
from .edit_log import History
from .graph import Edit, Graph
from .names import short
from .rule import Rule, silences
from .worlds.sparse.edge_state import SUFFIX
from .worlds.torch_model.base import TorchWorld
from .worlds.torch_model.layers import candidates, clean
from .worlds.torch_model.mask_state import masks_of, unpacked

KIND = "session"


@checked()
def save(net: Any, path: str | Path, *, extra: Any = None) -> None:
    """Write model, optimizer and session to one file.

    extra: what else the training goes on from (a scheduler's state, an average's, the epoch), of
    dicts, lists, tensors, numbers and strings; :func:`extra_of` reads it. Random numbers that the
    loop draws itself (batches, dropout) are the loop's to save. Where ``fully_shard`` spread the
    model over processes all of them call this, and the first one writes.

    >>> import tempfile, torch, rewire
    >>> def new():
    ...     model = torch.nn.Linear(20, 10)
    ...     return model, torch.optim.Adam(model.parameters())
    >>> net = rewire.attach(*new(), rule=rewire.SET(), density=0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rewire.save(net, f"{folder}/net.safetensors", extra={"epoch": 3})
    ...     again = rewire.load(f"{folder}/net.safetensors", *new())
    >>> torch.equal(again.graph["weight"], net.graph["weight"])
    True

    Raises ValueError for a session without a torch model, TypeError where the state of the
    optimizer or of the model holds what is no tensor, number or string, and
    :class:`rewire.checkpoint.CheckpointError` where the disk does not take it; the file that was
    there before is then untouched.
    """
    if not isinstance(path, str | Path) or not hasattr(net, "state_dict"):
        raise TypeError(
            f"save takes the session, as attach gives it, and then the path of a file, got "
            f"{short(net)} and {short(path)}: write rewire.save(net, 'net.rewire')."
        )
    world = net.world
    if not isinstance(world, TorchWorld):
        raise ValueError(
            f"the {world.name} world has no torch model to save: keep net.state_dict() and the "
            "world's own state."
        )
    space, sparse = world.space, {id(p) for p in world.sparse_parameters()}
    tree = {
        "session": net.state_dict(),
        "world": world.snapshot(),
        "positions": {p.name: p.positions for p in space.populations},
        "extra": extra,
    }
    meta = {
        "kind": KIND,
        "world": world.name,
        "choose": getattr(world, "choose", None),
        "endless": net.endless,
        "rules": [table_of(rule) for rule in net.rules],
        "limits": [{"limit": limit.name, **limit.to_table()} for limit in net.limits],
        "include": [c.name for c in candidates(world.model) if id(c.parameter) in sparse],
        "optimizer": type(world.optimizer).__name__,
        "groups": [len(group["params"]) for group in world.optimizer.param_groups],
        "model": [list(entry) for entry in outline(world.model, space.projections)],
    }
    world.written(lambda: checkpoint.save(path, tree, meta))


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tree and the description of a file of :func:`save`. Raises CheckpointError."""
    tree, meta = checkpoint.load(path)
    if meta.get("kind") != KIND:
        raise checkpoint.CheckpointError(path, "is a checkpoint, but rewire.save did not write it")
    return tree, meta


def extra_of(path: str | Path) -> Any:
    """What was given to :func:`save` as ``extra``."""
    return read(path)[0]["extra"]


def go_back(net: Any, path: str | Path) -> None:
    """Let model, optimizer and session be what they were when they were saved, edges included.

    Raises ValueError, and changes nothing, for a file of another model, optimizer, seed, world or
    other rules.
    """
    tree, meta = read(path)
    world = net.world
    if meta["world"] != world.name:
        raise ValueError(
            f"{path} was saved in the {meta['world']} world, and this session is in the "
            f"{world.name} one: rewire.load(path, model, optimizer, world={world.name!r}) "
            "makes a new session of it."
        )
    refuse_other(net, tree["session"])
    refuse_model(meta, list(outline(world.model, world.space.projections)))
    refuse_optimizer(meta, world.optimizer)
    restore(net, tree)


def restore(net: Any, tree: Mapping[str, Any]) -> None:
    """Write a file's tree into a session that it fits."""
    own = {clean(name): name for name in net.world.model.state_dict()}  # compiled, wrapped or not
    model = {own.get(clean(name), name): v for name, v in tree["world"]["model"].items()}
    net.restoring = True  # the model is loaded before the session's edges are the file's
    try:
        net.world.load({**tree["world"], "model": model})
        net.load_state_dict(tree["session"])
    finally:
        net.restoring = False
    for average in net.averages:
        average.restart()


def adopt(net: Any, state: Mapping[str, Any]) -> None:
    """Let a session hold the edges that a state of its model is of, see ``net.adopt``."""
    if silent := [rule.name for rule in net.rules if silences(rule)]:
        raise ValueError(
            f"{silent[0]} has silent edges, which no state of a model tells from absent ones: load "
            "the session (net.load)."
        )
    world = net.world
    if world.sharded:
        raise ValueError(
            "each process holds some rows of this model (fully_shard), and no state of a model "
            "says which edges its whole weights are of: load the session (net.load)."
        )
    names = {clean(name): name for name in state}
    rest = _rest(net, state, names)
    keys, weights = _edges_of(net, state, names)
    shown: Graph = world.read(net._graph)
    drop = torch.isin(shown.keys, keys, invert=True).nonzero().squeeze(1)
    edit = Edit(drop=drop, add=keys[torch.isin(keys, shown.keys, invert=True)])
    if (why := beyond_limits(shown.apply(edit), net.rules, net.limits)) is not None:
        raise ValueError(why)
    net._edit(shown, edit)
    shown = world.read(net._graph)
    net._edit(shown, Edit(set={"weight": weights.to(shown["weight"])}))
    world.model.load_state_dict(rest, strict=False)
    counts = net.history.formed, net.history.dropped
    net.history = History(net._graph.keys, net.names)
    net.history.formed, net.history.dropped = counts
    for average in net.averages:
        average.restart()
    net.enforce()


def _rest(net: Any, state: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What a state has beside the sparse weights. Raises ValueError where it is another model's."""
    sparse = {n for p in net.world.space.projections for n in (p.name, p.name + SUFFIX)}
    own = {n: v for n, v in net.world.model.state_dict().items() if clean(n) not in sparse}
    rest = {n: state[names[clean(n)]] for n in own if clean(n) in names}
    other = {clean(n) for n in own} ^ (names.keys() - sparse)
    if other:
        raise ValueError(f"this state is of another model: it differs in {min(other)!r}.")
    for name, value in own.items():
        if value.shape != rest[name].shape:
            raise ValueError(
                f"this state is of another model: {name!r} has shape {tuple(rest[name].shape)} "
                f"there and {tuple(value.shape)} here."
            )
    return rest


def _edges_of(
    net: Any, state: Mapping[str, Any], names: Mapping[str, str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and weights of a state. Raises ValueError where it does not say which edges it is of, or
    is of another number of them than the session's."""
    masks, keys, weights = masks_of(state), [], []
    space = net.world.space
    for first, projection, count in zip(space.bounds, space.projections, net.counts, strict=False):
        name = projection.name
        if name not in names:
            raise ValueError(f"this state has no {name!r}.")
        value = state[names[name]].detach().cpu()
        if name in masks and tuple(value.shape) == projection.shape:
            local = unpacked(masks[name], value.numel())
            value = value.reshape(-1)[local]
        elif name + SUFFIX in names:
            local = state[names[name + SUFFIX]].to(torch.int64)
        else:
            raise ValueError(
                f"{name!r} of this state, of shape {tuple(value.shape)}, does not say which edges "
                "it is of: keep what model.state_dict() returns (a copy as a plain dict, or "
                "safetensors, loses its masks). model.load_state_dict projects dense weights onto "
                "the edges that there are."
            )
        if len(local) != count:
            raise ValueError(
                f"this state has {len(local):,} edges in {name!r}, and this session {count:,}, "
                "which its rules count on: load the session (net.load) to go back to another "
                "number."
            )
        keys.append(local + first)
        weights.append(value)
    return torch.cat(keys), torch.cat(weights)


# -- what is refused ------------------------------------------------------------------------------


def refuse_other(net: Any, state: Mapping[str, Any]) -> None:
    """Raise ValueError for a session's state of other rules, another seed or another model."""
    if list(state["rules"]) != net.names:
        raise ValueError(
            f"this state was saved by the rules {list(state['rules'])}; the session has "
            f"{net.names}."
        )
    if state["seed"] != net.seed:
        raise ValueError(
            f"this state was saved under seed {state['seed']}; the session has seed "
            f"{net.seed} and would draw other numbers. Attach with seed={state['seed']}."
        )
    projections = [[p.name, p.size] for p in net.world.space.projections]
    if [list(p) for p in state["projections"]] != projections:
        raise ValueError(
            f"this state belongs to another model: its projections are "
            f"{state['projections']}, this model's are {projections}."
        )


Entry = tuple[str, list[int], str]  # name, shape as a dense model has it, type


def outline(model: nn.Module, projections: Sequence[Any] = ()) -> Iterator[Entry]:
    """Every parameter and buffer of a model, as it is without a session."""
    dense = {p.name: list(p.shape) for p in projections}
    for tensors in (model.named_parameters(), model.named_buffers()):
        for name, t in tensors:
            shape = dense.get(clean(name), list(t.shape))
            yield clean(name), shape, str(t.dtype).removeprefix("torch.")


def refuse_model(meta: Mapping[str, Any], own: Sequence[Entry]) -> None:
    """Raise ValueError where the tensors of a model are not those of the file."""
    saved = {name: (tuple(shape), kind) for name, shape, kind in meta["model"]}
    entries = {name: (tuple(shape), kind) for name, shape, kind in own}
    for name in saved.keys() | entries.keys():
        if saved.get(name) == entries.get(name):
            continue
        there, here = (_words(table.get(name)) for table in (saved, entries))
        raise ValueError(
            f"this file is of another model: {name!r} is {there} there and {here} in this one. A "
            "model that a session trains already goes back by net.load(path)."
        )


def _words(entry: tuple[tuple[int, ...], str] | None) -> str:
    return "missing" if entry is None else f"of shape {entry[0]}, {entry[1]},"


def refuse_optimizer(meta: Mapping[str, Any], optimizer: Any) -> None:
    """Raise ValueError for an optimizer of another class or with other groups than the file's."""
    name, groups = type(optimizer).__name__, [len(g["params"]) for g in optimizer.param_groups]
    if name != meta["optimizer"]:
        raise ValueError(f"this file is of the optimizer {meta['optimizer']}, this one is {name}.")
    if groups != list(meta["groups"]):
        raise ValueError(
            f"this file is of an optimizer with groups of {list(meta['groups'])} parameters, this "
            f"one has {groups}: give it the same parameters in the same groups."
        )


# -- rules as tables ------------------------------------------------------------------------------


def table_of(rule: Rule) -> dict[str, Any] | None:
    """The rule as plain values, from which :func:`rule_of` makes an equal one; None where that
    cannot be: a file of it is loaded with ``rule=``.

    >>> import rewire
    >>> table_of(rewire.SET(fraction=0.2))
    {'rule': 'SET', 'fraction': 0.2}
    """
    from .rules import On

    inner = rule.rule if isinstance(rule, On) else rule
    on: dict[str, Any] = {"on": list(rule.projections)} if isinstance(rule, On) else {}
    if isinstance(rule, On) and rule.counts is not None:
        on["counts"] = list(rule.counts)
    try:
        table = {"rule": type(inner).__name__, **inner.to_table(), **on}
        return table if rule_of(table, {type(inner).__name__: type(inner)}) == rule else None
    except Exception:  # fields that are no plain values
        return None


def rule_of(table: Mapping[str, Any], classes: Mapping[str, type[Rule]]) -> Rule:
    """The rule of a table. classes: by name, before those that are installed."""
    from . import rules

    values = dict(table)
    name, on, counts = values.pop("rule"), values.pop("on", None), values.pop("counts", None)
    kind = classes.get(name) or rules.get(name)
    if on is None and counts is not None:
        values["counts"] = counts
    rule = rules.of_class(kind, values)
    if on is None:
        return rule
    shares = None if counts is None else tuple(counts)
    return rules.On(rule=rule, projections=tuple(on), counts=shares)

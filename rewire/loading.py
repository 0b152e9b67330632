"""A session from a file of :func:`rewire.save`, on a new model and its optimizer."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import saving
from .arguments import checked
from .compatibility import as_rules
from .graph import Graph
from .limits import available as limits_available
from .limits import limited
from .names import short
from .rule import Rule
from .session import Session
from .torch_loop import torch_world
from .worlds.sparse.crossing import crossed

if TYPE_CHECKING:
    from torch import nn


@checked()
def load(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rule: Rule | Sequence[Rule] | None = None,
    *,
    world: str | None = None,
    scheduler: Any = None,
    **options: Any,
) -> Session:
    """Go on where :func:`rewire.save` was called: model, optimizer and session, to the same bits.

    The model is a new one as it was before :func:`rewire.attach` (its numbers do not matter; on the
    ``meta`` device for the sparse world it needs none), and the optimizer is made of its parameters
    in the same groups.

    >>> import tempfile, torch, rewire
    >>> def new():
    ...     model = torch.nn.Linear(20, 10)
    ...     return model, torch.optim.Adam(model.parameters())
    >>> net = rewire.attach(*new(), rule=rewire.SET(), density=0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rewire.save(net, f"{folder}/net.safetensors")
    ...     again = rewire.load(f"{folder}/net.safetensors", *new(), world="sparse")
    >>> again.world.name, again.edges
    ('sparse', 20)

    rule: needed for rules of classes that no package registers; they are those of the file, and
        fields that are set otherwise are refused.
    world: another one than it was saved in: "masked", "sparse" or "auto". The next steps are then
        equal to rounding.
    scheduler: as for :func:`rewire.attach`; it is brought to the step of the file.
    options: of :func:`rewire.attach` that a file cannot hold: ``probe``.

    Raises :class:`rewire.checkpoint.CheckpointError` for a file that is missing, damaged or
    foreign, and ValueError for another model, optimizer or other rules.
    """
    tree, meta = saving.read(path)
    saving.refuse_model(meta, list(saving.outline(model)))
    saving.refuse_optimizer(meta, optimizer)
    rules = _rules(meta["rules"], tree["session"]["rules"], rule)
    kinds = limits_available()
    limits = [kinds[t["limit"]].from_table({k: v for k, v in t.items() if k != "limit"})
              for t in meta["limits"]]  # fmt: skip
    state = tree["session"]
    name = world or ("auto" if meta["choose"] == "auto" else meta["world"])
    into = torch_world(
        model, optimizer, name, state["seed"], rules,
        include=[glob.escape(name) for name in meta["include"]],
        **{"positions": tree["positions"], **options},
    )  # fmt: skip
    into.space = limited(into.space, limits)
    span = None if meta["endless"] else state["clock"][1]
    net = Session(
        into, Graph(into.space, state["keys"]), rules,
        span=span, seed=state["seed"], limits=limits, resumes=True, scheduler=scheduler,
    )  # fmt: skip
    saving.refuse_other(net, state)
    if into.name != meta["world"]:
        if state.get("saved"):
            raise ValueError(
                f"this file holds earlier states to go back to, in the {meta['world']} world: load "
                "it there."
            )
        tree = {**tree, "world": crossed(into, tree["world"], state["keys"], meta["world"])}
    saving.restore(net, tree)
    net.listen()
    return net


def _rules(
    tables: Sequence[Mapping[str, Any] | None],
    names: Sequence[str],
    given: Rule | Sequence[Rule] | None,
) -> list[Rule]:
    """The rules of a file. Raises ValueError where those that the user passes are others."""
    passed = [] if given is None else [part for r in as_rules(given) for part in r.parts]
    own = [f"{i}.{r.name}" for i, r in enumerate(passed)]
    if passed and own != list(names):
        raise ValueError(f"this file was saved by the rules {list(names)}, not {own}.")
    rules = []
    for i, (table, name) in enumerate(zip(tables, names, strict=True)):
        rule = passed[i] if passed else None
        if table is None:
            if rule is None:
                raise ValueError(
                    f"the rule {name.partition('.')[2]!r} of this file has fields that no file "
                    "holds: pass it as rule=."
                )
            rules.append(rule)
            continue
        kind = None if rule is None else type(_inner(rule))
        try:
            rebuilt = saving.rule_of(table, {} if kind is None else {table["rule"]: kind})
        except ValueError as error:
            raise ValueError(
                f"the rule {table['rule']!r} of this file: {error} Pass it as rule=."
            ) from error
        if rule is not None:
            _refuse_fields(_inner(rebuilt), _inner(rule))
        rules.append(rebuilt)
    return rules


def _inner(rule: Any) -> Any:
    """The rule that acts, of one on some projections."""
    return getattr(rule, "rule", rule)


def _refuse_fields(saved: Any, own: Any) -> None:
    """Raise ValueError for a field that is set to something else than in the file. One that is not
    set is the file's: attach itself sets some, such as the density that a rule prunes to."""
    for field in own.to_table():
        there, here = getattr(saved, field), getattr(own, field)
        if there != here:
            raise ValueError(
                f"{saved.name}.{field} is {short(there)} in this file, and {short(here)} in the "
                "rule that is passed. To go on under another rule, attach it with "
                "initial=net.graph."
            )

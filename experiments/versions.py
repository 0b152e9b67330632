"""Which cells were trained by another version of their rule than this rewire has.

A rule that computes something else than before raises its ``version``; versions other than 1 are
part of a cell's hash. A run that is opened keeps its cells as they are, and what they are stands
beside them; a run that goes on trains them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import store
from .config.schema import rule_of_cell

# Rules that compute something else than before in Brian2 alone, and their version there.
IN_BRIAN2 = {"SynapticSampling": 2}


def changed(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Rules of a cell's config whose version is another today: name -> (then, now).

    >>> changed({"rule": {"rule": "Static"}, "versions": {"Static": 2}})
    {'Static': (2, 1)}
    >>> changed({"rule": {"rule": "Static"}}), changed({"rule": {"rule": "SET"}, "kind": "spikes"})
    ({}, {})
    """
    then, now = config.get("versions") or {}, _today(config)
    if now is None or not isinstance(then, Mapping):
        return {}
    names = sorted({*then, *now})
    pairs = {name: (then.get(name, 1), now.get(name, 1)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _today(config: Mapping[str, Any]) -> dict[str, int] | None:
    """None of a rule that is not known here, or whose fields are not, and of a cell that trains
    nothing: the network that it runs has its versions in the cell that trained it."""
    if config.get("kind") == "spikes":
        return None
    try:
        rule = rule_of_cell(config)
    except (KeyError, TypeError, ValueError):
        return None
    return in_brian2(rule) if config.get("kind") == "spiking" else dict(rule.versions)


def in_brian2(rule: Any) -> dict[str, int]:
    """Versions other than 1 of the rules that a rule is made of, in the spiking world.

    >>> import rewire
    >>> in_brian2(rewire.SynapticSampling()), rewire.SynapticSampling().versions
    ({'SynapticSampling': 2}, {})
    """
    names = {part.name for part in getattr(rule, "parts", ())}  # a branch has none
    return {**{n: v for n, v in IN_BRIAN2.items() if n in names}, **rule.versions}


def outdated(out: str | Path) -> list[str]:
    """A sentence for each label of a run that was trained by another version of its rule.

    Raises StoreError for a damaged run.
    """
    found = dict[str, dict[str, tuple[int, int]]]()
    for row in store.described_cells(out):
        config = row["config"] and json.loads(row["config"])
        if isinstance(config, Mapping) and (rules := changed(config)):
            found[row["label"]] = rules
    return [
        f"{label} was trained by version {then} of {name}, which has version {now} here and may "
        "come to other numbers: run the experiment again to train it anew"
        for label, rules in found.items()
        for name, (then, now) in rules.items()
    ]

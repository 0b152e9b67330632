"""What the rules of an experiment do not do as one may think, said before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewire.caveats import caveats

from .cells import Cell
from .config.schema import rule_of_cell


def sentences(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each rule that never acts in its training, or does not promise the densities
    asked for.

    >>> static = {"rule": {"rule": "Static"}, "steps": 50}
    >>> rigl = {"rule": {"rule": "RigL"}, "steps": 50}
    >>> sentences([Cell("1", "Static", "Static", static, 0, 0.1, {}, 50.0),
    ...            Cell("2", "mine", "RigL", rigl, 0, 0.1, {}, 50.0)])
    ['mine: RigL never acts in 50 steps: Every(n=100, first=None, stop=0.75) is due at none of ...']
    """
    labels = dict[str, Mapping[str, Any]]()
    densities = dict[str, dict[float, None]]()
    for cell in cells:
        labels.setdefault(cell.label, cell.config)
        asked = [] if cell.density is None else [cell.density]
        densities.setdefault(cell.label, {}).update(dict.fromkeys(asked))
    return [
        f"{label}: {caveat}"
        for label, config in labels.items()
        if (rule := _rule_of(config)) is not None
        for caveat in caveats([rule], span=_span_of(config), densities=list(densities[label]))
    ]


def _rule_of(config: Mapping[str, Any]) -> Any:
    """The rule of a cell; None of a branch, and of a cell that has none."""
    from rewire.rule import Rule

    if not isinstance(config.get("rule"), Mapping):
        return None
    rule = rule_of_cell(config)
    return rule if isinstance(rule, Rule) else None


def _span_of(config: Mapping[str, Any]) -> int | None:
    """Steps of a round, or ticks of a simulation."""
    if config.get("kind") == "spiking":
        from .spiking.cells import settings

        return settings(config).ticks
    return config.get("steps")

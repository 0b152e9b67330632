"""Whether a rule may run here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .rule import Rule
from .signals import registered


def _remedy(world: str, missing: Sequence[str]) -> str:
    """What to do about signals that a world does not offer, where something can be done."""
    here = registered(world)
    if all(name in here and here[name].needs_probe for name in missing):
        return " It is computed from data: pass probe=rewire.Probe(batches, loss)."
    if world == "sparse" and registered("masked").keys() >= set(missing):
        return " The masked world does: use substrate='masked'."
    return ""


def _needs_span(rule: Rule) -> bool:
    from .when import AtEnd, Last, Schedule, When

    def relative(value: Any) -> bool:
        if isinstance(value, AtEnd | Last):
            return True
        if isinstance(value, When | Schedule):
            bounds = (getattr(value, name, None) for name in ("begin", "stop"))
            return any(isinstance(b, float) and b <= 1 for b in bounds)
        return False

    return any(relative(v) for v in vars(rule).values())

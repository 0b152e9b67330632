"""Whether a rule may run here."""

from __future__ import annotations

from typing import Any

from .rule import Rule


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

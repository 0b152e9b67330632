"""What of a rule is not as one may take it to be, said before step 0: it runs, and is warned of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import inf
from typing import Any

from .rule import Rule, pace_of
from .rule_budget import budget_of
from .when import AtEnd, AtSteps, Clock, Every, Last, Never, Schedule, When


class RuleWarning(UserWarning):
    """A rule that runs, and does not do what it may be taken to do."""


class NeverActs(RuleWarning):
    """A rule that edits nothing in a training of this length."""


class DensityNotPromised(RuleWarning):
    """A rule whose density is an outcome of training, and another than was asked for."""


def caveats(
    rules: Sequence[Rule], *, span: int | None, density: float | None = None
) -> list[RuleWarning]:
    """What to warn of, each naming its rule.

    span: steps of a round, None where the loop's length is not known. density: what was asked for,
    None or 1 where nothing was.

    >>> import rewire
    >>> [str(w) for w in caveats([rewire.RigL()], span=90)]
    ['RigL never acts in 90 steps: Every(n=100, first=None, stop=0.75) is due at none of them. ...']
    >>> caveats([rewire.RigL()], span=1000)
    []
    """
    parts = [part for rule in rules for part in rule.parts]
    idle = (NeverActs(why) for rule in parts if (why := never_acts(rule, span)) is not None)
    if density is None or density >= 1:
        return list(idle)
    floating = (
        DensityNotPromised(f"{rule.name} does not promise the density {density:g}: {why}.")
        for rule in parts
        if (why := budget_of(rule).unpromised(rule, span)) is not None
    )
    return [*idle, *floating]


def warn(rules: Sequence[Rule], *, span: int | None, density: float | None = None) -> None:
    """Warn of what :func:`caveats` finds."""
    for caveat in caveats(rules, span=span, density=density):
        warnings.warn(caveat, stacklevel=3)


def never_acts(rule: Rule, span: int | None) -> str | None:
    """Why a rule edits nothing in ``span`` steps, or None.

    A rule that is told never to act, or acts before training, is as it should be.
    """
    pace = pace_of(rule)
    if span is None or isinstance(pace, Never) or budget_of(rule).at_start:
        return None
    due = _due(pace, span)
    if not due:
        return (
            f"{rule.name} never acts in {span:,} steps: {pace} is due at none of them. Train "
            "longer, or let it act more often."
        )
    fraction = getattr(rule, "fraction", None)
    if isinstance(fraction, Schedule) and not any(fraction(Clock(s, span)) > 1e-9 for s in due):
        return (
            f"{rule.name} never acts in {span:,} steps: its fraction, {fraction}, is 0 at each at "
            f"which {pace} is due. Train longer, or let it act more often."
        )
    return None


def _due(pace: When, span: int) -> Sequence[int]:
    """Steps at which a schedule is due, all that matter: the first, or more."""
    match pace:
        case Every(n, first):
            return range(max(n if first is None else first, 1), pace.last(span) + 1, n)
        case AtSteps(steps):
            return [step for step in steps if 1 <= step <= span]
        case AtEnd() | Last():
            return [span]
    step: Any = next((s for s in range(1, span + 1) if pace(Clock(s, span))), inf)
    return [] if step == inf else [step]

"""What of a rule is not as one may take it to be, said before step 0: it runs, and is warned of."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from math import inf
from typing import Any

from .rule import Rule, pace_of, silences
from .rule_budget import Budget, budget_of
from .when import AtEnd, AtSteps, Clock, Every, Last, Never, Schedule, When


class RuleWarning(UserWarning):
    """A rule that runs, and does not do what it may be taken to do."""


class NeverActs(RuleWarning):
    """A rule that edits nothing in a training of this length."""


class DensityNotPromised(RuleWarning):
    """A rule whose density is an outcome of training, and another than was asked for."""


class NoDensity(RuleWarning):
    """No density was asked for, so that every edge is there and none can be added."""


def caveats(
    rules: Sequence[Rule], *, span: int | None, densities: Sequence[float] = ()
) -> list[RuleWarning]:
    """What to warn of, each naming its rule.

    span: steps of a round, None where the loop's length is not known. densities: what was asked
    for, where anything was.

    >>> import rewire
    >>> [str(w) for w in caveats([rewire.RigL()], span=90)]
    ['RigL never acts in 90 steps: Every(n=100, first=None, stop=0.75) is due at none of them. ...']
    >>> [str(w) for w in caveats([rewire.STR()], span=1000, densities=[0.1])]
    ['STR does not promise the density 0.1: its thresholds are learnt, ...']
    """
    idle = (NeverActs(why) for rule in _parts(rules) if (why := never_acts(rule, span)) is not None)
    return [*idle, *_floating(rules, span, densities)]


def warn(rules: Sequence[Rule], *, span: int | None) -> None:
    """Warn of rules that never act in ``span`` steps."""
    for caveat in caveats(rules, span=span):
        warnings.warn(caveat, stacklevel=outside())


def warn_of_density(rules: Sequence[Rule], *, span: int | None, density: float | None) -> None:
    """Warn of rules that may end at another density than was asked for; None: none was."""
    for caveat in _floating(rules, span, [] if density is None else [density]):
        warnings.warn(caveat, stacklevel=outside())


def warn_of_no_density(rules: Sequence[Rule], density: float | None, density_now: float) -> None:
    """Warn where nobody asked for a density, and rules that add none of their own begin dense."""
    if density is not None or density_now < 1:
        return
    for rule in _parts(rules):
        if type(budget_of(rule)) is Budget and not silences(rule) and rule.name != "Dense":
            text = (
                f"no density was asked for: {rule.name} starts with every edge, and there is none "
                "to add. Pass density=0.1 to keep a tenth of them, or density=1 to mean it."
            )
            warnings.warn(NoDensity(text), stacklevel=outside())


def outside() -> int:
    """The level of the first caller that is no module of ours."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("rewire."):
        level, frame = level + 1, frame.f_back
    return level


def _parts(rules: Sequence[Rule]) -> list[Rule]:
    return [part for rule in rules for part in rule.parts]


def _floating(
    rules: Sequence[Rule], span: int | None, densities: Sequence[float]
) -> list[RuleWarning]:
    asked = [density for density in densities if density < 1]  # 1 is where some begin
    listed = ", ".join(f"{density:g}" for density in asked)
    return [
        DensityNotPromised(f"{rule.name} does not promise the density {listed}: {why}.")
        for rule in _parts(rules)
        if asked and (why := budget_of(rule).unpromised(rule, span)) is not None
    ]


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

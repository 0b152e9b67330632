"""How many synapses a rule leaves, and how it comes there: one value, the rule's ``budget``.

``Budget`` leaves the number to the start of the run; ``Falling`` goes to the density in the rule's
field ``to``; ``Scheduled`` does so at the ticks of its ``when``; ``AtStart`` cuts before step 0;
``Ladder`` visits several densities in one run, from dense downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from .when import AtEnd, Clock, When

Kept = Literal["exact", "cap", "reported"]
R = TypeVar("R")


@dataclass(frozen=True)
class Budget:
    """The number of edges that a run starts with stays the measure.

    kept: "exact" keeps the number of live edges (per projection, or over all where the rule's
        ``scope`` is "global"), "cap" stays at or below it, "reported" lets it float.
    starting: whether the rule brings each projection by itself to a number that it knows before
        training, so that no other may change it.
    outcome: what decides on the number of a "reported" rule, as a clause that follows a colon.

    Methods that may depend on the rule's fields are given the rule.

    >>> Budget("cap").starts_at(0.1)
    0.1
    """

    kept: Kept = "exact"
    starting: bool = field(default=False, kw_only=True)
    outcome: str = field(default="", kw_only=True)

    @property
    def at_start(self) -> bool:
        """Whether the rule begins with every edge and cuts to its budget before step 0."""
        return False

    @property
    def visits(self) -> bool:
        """Whether one run visits several densities, from dense downwards."""
        return False

    def at_last_rate(self, rule: Any) -> bool:
        """Whether it trains on at the learning rate of a round's last step (fine-tuning)."""
        return False

    def starts_at(self, density: float) -> float:
        """The density that a run asked for ``density`` begins with."""
        return density

    def towards(self, rule: R, densities: Sequence[float]) -> R:
        """The rule that ends at, or visits, these densities, where that is a rule's to say.

        Raises ValueError for a density that the rule cannot have.
        """
        return rule

    def aimed(self, rule: R, counts: Sequence[int]) -> R:
        """The rule that leaves this many edges of each projection, where it prunes at the start."""
        return rule

    def named(self, rule: Any) -> tuple[float, ...]:
        """The densities that the rule names itself."""
        return ()

    def unpromised(self, rule: Any, span: int | None) -> str | None:
        """Why ``span`` steps (None: not known) may end at another density than was asked for.

        None where the rule holds, or ends at, exactly that, or stays at or below it.

        >>> import rewire
        >>> Budget("reported", outcome="its threshold decides").unpromised(rewire.Static(), 100)
        'its threshold decides'
        """
        if self.kept != "reported":
            return None
        return self.outcome or "how many edges it leaves is an outcome of the training"

    def unsuited(self, rule: Any, span: int | None) -> str | None:
        """Why a training of ``span`` steps (None: not known) cannot bring the rule to its budget.

        None where it can.
        """
        return None

    def rungs(self, rule: Any, counts: Sequence[int], names: Sequence[str]) -> list[list[int]]:
        """Edges dropped in each round, from these counts of the projections called ``names``."""
        return []


@dataclass(frozen=True)
class Falling(Budget):
    """Ends at the density in the rule's field ``to``, which the density asked for fills in.

    begins: the density at the start; a run that is asked for more starts at what it is asked for.

    >>> Falling("cap", begins=0.5).starts_at(0.1)
    0.5
    >>> import rewire
    >>> gmp = rewire.GMP()
    >>> gmp.budget.towards(gmp, [0.1, 0.05]).to
    0.05
    """

    begins: float = 1.0

    def starts_at(self, density: float) -> float:
        return max(self.begins, density)

    def towards(self, rule: R, densities: Sequence[float]) -> R:
        """The same rule ending at the smallest of these densities, unless it names its own."""
        return rule if self.named(rule) else replace(rule, to=min(densities))  # type: ignore[type-var]

    def named(self, rule: Any) -> tuple[float, ...]:
        return () if rule.to is None else (rule.to,)


@dataclass(frozen=True)
class Scheduled(Falling):
    """Falls at the ticks of the rule's ``when``, an `Every`, the last one not after ``until``."""

    def unsuited(self, rule: Any, span: int | None) -> str | None:
        if span is None and all(
            b is None or isinstance(b, float) for b in (rule.until, rule.when.stop)
        ):
            return "its schedule ends with the training, whose length is not known: pass steps="
        if span is not None and not rule.when.last(span, rule.until):
            return f"it would never prune in {span} steps: {rule.when} is not due before its end"
        return None


@dataclass(frozen=True)
class AtStart(Budget):
    """Begins with every edge and cuts to the rule's field ``to`` before step 0."""

    @property
    def at_start(self) -> bool:
        return True

    def aimed(self, rule: R, counts: Sequence[int]) -> R:
        named: Any = rule
        if named.to is not None:
            raise ValueError(
                f"{named.name} names its own budget, to={named.to}, and a density was asked for as "
                "well: leave one of them out."
            )
        return replace(rule, to=tuple(counts))  # type: ignore[type-var]


@dataclass(frozen=True)
class Ladder(Budget):
    """Visits the densities in the rule's field ``to`` by the rounds of its method ``ladder``.

    A rule whose field ``restore`` is "nothing" trains on at the last rate in each.
    """

    @property
    def visits(self) -> bool:
        return True

    def at_last_rate(self, rule: Any) -> bool:
        return getattr(rule, "restore", None) == "nothing"

    def towards(self, rule: R, densities: Sequence[float]) -> R:
        """The same rule visiting these densities, unless it names its own."""
        if self.named(rule):
            return rule
        return replace(rule, to=tuple(sorted(densities, reverse=True)))  # type: ignore[type-var]

    def named(self, rule: Any) -> tuple[float, ...]:
        return tuple(rule.to)

    def unsuited(self, rule: Any, span: int | None) -> str | None:
        """Why a round of ``span`` steps cannot be gone back into: it is not longer than that."""
        back, first = getattr(rule, "rewind", 0), _first_due(rule.when, span)
        if span is None or self.at_last_rate(rule):
            return None
        if first is None:
            return f"{rule.when} is never due in {span} steps: it would never prune"
        if back < first:
            return None
        return (
            f"it goes back to step {back} of a round that it ends at step {first}, and would "
            f"train no step of the next one: set rewind below {first}, or train longer"
        )

    def rungs(self, rule: Any, counts: Sequence[int], names: Sequence[str]) -> list[list[int]]:
        return rule.ladder(counts, names)


def _first_due(when: When, span: int | None) -> int | None:
    """The first step of a round at which a schedule is due; None where none is."""
    if span is None:
        return None
    last = range(span, span + 1) if isinstance(when, AtEnd) else range(1, span + 1)
    return next((step for step in last if when(Clock(step, span))), None)


def budget_of(rule: Any) -> Budget:
    """The budget of a rule, of which a plain word says the first field: "cap" is Budget("cap")."""
    budget: Budget | Kept = rule.budget
    return Budget(budget) if isinstance(budget, str) else budget

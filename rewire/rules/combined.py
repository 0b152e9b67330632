"""Several rules that act in one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from ..names import short
from ..rule import Budget, Rule
from ..rule_budget import Kept, budget_of
from ..when import When, never
from .on_part import On


@dataclass(frozen=True)
class Together(Budget):
    """The budgets of rules that share a graph: as exact as the least exact of them.

    A run starts at the highest density that one of them starts at.

    >>> import rewire
    >>> rewire.Combined(rules=(rewire.GMP(), rewire.RigL())).budget.kept
    'cap'
    """

    of: tuple[Budget, ...] = ()

    @property
    def at_start(self) -> bool:
        return any(budget.at_start for budget in self.of)

    def starts_at(self, density: float) -> float:
        return max((budget.starts_at(density) for budget in self.of), default=density)

    def named(self, rule: Any) -> tuple[float, ...]:
        pairs = zip(self.of, rule.rules, strict=True)
        return tuple(density for budget, part in pairs for density in budget.named(part))

    def towards(self, rule: Any, densities: Sequence[float]) -> Any:
        parts = zip(self.of, rule.rules, strict=True)
        return replace(rule, rules=tuple(b.towards(part, densities) for b, part in parts))

    def aimed(self, rule: Any, counts: Sequence[int]) -> Any:
        parts = zip(self.of, rule.rules, strict=True)
        return replace(rule, rules=tuple(b.aimed(part, counts) for b, part in parts))


def together(budgets: Sequence[Budget]) -> Together:
    kept = {budget.kept for budget in budgets}
    least: Kept = "reported" if "reported" in kept else "cap" if "cap" in kept else "exact"
    return Together(least, tuple(budgets))


@dataclass(frozen=True, kw_only=True)
class Combined(Rule):
    """Several rules on one graph, in their order, each when it is due: for example, GMP prunes
    while RigL rewires.

    >>> import rewire
    >>> both = rewire.Combined(rules=(rewire.GMP(), rewire.RigL()))
    >>> both.budget.starts_at(0.1)  # GMP prunes from a dense network
    1.0

    In code a list does the same: ``attach(..., rule=[GMP(), RigL()])``. In an experiment file:

        [[rules]]
        rule = "Combined"
        label = "GMP, rewired by RigL"
        rules = [{ rule = "GMP" }, { rule = "RigL", fraction = 0.1, on = ["fc1"] }]

    ``on`` restricts a part to projections whose names match a pattern, see `On`. The starting
    density is the highest of those of the parts. Rules that rewind (IMP) cannot be parts. Parts
    that cannot both keep their promises are refused before step 0, for example a rule with silent
    edges (TopKAST) and one that adds or drops edges.
    """

    kind: ClassVar[str] = "composition"
    source: ClassVar[str] = "control: the sources are those of its parts"

    rules: tuple[Any, ...] = ()  # rules, which are looked at below
    when: When = never

    def __post_init__(self) -> None:
        for rule in self.rules:
            if not isinstance(rule, Rule) or budget_of(rule).visits or isinstance(rule, Combined):
                what = getattr(rule, "name", short(rule))
                raise ValueError(f"Combined takes rules that act in one training, not {what}.")

    @property
    def parts(self) -> tuple[Rule, ...]:
        return self.rules

    @property
    def versions(self) -> dict[str, int]:
        return {name: n for rule in self.rules for name, n in rule.versions.items()}

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        return together([budget_of(rule) for rule in self.rules])

    # What a session asks of each part; of the whole, for whoever looks at it before.

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset[str]().union(*(rule.needs for rule in self.rules))

    @property
    def columns(self) -> Mapping[str, Any]:  # type: ignore[override]
        return {name: birth for rule in self.rules for name, birth in rule.columns.items()}

    @property
    def saves(self) -> frozenset[int]:  # type: ignore[override]
        return frozenset[int]().union(*(rule.saves for rule in self.rules))

    @property
    def timed(self) -> bool:  # type: ignore[override]
        return any(rule.timed for rule in self.rules)

    @property
    def skips_step(self) -> bool:  # type: ignore[override]
        return any(rule.skips_step for rule in self.rules)

    @property
    def lives_under(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset(Rule.lives_under).intersection(*(r.lives_under for r in self.rules))

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """One whose ``rules`` are rules; :func:`rewire.rules.from_table` reads their names."""
        for part in table.get("rules", ()):
            if not isinstance(part, Rule):
                raise ValueError(
                    f"Combined.rules holds rules, not {short(part)}: rewire.rules.from_table reads "
                    "tables that name them."
                )
        return super().from_table(table)

    def to_table(self) -> dict[str, Any]:
        if not self.rules:
            return {}
        tables = []
        for rule in self.rules:
            inner, on = (rule.rule, list(rule.projections)) if isinstance(rule, On) else (rule, [])
            more = {"on": on} if on else {}
            tables.append({"rule": inner.name, **inner.to_table(), **more})
        return {"rules": tables}

"""Rules together: several in a list as one, and one on some of the projections only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from ..rule import Budget, Rule
from ..when import When, never
from .on_part import On


@dataclass(frozen=True, kw_only=True)
class Combined(Rule):
    """Several rules in one graph, each when it is due, in their order: GMP prunes while RigL
    rewires, and an age limit turns over what stays.

    In code a list does the same: ``attach(..., rule=[GMP(), RigL()])``; a session takes this one
    apart into its parts. In an experiment file:

        [[rules]]
        rule = "Combined"
        label = "GMP, rewired by RigL"
        rules = [{ rule = "GMP" }, { rule = "RigL", fraction = 0.1, on = ["fc1"] }]

    ``on`` restricts a part to projections whose names fit a pattern, see `On`. It starts at the
    highest density that a part starts at; parts that go back to saved steps (IMP) stand alone.
    """

    kind: ClassVar[str] = "composition"
    source: ClassVar[str] = "control: the sources are those of its parts"

    rules: tuple[Rule, ...] = ()
    when: When = never

    def __post_init__(self) -> None:
        for rule in self.rules:
            if rule.branch or rule.visits_densities or isinstance(rule, Combined):
                raise ValueError(f"Combined takes rules that act in one training, not {rule.name}.")

    needs = property(lambda self: frozenset[str]().union(*(r.needs for r in self.rules)))  # type: ignore[assignment]
    saves = property(lambda self: frozenset[int]().union(*(r.saves for r in self.rules)))  # type: ignore[assignment]
    timed = property(lambda self: any(r.timed for r in self.rules))  # type: ignore[assignment]
    skips_step = property(lambda self: any(r.skips_step for r in self.rules))  # type: ignore[assignment]
    prunes_at_start = property(lambda self: any(r.prunes_at_start for r in self.rules))  # type: ignore[assignment]

    @property
    def columns(self) -> Mapping[str, Any]:  # type: ignore[override]
        return {name: birth for r in self.rules for name, birth in r.columns.items()}

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        kinds = {r.budget for r in self.rules}
        return "reported" if "reported" in kinds else "cap" if "cap" in kinds else "exact"

    @property
    def lives_under(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset(Rule.lives_under).intersection(*(r.lives_under for r in self.rules))

    def towards(self, densities: Sequence[float]) -> Self:
        return replace(self, rules=tuple(r.towards(densities) for r in self.rules))

    def aimed(self, counts: Sequence[int]) -> Self:
        return replace(self, rules=tuple(r.aimed(counts) for r in self.rules))

    def starts_at(self, density: float) -> float:
        return max((r.starts_at(density) for r in self.rules), default=density)

    def unsuited(self, span: int | None) -> str | None:
        told = [(r, why) for r in self.rules if (why := r.unsuited(span)) is not None]
        return f"of {told[0][0].name}, {told[0][1]}" if told else None

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        listed = table.get("rules", ())
        if not isinstance(listed, list | tuple) or not all(
            isinstance(t, str | Mapping) for t in listed
        ):
            raise ValueError(
                f"Combined.rules is a list of tables {{ rule = ... }}, not {listed!r}."
            )
        parts, problems = [], []
        for item in listed:
            try:
                parts.append(_part({"rule": item} if isinstance(item, str) else dict(item)))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("\n".join(problems))
        return super().from_table({**table, "rules": tuple(parts)})

    def to_table(self) -> dict[str, Any]:
        if not self.rules:
            return {}
        tables = []
        for rule in self.rules:
            inner, on = (rule.rule, list(rule.projections)) if isinstance(rule, On) else (rule, [])
            more = {"on": on} if on else {}
            tables.append({"rule": inner.name, **inner.to_table(), **more})
        return {"rules": tables}


def _part(table: dict[str, Any]) -> Rule:
    from . import get

    on, name = table.pop("on", None), table.pop("rule", None)
    if name is None:
        raise ValueError("Combined: a part has no 'rule', the name of a rule.")
    rule = get(name).from_table(table)
    if on is None:
        return rule
    if not isinstance(on, list) or not on or not all(isinstance(p, str) for p in on):
        raise ValueError(f"{name}.on is a list of patterns of projections, not {on!r}.")
    return On(rule=rule, projections=tuple(on))


def parts_of(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules of a list, those that are combined taken apart."""
    out: list[Rule] = []
    for rule in rules:
        out += rule.rules if isinstance(rule, Combined) else (rule,)
    return tuple(out)

"""The table ``tune`` of an experiment file: a search that is made before its rules are trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from .values import MAX_SEEDS, Count, Densities, Positive, Seeds, Table

OptimizerField = Literal["lr", "weight_decay", "momentum"]


FIRST = 1000  # seed of trials, far from the first of an experiment


def _apart(value: Any) -> Any:
    """A count of seeds as so many from `FIRST` on."""
    is_count = type(value) is int and 1 <= value <= MAX_SEEDS
    return list(range(FIRST, FIRST + value)) if is_count else value


class Tune(Table):
    """How the fields of an experiment's rules are searched for, alike for every rule."""

    trials: Count = Field(default=20, description="of each rule, its own fields first")
    flops: Positive | None = Field(
        default=None,
        description="what a rule may spend, in dense trainings at each density and seed; as many "
        "as trials unless given",
    )
    seeds: Annotated[Seeds, BeforeValidator(_apart)] = Field(
        default=[FIRST], description="of trials: none of the experiment's own"
    )
    densities: Densities = Field(default=[], description="of trials; the experiment's own unless "
                                 "given")  # fmt: skip
    rules: list[str] = Field(
        default=[], description="labels of the rules to tune; all unless given"
    )
    optimizer: list[OptimizerField] = Field(
        default=[], description="fields of the optimizer to tune, for every rule alike"
    )
    sampler: Literal["random", "tpe"] = "random"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(default=0, description="of the draws")

    @property
    def limit(self) -> float:
        """What each rule may spend, in dense trainings at each density and seed."""
        return float(self.trials) if self.flops is None else self.flops


class TunedRule(Table):
    """What a search found of one rule: written into the file that it leaves, for its report."""

    rule: str
    trials: Count
    spent: float
    budget: dict[str, float]
    seeds: list[int]
    densities: list[float] = []
    sampler: str = "random"
    metric: str = ""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    validation: list[float] = []
    note: str = ""

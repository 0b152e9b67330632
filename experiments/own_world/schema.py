"""The tables of an experiment file in a world of an installed package."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from ..config.values import Contrasts, Count, Densities, Limits, Name, Seeds, Table


@dataclass(frozen=True)
class OwnEntry:
    """One of an experiment's rules, and the fields given for it."""

    rule: str
    cls: Any  # the class of that name
    label: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Any:
        """The rule object."""
        from rewire.rules import of_class

        return of_class(self.cls, self.fields)

    def as_table(self) -> dict[str, Any]:
        table = {"rule": self.rule, **self.fields}
        return table if self.label == self.rule else {**table, "label": self.label}


class OwnExperiment(Table):
    """One experiment: a world and its options, how long it is stepped, and under which rules."""

    name: Name
    title: str = ""
    about: str = ""
    source: str = Field(default="", description="where the protocol comes from")
    time: str = Field(default="", description="how long it takes on two cores, for people")
    world: Annotated[str, Field(description="as an installed package names it")]
    model: dict[str, Any] = Field(default={}, description="options of the world")
    steps: Annotated[Count, Field(description="of one round")]
    evaluate_every: Annotated[Count, Field(description="steps between measurements")] = 100
    densities: Densities = []
    distribution: Literal["erk", "er", "uniform", "balanced"] = "erk"
    seeds: Seeds = [0, 1, 2]
    limits: Limits = []
    contrasts: Contrasts = []
    threads: Count = 1
    rules: Annotated[list[Any], Field(min_length=1)]

    @property
    def kinds(self) -> tuple[str, ...]:
        """See `kind.Experiment`."""
        return ("own_world",)

    @property
    def device(self) -> str:
        """Where the engine puts its workers; a world may compute wherever it likes."""
        return "cpu"

    def as_tree(self) -> dict[str, Any]:
        """As a plain tree that is read back to an equal experiment; defaults are left out."""
        tree = self.model_dump(exclude_defaults=True, exclude={"rules"})
        return tree | {"rules": [entry.as_table() for entry in self.rules]}

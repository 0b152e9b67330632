"""The tables of an experiment file with ``world = "brian"``, as typed, frozen objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from ..config.schema import Model
from ..config.values import Contrasts, Count, Limits, Name, Positive, Seeds, Table


@dataclass(frozen=True)
class SpikingEntry:
    """One of an experiment's rules: the fields given for it, and the model it runs on.

    model: options of the model, the experiment's with those in ``over`` laid over them.
    """

    rule: str
    cls: Any  # the class of that name
    label: str
    model: Mapping[str, Any]
    fields: Mapping[str, Any] = field(default_factory=dict)
    over: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Any:
        """The rule object."""
        from rewire.rules import of_class

        return of_class(self.cls, self.fields)

    def as_table(self) -> dict[str, Any]:
        table = {"rule": self.rule, **self.fields}
        if self.label != self.rule:
            table["label"] = self.label
        return table | ({"model": dict(self.over)} if self.over else {})


class SpikingExperiment(Table):
    """One experiment in Brian2: a network, how long it lives, and the rules that rewire it."""

    name: Name
    title: str = ""
    about: str = ""
    source: str = Field(default="", description="where the protocol comes from")
    time: str = Field(default="", description="how long it takes on two cores, for people")
    world: Literal["brian"]
    model: Model
    seconds: Annotated[Count, Field(description="simulated")]
    period: Positive = Field(default=1.0, description="ms between the rules' ticks")
    record_every: Annotated[Count, Field(description="seconds between evaluations")] = 10
    codegen: Literal["numpy", "cython"] = "numpy"
    seeds: Seeds = [0, 1, 2]
    limits: Limits = []
    contrasts: Contrasts = []
    threads: Count = 1
    rules: Annotated[list[Any], Field(min_length=1)]

    @property
    def kinds(self) -> tuple[str, ...]:
        """See `kind.Experiment`."""
        return ("spiking",)

    @property
    def device(self) -> str:
        """Brian2 simulates on the CPU."""
        return "cpu"

    def as_tree(self) -> dict[str, Any]:
        """As a plain tree that is read back to an equal experiment; defaults are left out."""
        tree = self.model_dump(exclude_defaults=True, exclude={"rules"})
        return tree | {"rules": [entry.as_table() for entry in self.rules]}

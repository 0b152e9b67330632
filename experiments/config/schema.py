"""The tables of an experiment that trains, and where the names in a file are looked up.

`experiments.config.checking` turns what pydantic finds in them into sentences.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from .optimizers import Optimizer, Schedule
from .pictures import Augmented
from .seeds import SeedsApart
from .tune import Tune, TunedRule
from .values import (
    Contrasts,
    Count,
    Densities,
    Distribution,
    Limits,
    Name,
    Period,
    Positive,
    Seeds,
    Table,
    TaskTable,
)


class Training(Table):
    """How a level is trained. A rule's ``train`` table may replace any of it."""

    optimizer: Optimizer
    schedule: Schedule | None = None
    batch: Count
    steps: Count | None = Field(default=None, description="optimiser steps of one level")
    epochs: Count | None = Field(default=None, description="instead of steps")
    evaluate_every: Period = 100
    evaluate_train: bool = Field(
        default=False, description="on the training set as well, at the end of each level"
    )
    clip: Positive | None = Field(
        default=None, description="joint norm that gradients are clipped to"
    )
    seeds_apart: SeedsApart | None = Field(
        default=None, description="seeds of initialisation, data and augmentation of their own"
    )

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> "Training":
        if (self.steps is None) == (self.epochs is None):
            both = "both are given" if self.steps else "neither is given"
            raise ValueError(f"give either 'steps' or 'epochs' (per level); {both}")
        return self

    def resolved(self, n_train: int) -> "Training":
        """The same with ``epochs`` and every "epoch" turned into steps."""
        epoch = steps_per_epoch(n_train, self.batch)
        changes: dict[str, Any] = {
            "steps": self.steps or (self.epochs or 0) * epoch,
            "epochs": None,
            "evaluate_every": epoch if self.evaluate_every == "epoch" else self.evaluate_every,
        }
        if getattr(self.schedule, "every", None) == "epoch":
            changes["schedule"] = self.schedule.model_copy(update={"every": epoch})  # type: ignore[union-attr]
        return self.model_copy(update=changes)


def steps_per_epoch(n_train: int, batch: int) -> int:
    """Steps that visit every example once; the last batch of an epoch may be smaller.

    >>> steps_per_epoch(n_train=601, batch=60)
    11
    """
    return -(-n_train // batch)


class Model(Table):
    """A model by name; every other key is an option of that model."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Data(Table):
    """A data set by name, its validation split (how many, drawn how), and how inputs are scaled."""

    name: str
    validation: Annotated[int, Field(ge=1)] | None = None
    normalise: Literal["standard", "unit"] = "standard"
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None  # None: the published split
    digest: str | None = Field(default=None, description="of data in files of one's own")
    size: Count | None = Field(
        default=None, description="pixels of a side, to which pictures are averaged"
    )
    blur: Annotated[int, Field(ge=2)] | None = Field(
        default=None, description="pixels of a side of blocks that are averaged and enlarged again"
    )
    labels: Literal["random", "rotation"] | None = Field(
        default=None, description="other ones: random, or by how much a picture is turned"
    )
    augment: Augmented = Field(default=None, description="of pictures that are trained on")

    def load(self) -> Any:
        """The data set in memory. Raises DataError where its files are missing or damaged."""
        from ..data import load

        return load(**self.model_dump(exclude={"digest", "augment"}))

    @property
    def info(self) -> Any:
        """What the data set is to a model, none of it read."""
        from ..data import info

        return self.seen(info(self.name))

    def seen(self, known: Any) -> Any:
        """The same of any data set's line: as models get it."""
        from ..data.changes import Changes

        return known if known.problem else Changes(self.size, self.blur, self.labels).seen(known)

    def of_name(self, name: str) -> "Data":
        """The same of another data set, whose validation examples are the usual ones."""
        usual = {"name": name, "validation": None, "seed": None, "digest": None}
        return self.model_copy(update=usual)


@dataclass(frozen=True)
class RuleEntry:
    """One of an experiment's rules: the fields given for it, and what it trains with."""

    rule: str
    cls: Any  # the class of that name
    label: str
    training: Training  # the experiment's, with `train` laid over it
    fields: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    of: str | None = None  # of a branch: label or cell that it branches off; None: all tickets

    def build(self, epoch: int, **more: Any) -> Any:
        """The rule object, every period of an "epoch" being ``epoch`` steps."""
        from rewire.rules import of_class

        return of_class(self.cls, {**in_steps(dict(self.fields), epoch), **more})

    def as_table(self) -> dict[str, Any]:
        table = {"rule": self.rule, **self.fields}
        if self.label != self.rule:
            table["label"] = self.label
        if self.of is not None:
            table["of"] = self.of
        return table | ({"train": dict(self.train)} if self.train else {})


def visits_densities(rule: Any) -> bool:
    """Whether one run of the rule (class or object) visits all densities, as IMP does."""
    from rewire.rule_budget import Ladder

    return not is_branch(rule) and isinstance(rule.budget, Ladder)


def is_branch(rule: Any) -> bool:
    """Whether it (class or object) is no rule but a new start from another one's tickets."""
    from rewire.branches import Branch

    return issubclass(rule if isinstance(rule, type) else type(rule), Branch)


def prunes_at_start(rule: Any) -> bool:
    """Whether the rule (class or object) cuts to its budget before the first step."""
    from rewire.rule_budget import AtStart

    if is_branch(rule):
        return False
    budget = rule.budget
    if isinstance(budget, property):  # it depends on the fields: what it is by default
        budget = rule().budget
    return isinstance(budget, AtStart)


def is_cell(name: str) -> bool:
    """Whether it is the name of a cell: 16 hexadecimal digits."""
    return re.fullmatch(r"[0-9a-f]{16}", name) is not None


def is_dense(rule: Any) -> bool:
    """Whether it is the control that keeps every edge."""
    return (rule if isinstance(rule, type) else type(rule)).__name__ == "Dense"


class Spikes(Table):
    """How trained networks are run in spikes; see `experiments.tickets`."""

    images: Count | None = Field(default=None, description="of the test set; all unless given")
    milliseconds: Annotated[float, Field(ge=1)] = 100.0
    rate: Annotated[float, Field(gt=0, le=1000, description="Hz, of a pixel of 1")] = 200.0
    encoding: Literal["current", "poisson"] = "current"
    codegen: Literal["numpy", "cython"] = "numpy"
    copies: Annotated[Count, Field(description="images at a time, at most")] = 400


PASSES: Mapping[str, Any] = {"memory_format": "contiguous", "precision": "float32",
                             "compile": False}  # fmt: skip


class Experiment(Training):
    """One experiment: what is trained, by which rules, at which densities, from which seeds."""

    name: Name
    title: str = ""
    about: str = ""
    source: str = Field(default="", description="where the protocol comes from")
    time: str = Field(default="", description="how long it takes on two cores, for people")
    model: Model
    data: Data
    task: TaskTable | None = Field(
        default=None, description="loss and metric; that of the data set unless given"
    )
    densities: Densities = []
    distribution: Distribution = "erk"
    initial: str | dict[str, Any] = Field(
        default="random",
        description="where the edges of rules that begin sparse are: random, small-world, "
        "scale-free, receptive-field, bipartite-receptive-field, regular or ramanujan, or a table "
        "of name and fields",
    )
    seeds: Seeds = [0, 1, 2]
    include: list[str] = Field(default=[], description="patterns of parameters that are sparse")
    exclude: list[str] = []
    world: Literal["masked", "sparse", "auto"] = Field(
        default="masked",
        description="how weights are held: dense under masks, as lists of edges, or by density",
    )
    memory_format: Literal["contiguous", "channels_last"] = Field(
        default="contiguous", description="the order of the numbers of convolutions"
    )
    precision: Literal["float32", "bf16"] = Field(
        default="float32",
        description="of training passes; weights and evaluations are float32 in both",
    )
    compile: bool = Field(default=False, description="training passes, by torch.compile")
    limits: Limits = []
    contrasts: Contrasts = []
    tune: Tune | None = Field(
        default=None, description="search for the rules' fields before they are trained"
    )
    tuned: list[TunedRule] = Field(default=[], description="what such a search found")
    spikes: Spikes | None = None
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    threads: Count = 1
    rules: Annotated[list[Any], Field(min_length=1)]

    @property
    def kinds(self) -> tuple[str, ...]:
        """See `kind.Experiment`."""
        return ("trainings",) if self.spikes is None else ("trainings", "conversion")

    @cached_property
    def objective(self) -> Any:
        """What models are trained for and judged by, an `experiments.tasks.Task`."""
        from ..tasks import of_table

        return self.data.info.task if self.task is None else of_table(self.task)

    @cached_property
    def dataset(self) -> Any:
        """The data set in memory, loaded once for all that ask. Raises as `Data.load`."""
        return self.data.load()

    @property
    def passes(self) -> dict[str, Any]:
        """How training passes are made, where not in the ordinary way."""
        return {key: value for key, usual in PASSES.items()
                if (value := getattr(self, key)) != usual}  # fmt: skip

    def as_tree(self) -> dict[str, Any]:
        """As a plain tree that `parse` reads back to an equal experiment; defaults are left out."""
        tree = self.model_dump(exclude_defaults=True, by_alias=True, exclude={"rules"})
        return tree | {"rules": [entry.as_table() for entry in self.rules]}


# --- Where names are looked up ---


def available(kind: str) -> Mapping[str, Any]:
    """What is installed of a kind, by name: "rule" (branches as well), "model" or "data" (sets)."""
    if kind == "rule":
        import rewire.branches
        import rewire.rules

        return {**rewire.rules.available(), **rewire.branches.available()}
    if kind == "model":
        import rewire.models

        return rewire.models.available()
    import rewire.experiments.data

    return rewire.experiments.data.available()


def rule_of_cell(config: Mapping[str, Any]) -> Any:
    """The rule or branch of a cell's configuration, whose table also has its name."""
    from rewire.rules import of_class

    fields = dict(config["rule"])
    return of_class(available("rule")[fields.pop("rule")], fields)


def in_steps(value: Any, epoch: int) -> Any:
    if isinstance(value, Mapping):
        return {key: in_steps(item, epoch) for key, item in value.items()}
    if isinstance(value, list):
        return [in_steps(item, epoch) for item in value]
    return epoch if value == "epoch" else value


def has_epochs(training: Training, fields: Mapping[str, Any]) -> bool:
    """Whether steps, or a period of the training or of a rule's fields, are counted in epochs."""
    every = getattr(training.schedule, "every", None)
    periods = "epoch" in (training.evaluate_every, every)
    return bool(training.epochs) or periods or in_steps(dict(fields), 1) != dict(fields)


def named(value: Any) -> Any:
    """``"adam"`` as the table that it is short for."""
    return {"name": value} if isinstance(value, str) else value


def with_choices(tree: dict[str, Any], *own: str, **choices: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema with the names that exist; ``own``: a rule's keys for tables of its own."""
    properties = tree["properties"]
    keys = {"rule": {"enum": list(available("rule"))}, "label": {"type": "string"},
            **{key: {"type": "object"} for key in own}}  # fmt: skip
    properties["rules"] = {
        "type": "array",
        "minItems": 1,
        "items": {"type": "object", "required": ["rule"], "properties": keys},
    }
    for key, known in choices.items():
        properties[key] = {"anyOf": [{"enum": list(known)}, properties[key]]}
    tree["required"] = [name for name in tree["required"] if name != "name"]
    return tree

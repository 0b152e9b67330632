"""A spiking experiment as cells: one for every rule entry and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewire.limits import Limit, from_tables
from rewire.models import spiking

from ..cells import SCHEMA, Cell
from ..config.schema import rule_of_cell
from ..errors import ConfigError
from ..store import cell_hash
from ..versions import in_brian2
from .schema import SpikingEntry, SpikingExperiment

START, END = 0, 1  # levels of a cell
FORWARD, LATERAL = "ff", "lateral"  # projections
KEYS = (
    "seconds",
    "period",
    "record_every",
    "codegen",
    "limits",
)  # of the experiment, besides the model


@dataclass(frozen=True)
class Settings:
    """A cell's config as objects: what a simulation is made from. period in ms, the others in s."""

    model: Any
    rule: Any
    seed: int
    seconds: int
    period: float
    record_every: int
    codegen: str
    limits: tuple[Limit, ...]

    @property
    def ticks(self) -> int:
        """Of the rules, in all."""
        return int(self.seconds * 1e3 / self.period + 1e-9)


def settings(config: Mapping[str, Any]) -> Settings:
    """Read a cell's config back. Raises ConfigError where it is none, or from a newer version."""
    try:
        if config["schema"] > SCHEMA:
            raise ConfigError(
                f"this cell has schema {config['schema']}, made by a newer version of rewire; "
                f"this one reads up to {SCHEMA}: update it, or run into another folder"
            )
        rule, options = rule_of_cell(config), dict(config["model"])
        model = spiking.available()[options.pop("name")].builder()(**options)
        fields = SpikingExperiment.model_fields
        values = {key: config.get(key, fields[key].default) for key in KEYS}
        values["limits"] = from_tables(values["limits"])
        return Settings(model, rule, config["seed"], **values)
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"this is no config of a cell: {type(error).__name__}: {error}") from None


def plan(experiment: SpikingExperiment, before: Sequence[Cell] = ()) -> list[Cell]:
    """The cells of the experiment: all rules of the first seed, then of the next."""
    cells = dict[str, Cell]()
    for seed in experiment.seeds:
        for entry in experiment.rules:
            cell = cell_of(experiment, entry, seed)
            same = cells.setdefault(cell.hash, cell)
            if same.label != cell.label:
                raise ConfigError(
                    f"rules.{cell.label} asks for the same simulation as rules.{same.label}; "
                    "remove one of them"
                )
    return list(cells.values())


def cell_of(experiment: SpikingExperiment, entry: SpikingEntry, seed: int) -> Cell:
    """One simulation. What has its default value is no part of its identity."""
    rule = entry.build()
    versions = in_brian2(rule)
    timed = experiment.model_dump(exclude_defaults=True, include=set(KEYS))
    config = {
        "schema": SCHEMA,
        "kind": "spiking",
        "rule": {"rule": entry.rule, **rule.to_table()},
        **({"versions": versions} if versions else {}),
        "model": {"name": experiment.model.name, **_changed(experiment.model.name, entry.model)},
        "seed": seed,
        **timed,
    }
    return Cell(
        hash=cell_hash(config),
        label=entry.label,
        rule=entry.rule,
        config=config,
        seed=seed,
        density=None,
        weight=experiment.seconds * 1e3 / experiment.period,
    )


def _changed(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from the model's defaults, numbers as the defaults' kind.

    With them what the model says of files that it reads, so that another file is another cell.
    """
    info = spiking.available()[name]
    defaults, pinned = info.options(), getattr(info.builder(), "pinned", None)
    if pinned is not None:
        options = {**options, **pinned(info.builder()(**options))}
    return {
        key: float(value) if isinstance(defaults[key], float) else value
        for key, value in options.items()
        if value != defaults[key]
    }

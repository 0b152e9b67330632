"""An experiment in an installed world as cells: one for every rule, density and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewire.limits import Limit, from_tables
from rewire.worlds import registry

from ..cells import SCHEMA, Cell
from ..config.schema import is_dense, rule_of_cell, visits_densities
from ..errors import ConfigError
from ..store import cell_hash
from .schema import OwnEntry, OwnExperiment


@dataclass(frozen=True)
class Settings:
    """A cell's config as objects: what its session is made from."""

    world: str
    options: Mapping[str, Any]
    rule: Any
    seed: int
    steps: int
    evaluate_every: int
    density: float | None  # None: every edge, or those of a rule that visits `densities`
    densities: tuple[float, ...]
    distribution: str
    limits: tuple[Limit, ...]

    def build(self) -> Any:
        """The world. Raises ValueError or TypeError for options that it does not take."""
        return registry.get(self.world).from_options(self.options, self.seed)


def settings(config: Mapping[str, Any]) -> Settings:
    """Read a cell's config back. Raises ConfigError where it is none, or from a newer version."""
    try:
        if config["schema"] > SCHEMA:
            raise ConfigError(
                f"this cell has schema {config['schema']}, made by a newer version of rewire; "
                f"this one reads up to {SCHEMA}: update it, or run into another folder"
            )
        return Settings(
            world=config["world"],
            options=config["model"],
            rule=rule_of_cell(config),
            seed=config["seed"],
            steps=config["steps"],
            evaluate_every=config.get("evaluate_every", 100),
            density=config.get("density"),
            densities=tuple(config.get("densities", ())),
            distribution=config.get("distribution", "erk"),
            limits=from_tables(config.get("limits", ())),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"this is no config of a cell: {type(error).__name__}: {error}") from None


def plan(experiment: OwnExperiment, before: Sequence[Cell] = ()) -> list[Cell]:
    """The cells of the experiment: all rules of the first seed, then of the next."""
    cells: dict[str, Cell] = {}
    for seed in experiment.seeds:
        for entry in experiment.rules:
            for cell in _cells_of(experiment, entry, seed):
                same = cells.setdefault(cell.hash, cell)
                if same.label != cell.label:
                    raise ConfigError(
                        f"rules.{cell.label} asks for the same training as rules.{same.label}; "
                        "remove one of them"
                    )
    return list(cells.values())


def _cells_of(experiment: OwnExperiment, entry: OwnEntry, seed: int) -> Iterator[Cell]:
    densities = experiment.densities
    if is_dense(entry.cls) or not densities:
        yield _cell(experiment, entry, seed)
    elif visits_densities(entry.cls):
        yield _cell(experiment, entry, seed, densities=densities)
    else:
        for density in densities:
            yield _cell(experiment, entry, seed, density=density)


def _cell(experiment: OwnExperiment, entry: OwnEntry, seed: int, **budget: Any) -> Cell:
    chosen = {"evaluate_every", "distribution", "limits"}
    rule = entry.build()
    config = {
        "schema": SCHEMA,
        "kind": "own_world",
        "world": experiment.world,
        "model": dict(experiment.model),
        "rule": {"rule": entry.rule, **rule.to_table()},
        **({"versions": rule.versions} if rule.versions else {}),
        "seed": seed,
        "steps": experiment.steps,
        **experiment.model_dump(exclude_defaults=True, include=chosen),
        **budget,
    }
    return Cell(
        hash=cell_hash(config),
        label=entry.label,
        rule=entry.rule,
        config=config,
        seed=seed,
        density=1.0 if is_dense(entry.cls) else budget.get("density"),
        weight=float(experiment.steps) * len(budget.get("densities", [0])),
    )

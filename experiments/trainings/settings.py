"""What one training cell runs with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rewire.branches import Sibling
from rewire.limits import Limit, from_tables
from rewire.rule import Rule
from rewire.streams import rng_for
from rewire.torch_loop import masked_only

from ..cells import SCHEMA
from ..config.schema import PASSES, Data, Model, Training, rule_of_cell
from ..config.seeds import NONE_APART, SeedsApart
from ..errors import ConfigError
from ..tasks import Task, of_table


@dataclass(frozen=True)
class Settings:
    """A cell's `config` as objects, defaults filled in: what a trainer works from."""

    kind: str  # "rule" or "branch"
    rule: Any
    model: Model
    data: Data
    task: Task
    training: Training  # steps and evaluate_every are numbers here
    seed: int
    density: float | None
    densities: tuple[float, ...]
    distribution: str | dict[str, float]
    initial: Any  # a name, or a table of a name and fields: see rewire.starts
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    world: str
    memory_format: str
    precision: str
    compile: bool
    limits: tuple[Limit, ...]
    saves: tuple[int, ...]  # steps of level 0 whose state later levels rewind to, besides 0

    @property
    def init_seed(self) -> int:
        """The seed of first weights, and of where edges begin."""
        return (self.training.seeds_apart or NONE_APART).of("init", self.seed)

    @property
    def seeds_apart(self) -> SeedsApart:
        """What is drawn by another seed than the cell's; of a copy, its noise."""
        apart = self.training.seeds_apart or NONE_APART
        if not isinstance(self.rule, Sibling):
            return apart
        noise = rng_for(self.seed, "sibling", self.rule.noise).key >> 65
        return apart.model_copy(update={"data": noise, "augment": noise, "since": 0})


def on_device(s: Settings, device: str) -> Settings:
    """The same on a device: lists of edges are kept on the CPU, so "auto" is masks elsewhere."""
    return replace(s, world="masked") if s.world == "auto" and device != "cpu" else s


def _needs_masks(rule: Any) -> bool:
    """Whether a rule cannot run on lists of edges; a branch is no rule and asks for no signal."""
    return isinstance(rule, Rule) and masked_only(rule)


def settings(config: Mapping[str, Any]) -> Settings:
    """Read a cell's config back. Raises ConfigError where it is none, or from a newer version."""
    try:
        if config["schema"] > SCHEMA:
            raise ConfigError(
                f"this cell has schema {config['schema']}, made by a newer version of rewire; "
                f"this one reads up to {SCHEMA}: update it, or run into another folder"
            )
        spread = config.get("distribution", "erk")
        rule = rule_of_cell(config)
        world = config.get("substrate", "masked")  # the key that cells are hashed with
        return Settings(
            kind=config["kind"],
            rule=rule,
            model=Model.model_validate(config["model"]),
            data=Data.model_validate(config["data"]),
            task=of_table(config.get("task", "classification")),
            training=Training.model_validate(
                {key: config[key] for key in Training.model_fields if key in config}
            ),
            seed=config["seed"],
            density=config.get("density"),
            densities=tuple(config.get("densities", ())),
            distribution=spread if isinstance(spread, str) else dict(spread),
            initial=config.get("initial", "random"),
            include=tuple(config.get("include", ())),
            exclude=tuple(config.get("exclude", ())),
            world="masked" if world == "auto" and _needs_masks(rule) else world,
            **{key: config.get(key, usual) for key, usual in PASSES.items()},
            limits=from_tables(config.get("limits", ())),
            saves=tuple(config.get("saves", ())),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"this is no config of a cell: {type(error).__name__}: {error}") from None

"""An experiment as cells: the trainings it consists of, what each waits for, and their names.

A cell is one resumable process with a folder of its own, named by the hash of everything that
decides its result: nothing else is in its `config`, so the same training is never done twice.

- Dense: one cell per seed.
- A rule with a fixed budget: one per density and seed.
- A rule that visits densities (IMP): one per seed; it cuts its way down and makes one cut exactly
  to each density asked for. Level 0 of its ladder *is* the dense training: it waits for the Dense
  cell of its seed (role "dense") and starts from that one's end. Where the experiment has no Dense
  that trains alike, a Dense cell is planned all the same and shown under that name: it was
  trained, IMP's costs include it, and it is what IMP is compared with.
- A branch (RandomReinit, Shuffle, ...): one per seed and rule with tickets (role "ticket"), at its
  densities; one per cell of the rule that it names with ``of``; a mask's partner has role "other".
- With ``distribution = "imp"`` fixed budgets are spread over layers as IMP found them (role
  "counts").

Labels, titles, device and thread count are not part of a cell's identity; the hashes of the cells
it starts from are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rewire.budget import counts_for
from rewire.limits import Limit, from_tables
from rewire.session import Substrate

from .config import space_of
from .errors import ConfigError
from .schema import (
    PASSES,
    Data,
    Experiment,
    Model,
    RuleEntry,
    Training,
    available,
    is_branch,
    is_cell,
    is_dense,
    steps_per_epoch,
    visits_densities,
)
from .store import cell_hash

SCHEMA = 1


@dataclass(frozen=True)
class Cell:
    """One training, or one ladder of them. `config` is plain JSON, defaults left out."""

    hash: str
    label: str  # the rule's label in the experiment; not part of the identity
    rule: str
    config: Mapping[str, Any]
    seed: int
    density: float | None  # the density asked for; 1 for Dense, None where a cell visits several
    parents: Mapping[str, str] = field(default_factory=dict)  # role -> hash
    weight: float = 1.0  # estimated cost in optimiser steps


@dataclass(frozen=True)
class Settings:
    """A cell's `config` as objects, defaults filled in: what a trainer works from."""

    kind: str  # "rule" or "branch"
    rule: Any
    model: Model
    data: Data
    training: Training  # steps and evaluate_every are numbers here
    seed: int
    density: float | None
    densities: tuple[float, ...]
    distribution: str | dict[str, float]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    substrate: Substrate
    memory_format: str
    precision: str
    compile: bool
    limits: tuple[Limit, ...]
    saves: tuple[int, ...]  # steps of level 0 whose state later levels rewind to, besides 0


def settings(config: Mapping[str, Any]) -> Settings:
    """Read a cell's config back. Raises ConfigError where it is none, or from a newer version."""
    try:
        if config["schema"] > SCHEMA:
            raise ConfigError(
                f"this cell has schema {config['schema']}, made by a newer version of rewire; "
                f"this one reads up to {SCHEMA}: update it, or run into another folder"
            )
        table = dict(config["rule"])
        spread = config.get("distribution", "erk")
        rule = available("rule")[table.pop("rule")].from_table(table)
        substrate = config.get("substrate", "masked")
        return Settings(
            kind=config["kind"],
            rule=rule,
            model=Model.model_validate(config["model"]),
            data=Data.model_validate(config["data"]),
            training=Training.model_validate(
                {key: config[key] for key in Training.model_fields if key in config}
            ),
            seed=config["seed"],
            density=config.get("density"),
            densities=tuple(config.get("densities", ())),
            distribution=spread if isinstance(spread, str) else dict(spread),
            include=tuple(config.get("include", ())),
            exclude=tuple(config.get("exclude", ())),
            substrate="masked" if substrate == "auto" and rule.silences else substrate,
            **{key: config.get(key, usual) for key, usual in PASSES.items()},
            limits=from_tables(config.get("limits", ())),
            saves=tuple(config.get("saves", ())),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"this is no config of a cell: {type(error).__name__}: {error}") from None


def plan(experiment: Experiment, n_train: int) -> list[Cell]:
    """The cells of ``experiment``, parents first, the longest chain of work before shorter ones.

    ``n_train`` is the number of training examples: it says how long an epoch is.
    """
    planner, cells = _Planner(experiment, n_train), dict[str, Cell]()
    for seed in experiment.seeds:
        for cell in planner.of_seed(seed):
            same = cells.setdefault(cell.hash, cell)
            if same.label != cell.label:
                raise ConfigError(
                    f"rules.{cell.label} asks for the same training as rules.{same.label}; "
                    "remove one of them"
                )
    for entry in experiment.rules:
        if entry.of is not None and is_cell(entry.of) and entry.of not in cells:
            raise ConfigError(f"rules.{entry.label}.of: there is no cell {entry.of} to branch off")
    return _longest_chain_first(list(cells.values()))


class _Planner:
    """What the cells of all seeds share."""

    def __init__(self, experiment: Experiment, n_train: int) -> None:
        self.experiment = experiment
        self.entries = [
            replace(entry, training=entry.training.resolved(n_train)) for entry in experiment.rules
        ]
        self.rules = {}
        for entry in self.entries:
            rule = entry.build(steps_per_epoch(n_train, entry.training.batch))
            if visits_densities(rule) and experiment.densities:
                rule = rule.towards(experiment.densities)  # unless it names its own
            self.rules[entry.label] = rule
        self.dense = [entry for entry in self.entries if is_dense(entry.cls)]
        self.visiting = [entry for entry in self.entries if visits_densities(entry.cls)]
        self.task = {
            "model": _model_table(experiment.model),
            "data": _data_table(experiment.data),
            "include": experiment.include,
            "exclude": experiment.exclude,
            "substrate": "" if experiment.substrate == "masked" else experiment.substrate,
            **experiment.passes,
        }
        self.limits = {"limits": experiment.limits}

    @cached_property
    def implied(self) -> float:
        """The density of the whole that densities per layer come to."""
        space = space_of(self.experiment)
        counts = counts_for(space, None, self.experiment.distribution)
        return sum(counts) / space.possible

    def of_seed(self, seed: int) -> Iterator[Cell]:
        for entry in self.dense:
            yield self.level0(entry, seed)
        tickets: dict[str, Cell] = {}
        for entry in self.visiting:
            start, rule = self.level0(entry, seed), self.rules[entry.label]
            densities = list(getattr(rule, "to", ()) or self.experiment.densities)
            parents = {"dense": start.hash}
            ticket = self.cell(entry, rule, seed, parents, rungs(rule), densities=densities)
            tickets[entry.label] = ticket
            yield from (start, ticket)
        grown = {label: [ticket] for label, ticket in tickets.items()}
        for entry in self.entries:
            if is_branch(entry.cls) or entry in self.dense or entry in self.visiting:
                continue
            grown[entry.label] = list(self.budgets(entry, seed, tickets))
            yield from grown[entry.label]
        for entry in self.entries:
            if is_branch(entry.cls):
                yield from self.branches(entry, seed, tickets, grown)

    def level0(self, entry: RuleEntry, seed: int) -> Cell:
        """The dense training that an entry is, or that its ladder starts from."""
        from rewire.rules import Dense

        alike = [other for other in self.visiting if other.training == entry.training]
        saves = {step for other in alike for step in self.rules[other.label].saves} - {0}
        same = [d.label for d in self.dense if d.training == entry.training]
        hidden = f"Dense for {entry.label}" if self.dense else "Dense"
        label = entry.label if entry in self.dense else same[0] if same else hidden
        dense = RuleEntry("Dense", Dense, label, entry.training)
        return self.cell(dense, Dense(), seed, {}, 1, saves=sorted(saves))

    def branches(
        self,
        entry: RuleEntry,
        seed: int,
        tickets: Mapping[str, Cell],
        grown: Mapping[str, list[Cell]],
    ) -> Iterator[Cell]:
        """One for each rule with tickets, or for each cell of the rule that the entry names."""
        rule = self.rules[entry.label]
        if entry.of is None:
            parents = [(of, ticket) for of, ticket in tickets.items()]
        else:
            parents = [(of, cell) for of, cells in grown.items() for cell in cells
                       if entry.of in (of, cell.hash)]  # fmt: skip
        several = len({of for of, _ in parents}) > 1
        for of, parent in parents:
            why = unfit(rule, self.rules[of], self.experiment)
            if why is not None:
                raise ConfigError(f"rules.{entry.label}: {entry.rule} {why}")
            at = parent.config.get("densities") or [parent.density]
            roles = {"ticket": parent.hash}
            if other := getattr(rule, "other", ""):
                roles["other"] = tickets[other].hash
            cell = self.cell(entry, rule, seed, roles, len(at), densities=at)
            label = f"{entry.label} of {of}" if several else entry.label
            yield replace(cell, density=parent.density, label=label)

    def budgets(self, entry: RuleEntry, seed: int, tickets: Mapping[str, Cell]) -> Iterator[Cell]:
        """One for each density."""
        rule, spread = self.rules[entry.label], self.experiment.distribution
        prunes = any(rule.starts_at(d) != d for d in self.experiment.densities or [self.implied])
        if prunes and getattr(rule, "to", None) is not None:
            raise ConfigError(f"rules.{entry.label}: leave out `to`: densities says where it ends")
        if prunes and isinstance(spread, dict):
            raise ConfigError(
                f"rules.{entry.label} prunes, and shares the density out over layers itself: name "
                "densities and a distribution instead of densities by layer"
            )
        if prunes and spread == "imp":
            spread = "erk"  # it does not start at the counts that a ticket has
        if isinstance(spread, dict):  # the first pattern that fits wins: their order matters
            pairs = [list(item) for item in spread.items()]
            yield self.cell(entry, rule, seed, {}, 1, density=self.implied, distribution=pairs)
            return
        parents = {"counts": next(iter(tickets.values())).hash} if spread == "imp" else {}
        named = {} if spread == "erk" else {"distribution": spread}
        for density in self.experiment.densities:
            yield self.cell(entry, rule, seed, parents, 1, density=density, **named)

    def cell(
        self,
        entry: RuleEntry,
        rule: Any,
        seed: int,
        parents: Mapping[str, str],
        levels: int,
        **more: Any,
    ) -> Cell:
        training = entry.training.model_dump(exclude_defaults=True, by_alias=True)
        # the dense network is what the others are measured against: nothing limits it
        limits = {} if is_dense(rule) else self.limits
        optional = {**self.task, **limits, **more, "parents": dict(parents)}
        config = {
            "schema": SCHEMA,
            "kind": "branch" if is_branch(rule) else "rule",
            "rule": {"rule": entry.rule, **rule.to_table()},
            "seed": seed,
            **training,
            **{key: value for key, value in optional.items() if value},
        }
        return Cell(
            hash=cell_hash(config),
            label=entry.label,
            rule=entry.rule,
            config=config,
            seed=seed,
            density=1.0 if is_dense(rule) else more.get("density"),
            parents=dict(parents),
            weight=float(entry.training.steps or 0) * levels,
        )


def unfit(branch: Any, parent: Any, experiment: Experiment) -> str | None:
    """Why an experiment cannot branch so off what the rule ``parent`` leaves, or None."""
    why = branch.unfit(parent)
    if why is None and branch.begins != "fresh" and experiment.substrate != "masked":
        why = f"begins with weights that substrate = {experiment.substrate!r} does not keep"
    if why is None and hasattr(branch, "data"):
        why = _no_transfer(branch.data, experiment)
    return why


def _no_transfer(name: str, experiment: Experiment) -> str | None:
    known = available("data")
    if name not in known:
        return f"needs data, a data set to train on: one of {', '.join(known)}; found {name!r}"
    here, there = known[experiment.data.name], known[name]
    if (here.shape, here.classes) != (there.shape, there.classes):
        return (
            f"cannot go from {here.name} to {name}: inputs {here.shape} and {here.classes} classes "
            f"there, {there.shape} and {there.classes} here"
        )
    return there.problem or None


def in_order(experiment: Any, cells: Iterable[Cell]) -> list[Cell]:
    """Cells as a reader expects them: by rule as the file lists them, density, seed."""
    labels = [entry.label for entry in experiment.rules]
    place = {label: i for i, label in enumerate(labels)}

    def key(cell: Cell) -> tuple[int, int, str, float, int]:
        # what the file does not list by name: a dense training before all, a branch by its rule
        named = [entry.label for entry in experiment.rules if entry.rule == cell.rule]
        at = place.get(cell.label, place[named[-1]] if named else -1)
        dense = 0 if cell.rule == "Dense" else 1
        return dense, at, cell.label, -(cell.density or 0.0), experiment.seeds.index(cell.seed)

    return sorted(cells, key=key)


def _model_table(model: Model) -> dict[str, Any]:
    """Name and those options that differ from the model's defaults."""
    defaults = available("model")[model.name].options()
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}
    given = {k: v for k, v in model.options.items() if k not in plain or plain[k] != v}
    return {"name": model.name, **given}


def _data_table(data: Data) -> dict[str, Any]:
    table = data.model_dump(exclude_defaults=True)
    if table.get("validation") == available("data")[data.name].validation:
        del table["validation"]
    return table


def rungs(rule: Any) -> int:
    """How many levels a rule that visits densities trains below the dense one, about."""
    if hasattr(rule, "ladder"):
        return max(1, len(rule.ladder([10**12], ["*"])))
    return max(1, len(getattr(rule, "to", ())))


def _longest_chain_first(cells: list[Cell]) -> list[Cell]:
    """Sorted by the work that waits behind each cell, its own included; parents come first."""
    children: dict[str, list[Cell]] = {cell.hash: [] for cell in cells}
    for cell in cells:
        for parent in cell.parents.values():
            children[parent].append(cell)
    chains: dict[str, float] = {}

    def chain(cell: Cell) -> float:
        if cell.hash not in chains:
            behind = max((chain(child) for child in children[cell.hash]), default=0.0)
            chains[cell.hash] = cell.weight + behind
        return chains[cell.hash]

    return sorted(cells, key=chain, reverse=True)  # stable, and weights are above 0

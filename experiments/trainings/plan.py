"""The cells of an experiment that trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from rewire.branches import Transfer
from rewire.budget import counts_for
from rewire.rule_budget import budget_of

from ..building import n_train, space_of
from ..cells import SCHEMA, Cell, longest_chain_first
from ..config.schema import (
    Data,
    Experiment,
    Model,
    RuleEntry,
    available,
    is_branch,
    is_cell,
    is_dense,
    steps_per_epoch,
    visits_densities,
)
from ..errors import ConfigError
from ..store import cell_hash
from ..tasks import Classification, Task, table_of
from .initial import begins_sparse, initial_table


def cells_of(experiment: Experiment, before: Sequence[Cell]) -> list[Cell]:
    """The cells of an experiment on its data set: see `plan`."""
    return plan(experiment, n_train(experiment.data))


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
    return longest_chain_first(list(cells.values()))


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
                # unless it names its own
                rule = budget_of(rule).towards(rule, experiment.densities)
            self.rules[entry.label] = rule
        self.dense = [entry for entry in self.entries if is_dense(entry.cls)]
        self.visiting = [entry for entry in self.entries if visits_densities(entry.cls)]
        self.trainings = {entry.label: entry.training for entry in self.entries}
        # of dense trainings: label, and the step whose state a copy starts from
        self.copied = [
            (entry.of, self.rules[entry.label].step)
            for entry in self.entries
            if is_branch(entry.cls) and entry.cls.copies and entry.of in self.trainings
            if is_dense(self.rules[entry.of])
        ]
        self.task = {
            "model": _model_table(experiment.model),
            "data": _data_table(experiment.data),
            "task": _task_table(experiment.objective),
            "include": experiment.include,
            "exclude": experiment.exclude,
            # the key that cells of earlier versions were hashed with
            "substrate": "" if experiment.world == "masked" else experiment.world,
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
            densities = list(budget_of(rule).named(rule) or self.experiment.densities)
            parents = {"dense": start.hash}
            ticket = self.cell(entry, rule, seed, parents, _rungs(rule), densities=densities)
            tickets[entry.label] = ticket
            yield from (start, ticket)
        grown = {label: [ticket] for label, ticket in tickets.items()}
        grown |= {entry.label: [self.level0(entry, seed)] for entry in self.dense}
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
        saves = {step for other in alike for step in self.rules[other.label].saves}
        saves |= {step for of, step in self.copied if self.trainings[of] == entry.training}
        same = [d.label for d in self.dense if d.training == entry.training]
        hidden = f"Dense for {entry.label}" if self.dense else "Dense"
        label = entry.label if entry in self.dense else same[0] if same else hidden
        dense = RuleEntry("Dense", Dense, label, entry.training)
        return self.cell(dense, Dense(), seed, {}, 1, saves=sorted(saves - {0}))

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
            why = _unfit(rule, self.rules[of], self.experiment)
            if why is None and rule.copies:
                why = _no_copy(entry, rule, parent)
                entry = replace(entry, training=self.trainings[of])
            if why is not None:
                raise ConfigError(f"rules.{entry.label}: {entry.rule} {why}")
            at = parent.config.get("densities") or [parent.density]
            roles = {"ticket": parent.hash}
            if rule.other:
                roles["other"] = tickets[rule.other].hash
            cell = self.cell(entry, rule, seed, roles, len(at), densities=at)
            label = f"{entry.label} of {of}" if several else entry.label
            yield replace(cell, density=parent.density, label=label)

    def budgets(self, entry: RuleEntry, seed: int, tickets: Mapping[str, Cell]) -> Iterator[Cell]:
        """One for each density."""
        rule, spread = self.rules[entry.label], self.experiment.distribution
        budget, densities = budget_of(rule), self.experiment.densities or [self.implied]
        prunes = any(budget.starts_at(density) != density for density in densities)
        own = budget.named(rule)
        if own and (prunes or set(own) != set(densities)):
            raise ConfigError(f"rules.{entry.label}: leave out `to`: densities says where it ends")
        if prunes and isinstance(spread, dict):
            raise ConfigError(
                f"rules.{entry.label} prunes, and shares the density out over layers itself: name "
                "densities and a distribution instead of densities by layer"
            )
        if prunes and spread == "imp":
            spread = "erk"  # it does not start at the counts that a ticket has
        placed = initial_table(self.experiment)
        if isinstance(spread, dict):  # the first pattern that fits wins: their order matters
            pairs = [list(item) for item in spread.items()]
            at = placed if begins_sparse(rule, densities) else {}
            more = {"density": self.implied, "distribution": pairs, **at}
            yield self.cell(entry, rule, seed, {}, 1, **more)
            return
        parents = {"counts": next(iter(tickets.values())).hash} if spread == "imp" else {}
        named = {} if spread == "erk" else {"distribution": spread}
        for density in self.experiment.densities:
            at = placed if begins_sparse(rule, [density]) else {}
            yield self.cell(entry, rule, seed, parents, 1, density=density, **named, **at)

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
        optional["versions"] = rule.versions
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


def _model_table(model: Model) -> dict[str, Any]:
    """Name and those options that differ from the model's defaults."""
    from rewire.models import info

    defaults = info(model.name).options()
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}
    changed = {k: v for k, v in model.options.items() if k not in plain or plain[k] != v}
    return {"name": model.name, **changed}


def _data_table(data: Data) -> dict[str, Any]:
    """Name and what differs from the defaults; data of one's own are named by their content."""
    table, info = data.model_dump(exclude_defaults=True, exclude={"digest"}), data.info
    if info.digest:
        table["name"] = f"own:{info.digest}"
    if table.get("validation") == info.validation:
        del table["validation"]
    return table


def _task_table(task: Task) -> dict[str, Any]:
    """Empty for the classification that cells of earlier versions are of."""
    return {} if task == Classification() else table_of(task)


def _unfit(branch: Any, parent: Any, experiment: Experiment) -> str | None:
    """Why an experiment cannot branch so off what the rule ``parent`` leaves, or None."""
    why = branch.unfit(parent)
    if why is None and is_dense(parent) and not branch.copies:
        why = "branches off tickets, and a dense training leaves none"
    if why is None and not branch.anywhere and experiment.world != "masked":
        why = f"begins with weights that world = {experiment.world!r} does not keep"
    if why is None and branch.pretrains and experiment.objective.targets != "classes":
        why = "pre-trains a classifier: leave it out of an experiment with another task"
    if why is None and (branch.data or isinstance(branch, Transfer)):
        why = _no_transfer(branch.data, experiment)
    return why


def _no_copy(entry: RuleEntry, branch: Any, parent: Cell) -> str | None:
    """Why the training of a cell cannot be copied from the branch's step on, or None."""
    if entry.train:
        return "trains as what it copies does: leave out its table train"
    kept = [0, *parent.config.get("saves", ())]
    if parent.rule == "Dense" and branch.step not in kept:
        return (
            f"needs the state of step {branch.step} of {parent.label}, which has kept those of "
            f"{', '.join(map(str, kept))}: name the copy in the experiment's file, before it runs"
        )
    if branch.step >= parent.weight:
        return f"starts at step {branch.step} of {parent.label}, which ends at {parent.weight:g}"
    return None


def _no_transfer(name: str, experiment: Experiment) -> str | None:
    known = available("data")
    if name not in known:
        return f"needs data, a data set to train on: one of {', '.join(known)}; found {name!r}"
    if known[name].problem:
        return known[name].problem
    ours, there = experiment.data.info, experiment.data.seen(known[name])
    if (ours.shape, ours.classes) != (there.shape, there.classes):
        return (
            f"cannot go from {ours.name} to {name}: inputs {ours.shape} and {ours.classes} classes "
            f"there, {there.shape} and {there.classes} here"
        )
    if there.task.targets != experiment.objective.targets:
        return f"cannot go from {ours.name} to {name}: {name} is for {there.task.kind}"
    return None


def _rungs(rule: Any) -> int:
    """How many levels a rule that visits densities trains below the dense one, about."""
    return max(1, len(budget_of(rule).rungs(rule, [10**12], ["*"])))

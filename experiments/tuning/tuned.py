"""What a search found: its trials, the chosen ones, and the experiment of the tuned rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config.schema import Experiment, is_branch, visits_densities
from ..config.tune import Tune
from ..metric import Metric
from .generation import densities_of, levels
from .space import RuleSpace
from .trials import Trial, chosen, may_be_chosen, of_rule

FILE, PAGE = "tuned.toml", "tuning.html"


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    trials: all of them, by rule in the experiment's order. tree: the experiment of the tuned rules.
    unit: training FLOPs of one dense network.
    """

    out: Path
    experiment: Experiment
    search: Tune
    rule_spaces: Sequence[RuleSpace]
    trials: Sequence[Trial]
    unit: float

    @property
    def metric(self) -> Metric:
        return self.experiment.objective.judged_by

    @property
    def file(self) -> Path:
        """The tuned experiment file."""
        return self.out / FILE

    @property
    def page(self) -> Path:
        return self.out / PAGE

    @cached_property
    def tree(self) -> dict[str, Any]:
        return tuned_tree(self)

    @property
    def rules(self) -> list[dict[str, Any]]:
        """The tables of the tuned experiment's rules, those that were not tuned among them."""
        return self.tree["rules"]

    def of(self, label: str) -> list[Trial]:
        """The trials of a rule, in order; the first has the experiment's own fields."""
        return of_rule(self.trials, label)

    def chosen(self, label: str) -> Trial:
        """The trial that a rule's tuned fields are those of."""
        return chosen(self.of(label), self.metric)

    def cost(self, trial: Trial) -> float:
        """What a trial cost, in dense trainings at each of its densities and seeds."""
        trainings = levels(self.experiment, self.search, trial) * len(self.search.seeds)
        return trial.spent / (self.unit * trainings)


def tuned_tree(tuned: Tuned) -> dict[str, Any]:
    """The experiment with each tuned rule's fields, and what was searched under ``tuned``."""
    tree = {k: v for k, v in tuned.experiment.as_tree().items() if k not in ("tune", "rules")}
    tables = {entry.label: entry.as_table() for entry in tuned.experiment.rules}
    for one in tuned.rule_spaces:
        trial = tuned.chosen(one.label)
        if trial.number:
            tables[one.label] = _short(dict(trial.table))
    for label, parent in _branches(tuned).items():
        train = tables[parent].get("train")
        if train is not None and "train" not in tables[label]:
            tables[label] = {**tables[label], "train": train}
    records = [_record(tuned, one.label) for one in tuned.rule_spaces]
    return {
        **tree,
        "name": f"{tuned.experiment.name[:58]}-tuned",
        "rules": list(tables.values()),
        "tuned": records,
    }


def _short(table: dict[str, Any]) -> dict[str, Any]:
    if table.get("label") == table["rule"]:
        del table["label"]
    return table


def _branches(tuned: Tuned) -> Mapping[str, str]:
    """By label of a branch that trains anew, the one rule whose tickets it takes."""
    visiting = [e.label for e in tuned.experiment.rules if visits_densities(e.cls)]
    parents = {}
    for entry in tuned.experiment.rules:
        if is_branch(entry.cls) and not entry.cls.copies:
            of = entry.of or (visiting[0] if len(visiting) == 1 else None)
            if of in {one.label for one in tuned.rule_spaces}:
                parents[entry.label] = str(of)
    return parents


def _record(tuned: Tuned, label: str) -> dict[str, Any]:
    done, best, search = tuned.of(label), tuned.chosen(label), tuned.search
    record: dict[str, Any] = {
        "rule": label,
        "trials": len(done),
        "spent": round(sum(map(tuned.cost, done)), 3),
        "budget": {"trials": float(search.trials), "flops": search.limit},
        "seeds": list(search.seeds),
        "densities": densities_of(tuned.experiment, search),
        "sampler": search.sampler,
        "metric": tuned.metric.key,
        "before": dict(done[0].values),
        "after": dict(best.values),
        "validation": [t.score for t in (done[0], best) if t.score is not None],
    }
    note = _note(tuned, label)
    return record | ({"note": note} if note else {})


def _note(tuned: Tuned, label: str) -> str:
    """What a reader of the record should know of the choice."""
    done, best = tuned.of(label), tuned.chosen(label)
    if not any(map(may_be_chosen, done)):
        return "no trial trained to its end with the edges asked for: the default stands"
    if len(done) < tuned.search.trials:
        count = f"{len(done)} trial{'s' * (len(done) > 1)}"
        return f"the budget of FLOPs ended after {count}"
    return "the default was the best trial" if best.number == 0 else ""

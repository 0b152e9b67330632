"""Trials as plain records: what was tried, what came of it, what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rewire.tunable import Value

from ..compare import EQUAL
from ..errors import StoreError
from ..metric import Metric
from ..store import read_json, write_atomic


@dataclass(frozen=True)
class Trial:
    """One trial of one rule; number 0 is the experiment's own fields.

    values:  what was tried, by field. table: the rule's table of an experiment file.
    score:   mean validation metric over seeds and densities; None where a training failed.
    spent:   training FLOPs, live edges counted, the trainings it started from included.
    density: edges kept, of those asked for; above 1 it kept more.
    repeats: the number of an earlier trial with the same values, which was not trained again.
    beyond:  whether the budget of FLOPs ended before it did: it is not chosen from.
    """

    rule: str
    number: int
    generation: int
    values: Mapping[str, Value] = field(default_factory=dict)
    table: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None
    spent: float = 0.0
    density: float | None = None
    failure: str = ""
    repeats: int | None = None
    beyond: bool = False

    @property
    def label(self) -> str:
        """What its rule is called in the run of its generation."""
        return f"{self.rule[:60]} #{self.number}"


def chosen(trials: Sequence[Trial], metric: Metric) -> Trial:
    """The best trial that kept to its budgets; of equals the first; the default where none did."""
    fit = [t for t in trials if may_be_chosen(t)]
    return min(fit, key=lambda t: (judged(t, metric), t.number), default=trials[0])


def may_be_chosen(trial: Trial) -> bool:
    """Whether a trial trained to its end, within both budgets: of FLOPs and of edges."""
    within = trial.density is None or trial.density <= EQUAL
    return trial.score is not None and within and not trial.beyond


def judged(trial: Trial, metric: Metric) -> float:
    """A number that is lower the better the trial is."""
    return metric.rank(float("nan") if trial.score is None else trial.score)


def of_rule(trials: Iterable[Trial], label: str) -> list[Trial]:
    return [trial for trial in trials if trial.rule == label]


def write(path: Path, trials: Sequence[Trial]) -> None:
    """Write trials as a file, whole or not at all."""
    tables = [json.dumps(asdict(trial)) for trial in trials]
    write_atomic(path, "[\n" + ",\n".join(tables) + "\n]\n")


def read(path: Path) -> list[Trial]:
    """The trials in a file. Raises StoreError for one that is damaged."""
    try:
        return [Trial(**table) for table in read_json(path)]
    except (TypeError, KeyError) as error:
        raise StoreError(f"{path}: holds no trials of a search: {error}") from error

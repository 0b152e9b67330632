"""One generation of trials: an ordinary run, and what its rows say of each trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import store
from ..config.schema import Experiment
from ..config.tune import Tune
from ..errors import Diverged, RewireError
from ..metric import Metric
from ..runner import Finished, run_experiment
from .trials import Trial

REFERENCE = "dense training"  # the label of the network that costs are multiples of
NO_PART = ("rules", "contrasts", "tune", "tuned", "title", "about", "source", "time", "spikes")


class TrialFailed(RewireError):
    """A trial failed otherwise than by diverging; ``exit_code`` is that of its cell."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def tree_of(
    experiment: Experiment, search: Tune, tables: Sequence[Mapping[str, Any]], name: str
) -> dict[str, Any]:
    """The experiment of some rules' tables on the seeds and densities of trials."""
    tree = {k: v for k, v in experiment.as_tree().items() if k not in NO_PART}
    tree |= {"name": name, "seeds": list(search.seeds), "rules": [dict(t) for t in tables]}
    if densities := densities_of(experiment, search):
        tree["densities"] = densities
    return tree


def densities_of(experiment: Experiment, search: Tune) -> list[float]:
    """The densities of a trial; none where densities are given layer by layer."""
    return list(search.densities or experiment.densities)


def trained(
    experiment: Experiment, search: Tune, trials: Sequence[Trial], folder: Path, **options: Any
) -> list[Trial]:
    """The trials with what came of them, and one dense training more in the first generation.

    Those that repeat an earlier one are not trained. Raises TrialFailed for a failure that is not
    the fields' doing, and what `run_experiment` raises.
    """
    new = [trial for trial in trials if trial.repeats is None]
    tables: list[dict[str, Any]] = [{**trial.table, "label": trial.label} for trial in new]
    if trials[0].generation == 0 and _reference(new) == REFERENCE:
        tables.append({"rule": "Dense", "label": REFERENCE})
    if not tables:
        return list(trials)
    finished = run_experiment(
        tree_of(experiment, search, tables, folder.name), out=folder, report=False, **options
    )
    _refuse_other_failures(finished)
    rows = store.results(folder, listed=True)
    return [_with_results(t, rows, experiment, search) if t in new else t for t in trials]


def _refuse_other_failures(finished: Finished) -> None:
    for cell in finished.cells:
        outcome = finished.outcomes[cell.hash]
        if outcome.status == "failed" and outcome.exit_code != Diverged.exit_code:
            raise TrialFailed(
                f"{cell.label} (cell {finished.out / 'cells' / cell.hash}) failed, "
                f"{outcome.kind}: {outcome.message}",
                outcome.exit_code,
            )


def _with_results(
    trial: Trial, rows: Sequence[store.Row], experiment: Experiment, search: Tune
) -> Trial:
    own = [row for row in rows if row["label"] == trial.label]
    metric: Metric = experiment.objective.judged_by
    judged = [row for row in own if row["requested_density"] is not None and _counts(row, trial)]
    expected = len(search.seeds) * levels(experiment, search, trial)
    spent = sum(_last(own, cell)["train_flops_sparse"] for cell in {row["cell"] for row in own})
    if len(judged) < expected:
        return replace(trial, spent=spent, failure="a training diverged")
    score = float(np.mean([row[metric.validation] for row in judged]))
    density = float(np.mean([row["density"] / row["requested_density"] for row in judged]))
    return replace(trial, score=score, spent=spent, density=density)


def _counts(row: store.Row, trial: Trial) -> bool:
    """Whether a row is a result of its rule: not of the dense network that a ladder begins with."""
    return trial.table["rule"] == "Dense" or row["requested_density"] < 1


def levels(experiment: Experiment, search: Tune, trial: Trial) -> int:
    """At how many densities a trial is judged."""
    if trial.table["rule"] == "Dense":
        return 1
    return max(1, len(densities_of(experiment, search)))


def _last(rows: Sequence[store.Row], cell: str) -> store.Row:
    return max((row for row in rows if row["cell"] == cell), key=lambda row: row["level"])


def _reference(trials: Sequence[Trial]) -> str:
    """The label of the dense network that is trained as the experiment says."""
    alike = (t for t in trials if t.table["rule"] == "Dense" and "train" not in t.table)
    return next((trial.label for trial in alike), REFERENCE)


def cost_of_dense(trials: Sequence[Trial], folder: Path) -> float:
    """Training FLOPs of one dense network, of the run of the first generation's trials."""
    label = _reference(trials)
    rows = [row for row in store.results(folder, listed=True) if row["label"] == label]
    if not rows:
        raise TrialFailed(
            "the dense network with the experiment's own optimizer diverged, and costs are "
            "multiples of its: lower the learning rate", Diverged.exit_code)  # fmt: skip
    return float(rows[0]["train_flops_sparse"])

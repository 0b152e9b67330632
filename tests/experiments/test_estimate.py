"""What a dry run foretells, against what a run then takes."""

import json
import time
from dataclasses import dataclass, replace

import pytest

from rewire.experiments import building, kinds
from rewire.experiments.trainings import plan, settings

pytest.importorskip("sklearn")

import rewire
from rewire.experiments import runner, store
from rewire.experiments.trainings.estimate import _calibrate, estimate
from rewire.when import When

EXPERIMENT = {
    "name": "x", "model": "lenet-300-100", "data": "digits", "batch": 60, "steps": 20,
    "optimizer": {"name": "adam", "lr": 1.2e-3}, "evaluate_every": 10, "seeds": 1,
    "densities": [0.3, 0.1],
    "rules": ["Dense", {"rule": "IMP", "fraction": 0.5, "rewind": 5}, "RandomReinit", "Static"],
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Slow(rewire.Static):
    """Works 5 ms at every step."""

    when: When = rewire.every(1)

    def update(self, graph, signals, state, rng, clock):
        until = time.process_time() + 0.005
        while time.process_time() < until:
            pass
        return rewire.Edit(), state


@pytest.fixture(scope="module")
def planned():
    experiment = kinds.parse(EXPERIMENT)
    return experiment, plan.plan(experiment, building.n_train(experiment.data))


def test_the_disk_of_finished_cells_is_foretold(planned, tmp_path):
    """Checkpoints are gone by then; reports, events and the index are not counted."""
    experiment, listed = planned
    told = estimate(experiment, listed)
    (tmp_path / "x.json").write_text(json.dumps(EXPERIMENT))
    quiet = {"workers": 0, "progress": "quiet", "report": False}
    runner.run_experiment(tmp_path / "x.json", out=tmp_path / "out", **quiet)
    for cell in listed:
        folder = store.Run(tmp_path / "out").cell(cell.hash).path
        taken = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        assert 0.97 * told[cell.hash].bytes < taken < 1.03 * told[cell.hash].bytes + 30_000, cell


def test_what_a_rule_itself_costs_at_every_step_is_counted(planned):
    experiment, listed = planned
    s = settings.settings(next(c for c in listed if c.label == "Static").config)
    own = _calibrate(experiment, s)[1]
    slow = _calibrate(experiment, replace(s, rule=Slow()))[1]
    assert 0.0045 < slow - own < 0.02


def test_a_cell_takes_as_long_as_its_steps(planned):
    experiment, listed = planned
    told = estimate(experiment, listed)
    at = {cell.label: told[cell.hash].seconds for cell in listed}
    assert all(s > 0 for s in at.values())
    longer = kinds.parse({**EXPERIMENT, "steps": 2000})
    many = plan.plan(longer, building.n_train(longer.data))
    static = [c for c in many if c.label == "Static"]
    found = estimate(longer, static)
    assert found[static[0].hash].seconds > 20 * at["Static"]

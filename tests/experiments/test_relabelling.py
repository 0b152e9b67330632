"""The analysis Relabelling: trained networks on exchanged labels, one task after the other."""

import pytest
import torch

import rewire
from rewire.experiments.errors import ConfigError
from rewire.experiments.reproduction import analyses
from rewire.experiments.reproduction.analyses.relabelling import kept
from rewire.experiments.runner import run_experiment


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("relabelling") / "run"
    tree = dict(
        name="small", model={"name": "mlp", "hidden": [30]}, data="digits", batch=20, steps=400,
        optimizer={"name": "sgd", "lr": 0.2}, evaluate_every=200, seeds=[0], densities=[0.1],
        rules=[{"rule": "DeepR", "noise": 1e-3, "l1": 1e-4}, {"rule": "Static"}],
    )  # fmt: skip
    run_experiment(tree, out=out, workers=0, progress="quiet", report=False)
    return rewire.open(out)


def test_a_network_learns_exchanged_labels_and_rewires_only_by_its_rule(run):
    table = {"tasks": 2, "steps": 400, "early": 5, "lr": 0.2}
    rows = analyses.of_table("Relabelling", table).rows(run)
    assert rows == analyses.of_table("Relabelling", table).rows(run)
    by = {(r["label"], r["task"]): r for r in rows}
    assert set(by) == {(label, task) for label in ("DeepR", "Static") for task in (0, 1, 2)}
    results = {r["label"]: r["test_accuracy"] for r in run.rows()}
    for label in ("DeepR", "Static"):
        assert by[label, 0]["test_accuracy"] == results[label]
        for task in (1, 2):  # what was learnt before is of no use at first
            row = by[label, task]
            assert row["early_accuracy"] < 0.5 < 0.75 < row["test_accuracy"]
    assert by["Static", 1]["kept_first"] == by["Static", 2]["kept_last"] == 1.0
    assert 0 < by["DeepR", 1]["kept_first"] < 1


def test_kept_is_1_for_all_and_0_for_as_many_as_chance_leaves():
    space = rewire.Space(
        [rewire.Population("x", 10), rewire.Population("y", 10)],
        [rewire.Projection("w", "x", "y", "linear", (10, 10))],
    )

    def graph(keys):
        return rewire.Graph(space, torch.tensor(keys))

    assert kept(graph(range(20)), graph(range(20)), 0) == 1.0
    # half of 50 drawn again from 100 are the old ones
    assert kept(graph(range(50)), graph(range(25, 75)), -1) == pytest.approx(0.0)
    assert kept(graph(range(20)), graph(range(20, 40)), 0) == pytest.approx(-0.25)


def test_a_look_outside_the_task_is_refused():
    with pytest.raises(ConfigError, match="looks within its steps: .*early = 20, steps = 10"):
        analyses.of_table("Relabelling", {"steps": 10, "early": 20})

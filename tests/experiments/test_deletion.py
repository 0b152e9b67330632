"""The analysis Deletion: a trained network without its lowest scores."""

import pytest
import torch

import rewire
from rewire.experiments.errors import ConfigError
from rewire.experiments.reproduction import analyses

DENSITIES = [1.0, 0.5, 0.2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("deletion") / "run"
    tree = dict(
        name="small", model={"name": "mlp", "hidden": [12]}, data="digits", batch=50, steps=300,
        optimizer={"name": "adam", "lr": 5e-3}, evaluate_every=100, seeds=[0],
        rules=[{"rule": "Dense"}],
    )  # fmt: skip
    from rewire.experiments.runner import run_experiment

    run_experiment(tree, out=out, workers=0, progress="quiet", report=False)
    return rewire.open(out)


def rows_of(run, **fields):
    table = {"densities": DENSITIES, "probed": 500, "examples": 1000, **fields}
    rows = analyses.of_table("Deletion", table).rows(run)
    return {(r["seed"], r["score"], r["density"]): r for r in rows}


def test_nothing_deleted_costs_nothing_and_saliency_costs_less_than_chance(run):
    rows = rows_of(run, scores=["OBD", "magnitude", "random"])
    assert len(rows) == 3 * len(DENSITIES)
    assert all(rows[0, s, 1.0]["gained"] == 0 for s in ("OBD", "magnitude", "random"))
    assert rows[0, "OBD", 0.5]["gained"] < rows[0, "random", 0.5]["gained"]
    # the second-order cost of what the saliency itself ranks lowest is the least there is
    assert rows[0, "OBD", 0.5]["predicted"] < rows[0, "magnitude", 0.5]["predicted"]


def test_retraining_takes_back_what_deletion_cost_and_leaves_deleted_weights_at_0(run):
    cut = rows_of(run)[0, "magnitude", 0.2]
    again = rows_of(run, retrain=100)[0, "magnitude", 0.2]
    assert again["train_loss"] < cut["train_loss"]
    assert again["train_accuracy"] > cut["train_accuracy"]


def test_what_it_deletes_are_the_lowest_scores_of_the_whole_network(run):
    from rewire.experiments.reproduction.analyses.deletion import Deletion, _Trained, _zero
    from rewire.select import smallest

    cell = run.cells[0]
    network = _Trained(cell, Deletion())
    before = torch.cat([p.detach().reshape(-1) for n, p in network.model.named_parameters()
                        if n.endswith("weight")])  # fmt: skip
    keys = smallest(network.weight.abs(), 300)
    _zero(network.model, network.space, keys)
    after = torch.cat([p.detach().reshape(-1) for n, p in network.model.named_parameters()
                       if n.endswith("weight")])  # fmt: skip
    assert (after == 0).sum() == 300
    assert before[after == 0].abs().max() <= after[after != 0].abs().min()


def test_scores_and_densities_that_are_none_are_refused():
    with pytest.raises(ConfigError, match="no score 'obd'; there are OBD, magnitude, random"):
        analyses.of_table("Deletion", {"scores": ["obd"]})
    with pytest.raises(ConfigError, match=r"leaves densities in \(0, 1\], not 0.0"):
        analyses.of_table("Deletion", {"densities": [0.0]})

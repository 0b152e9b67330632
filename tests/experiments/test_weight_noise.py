"""The analysis WeightNoise: noise on the trained weights of kept networks."""

import pytest
import torch
from digits_run import HEADER

import rewire
from rewire.experiments import cli
from rewire.experiments.errors import ConfigError
from rewire.experiments.reproduction import analyses

RULES = 'rules = ["Dense", "IMP", "RandomReinit"]\n'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    header = HEADER.replace("SUBSTRATE", "auto").replace("DENSITIES", "0.3")
    (folder / "e.toml").write_text(header + RULES)
    assert cli.main(["run", str(folder / "e.toml"), "--out", str(folder / "out"), "-j", "0"]) == 0
    return rewire.open(folder / "out")


def measured(run, **fields):
    return analyses.of_table("WeightNoise", fields).rows(run)


def test_without_noise_every_network_tests_as_it_did(run):
    rows = measured(run, times=[0.0])
    assert [(row["label"], row["density"]) for row in rows] == [
        ("Dense", 1.0), ("IMP", 0.3), ("RandomReinit", 0.3)
    ]  # fmt: skip
    for row in rows:
        (result,) = run.find(row["label"], seed=0)[0].results[-1:]
        assert row["test_accuracy"] == pytest.approx(result["test_accuracy"], abs=1e-6)
        assert row["lost"] == 0


def test_much_noise_leaves_chance(run):
    rows = measured(run, times=[0.0, 100.0], labels=["IMP"], draws=8)
    quiet, loud = (row["test_accuracy"] for row in rows)
    assert quiet > 0.8 and loud < 0.3
    assert rows[1]["lost"] == pytest.approx(quiet - loud)


def test_noise_is_as_large_as_asked_and_only_on_edges(run):
    from rewire.experiments.reproduction.analyses.weight_noise import _set_weights

    cell = run.cell("IMP", density=0.3)
    graph, before, model = cell.graph(), cell.model(), cell.model()
    for fields, unit in (({"sigma": "one"}, 1.0), ({}, graph["weight"][graph.rows(0)].std())):
        noise = analyses.of_table("WeightNoise", fields)._noisy(cell, graph, 0.5, 0)
        change = (noise - graph["weight"])[graph.rows(0)]
        assert change.std() == pytest.approx(float(0.5 * unit), rel=0.2)
    parameters = dict(model.named_parameters())
    _set_weights(parameters, graph, graph["weight"] + 1)
    for name, old in before.named_parameters():
        there = old != 0 if name.endswith("weight") else torch.zeros_like(old, dtype=torch.bool)
        assert torch.equal(parameters[name][~there], old[~there])
        assert torch.allclose(parameters[name][there], old[there] + 1)


def test_the_same_numbers_come_again(run):
    assert measured(run, times=[0.5]) == measured(run, times=[0.5])


def test_only_the_densities_asked_for(run):
    assert {row["density"] for row in measured(run, times=[0.0], densities=[1.0])} == {1.0}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"draws": 0}, "draws is 1 or more, got 0"),
        ({"times": [-1.0]}, r"times are numbers from 0 up, got \[-1.0\]"),
        ({"sigmas": "layer"}, "no parameter 'sigmas'"),
    ],
)
def test_what_is_no_noise_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        analyses.of_table("WeightNoise", fields)

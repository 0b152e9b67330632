"""Trained networks run in spikes: the table ``[spikes]``, its cells, rows, kill and resume."""

import re

import numpy as np
import pytest
import torch

from rewire.experiments import kinds
from rewire.experiments.config import toml

pytest.importorskip("brian2")

from rewire.experiments import cells, runner, store  # noqa: E402
from rewire.experiments.conversion import run as tickets
from rewire.experiments.conversion.work import run_cell  # noqa: E402
from rewire.experiments.data import load  # noqa: E402
from rewire.experiments.errors import ConfigError  # noqa: E402
from rewire.experiments.store import CellStore  # noqa: E402
from rewire.models.spiking import rate_coded  # noqa: E402

BASE = {
    "name": "small",
    "model": {"name": "mlp", "hidden": [30], "bias": False},
    "data": {"name": "digits", "normalise": "unit"},
    "optimizer": {"name": "adam", "lr": 2e-3},
    "batch": 50,
    "steps": 150,
    "densities": [0.3, 0.1],
    "seeds": 1,
    "spikes": {"images": 200, "milliseconds": 50.0},
    "rules": ["Dense", {"rule": "IMP", "fraction": 0.6}, "RandomReinit", "Static"],
}


def experiment(**changes):
    tree = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    return kinds.parse(tree)


def planned(**changes):
    return kinds.plan(experiment(**changes))


def refusal(**changes):
    with pytest.raises(ConfigError) as error:
        experiment(**changes)
    return str(error.value)


# -- the file -------------------------------------------------------------------------------------


def test_a_bias_is_refused_before_anything_is_trained():
    said = refusal(model={"name": "mlp", "hidden": [30]})
    assert "'fc1' has a bias" in said and "bias=False" in said


def test_inputs_outside_0_and_1_are_refused_before_anything_is_trained():
    said = refusal(data="digits")
    assert "takes inputs in [0, 1]" in said and 'normalise = "unit"' in said


def test_what_the_table_cannot_mean_is_refused():
    assert "digits has 250 test images, not 251" in refusal(spikes={"images": 251})
    assert "did you mean 'images'?" in refusal(spikes={"image": 3})
    assert "spikes.rate" in refusal(spikes={"rate": 1001.0})
    assert "spikes.encoding" in refusal(spikes={"encoding": "voltage"})


def test_the_table_is_written_down_and_read_back():
    asked = experiment(spikes={})
    assert asked.spikes is not None and kinds.parse(asked.as_tree()) == asked
    assert experiment(spikes=None).spikes is None


def test_every_training_gets_a_cell_that_waits_for_it_and_changes_no_other():
    with_spikes, without = planned(), planned(spikes=None)
    trainings = [cell for cell in with_spikes if cell.config["kind"] != "spikes"]
    assert [cell.hash for cell in trainings] == [cell.hash for cell in without]
    children = [cell for cell in with_spikes if cell.config["kind"] == "spikes"]
    assert [c.parents for c in children] == [{"network": t.hash} for t in trainings]
    assert [c.label for c in children] == [f"{t.label} in spikes" for t in trainings]
    assert len({cell.hash for cell in with_spikes}) == len(with_spikes)


def test_a_cell_is_named_by_what_decides_its_result():
    (one,) = [c for c in planned(rules=["Dense"]) if c.parents]
    (same,) = [c for c in planned(rules=["Dense"], title="x") if c.parents]
    (other,) = [c for c in planned(rules=["Dense"], spikes={"images": 100}) if c.parents]
    (longer,) = [c for c in planned(rules=["Dense"], steps=151) if c.parents]
    assert one.hash == same.hash and len({one.hash, other.hash, longer.hash}) == 3


def test_a_dry_run_knows_what_every_cell_costs():
    asked = experiment()
    found = kinds.estimate(asked, planned())
    assert set(found) == {cell.hash for cell in planned()}
    assert all(cost.seconds > 0 and cost.bytes > 0 for cost in found.values())


# -- the rows -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    asked = experiment()
    path = out / "small.toml"
    path.write_text(toml.to_toml(asked.as_tree()))
    finished = runner.run_experiment(path, out=out / "run", workers=0, progress="quiet")
    assert finished.exit_code == 0
    return finished


@pytest.fixture(scope="module")
def rows(run):
    return store.results(run.out)


def test_every_density_of_every_rule_has_a_row_beside_its_training(rows):
    spiking = [row for row in rows if "spiking_accuracy" in row]
    assert all(tuple(row) == store.SPIKES_ROW_FIELDS for row in spiking)
    assert all(tuple(r) == store.ROW_FIELDS for r in rows if "spiking_accuracy" not in r)
    trained = {(r["cell"], r["level"]): r for r in rows if "test_accuracy" in r}
    assert sorted((r["label"], r["requested_density"]) for r in spiking) == sorted(
        [("Dense in spikes", 1.0)]
        + [(f"{rule} in spikes", d) for rule in ("IMP", "RandomReinit", "Static")
           for d in (0.3, 0.1)]
    )  # fmt: skip
    for row in spiking:
        before = trained[row["network"], row["level"]]
        same = ("seed", "density", "edges", "possible", "requested_density", "rule")
        assert [row[k] for k in same] == [before[k] for k in same]
        assert row["images"] == 200 and row["images_per_second"] > 0


def test_spikes_are_nearly_as_often_right_as_activations(rows):
    spiking = [row for row in rows if "spiking_accuracy" in row]
    assert all(abs(r["spiking_accuracy"] - r["ann_accuracy"]) <= 0.05 for r in spiking)
    dense = next(row for row in spiking if row["rule"] == "Dense")
    assert dense["spiking_accuracy"] > 0.85


def test_a_row_is_what_the_converted_network_does(run, rows):
    row = next(r for r in rows if r["label"] == "IMP in spikes" and r["requested_density"] == 0.1)
    kept = CellStore(run.out / "cells" / row["network"]).read_level(row["level"])[0]["model"]
    weights = [kept[f"fc{i}.weight"].double().numpy() for i in (1, 2)]
    assert sum(np.count_nonzero(w) for w in weights) <= row["edges"]
    data = load("digits", normalise="unit")
    images, labels = data.test.x[:200].numpy(), data.test.y[:200].numpy()
    right = rate_coded.activations(weights, images)[-1].argmax(1) == labels
    assert row["ann_accuracy"] == right.mean()
    balanced = rate_coded.balanced(weights, data.train.x[: tickets.BALANCING].numpy())
    found = rate_coded.simulate(balanced, images, duration=0.05)
    assert row["spiking_accuracy"] == (found.predictions == labels).mean()
    assert row["spikes_per_image"] == found.spikes.sum() / 200
    assert row["events_per_image"] == found.events.sum() / 200


def test_the_report_puts_spikes_beside_the_activations_of_their_rule(run, rows):
    text = run.report.read_text()
    assert 'data-label="IMP in spikes"' not in text and 'data-label="IMP"' in text
    shown = re.findall(
        r'data-network="(\w+)" data-density="([\d.]+)">.*?data-value="([\d.]+)".*?'
        r'data-value="([\d.]+)"', text, re.S,
    )  # fmt: skip
    said = [(rule, *map(float, numbers)) for rule, *numbers in shown]
    spiking = [row for row in rows if "spiking_accuracy" in row]
    assert sorted(said) == sorted(
        (r["rule"], r["density"], r["ann_accuracy"], r["spiking_accuracy"]) for r in spiking
    )
    assert "Accuracy of IMP as activations and in spikes" in text


def test_without_the_table_the_report_has_no_such_section(tmp_path):
    path = tmp_path / "plain.toml"
    path.write_text(toml.to_toml(experiment(spikes=None, rules=["Dense"], steps=5).as_tree()))
    done = runner.run_experiment(path, out=tmp_path / "run", workers=0, progress="quiet")
    assert "in spikes" not in done.report.read_text()


@pytest.mark.parametrize("encoding", ["current", "poisson"])
def test_a_cell_stopped_after_every_block_ends_as_an_undisturbed_one(
    run, encoding, tmp_path, monkeypatch
):
    monkeypatch.setattr(tickets, "BLOCK", 70)
    spikes = {"images": 200, "milliseconds": 50.0, "encoding": encoding}
    cell = next(c for c in planned(spikes=spikes) if c.label == "IMP in spikes")
    parents = {"network": run.out / "cells" / cell.parents["network"]}
    data, ends = load("digits", normalise="unit"), []
    for name, looks in (("whole", [10**6]), ("stopped", [1] * 5 + [10**6])):
        folder = tmp_path / name / cell.hash
        for most in looks:
            left = iter(range(most))
            run_cell(cell, folder, parents, data, lambda event: None,
                             lambda left=left: next(left, None) is None)  # fmt: skip
        kept = CellStore(folder)
        assert kept.finished
        events = [e for e in kept.events() if e["event"] == "level"]
        ends.append([store.without_times([event]) for event in events])
    assert ends[0] == ends[1] and len(ends[0]) == 2


def test_a_kill_after_a_row_leaves_no_row_twice(run, tmp_path):
    cell = next(c for c in planned() if c.label == "IMP in spikes")
    parents = {"network": run.out / "cells" / cell.parents["network"]}
    folder = tmp_path / cell.hash
    data = load("digits", normalise="unit")

    def die(event):
        if event["event"] == "level":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, folder, parents, data, die, lambda: False)
    run_cell(cell, folder, parents, data, lambda event: None, lambda: False)
    levels = [e["requested_density"] for e in CellStore(folder).events() if e["event"] == "level"]
    assert levels == [0.3, 0.1]


def test_copies_are_as_many_as_memory_allows(monkeypatch):
    weights = [torch.ones(5, 4).numpy(), torch.ones(3, 5).numpy()]
    weights = rate_coded.balanced(weights, np.ones((2, 4)))
    seen = []
    monkeypatch.setattr(rate_coded, "simulate", lambda *a, **k: seen.append(k["copies"]))
    for encoding in ("current", "poisson"):
        for most in (10**6, 70, 3):
            monkeypatch.setattr(tickets, "MOST_SYNAPSES", most)
            asked = experiment(spikes={"encoding": encoding}).spikes
            tickets.simulated(asked, weights, np.ones((2, 4)), 0)
    assert seen == [400, 4, 1, 400, 2, 1]


def test_cells_of_a_world_in_spikes_are_shown_after_their_rule():
    asked = experiment()
    labels = [c.label for c in cells.in_order(asked, planned())]
    assert labels.index("Static in spikes") > labels.index("Static")

"""Trained spiking networks in Brian2 beside torch: rows, report, refusals, kill and resume."""

import re

import numpy as np
import pytest
import torch

pytest.importorskip("brian2")

from rewire import SET, models  # noqa: E402
from rewire.experiments import kinds, runner, store, versions  # noqa: E402
from rewire.experiments.config import toml  # noqa: E402
from rewire.experiments.conversion import run as tickets  # noqa: E402
from rewire.experiments.conversion.transfer import TransferRun, in_torch, operations  # noqa: E402
from rewire.experiments.conversion.work import run_cell  # noqa: E402
from rewire.experiments.errors import ConfigError, DataError  # noqa: E402
from rewire.experiments.store import CellStore  # noqa: E402

BASE = {
    "name": "small",
    "model": {"name": "lsnn", "hidden": [12]},
    "data": "fsdd-spikes",
    "optimizer": {"name": "adam", "lr": 5e-3},
    "batch": 50,
    "steps": 4,
    "densities": [0.2],
    "seeds": 1,
    "spikes": {"images": 4},
    "rules": ["SET"],
}


def experiment(**changes):
    tree = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    return kinds.parse(tree)


def refusal(**changes):
    with pytest.raises(ConfigError) as error:
        experiment(**changes)
    return str(error.value)


def of_folder(folder, scale=1.0):
    """An experiment on events of its own, which fire where their class does."""
    rng = np.random.default_rng(0)
    for name, n in (("train", 200), ("test", 20)):
        y = rng.integers(0, 4, n)
        often = 0.2 + 0.7 * (np.arange(16) // 4 == y[:, None])
        x = rng.random((n, 12, 16)) < often[:, None, :]
        np.savez(folder / f"{name}.npz", x=x.astype(np.float32) * np.float32(scale), y=y)
    return experiment(data={"name": f"folder:{folder}", "validation": 50, "normalise": "unit"})


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return of_folder(tmp_path_factory.mktemp("events"))


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    path = out / "small.toml"
    path.write_text(toml.to_toml(small.as_tree()))
    finished = runner.run_experiment(path, out=out / "run", workers=0, progress="quiet")
    assert finished.exit_code == 0
    return finished


@pytest.fixture(scope="module")
def row(run):
    (found,) = (row for row in store.results(run.out) if "spiking_accuracy" in row)
    return found


def test_a_row_is_what_the_network_does_in_both(small, run, row):
    fields, at = store.SPIKES_ROW_FIELDS, store.SPIKES_ROW_FIELDS.index("images_per_second")
    assert tuple(row) == (*fields[:at], *store.TRANSFER_FIELDS, *fields[at:])
    kept = CellStore(run.out / "cells" / row["network"]).read_level(row["level"])[0]["model"]
    data = small.dataset
    model = tickets.model_of(small.model, data)
    model.load_state_dict(kept)
    x, y = data.test.x[:4], data.test.y[:4]
    spikes, outputs = in_torch(model.double(), x)
    assert row["images"] == 4 and row["unequal_spikes"] == 0 < row["nearest_to_threshold"]
    right = float((outputs.argmax(1) == y.numpy()).mean())
    assert row["ann_accuracy"] == row["spiking_accuracy"] == right
    assert row["spikes_by_layer"] == {"lif1": spikes["lif1"].sum() / 4}
    assert row["spikes_per_image"] == spikes["lif1"].sum() / 4 > 0
    assert row["events_per_image"] == operations(model, x.numpy(), spikes) / 4
    assert row["torch_images_per_second"] > 0 < row["images_per_second"]


def test_operations_count_each_spike_at_each_synapse():
    generator = torch.Generator().manual_seed(0)
    model = models.build("spiking-rnn", generator=generator, input_shape=(5, 4), classes=3,
                         hidden=[6, 5], init="kaiming_normal").double()  # fmt: skip
    for p in model.parameters():
        p.data *= torch.rand(p.shape, generator=generator) < 0.5
    events = (torch.rand(3, 5, 4, generator=generator) < 0.7).numpy()
    spikes, _ = in_torch(model, torch.from_numpy(events))
    expected = 0
    for example in range(3):
        for t in range(5):
            layers = [events[example, t], *(spikes[f"lif{i}"][example, t] for i in (1, 2))]
            for i, sent in enumerate(layers, start=1):
                for pre in np.flatnonzero(sent):
                    weight = model.get_submodule(f"fc{i}").weight
                    expected += int(weight[:, pre].count_nonzero())
                    if i > 1 and t + 1 < 5:  # among the units, a step later
                        among = model.get_submodule(f"rec{i - 1}").weight
                        expected += int(among[:, pre].count_nonzero())
    assert operations(model, events, spikes) == expected > 50


def test_the_report_puts_torch_and_brian2_side_by_side(run, row):
    text = run.report.read_text()
    assert "The same spikes in torch and in Brian2" in text
    assert "agree on every spike" in text and "as activations" not in text
    (found,) = re.findall(r'data-network="(\w+)" data-density="[\d.]+">(.*?)</tr>', text, re.S)
    values = [float(v) for v in re.findall(r'data-value="([\d.]+)"', found[1])]
    assert found[0] == "SET"
    layer = row["spikes_by_layer"]["lif1"]
    assert values == pytest.approx([row["ann_accuracy"], row["spiking_accuracy"], layer, 0])


def test_what_runs_a_network_has_the_version_of_the_rule_that_trained_it(run):
    assert SET.version != 1 and versions.outdated(run.out) == []


def test_what_has_no_meaning_for_a_spiking_network_is_refused():
    said = refusal(spikes={"rate": 100.0, "milliseconds": 50.0})
    assert "spikes.rate" in said and "spikes.milliseconds" in said and "as it is" in said
    said = refusal(model={"name": "spiking-net", "hidden": [9]}, data="digits")
    assert "events of 0 and 1, and digits has others" in said
    assert experiment(spikes={}).spikes is not None


def test_currents_of_a_user_s_own_are_refused_before_anything_is_trained(tmp_path):
    path = tmp_path / "currents.toml"
    path.write_text(toml.to_toml(of_folder(tmp_path, scale=0.5).as_tree()))
    with pytest.raises(DataError, match=r"events of 0 and 1, and 1,\d{3} numbers of .*as 0.5"):
        runner.run_experiment(path, out=tmp_path / "run", workers=0, progress="quiet")
    assert not list((tmp_path / "run").glob("cells/*"))


def test_a_dry_run_knows_what_it_costs():
    asked = experiment()
    cells = kinds.plan(asked)
    assert all(cost.seconds > 0 for cost in kinds.estimate(asked, cells).values())


def test_a_cell_stopped_after_every_block_ends_as_an_undisturbed_one(
    small, run, tmp_path, monkeypatch
):
    monkeypatch.setattr(TransferRun, "block", 2)
    cell = next(c for c in kinds.plan(small) if c.parents)
    parents = {"network": run.out / "cells" / cell.parents["network"]}
    data, ends = small.dataset, []
    for name, looks in (("whole", [10**6]), ("stopped", [1, 10**6])):
        folder = tmp_path / name / cell.hash
        for most in looks:
            left = iter(range(most))
            run_cell(cell, folder, parents, data, lambda event: None,
                             lambda left=left: next(left, None) is None)  # fmt: skip
        kept = CellStore(folder)
        assert kept.finished
        events = [e for e in kept.events() if e["event"] == "level"]
        ends.append([store.without_times([event]) for event in events])
    assert ends[0] == ends[1]

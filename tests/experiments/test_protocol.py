"""Clipped gradients, smoothed labels, accuracy on the training set, schedules with a warm-up."""

import pytest
import torch
from protocol_run import WORLDS, dense_weights, in_parts, level, planned, trained, weights
from torch import nn

from rewire.experiments import store, tasks
from rewire.experiments.config.optimizers import MilestoneSchedule
from rewire.experiments.errors import ConfigError
from rewire.experiments.store.database import OPTIONAL_FIELDS, ROW_FIELDS

SGD = {"name": "sgd", "lr": 0.5}
ADAM = {"name": "adam", "lr": 0.01, "weight_decay": 1e-4}
MOMENTUM = {"name": "sgd", "lr": 0.3, "momentum": 0.9}
OPTIMIZERS = pytest.mark.parametrize("optimizer", [SGD, MOMENTUM, ADAM], ids=["sgd", "momentum",
                                                                              "adam"])  # fmt: skip


def by_hand(training, model, optimizer, clip, steps):
    """Masked training in a loop of torch's own, gradients clipped as torch does."""
    places = dict(zip(dense_weights(training), model.state_dict(), strict=True))
    masks = {places[name]: mask for name, mask in training.net.masks().items()}
    norms = []
    for step in range(steps):
        x, y = training.batches(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        for name, mask in masks.items():
            model.get_parameter(name).grad.mul_(mask)
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), clip)))
        optimizer.step()
    return norms


@WORLDS
@OPTIMIZERS
def test_a_step_is_as_long_as_torch_clips_it(world, optimizer, tmp_path):
    """The norm is that of existing synapses and biases: a plain loop ends with the same weights."""
    same = {"world": world, "optimizer": optimizer, "rules": ["Static"], "clip": 0.4, "steps": 12}
    own, _ = trained(tmp_path, **same)
    start, _ = trained(tmp_path, **{**same, "steps": 1, "optimizer": {"name": "sgd", "lr": 1e-9}})
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
    model.load_state_dict(dict(zip(model.state_dict(), dense_weights(start).values(), strict=True)))
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    options = {key: value for key, value in optimizer.items() if key != "name"}
    norms = by_hand(own, model, kinds[optimizer["name"]](model.parameters(), **options), 0.4, 12)
    assert sum(norm > 0.4 for norm in norms) > 4
    for mine, theirs in zip(dense_weights(own).values(), model.state_dict().values(), strict=True):
        assert torch.allclose(mine, theirs, atol=2e-5)


@WORLDS
def test_a_norm_that_is_never_reached_changes_next_to_nothing(world, tmp_path):
    ends = [weights(trained(tmp_path, world=world, optimizer=MOMENTUM, **changes)[0])
            for changes in ({}, {"clip": 1e9})]  # fmt: skip
    assert all(torch.allclose(ends[0][n], ends[1][n], atol=1e-5) for n in ends[0])


def test_rules_see_clipped_gradients_alike_in_both_worlds(tmp_path):
    """RigL grows by gradients at absent synapses; the same edges come out."""
    edges = []
    for world in ("masked", "sparse"):
        run, _ = trained(tmp_path, world=world, clip=0.2, rules=[{"rule": "RigL", "when": 5}])
        assert run.net.history.formed
        edges.append(run.net.graph.keys)
    assert torch.equal(*edges)


@pytest.mark.parametrize("world", ["masked", "sparse", "auto"])
def test_signals_are_what_the_optimiser_steps_by(world, tmp_path):
    """A gradient at an absent synapse is multiplied as those of existing ones are."""
    gradients, edges = [], []
    for changes in ({}, {"clip": 0.05}):
        run, _ = trained(tmp_path, world=world, steps=1, evaluate_every=1, densities=[0.2],
                         rules=["SNFS"], **changes)  # fmt: skip
        graph = run.net.graph
        every = torch.arange(graph.space.possible)
        gradients.append(run.world.signals(graph).pair("grad", every))
        edges.append(graph.keys)
    plain, clipped = gradients
    assert torch.equal(*edges)
    factor = float(clipped[edges[0]].norm() / plain[edges[0]].norm())
    assert 0 < factor < 0.5
    assert torch.allclose(plain * factor, clipped, atol=1e-6)


def test_a_rule_with_silent_edges_is_not_clipped():
    with pytest.raises(ConfigError, match="STR keeps silent edges, over which no norm"):
        planned(clip=1.0, rules=["STR"])


@pytest.mark.parametrize("clip", [0, -1.0, float("inf"), "a lot"])
def test_other_norms_are_refused(clip):
    with pytest.raises(ConfigError, match=r"clip"):
        planned(clip=clip)


# -- labels ------------------------------------------------------------------------------------


@WORLDS
def test_smoothed_labels_keep_outputs_apart_less(world, tmp_path):
    outputs = []
    for task in ("classification", {"name": "classification", "smoothing": 0.3}):
        run, cell = trained(tmp_path, world=world, task=task, steps=60, rules=["Static"])
        outputs.append(run.world.outputs(run.data.validation.x).softmax(1).amax(1).mean().item())
        assert level(cell)["test_accuracy"] > 0.8
    assert outputs[1] < outputs[0] - 0.1


def test_smoothing_is_a_key_of_the_task_that_cells_without_it_do_not_have():
    smoothed = {"name": "classification", "smoothing": 0.1}
    _, (usual,) = planned()
    _, (same,) = planned(task={"name": "classification", "smoothing": 0.0})
    _, (other,) = planned(task=smoothed)
    assert usual.hash == same.hash != other.hash and "task" not in usual.config
    assert other.config["task"] == smoothed and tasks.of_table(smoothed).smoothing == 0.1
    with pytest.raises(ConfigError, match="smoothing is a fraction"):
        planned(task={"name": "classification", "smoothing": 1.0})


# -- the training set --------------------------------------------------------------------------


@WORLDS
def test_a_level_may_say_how_well_its_training_set_is_learnt(world, tmp_path):
    run, cell = trained(tmp_path, world=world, evaluate_train=True)
    row, model = level(cell), run.world
    right = (model.outputs(run.data.train.x).argmax(1) == run.data.train.y).float().mean().item()
    assert row["train_accuracy"] == pytest.approx(right)
    _, usual = trained(tmp_path, world=world)
    assert {*level(cell)} - {*level(usual)} == {"train_accuracy", "train_loss"}
    assert level(usual)["test_accuracy"] == row["test_accuracy"]


def test_results_have_its_columns_where_a_cell_has_them(tmp_path):
    for name, changes in {"a": {}, "b": {"evaluate_train": True}}.items():
        trained(tmp_path / name / "cells", **changes)
    (plain,), (more,) = (store.results(tmp_path / name) for name in "ab")
    assert tuple(plain) == ROW_FIELDS
    at = ROW_FIELDS.index("val_loss")
    trained_on = [name for name in OPTIONAL_FIELDS if name.startswith("train_")]
    assert tuple(more) == (*ROW_FIELDS[:at], *trained_on, *ROW_FIELDS[at:])
    assert store.results(tmp_path / "b") == [more]  # from the index
    with store.index(tmp_path / "b") as index:
        rows = index.execute("SELECT train_accuracy FROM levels WHERE train_loss > 0").fetchall()
    assert rows == [(more["train_accuracy"],)]


def test_another_task_has_its_own_column(tmp_path):
    own = {"data": "diabetes", "evaluate_train": True, "rules": ["Static"], "batch": 50}
    _, cell = trained(tmp_path / "cells", **own)
    assert level(cell)["train_r2"] > 0
    assert store.results(tmp_path)[0]["train_r2"] == level(cell)["train_r2"]


# -- stopped and gone on with ------------------------------------------------------------------


@WORLDS
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(world, tmp_path, monkeypatch):
    same = {"world": world, "clip": 0.3, "evaluate_train": True, "optimizer": ADAM,
            "task": {"name": "classification", "smoothing": 0.1}}  # fmt: skip
    whole, one = trained(tmp_path / "whole", **same)
    parts, two = in_parts(tmp_path / "parts", monkeypatch, at=7, **same)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[name])
    rows = [store.without_times([level(cell)])[0] for cell in (one, two)]
    assert {**rows[0], "crc": 0} == {**rows[1], "crc": 0}


# -- schedules ---------------------------------------------------------------------------------


def test_a_warm_up_composes_with_milestones_as_in_the_papers():
    """Frankle & Carbin's ResNet: linear to the full rate at step k, a tenth at each milestone."""
    at = {"kind": "milestones", "at": [20000, 25000], "factor": 0.1, "warmup": 20000}
    schedule = MilestoneSchedule.model_validate(at)
    rates = [schedule.at(step, 30000) for step in (0, 9999, 19999, 20000, 24999, 25000)]
    assert rates == pytest.approx([1 / 20000, 0.5, 1.0, 0.1, 0.1, 0.01])


@WORLDS
def test_weight_decay_acts_on_weights_biases_and_norms(world, tmp_path):
    """As `weight_decay` of torch's SGD, of which the papers' 1e-4 is; absent synapses stay at 0."""
    same = {"world": world, "rules": ["Static"], "steps": 1, "evaluate_every": 1}
    ends = [weights(trained(tmp_path, **same, optimizer={"name": "sgd", "lr": 0.5, **more})[0])
            for more in ({}, {"weight_decay": 0.2})]  # fmt: skip
    start, _ = trained(tmp_path, **same, optimizer={"name": "sgd", "lr": 1e-9})
    for name, before in weights(start).items():
        if not before.is_floating_point():  # lists of edges
            continue
        assert torch.allclose(ends[1][name], ends[0][name] - 0.5 * 0.2 * before, atol=1e-6)

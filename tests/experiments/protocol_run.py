"""A small training on the digits, run to its end, stopped or killed and gone on with."""

import itertools

import pytest

pytest.importorskip("sklearn")

from rewire.experiments import building, cell_run, kinds
from rewire.experiments.store import CellStore
from rewire.experiments.trainings import plan, trainer

WORLDS = pytest.mark.parametrize("world", ["masked", "sparse"])
BASE = {
    "name": "x", "model": {"name": "mlp", "hidden": [20]}, "data": "digits", "batch": 100,
    "steps": 20, "seeds": 1, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "evaluate_every": 10, "densities": [0.3], "rules": [{"rule": "SET", "when": 6}],
}  # fmt: skip


def planned(**changes):
    experiment = kinds.parse({**BASE, **changes})
    return experiment, plan.plan(experiment, building.n_train(experiment.data))


def trained(folder, should_stop=lambda: False, **changes):
    """The training of the first cell, run to its end, and its store."""
    experiment, (cell, *_) = planned(**changes)
    training = trainer.TrainingRun(cell, folder / cell.hash, {}, experiment.dataset,
                                 lambda event: None, should_stop, "cpu")  # fmt: skip
    training.run()
    return training, CellStore(folder / cell.hash)


def in_parts(folder, monkeypatch, *, at, **changes):
    """The same in two sittings, the first of which ends after ``at`` steps."""
    monkeypatch.setattr(cell_run, "checkpoint_seconds", lambda: 1e9)
    asked = itertools.chain([False] * at, itertools.repeat(True))
    first, _ = trained(folder, lambda: next(asked), **changes)
    assert first.net.clock.total == at
    return trained(folder, **changes)


def weights(training):
    """Every number of the model, by name."""
    return {name: value.clone() for name, value in training.world.model_state().items()}


def dense_weights(training):
    """Parameters by name, sparse ones with their zeros, whatever the world."""
    graph, state = training.net.graph, training.world.model_state()
    dense = {p.name: graph.dense(i).view(p.shape) for i, p in enumerate(graph.projections)}
    return {name: dense.get(name, state.get(name)) for name, _ in training.model.named_parameters()}


def level(store):
    """The row of its last level."""
    return [event for event in store.events() if event["event"] == "level"][-1]

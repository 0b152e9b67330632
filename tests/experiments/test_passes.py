"""Ways to make training passes: channels last, bf16, torch.compile."""

import shutil

import pytest
import torch

from rewire.experiments import building, cell_run, kinds
from rewire.experiments.trainings import passes, plan, settings

pytest.importorskip("sklearn")

from rewire.experiments.errors import ConfigError
from rewire.experiments.store import CellStore
from rewire.experiments.trainings import trainer

OPTIONS = {
    "channels_last": {"memory_format": "channels_last"},
    "bf16": {"precision": "bf16"},
    "both": {"memory_format": "channels_last", "precision": "bf16"},
    "compiled": {"compile": True},
}
compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="nothing compiles here")
OPTION = pytest.mark.parametrize(
    "option",
    [*list(OPTIONS)[:-1], pytest.param("compiled", marks=[pytest.mark.slow, compiler])],
)
BASE = {
    "name": "x", "model": "conv-2", "data": "digits", "batch": 30, "steps": 8, "seeds": 1,
    "optimizer": {"name": "adam", "lr": 1e-3}, "evaluate_every": 4, "densities": [0.1],
    "rules": [{"rule": "RigL", "when": 3}],
}  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return kinds.parse(BASE).data.load()


def planned(**changes):
    experiment = kinds.parse({**BASE, **changes})
    return plan.plan(experiment, building.n_train(experiment.data))


def trained(folder, digits, should_stop=lambda: False, **changes):
    """The cell's training, run to its end, and its store."""
    cell = planned(**changes)[0]
    training = trainer.TrainingRun(cell, folder / cell.hash, {}, digits, lambda event: None,
                                 should_stop, "cpu")  # fmt: skip
    training.run()
    return training, CellStore(folder / cell.hash)


def losses(store):
    return [e["val_loss"] for e in store.events() if e["event"] == "eval"]


def test_they_are_part_of_what_a_cell_is_and_the_ordinary_ones_are_not_written():
    usual = planned()[0]
    assert not {"memory_format", "precision", "compile"} & usual.config.keys()
    names = {usual.hash}
    for option in OPTIONS.values():
        cell = planned(**option)[0]
        assert cell.config.items() >= option.items()
        s = settings.settings(cell.config)
        assert all(getattr(s, key) == value for key, value in option.items())
        names.add(cell.hash)
    assert len(names) == 5
    same = {"memory_format": "contiguous", "precision": "float32", "compile": False}
    assert planned(**same)[0].hash == usual.hash


@pytest.mark.parametrize("option", ["channels_last", "bf16", "compiled"])
@pytest.mark.parametrize("world", ["sparse", "auto"])
def test_edges_take_none_of_them(option, world):
    (key,) = OPTIONS[option]
    with pytest.raises(ConfigError, match=f"{key}: is of dense weights under masks"):
        planned(world=world, model="lenet-300-100", **OPTIONS[option])


def test_channels_of_a_net_without_convolutions_cannot_come_last():
    with pytest.raises(ConfigError, match="lenet-300-100 has no convolution whose channels"):
        planned(model="lenet-300-100", memory_format="channels_last")


@pytest.mark.parametrize(("key", "value"), [("memory_format", "nhwc"), ("precision", "fp16"),
                                            ("compile", "yes")])  # fmt: skip
def test_other_values_are_refused(key, value):
    with pytest.raises(ConfigError, match=key):
        planned(**{key: value})


@OPTION
def test_a_cell_trains_nearly_as_it_does_without(option, digits, tmp_path):
    usual, at = trained(tmp_path, digits)
    own, store = trained(tmp_path, digits, **OPTIONS[option])
    assert own.net.counts == usual.net.counts and own.net.history.formed > 1000
    form = OPTIONS[option].get("memory_format", "contiguous") == "channels_last"
    convolution = next(m for m in own.model.modules() if isinstance(m, torch.nn.Conv2d))
    assert convolution.weight.is_contiguous(
        memory_format=torch.channels_last if form else torch.contiguous_format
    )
    for name, mask in own.net.masks().items():
        p = own.model.get_parameter(name)
        state = own.optimizer.state[p]
        assert p.dtype is torch.float32
        for held in (p.detach(), state["exp_avg"], state["exp_avg_sq"]):
            assert held[~mask].count_nonzero() == 0
            assert held.stride() == p.stride()
    exact = "precision" not in OPTIONS[option]
    assert losses(store) == pytest.approx(losses(at), rel=2e-3 if exact else 0.05)
    assert exact or losses(store) != losses(at)  # its passes are rounded


@OPTION
def test_a_cell_that_was_stopped_goes_on_to_the_same_bits(option, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(cell_run, "checkpoint_seconds", lambda: 1e9)
    whole, store = trained(tmp_path / "whole", digits, **OPTIONS[option])
    asked = iter([False] * 5 + [True])
    first, _ = trained(tmp_path / "parts", digits, lambda: next(asked), **OPTIONS[option])
    assert first.net.clock.step == 5
    second, again = trained(tmp_path / "parts", digits, **OPTIONS[option])
    assert torch.equal(whole.net.topology, second.net.topology)
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert losses(store) == losses(again)


@pytest.mark.slow
@compiler
@pytest.mark.parametrize("rule", [{"rule": "DeepR"}, {"rule": "StructuralPlasticity",
                                                      "attempts": 0.1}])  # fmt: skip
def test_compiled_passes_meet_rules_that_look_at_every_step(rule, digits, tmp_path):
    """Masks and weights change in place, and units are heard, without a second compilation."""
    torch._dynamo.utils.counters.clear()
    batch = 24  # eight of one size
    own, store = trained(tmp_path, digits, rules=[rule], compile=True, batch=batch)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    usual, at = trained(tmp_path, digits, rules=[rule], batch=batch)
    assert own.net.history.formed > 0
    assert losses(store) == pytest.approx(losses(at), rel=1e-3)


def test_compiling_without_a_compiler_is_refused(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(passes.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="needs a C.. compiler"):
        trained(tmp_path, digits, compile=True)

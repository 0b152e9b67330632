"""accelerate's loops make the steps of an own loop, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from own_loop import RULES, WORLDS, attach, classify, differences, loader, network, trained

import rewire

accelerate = pytest.importorskip("accelerate")


def accelerator(**options: Any) -> Any:
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    return accelerate.Accelerator(cpu=True, **options)


def run(
    rule: str, world: str, *, accumulate: int = 1, clip: float | None = None, bf16: bool = False,
    before: bool = True, by_session: bool = False, steps: int = 16,
) -> rewire.Session:  # fmt: skip
    """before: attach before prepare(). by_session: net.step() where optimizer.step() stands."""
    own = accelerator(
        gradient_accumulation_steps=accumulate, mixed_precision="bf16" if bf16 else "no"
    )
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    if before:
        net = attach(model, optimizer, rule, world, steps)
    model, optimizer, batches = own.prepare(model, optimizer, loader())
    if not before:
        net = attach(model, optimizer, rule, world, steps)
    for _ in range(2):
        for batch in batches:
            with own.accumulate(model):
                own.backward(classify(model, batch))
                if clip is not None and own.sync_gradients:
                    own.clip_grad_norm_(model.parameters(), clip)
                net.step() if by_session else optimizer.step()
                optimizer.zero_grad()
    return net


def own_loop(rule: str, world: str, steps: int = 16, **options: Any) -> rewire.Session:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    net = attach(model, optimizer, rule, world, steps)

    def loss(model: Any, batch: Any) -> Any:
        x, y = batch
        return torch.nn.functional.cross_entropy(model(x).float(), y)

    return trained(model, optimizer, net, loader(), loss=loss, **options)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulate": 4},
    "clipped": {"accumulate": 2, "clip": 0.1},
}


@pytest.mark.every_other
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("rule", RULES)
def test_an_accelerated_loop_is_an_own_loop(rule: str, world: str, case: str, before: bool) -> None:
    """With the session attached before prepare() or to what it returns: in the sparse world the
    latter crashed."""
    steps = 16 // CASES[case].get("accumulate", 1)
    net = run(rule, world, before=before, steps=steps, **CASES[case])
    assert differences(net, own_loop(rule, world, steps, **CASES[case])) == []


@pytest.mark.parametrize("world", WORLDS)
def test_the_session_steps_where_the_wrapped_optimiser_would(world: str) -> None:
    net = run("GMP", world, accumulate=4, steps=4, before=False, by_session=True)
    assert differences(net, own_loop("GMP", world, 4, accumulate=4)) == []


@pytest.mark.parametrize("world", WORLDS)
def test_steps_that_accelerate_leaves_out_are_no_session_steps(world: str) -> None:
    """The session knows the optimizer of before prepare(), whose step() nothing leaves out."""
    with pytest.raises(RuntimeError, match="accelerate accumulates gradients and leaves this step"):
        run("GMP", world, accumulate=4, steps=16, by_session=True)
    assert accelerate.state.GradientState().sync_gradients is False  # as left behind
    assert own_loop("DeepR", world).clock.step == 16  # another's optimizer


# -- saved and loaded by the accelerator ----------------------------------------------------------


def begun(rule: str, world: str) -> tuple[Any, Any, Any, Any, rewire.Session]:
    from rewire.integrations.accelerate import attach as attached

    own = accelerator()
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model, optimizer, batches = own.prepare(model, optimizer, loader())
    net = attached(own, model, optimizer, RULES[rule](), density=0.2, seed=0, steps=16, world=world)
    return own, model, optimizer, batches, net


def epoch(own: Any, model: Any, optimizer: Any, batches: Any) -> None:
    for batch in batches:
        own.backward(classify(model, batch))
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("rule", RULES)
def test_a_state_that_is_loaded_ends_with_the_same_numbers(
    rule: str, world: str, tmp_path: Path
) -> None:
    *first, whole = begun(rule, world)
    epoch(*first)
    first[0].save_state(str(tmp_path / "half"))
    epoch(*first)
    assert differences(whole, own_loop(rule, world)) == []
    *second, again = begun(rule, world)
    second[0].load_state(str(tmp_path / "half"))
    assert again.clock.step == 8
    epoch(*second)
    assert differences(again, whole) == []
    first[0].load_state(str(tmp_path / "half"))  # back, in the run that went on
    epoch(*first)
    assert differences(again, whole) == []


def test_a_state_without_the_session_is_refused(tmp_path: Path) -> None:
    from rewire.integrations.accelerate import register

    own = accelerator()
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model, optimizer = own.prepare(model, optimizer)
    own.save_state(str(tmp_path / "dense"))
    net = attach(model, optimizer, "DeepR", "masked")
    handles = register(own, net)
    with pytest.raises(ValueError, match="has no rewire.safetensors: it was saved without this"):
        own.load_state(str(tmp_path / "dense"))
    for handle in handles:
        handle.remove()
    own.save_state(str(tmp_path / "none"))
    assert not (tmp_path / "none" / "rewire.safetensors").exists()


def test_the_accelerators_trackers_take_the_sessions_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from rewire.integrations.accelerate import Logged

    own = accelerator(log_with="tensorboard", project_dir=str(tmp_path))
    own.init_trackers("x")
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model, optimizer, batches = own.prepare(model, optimizer, loader())
    net = attach(model, optimizer, "DeepR", "masked")
    net.follow(Logged(own), every=4)
    epoch(own, model, optimizer, batches)
    own.end_training()
    events = EventAccumulator(str(tmp_path / "x"))
    events.Reload()
    scalars = events.Scalars("rewire/edges")
    assert [(e.step, e.value) for e in scalars] == [(4, net.edges), (8, net.edges)]

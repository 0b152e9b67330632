"""Schedulers of torch, stepped by sessions and rewound with the rest."""

import pytest
import torch
from torch.optim import lr_scheduler as lr

import rewire

STEPS = 6
SCHEDULERS = {
    "step": lambda o: lr.StepLR(o, 2, gamma=0.5),
    "exponential": lambda o: lr.ExponentialLR(o, 0.8),
    "lambda": lambda o: lr.LambdaLR(o, lambda step: 1 / (1 + step)),
    "cosine": lambda o: lr.CosineAnnealingLR(o, STEPS, eta_min=0.01),
    "one cycle": lambda o: lr.OneCycleLR(o, 0.2, total_steps=STEPS + 1),
    "warm-up, then steps": lambda o: lr.SequentialLR(
        o, [lr.LinearLR(o, 0.25, total_iters=3), lr.StepLR(o, 2, gamma=0.5)], [3]
    ),
    "chained": lambda o: lr.ChainedScheduler([lr.StepLR(o, 2), lr.ConstantLR(o, 0.5, 3)]),
}


def optimizer_of(model):
    return torch.optim.SGD([{"params": [model.weight]}, {"params": [model.bias], "lr": 0.05}],
                           lr=0.1, momentum=0.9)  # fmt: skip


def numbers(optimizer):
    return [(g["lr"], g["momentum"]) for g in optimizer.param_groups]


def trained(rule, make, steps=STEPS, **more):
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4)
    optimizer, seen = optimizer_of(model), []
    scheduler = None if make is None else make(optimizer)
    net = rewire.train(
        model, optimizer, rule, steps=steps, scheduler=scheduler,
        data=lambda step: torch.ones(2, 8), loss=lambda m, batch: m(batch).square().mean(),
        on_step=lambda net, loss: seen.append((net.clock.round, numbers(optimizer))), **more,
    )  # fmt: skip
    return net, seen


def by_hand(make):
    model = torch.nn.Linear(8, 4)
    optimizer, seen = optimizer_of(model), []
    scheduler = make(optimizer)
    for _ in range(STEPS):
        seen.append(numbers(optimizer))
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_scheduler_goes_back_with_a_rewind(kind):
    expected = by_hand(SCHEDULERS[kind])
    _, seen = trained(rewire.IMP(rounds=2, rewind=2), SCHEDULERS[kind])
    assert [n for round_, n in seen if round_ == 0] == expected
    assert [n for round_, n in seen if round_] == expected[2:] * 2


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_fine_tuning_holds_a_schedulers_last_rate(kind):
    last = by_hand(SCHEDULERS[kind])[-1]
    if kind == "one cycle":
        return  # refused below
    _, seen = trained(rewire.IMP(rounds=1, restore="nothing"), SCHEDULERS[kind])
    assert [n for round_, n in seen if round_] == [last] * STEPS


def test_fine_tuning_at_no_rate_of_a_scheduler_is_refused_before_the_first_step():
    cosine = lambda o: lr.CosineAnnealingLR(o, 199)  # noqa: E731
    with pytest.raises(ValueError, match="IMP trains on at .* leaves 0 of the rate there"):
        trained(rewire.IMP(rounds=1, restore="nothing"), cosine, steps=200)
    _, seen = trained(rewire.IMP(rounds=1, restore="learning_rate"), cosine, steps=200)
    assert seen[0][1] == [(0.1, 0.9), (0.05, 0.9)]


def test_schedulers_that_cannot_be_taken_are_refused():
    other = torch.nn.Linear(8, 4)
    for make, message in (
        (lr.ReduceLROnPlateau, "stepped by itself, once a step, got ReduceLROnPlateau"),
        (lambda o: 3, "got int"),
        (lambda o: lr.StepLR(optimizer_of(other), 2), "another optimizer's"),
    ):
        with pytest.raises(ValueError, match=message):
            trained(rewire.Static(), make)
    with pytest.raises(ValueError, match="schedule= and scheduler= both set the learning rate"):
        trained(rewire.Static(), SCHEDULERS["step"], schedule=lambda step: 1.0)

    def stepped(optimizer):
        scheduler = lr.StepLR(optimizer, 2)
        optimizer.step()
        scheduler.step()
        return scheduler

    with pytest.raises(ValueError, match="stands at step 1: pass it as it was made"):
        trained(rewire.Static(), stepped)


def test_a_run_without_a_schedule_keeps_its_rate():
    _, seen = trained(rewire.IMP(rounds=1), None)
    assert {str(n) for _, n in seen} == {"[(0.1, 0.9), (0.05, 0.9)]"}


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_session_of_ones_own_loop_steps_its_scheduler(kind, world, tmp_path):
    expected = by_hand(SCHEDULERS[kind])

    def new():
        torch.manual_seed(0)
        model = torch.nn.Linear(8, 4)
        optimizer = optimizer_of(model)
        return model, optimizer, SCHEDULERS[kind](optimizer)

    def attached():
        model, optimizer, scheduler = new()
        rule = rewire.RigL(when=rewire.every(2))
        return rewire.attach(model, optimizer, rule, density=0.5, steps=STEPS, world=world,
                             scheduler=scheduler)  # fmt: skip

    def step(net):
        seen = numbers(net.optimizer)
        net.optimizer.zero_grad()
        net.world.model(torch.ones(2, 8)).square().mean().backward()
        net.optimizer.step()
        return seen

    net = attached()
    assert [step(net) for _ in range(3)] == expected[:3]
    rewire.save(net, tmp_path / "run.safetensors")
    assert [step(net) for _ in range(3)] == expected[3:]
    net = attached()
    step(net)
    net.load(tmp_path / "run.safetensors")  # from a step that is behind it
    assert [step(net) for _ in range(3)] == expected[3:]
    model, optimizer, scheduler = new()
    net = rewire.load(tmp_path / "run.safetensors", model, optimizer, scheduler=scheduler)
    assert [step(net) for _ in range(3)] == expected[3:]


def test_a_world_without_an_optimizer_takes_no_scheduler():
    space = rewire.Space([rewire.Population("a", 4), rewire.Population("b", 4)],
                         [rewire.Projection("ab", "a", "b", "linear", (4, 4))])  # fmt: skip
    world = rewire.Bare(space)
    graph = rewire.Graph.full(space)
    with pytest.raises(ValueError, match="the bare world has no optimizer to schedule"):
        rewire.Session(world, graph, rewire.Static(), scheduler=object())

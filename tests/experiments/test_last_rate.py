"""Fine-tuning trains on at the factor that a schedule has at a round's last step."""

import math

import pytest
import torch

pytest.importorskip("sklearn")

import rewire
from rewire.experiments.config.checking import check
from rewire.experiments.config.optimizers import StepSchedule
from rewire.experiments.config.schema import Training
from rewire.experiments.errors import ConfigError
from rewire.experiments.kinds import parse
from rewire.experiments.runner import run_experiment

STEPS = 20
SCHEDULES = {
    "warm-up": {"kind": "constant", "warmup": 50},
    "step": {"kind": "step", "factor": 0.5, "every": 6},
    "milestones": {"kind": "milestones", "at": [5, 25], "factor": 0.1},
    "cosine": {"kind": "cosine"},
}
BASE = {
    "name": "last-rate",
    "model": {"name": "mlp", "hidden": [8]},
    "data": "digits",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "batch": 16,
    "steps": STEPS,
    "evaluate_every": STEPS,
    "densities": [0.3],
    "seeds": 1,
    "rules": [{"rule": "IMP", "fraction": 0.5}],
}


def train(rule, schedule, seen):
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rewire.train(
        model, optimizer, rule, steps=4, schedule=schedule,
        data=lambda step: torch.ones(2, 8), loss=lambda m, batch: m(batch).square().mean(),
        on_step=lambda net, loss: seen.append((net.clock.round, optimizer.param_groups[0]["lr"])),
    )  # fmt: skip


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_holds_the_factor_of_a_levels_last_step(kind):
    training, wrong = check(Training, {**{k: BASE[k] for k in ("optimizer", "batch", "steps")},
                                       "schedule": SCHEDULES[kind]})  # fmt: skip
    assert not wrong
    last = training.schedule.at(STEPS - 1, STEPS)
    assert {training.schedule.at(step, STEPS) for step in (STEPS, 27, 39, 1000)} == {last}


def test_rounds_of_fine_tuning_hold_the_last_factor_in_train():
    seen = []
    net = train(rewire.IMP(rounds=2, restore="nothing"), lambda step: 0.5**step, seen)
    assert [rate for round_, rate in seen if round_] == [0.1 * 0.5**3] * 8
    assert net.data_step == 12  # the order of data goes on all the same


def test_a_cosine_does_not_climb_back_while_the_rate_rests():
    """Beyond its end a cosine of one's own rises again; it is not asked for those steps."""
    asked = []

    def floor(step):
        asked.append(step)
        return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 4))

    train(rewire.IMP(rounds=1, restore="nothing"), floor, [])
    assert max(asked) == 3


def test_a_session_that_was_saved_beyond_its_schedule_goes_on_at_the_last_step():
    net = train(rewire.IMP(rounds=1, restore="nothing"), None, [])
    net.load_state_dict({**net.state_dict(), "schedule_step": 7})
    assert net.schedule_step == 3


@pytest.mark.parametrize("rule", [rewire.IMP(restore="nothing"),
                                  rewire.IMP(restore="nothing", rounds=1)])  # fmt: skip
def test_fine_tuning_at_no_rate_is_refused_before_the_first_step(rule):
    cosine = lambda step: 0.5 * (1 + math.cos(math.pi * step / 3))  # noqa: E731
    seen = []
    with pytest.raises(ValueError, match="IMP trains on at .* leaves 0 of the rate there"):
        train(rule, cosine, seen)
    assert not seen
    train(rewire.IMP(rounds=1, restore="learning_rate"), cosine, seen)
    assert seen


def test_a_rate_that_is_the_factor_itself_is_no_lost_rate():
    train(rewire.IMP(rounds=1, restore="nothing"), lambda step: 1e-5, [])


@pytest.mark.parametrize(
    ("rules", "label"),
    [
        ([{"rule": "IMP", "restore": "nothing"}], "IMP"),
        ([*BASE["rules"], "FineTune"], "FineTune"),
        ([*BASE["rules"], {"rule": "FineTune", "label": "tuned"}], "tuned"),
    ],
)
def test_an_experiment_under_a_cosine_refuses_to_fine_tune(rules, label):
    long = {"schedule": SCHEDULES["cosine"], "steps": 500}
    with pytest.raises(ConfigError, match=rf"rules.{label}: \w+ trains on .* RateRewind"):
        parse({**BASE, **long, "rules": rules})
    parse({**BASE, **long, "rules": [*BASE["rules"], "RateRewind"]})
    parse({**BASE, "rules": rules})


@pytest.mark.parametrize("rule", ["IMP", "FineTune"])
def test_cells_fine_tune_at_the_factor_of_the_last_step(tmp_path, monkeypatch, rule):
    """3 halvings in 20 steps, and no fourth while the ticket is fine-tuned."""
    factors, at = [], StepSchedule.at

    def recorded(self, step, steps):
        factors.append(at(self, step, steps))
        return factors[-1]

    monkeypatch.setattr(StepSchedule, "at", recorded)
    once = {"rule": "IMP", "fraction": 0.9, "rounds": 1}
    rules = [{**once, "restore": "nothing"}] if rule == "IMP" else [once, "FineTune"]
    experiment = {**BASE, "rules": rules, "schedule": SCHEDULES["step"]}
    parse(experiment)
    factors.clear()
    run_experiment(experiment, out=tmp_path / "out", workers=0, report=False)
    assert factors[-STEPS:] == [0.5**3] * STEPS

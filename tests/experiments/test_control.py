"""Actor-critic in environments: targets, loss, episodes, cells in both worlds, refusals."""

import builtins
import math

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")

import gymnasium

from rewire import models
from rewire.experiments import data, store
from rewire.experiments.data import control
from rewire.experiments.data.environments import sample
from rewire.experiments.engines.remains import is_finished
from rewire.experiments.errors import ConfigError
from rewire.experiments.kinds import parse, plan
from rewire.experiments.kinds import work as work_of
from rewire.experiments.tasks import ActorCritic, of_table, table_of
from rewire.experiments.trainings.rollouts import Rollouts

BASE = {
    "name": "poles",
    "model": {"name": "actor-critic", "hidden": [16, 16]},
    "data": {"name": "gymnasium:CartPole-v1", "validation": 3},
    "task": {"name": "actor-critic", "environments": 4},
    "optimizer": {"name": "adam", "lr": 3e-3},
    "batch": 20,
    "steps": 24,
    "evaluate_every": 12,
    "densities": [0.3],
    "seeds": 1,
}
POLE = "gymnasium:CartPole-v1"


@pytest.fixture
def part():
    return data.load(POLE).train


def rollouts(part, **fields):
    return Rollouts(part, 20, 0, ActorCritic(environments=4, **fields))


def bold(x):
    """A policy that pushes to the side where the pole leans, and sees value in leaning."""
    lean = 9 * x[:, 2:3]
    return torch.cat([-lean, lean, 5 + lean], 1)


# --- what is learned from ---


@pytest.mark.parametrize(("discount", "trace"), [(0.9, 1.0), (0.9, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_targets_are_the_sums_of_lambda_returns_written_out(part, discount, trace):
    """Each is the mix of n-step returns that lambda weights, cut at the ends of episodes."""
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(5, 4)), rng.normal(size=(6, 4))
    goes_on = (rng.random((5, 4)) < 0.7).astype(float)
    found = rollouts(part, discount=discount, trace=trace)._targets(rewards, values, goes_on)

    def returns(t, i):
        """The return of each number of steps from t on, the rest bootstrapped."""
        total, factor = 0.0, 1.0
        for s in range(t, 5):
            total += factor * rewards[s, i]
            factor *= discount * goes_on[s, i]
            yield total + factor * values[s + 1, i]

    for t, i in np.ndindex(5, 4):
        by_steps = list(returns(t, i))
        n = len(by_steps)
        weights = [(1 - trace) * trace**k for k in range(n - 1)] + [trace ** (n - 1)]
        assert found[t, i] == pytest.approx(np.dot(weights, by_steps))


def test_targets_are_the_returns_of_stable_baselines(part):
    buffers = pytest.importorskip("stable_baselines3.common.buffers")
    env = gymnasium.make("CartPole-v1")
    buffer = buffers.RolloutBuffer(5, env.observation_space, env.action_space, gae_lambda=0.8,
                                   gamma=0.95, n_envs=4)  # fmt: skip
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(5, 4)), rng.normal(size=(6, 4))
    ended = rng.random((5, 4)) < 0.3
    buffer.rewards[:], buffer.values[:] = rewards, values[:5]
    buffer.episode_starts[1:] = ended[:4]
    buffer.compute_returns_and_advantage(torch.from_numpy(values[5]), ended[4])
    ours = rollouts(part, discount=0.95, trace=0.8)._targets(rewards, values, 1.0 - ended)
    assert ours == pytest.approx(buffer.returns, abs=1e-5)


def test_a_batch_holds_what_was_seen_and_done_and_the_rewards_that_followed(part):
    stream = rollouts(part, discount=1.0)
    stream.attend(lambda x: torch.zeros(len(x), 3))
    x, y = stream(0)
    assert x.shape == (20, 4) and y.shape == (20, 2) and x.dtype == y.dtype == torch.float32
    assert set(y[:, 0].tolist()) == {0.0, 1.0}
    # each step is worth 1, and none of four poles falls in five steps
    assert y[:, 1].view(5, 4).tolist() == [[5 - t] * 4 for t in range(5)]
    # the observation after a step is the one that the environment computes of it
    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset()
    env.state = x[0].double().numpy()
    assert env.step(int(y[0, 0]))[0] == pytest.approx(x[4].numpy(), abs=1e-6)


def test_only_at_a_time_limit_an_ended_episode_is_worth_what_the_policy_thinks(part):
    """Pendulums that nobody swings never come up: their episodes end by time alone."""
    other = data.load("gymnasium:Acrobot-v1").train
    stream = Rollouts(other, 1000, 0, ActorCritic(environments=2, discount=0.5))
    stream.attend(lambda x: torch.tensor([[0.0, 99.0, 0.0, 7.0]]).expand(len(x), -1))
    _, y = stream(0)
    targets = y[:, 1].view(500, 2)
    assert targets[-1].tolist() == [-1 + 0.5 * 7] * 2
    assert stream.columns()["train_return"] == -500.0

    falling = rollouts(part, discount=0.5)
    falling.attend(lambda x: torch.tensor([[99.0, 0.0, 7.0]]).expand(len(x), -1))
    targets = torch.cat([falling(step)[1][:, 1] for step in range(4)])
    assert 1.0 in targets.tolist()  # the step on which a pole fell is worth its reward alone


def test_the_loss_is_its_formula_and_its_gradient_that_of_the_policy():
    torch.manual_seed(0)
    outputs = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    y = torch.stack([torch.tensor([0, 1, 2, 0, 1, 2]).double(), torch.randn(6).double()], 1)
    task = ActorCritic(value=0.7, entropy=0.2)
    loss = task.loss(outputs, y)
    total = 0.0
    for row, (action, target) in zip(outputs.tolist(), y.tolist(), strict=True):
        odds = np.exp(row[:3]) / np.exp(row[:3]).sum()
        entropy = -(odds * np.log(odds)).sum()
        error = target - row[3]
        total += 0.7 * error**2 - error * math.log(odds[int(action)]) - 0.2 * entropy
    assert loss.item() == pytest.approx(total / 6)
    loss.backward()
    # the advantage is a number: values learn from their own error alone
    assert outputs.grad[:, 3] == pytest.approx((-2 * 0.7 * (y[:, 1] - outputs[:, 3]) / 6).detach())


def test_normalised_advantages_do_not_depend_on_the_scale_of_rewards():
    torch.manual_seed(0)
    logits, y = torch.randn(8, 2), torch.stack([torch.arange(8) % 2, torch.randn(8)], 1)
    task = ActorCritic(value=0.0, entropy=0.0, normalise=True)
    for scale in (1.0, 50.0):
        outputs = torch.cat([logits, torch.zeros(8, 1)], 1)
        loss = task.loss(outputs, torch.stack([y[:, 0], scale * y[:, 1]], 1))
        assert loss.item() == pytest.approx(task.loss(outputs, y).item(), abs=1e-5)


def test_actions_are_drawn_as_often_as_the_policy_says():
    logits = np.log(np.tile([[0.1, 0.6, 0.3]], (30_000, 1)))
    drawn = sample(logits, np.random.default_rng(0).random(30_000))
    assert np.bincount(drawn) / 30_000 == pytest.approx([0.1, 0.6, 0.3], abs=0.01)
    assert sample(np.array([[0.0, -np.inf]]), np.array([1 - 2**-53])).tolist() == [0]


# --- episodes ---


def test_environments_go_on_from_their_state_as_if_nothing_had_been(part):
    whole, first = rollouts(part), rollouts(part)
    for stream in (whole, first):
        stream.attend(bold)
        for step in range(3):
            stream(step)
    again = rollouts(part)
    again.attend(bold)
    again.load(first.state())
    for step in range(3, 6):
        for ours, theirs in zip(again(step), whole(step), strict=True):
            assert torch.equal(ours, theirs)
    assert again.columns() == whole.columns()


def test_after_a_step_that_does_not_follow_the_environments_begin_anew(part):
    stream, fresh = rollouts(part), rollouts(part)
    for step in (0, 1, 2):
        stream(step)
    x, _ = stream(1)
    assert torch.equal(x, fresh(1)[0])
    assert x[:4].abs().max() <= 0.05  # where CartPole starts


def test_evaluations_meet_the_same_episodes_and_parts_meet_others():
    poles = data.load(POLE, validation=4)
    first = poles.validation.returns(bold)
    assert first.tolist() == poles.validation.returns(bold).tolist()
    assert len(first) == len(poles.validation) == 4 and len(poles.test.returns(bold)) == 50
    assert first.tolist() != poles.test.returns(bold)[:4].tolist()
    assert first.tolist() != data.load(POLE, validation=4, seed=1).validation.returns(bold).tolist()
    greedy = poles.validation.returns(bold, greedy=True)
    assert first.tolist() != greedy.tolist() and first.mean() > 25  # at random: 22


def test_the_model_has_a_logit_for_each_action_and_a_value(part):
    info = data.info(POLE)
    model = models.build("actor-critic", generator=torch.Generator().manual_seed(0),
                         input_shape=info.shape, classes=info.classes)  # fmt: skip
    assert sum(p.numel() for p in model.parameters()) == 4_675
    x = part.tensor(np.ones((2, 4), np.float32))
    assert torch.equal(model(x)[:, -1:], model.value(model.hidden(x)))


# --- cells ---


def run(out, stop_after=None, **changes):
    """The rows of a run's cells; each is stopped after so many steps, and resumed."""
    experiment = parse({**BASE, **changes})
    work, folder = work_of(experiment), store.Run(out)
    rows = []
    for cell in plan(experiment):
        path, calls = folder.cell(cell.hash).path, iter(range(1000))
        parents = {role: folder.cell(h).path for role, h in cell.parents.items()}
        if stop_after is not None:
            work(cell, path, parents, lambda event: None,
                 lambda calls=calls: next(calls) > stop_after)  # fmt: skip
            assert not is_finished(path)
        work(cell, path, parents, lambda event: None, lambda: False)
        assert folder.cell(cell.hash).cell()["versions"]["gymnasium"] == gymnasium.__version__
        rows += [row for row in folder.cell(cell.hash).events() if row["event"] == "level"]
    return rows


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_cells_of_every_kind_resume_to_the_same_bytes(tmp_path, world):
    ladder = {"rule": "IMP", "rewind": 6, "fraction": 0.6}
    rules = ["Dense", ladder, "RigL", "RandomTicket", "SNIP"]
    if world == "sparse":
        rules = [ladder, "RandomReinit", "DeepR"]
    rows = run(tmp_path / "whole", world=world, rules=rules)
    stopped = run(tmp_path / "stopped", stop_after=13, world=world, rules=rules)
    assert store.without_times(stopped) == store.without_times(rows)
    assert len(rows) == {"masked": 7, "sparse": 6}[world]
    for row in rows:
        assert row["task"] == "actor-critic" and row["metric"] == "return"
        assert 8 <= row["test_return"] <= 500 and row["val_loss"] == -row["val_return"]
        assert row["train_return"] > 8
        rewound = row["rule"] == "IMP" and row["level"] > 0  # others begin with fresh weights
        assert row["environment_steps"] == 20 * (24 - 6 * rewound)


def test_steps_to_the_threshold_are_those_of_the_first_evaluation_that_reached_it(tmp_path):
    easy = {**BASE["task"], "threshold": 1.0}
    hard = {**BASE["task"], "threshold": 501.0}
    (row,) = run(tmp_path / "easy", task=easy, rules=["Dense"])
    assert row["steps_to_threshold"] == 12 * 20
    (row,) = run(tmp_path / "hard", task=hard, rules=["Dense"])
    assert row["steps_to_threshold"] is None


def test_a_policy_learns_to_hold_the_pole(tmp_path):
    """Acting at random holds it for 22 steps."""
    task = {"name": "actor-critic", "environments": 16}
    (row,) = run(tmp_path / "out", rules=["Dense"], batch=256, steps=120, evaluate_every=120,
                 model={"name": "actor-critic", "hidden": [64, 64]},
                 optimizer={"name": "adam", "lr": 0.01}, task=task)  # fmt: skip
    random = data.load(POLE).test.returns(lambda x: torch.zeros(len(x), 3)).mean()
    assert random < 30 and row["test_return"] > 3 * random


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 21}, "batch: 21 steps cannot be shared out over 4 environments"),
        ({"epochs": 2, "steps": None}, "has no epochs"),
        ({"evaluate_every": "epoch"}, "has no epochs"),
        ({"evaluate_train": True}, "evaluate_train: .* has no training set"),
        ({"rules": [{"rule": "SET", "when": {"every": "epoch"}}]}, "rules.SET.epochs: .*no epochs"),
        ({"rules": [{"rule": "SET", "train": {"batch": 6}}]}, "rules.SET.batch: 6 steps cannot"),
        ({"task": {"name": "actor-critic", "discount": 1.5}}, "discount = 1.5: a number from 0"),
        ({"task": {"name": "actor-critic", "trace": -0.1}}, "trace = -0.1: a number from 0"),
        ({"task": {"name": "actor-critic", "entropy": -1.0}}, "entropy = -1.0: a coefficient"),
        ({"task": {"name": "actor-critic", "environments": 0}}, "environments = 0: at least 1"),
        ({"task": {"name": "actor-critic", "discont": 0.9}}, "did you mean 'discount'"),
        ({"task": "classification"}, "is for a class an example, and gymnasium:CartPole-v1 is for"),
        ({"data": "digits"}, "is for actions in an environment, and digits is for"),
        ({"data": "gymnasium:CartPool-v1"}, "CartPool-v1 cannot be made.*CartPole"),
        ({"data": "gymnasium:Pendulum-v1"}, "Pendulum-v1 has actions Box.*take one with Discrete"),
        ({"data": "gymnasium:FrozenLake-v1"}, "has observations Discrete"),
        ({"data": {"name": POLE, "validation": 0}}, "data.validation: should be"),
        ({"model": {"name": "actor-critic", "hidden": []}}, "a policy with a value has hidden"),
        ({"model": {"name": "actor-critic", "activation": "gelu"}}, "there are tanh, relu"),
        ({"rules": ["IMP", {"rule": "Pretrained", "steps": 2}]}, "pre-trains a classifier"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_step(changes, message):
    tree = {**BASE, "rules": ["SET"], **changes}
    with pytest.raises(ConfigError, match=message):
        plan(parse({key: value for key, value in tree.items() if value is not None}))


def without(monkeypatch, *packages):
    control.source_of.cache_clear()
    importing = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] in packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importing(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_gymnasium_the_message_says_how_to_install_it(monkeypatch):
    without(monkeypatch, "gymnasium")
    with pytest.raises(ConfigError, match=r'not installed: pip install "neurorewire\[control\]"'):
        parse({**BASE, "rules": ["SET"]})


def test_without_box2d_the_message_says_how_to_install_it(monkeypatch):
    without(monkeypatch, "Box2D")
    message = r"LunarLander-v3 cannot be made: .*pip install \"gymnasium\[box2d\]\""
    with pytest.raises(ConfigError, match=message):
        parse({**BASE, "data": "gymnasium:LunarLander-v3", "rules": ["SET"]})


def test_the_task_is_a_table_of_what_differs():
    task = ActorCritic(entropy=0.0, environments=8)
    table = {"name": "actor-critic", "entropy": 0.0, "environments": 8}
    assert table_of(task) == table and of_table(table) == task

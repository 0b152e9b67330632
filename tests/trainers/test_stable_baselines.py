"""stable-baselines3 trains policies on their edges, in both worlds alike."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from own_loop import WORLDS

import rewire

baselines = pytest.importorskip("stable_baselines3")
pytestmark = pytest.mark.filterwarnings("ignore")

SETTINGS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 64, "batch_size": 32, "n_epochs": 2},
    "A2C": {"n_steps": 16},
    "DQN": {
        "learning_starts": 32, "train_freq": 4, "target_update_interval": 16, "batch_size": 16,
        "policy_kwargs": {"net_arch": [32, 32]},
    },
}  # fmt: skip
RULES = {
    "RigL": lambda: rewire.RigL(when=rewire.every(3)),
    "DeepR": rewire.DeepR,
    "GMP": lambda: rewire.GMP(when=rewire.every(2)),
}


def actor_and_critic(algorithm: str, **settings: Any) -> Any:
    pytest.importorskip("gymnasium")
    kind = getattr(baselines, algorithm)
    return kind(
        "MlpPolicy", "Pendulum-v1", seed=0, device="cpu", learning_starts=32, batch_size=16,
        policy_kwargs={"net_arch": [32, 32]}, **settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    "algorithm, network", [("TD3", "actor"), ("TD3", "critic"), ("SAC", "critic"), ("DQN", "q_net")]
)
def test_a_network_that_a_target_follows_is_refused_as_lists_of_edges(
    algorithm: str, network: str
) -> None:
    if algorithm == "DQN":
        agent: Any = baselines.DQN("MlpPolicy", "CartPole-v1", seed=0, **SETTINGS["DQN"])
        optimizer = agent.policy.optimizer
    else:
        agent = actor_and_critic(algorithm)
        optimizer = getattr(agent, network).optimizer
    before = {k: v.clone() for k, v in agent.policy.state_dict().items()}
    for rule in (rewire.Static(), rewire.RigL()):
        with pytest.raises(ValueError, match=f"'{network}_target' of this .* world='masked'"):
            rewire.attach(getattr(agent, network), optimizer, rule, density=0.2, world="sparse")
    assert all(torch.equal(v, before[k]) for k, v in agent.policy.state_dict().items())


def test_a_network_without_a_target_learns_on_lists_of_edges() -> None:
    agent = actor_and_critic("SAC")
    net = rewire.attach(
        agent.actor, agent.actor.optimizer, RULES["DeepR"](), density=0.2, world="sparse"
    )
    agent.learn(48)
    net.check()
    assert net.clock.step == 16


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("tau", [1.0, 0.05])
def test_a_target_that_follows_slowly_is_warned_of_under_masks(tau: float) -> None:
    agent = actor_and_critic("TD3", tau=tau)
    net = rewire.attach(
        agent.critic, agent.critic.optimizer, RULES["RigL"](), density=0.2, seed=0, steps=100
    )
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        agent.learn(64)
    slow = [w for w in raised if "have weights at absent synapses" in str(w.message)]
    assert len(slow) == (tau < 1)
    net.check()


def learned(algorithm: str, rule: str, world: str) -> tuple[Any, rewire.Session]:
    kind = getattr(baselines, algorithm)
    agent = kind("MlpPolicy", "CartPole-v1", seed=0, device="cpu", **SETTINGS[algorithm])
    policy = agent.q_net if algorithm == "DQN" else agent.policy
    net = rewire.attach(
        policy, agent.policy.optimizer, rule=RULES[rule](), density=0.2, seed=0, steps=60,
        world=world,
    )  # fmt: skip
    agent.learn(256)
    return agent, net


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
def test_policies_learn_on_their_edges_in_both_worlds_alike(algorithm: str, rule: str) -> None:
    nets = [learned(algorithm, rule, world)[1] for world in WORLDS]
    for net in nets:
        net.check()
        assert net.clock.step == 16
    masked, sparse = (net.graph for net in nets)
    assert torch.equal(masked.keys, sparse.keys)
    assert torch.allclose(masked["weight"], sparse["weight"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_a_target_network_that_is_copied_has_the_edges(rule: str) -> None:
    """DQN writes its network into an earlier one, wholly as long as tau is 1."""
    agent, net = learned("DQN", rule, "masked")
    net.check()
    assert net.clock.step == 56
    agent._n_calls = agent.target_update_interval - 1
    agent._on_step()
    for name, mask in net.masks().items():
        assert not agent.q_net_target.state_dict()[name][~mask].any()

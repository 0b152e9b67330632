"""Environments that a policy acts in, in the place of stored examples: gymnasium's, side by side.

An episode is a function of the seed that it is reset with and of the actions since: that is all
that a checkpoint holds of it, whatever the environment is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Policy = Callable[[Tensor], Tensor]  # observations (N, ...) -> (N, actions + 1)

SEEDS = 2**31  # gymnasium takes seeds of 0 to this, at least


class Group:
    """Environments side by side, each in an episode of its own."""

    def __init__(self, environments: Sequence[Any]):
        self.environments = environments
        shape = environments[0].observation_space.shape
        self.observations = np.zeros((len(environments), *shape), np.float32)
        self._seeds = np.zeros(len(environments), np.int64)
        self._actions: list[list[int]] = [[] for _ in environments]  # since the last reset
        self.returns = np.zeros(len(environments))  # undiscounted, since the last reset

    def reset(self, i: int, seed: int) -> None:
        """Begin an episode in environment ``i``."""
        self.observations[i], _ = self.environments[i].reset(seed=seed)
        self._seeds[i], self._actions[i], self.returns[i] = seed, [], 0.0

    def step(self, i: int, action: int) -> tuple[float, bool, bool]:
        """Act in environment ``i``: the reward, whether the episode came to an end of its own, and
        whether its time is over."""
        self.observations[i], reward, ended, out_of_time, _ = self.environments[i].step(action)
        self._actions[i].append(action)
        self.returns[i] += reward
        return float(reward), bool(ended), bool(out_of_time)

    def state(self) -> dict[str, Tensor]:
        """What the episodes follow from: seeds, and the actions since."""
        import torch

        actions = np.array([action for taken in self._actions for action in taken], np.int64)
        return {
            "seeds": torch.from_numpy(self._seeds.copy()),
            "lengths": torch.tensor([len(actions) for actions in self._actions]),
            "actions": torch.from_numpy(actions),
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Play the episodes again up to where :meth:`state` was asked for."""
        actions = state["actions"].split(state["lengths"].tolist())
        for i, (seed, past) in enumerate(zip(state["seeds"].tolist(), actions, strict=True)):
            self.reset(i, seed)
            for action in past.tolist():
                self.step(i, action)


@dataclass(frozen=True, eq=False)
class Environments:
    """A part of a data set whose examples come of acting: the environment ``id`` of gymnasium.

    episodes: in an evaluation; label and seed: what their resets and actions are drawn by.
    shape: of an observation. actions: how many there are. most: steps of an episode. threshold: the
    mean return at which the environment counts as solved, if it says.
    """

    id: str
    episodes: int
    label: str
    seed: int
    shape: tuple[int, ...]
    actions: int
    most: int
    threshold: float | None = None
    device: str = "cpu"

    def __len__(self) -> int:
        return self.episodes

    def part(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Made-up rows, for their shapes: observations, and pairs of an action and a target."""
        import torch

        n = len(range(self.episodes)[rows])
        return torch.zeros(n, *self.shape), torch.zeros(n, 2)

    def to(self, device: torch.device | str) -> Environments:
        """The same, for a model on another device; episodes are played on the CPU."""
        return replace(self, device=str(device))

    def group(self, n: int) -> Group:
        """``n`` of the environments, none of them reset."""
        return Group([make(self.id) for _ in range(n)])

    def tensor(self, observations: np.ndarray) -> Tensor:
        """Observations as a model takes them, copied."""
        import torch

        return torch.tensor(observations, device=self.device)

    def returns(self, policy: Policy, *, greedy: bool = False) -> np.ndarray:
        """Of each episode the sum of its rewards, (episodes,) float64.

        The same starts and the same draws at each call: policies are compared on equal luck.
        """
        from rewire import rng_for  # here, so that listing data sets does not cost torch's import

        rng = rng_for(self.seed, f"episodes/{self.label}").numpy
        group = self.group(self.episodes)
        for i, seed in enumerate(rng.integers(SEEDS, size=self.episodes).tolist()):
            group.reset(i, seed)
        active = np.arange(self.episodes)
        while len(active):
            outputs = policy(self.tensor(group.observations[active])).cpu().numpy()
            draws = rng.random(self.episodes)[active]
            chosen = outputs[:, :-1].argmax(1) if greedy else sample(outputs[:, :-1], draws)
            acts = zip(active.tolist(), chosen.tolist(), strict=True)
            over = [any(group.step(i, action)[1:]) for i, action in acts]
            active = active[~np.array(over)]
        return group.returns


def sample(logits: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """An action of each row, by numbers in [0, 1): how far along its cumulative probabilities.

    >>> sample(np.log([[0.25, 0.75], [0.25, 0.75]]), np.array([0.2, 0.3])).tolist()
    [0, 1]
    """
    logits = logits.astype(np.float64)
    odds = np.exp(logits - logits.max(1, keepdims=True)).cumsum(1)
    return (odds < draws[:, None] * odds[:, -1:]).sum(1)


def make(name: str) -> Any:
    """An environment by its name in gymnasium, "CartPole-v1" or "package:Name-v0".

    Raises whatever gymnasium, or the environment's own package, does.
    """
    import gymnasium

    return gymnasium.make(name, disable_env_checker=True)

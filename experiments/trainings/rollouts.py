"""Batches of acting in environments, by seed and step, for actor-critic training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewire import rng_for

from ..config.seeds import NONE_APART, SeedsApart
from ..data import Dataset
from ..data.augment import Augmenter
from ..data.environments import SEEDS, Environments, Group, sample
from ..tasks import ActorCritic
from .batches import Batches
from .settings import Settings

Policy = Callable[[Tensor], Tensor]


class Rollouts:
    """Batch of each step: what environments side by side go through under the policy as it is.

    Draws of actions and seeds of episodes are functions of seed and step, episodes those of their
    seeds and actions; after a step that does not follow on the last one every environment is reset.
    """

    looks = 1  # forward passes of each example before the step
    packages: tuple[str, ...] = ("gymnasium",)

    def __init__(
        self,
        part: Environments,
        size: int,
        seed: int,
        task: ActorCritic,
        apart: SeedsApart | None = None,
    ):
        self.part, self.seed, self.task, self.apart = part, seed, task, apart or NONE_APART
        self.length, self.n = size // task.environments, task.environments
        self.policy: Policy = self._uniform
        self._group: Group | None = None
        self._last: int | None = None  # the step of the last batch
        self.restart()

    def attend(self, policy: Policy) -> None:
        """Act by this policy from now on."""
        self.policy = policy

    def restart(self) -> None:
        """A level begins: nothing has been played of it."""
        self._last = None
        self._steps = self._episodes = 0
        self._total = 0.0
        self._reached: int | None = None

    def seed_at(self, step: int) -> int:
        """The seed of actions, episodes and dropout at a step."""
        return self.apart.of("data", self.seed, step)

    # -- what the session learns from -----------------------------------------------------------

    @property
    def group(self) -> Group:
        if self._group is None:
            self._group = self.part.group(self.n)
        return self._group

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Observations (B, ...), and actions with the targets of their values, (B, 2)."""
        group, length = self.group, self.length
        rng = rng_for(self.seed_at(step), "environments", step).numpy
        seeds = rng.integers(SEEDS, size=(length + 1, self.n)).tolist()
        draws = rng.random((length, self.n))
        if self._last is None or step != self._last + 1:
            for i in range(self.n):
                group.reset(i, seeds[length][i])
        seen = np.empty((length + 1, *group.observations.shape), np.float32)
        values, rewards = np.empty((length + 1, self.n)), np.empty((length, self.n))
        chosen = np.empty((length, self.n), np.int64)
        # the discount of what comes after a step: 0 at an end; what is added at a time limit
        goes_on = np.ones((length, self.n))
        cut: list[tuple[int, int, np.ndarray]] = []
        for t in range(length):
            seen[t] = group.observations
            outputs = self._outputs(seen[t])
            values[t], chosen[t] = outputs[:, -1], sample(outputs[:, :-1], draws[t])
            for i, action in enumerate(chosen[t].tolist()):
                rewards[t, i], ended, out_of_time = group.step(i, action)
                if ended or out_of_time:
                    goes_on[t, i] = 0.0
                    if not ended:
                        cut.append((t, i, group.observations[i].copy()))
                    self._note_episode(group.returns[i])
                    group.reset(i, seeds[t][i])
        seen[length] = group.observations
        values[length] = self._outputs(seen[length])[:, -1]
        if cut:
            beyond = self._outputs(np.stack([x for _, _, x in cut]))[:, -1]
            for (t, i, _), value in zip(cut, beyond, strict=True):
                rewards[t, i] += self.task.discount * value
        self._last = step
        self._steps += length * self.n
        targets = self._targets(rewards, values, goes_on)
        x = self.part.tensor(seen[:length].reshape(-1, *seen.shape[2:]))
        y = np.stack([chosen.ravel(), targets.ravel()], 1).astype(np.float32)
        return x, self.part.tensor(y)

    def _targets(self, rewards: np.ndarray, values: np.ndarray, goes_on: np.ndarray) -> np.ndarray:
        """Values plus generalised advantages, (length, n)."""
        discount, trace = self.task.discount, self.task.trace
        advantages = np.zeros(self.n)
        targets = np.empty_like(rewards)
        for t in reversed(range(self.length)):
            surprise = rewards[t] + discount * goes_on[t] * values[t + 1] - values[t]
            advantages = surprise + discount * trace * goes_on[t] * advantages
            targets[t] = values[t] + advantages
        return targets

    def _outputs(self, observations: np.ndarray) -> np.ndarray:
        return self.policy(self.part.tensor(observations)).cpu().numpy()

    def _uniform(self, x: Tensor) -> Tensor:
        """A policy without preferences, to which nothing is worth anything."""
        return torch.zeros(len(x), self.part.actions + 1)

    def probe(self, n: int) -> list[tuple[Tensor, Tensor]]:
        """``n`` batches of acting at random: what rules see before there is a policy."""
        other = Rollouts(self.part, self.length * self.n, self.seed, self.task)
        return [other(-1 - i) for i in range(n)]

    # -- what is recorded -----------------------------------------------------------------------

    def _note_episode(self, total: float) -> None:
        self._episodes += 1
        self._total += float(total)

    def note(self, value: float) -> None:
        """The policy as it is was judged: the mean return of its evaluation."""
        threshold = self.part.threshold if self.task.threshold is None else self.task.threshold
        if threshold is not None and self._reached is None and value >= threshold:
            self._reached = self._steps

    def columns(self) -> dict[str, Any]:
        """Of the level so far: steps in environments, mean return of the episodes that ended in
        training, and steps until an evaluation reached the threshold; None where none did."""
        return {
            "environment_steps": self._steps,
            "train_return": self._total / self._episodes if self._episodes else None,
            "steps_to_threshold": self._reached,
        }

    # -- what is kept ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Where the environments stand, and what was recorded."""
        recorded = {"steps": self._steps, "episodes": self._episodes, "total": self._total,
                    "reached": self._reached, "last": self._last}  # fmt: skip
        return {**recorded, "group": {} if self._last is None else self.group.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Stand where :meth:`state` was asked for."""
        self._steps, self._episodes = state["steps"], state["episodes"]
        self._total, self._reached, self._last = state["total"], state["reached"], state["last"]
        if self._last is not None:
            self.group.load(state["group"])


def batches_of(data: Dataset, s: Settings) -> Batches | Rollouts:
    """What a training learns from, batch by batch: stored examples, or what acting brings."""
    training, part, ways = s.training, data.train, s.data.augment
    if isinstance(part, Environments):
        return Rollouts(part, training.batch, s.seed, s.task, s.seeds_apart)  # type: ignore[arg-type]
    augmenter = None if ways is None else Augmenter(ways, data)
    return Batches(part, training.batch, s.seed, s.seeds_apart, augmenter)

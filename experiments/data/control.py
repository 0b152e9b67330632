"""Environments of gymnasium by name: ``gymnasium:CartPole-v1``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError
from ..tasks import ActorCritic
from .dataset import Dataset, Raw, Scaling
from .environments import Environments, make
from .source import Source

PREFIX = "gymnasium:"
INSTALL = 'pip install "neurorewire[control]"'
VALIDATION, TEST = 10, 50  # episodes


def is_control(name: str) -> bool:
    """Whether it is the name of an environment."""
    return name.startswith(PREFIX)


@dataclass(frozen=True)
class Simulator(Source):
    """An environment as a source: nothing is read, its parts are made of ``environment``."""

    environment: Environments | None = None

    def dataset(self, validation: int, seed: int) -> Dataset:
        """The three parts; ``validation``: episodes of that part. Starts and draws of evaluations
        follow from ``seed``, apart for validation and test."""
        environment: Any = self.environment
        parts = {
            label: type(environment)(
                **{**vars(environment), "label": label, "seed": seed, "episodes": n}
            )
            for label, n in (("train", 1), ("validation", validation), ("test", self.test))
        }
        return Dataset(name=self.name, **parts, classes=self.classes, shape=self.shape,
                       scaling=Scaling("none", 1.0, (), ()))  # fmt: skip


@functools.lru_cache(maxsize=16)
def source_of(name: str) -> Simulator:
    """The source of a name such as ``gymnasium:CartPole-v1``.

    Raises DataError where gymnasium is not installed, for an environment that cannot be made, and
    for one without discrete actions, observations in numbers and an end of each episode.
    """
    id = name.removeprefix(PREFIX)
    environment = _environment(id)
    return Simulator(
        name=name,
        title=f"episodes of {id}",
        shape=environment.shape,
        classes=environment.actions + 1,  # the logit of each action, and the value
        train=0,
        validation=VALIDATION,
        test=TEST,
        mean=(),
        std=(),
        peak=1.0,
        origin="played while a model trains, by the package gymnasium",
        licence="MIT (gymnasium)",
        citation="Towers et al. 2024 (Gymnasium: A Standard Interface for Reinforcement Learning "
        "Environments, arXiv:2407.17032)",
        read=_nothing,
        task=ActorCritic(),
        inputs="observations",
        steps=environment.most,
        environment=environment,
    )


def _environment(id: str) -> Environments:
    try:
        one = make(id)
    except ModuleNotFoundError as error:
        if error.name != "gymnasium":
            raise DataError(f"the environment {id} needs a package: {error}") from error
        raise DataError(f"{PREFIX}{id} is played by gymnasium, which is not installed: "
                        f"{INSTALL}") from error  # fmt: skip
    except Exception as error:  # an environment of somebody's may fail in any way
        raise DataError(f"the environment {id} cannot be made: {error}") from error
    try:
        return _described(id, one)
    finally:
        one.close()


def _described(id: str, one: Any) -> Environments:
    from gymnasium.spaces import Box, Discrete

    if not isinstance(one.action_space, Discrete):
        raise DataError(f"the environment {id} has actions {one.action_space}, and a policy here "
                        "chooses one of several: take one with Discrete actions")  # fmt: skip
    if not isinstance(one.observation_space, Box):
        raise DataError(f"the environment {id} has observations {one.observation_space}, and a "
                        "model reads arrays of numbers: wrap it, so that they are a "
                        "Box")  # fmt: skip
    if not one.spec.max_episode_steps:
        raise DataError(f"the episodes of {id} may last for ever: register it with "
                        "max_episode_steps")  # fmt: skip
    return Environments(
        id=id,
        episodes=1,
        label="train",
        seed=0,
        shape=tuple(one.observation_space.shape),
        actions=int(one.action_space.n),
        most=int(one.spec.max_episode_steps),
        threshold=one.spec.reward_threshold,
    )


def _nothing() -> Raw:
    """No examples: they are made while a model trains."""
    none = np.zeros(0, np.float32)
    return Raw(none, none, none, none)

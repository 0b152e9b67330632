"""A scheduler of torch, brought to whichever step of a round the learning rate is to be that of."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau


class Factors:
    """The learning rate at a step of a round, by a factor on what it is at first."""

    def __init__(self, schedule: Callable[[int], float] | None, optimizer: torch.optim.Optimizer):
        self._schedule, self._optimizer = schedule, optimizer
        self._first = [group["lr"] for group in self._optimizer.param_groups]

    def go_to(self, step: int) -> None:
        """Give the optimizer the rates of that step, counted from 0."""
        if self._schedule is not None:
            for group, rate in zip(self._optimizer.param_groups, self._first, strict=True):
                group["lr"] = rate * self._schedule(step)

    def factors(self, steps: int) -> list[float]:
        """The factor at each step of a round."""
        return [1.0 if self._schedule is None else self._schedule(s) for s in range(steps)]


class Scheduled:
    """The learning rate at a step of a round, by a scheduler that was made for step 0.

    scheduler: any of torch.optim.lr_scheduler but ReduceLROnPlateau, of this optimizer, not yet
    stepped. Going back starts it anew and steps it as far as asked for.

    >>> weight = torch.nn.Parameter(torch.zeros(3))
    >>> optimizer = torch.optim.SGD([weight], lr=0.8)
    >>> rate = Scheduled(torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5), optimizer)
    >>> for step in (0, 1, 2, 4, 1):
    ...     rate.go_to(step)
    ...     print(optimizer.param_groups[0]["lr"])
    0.8
    0.8
    0.4
    0.2
    0.8
    """

    def __init__(self, scheduler: Any, optimizer: torch.optim.Optimizer):
        if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(
                "scheduler= takes a scheduler of torch that is stepped by itself, once a step, got "
                f"{type(scheduler).__name__}: give schedule=, step -> factor, for another."
            )
        if scheduler.optimizer is not optimizer:
            raise ValueError(
                "this scheduler is another optimizer's: make it with the one you pass."
            )
        if stepped := _steps_of(scheduler):
            raise ValueError(f"this scheduler stands at step {stepped}: pass it as it was made.")
        self._scheduler, self._optimizer = scheduler, optimizer
        self._first = copy.deepcopy(scheduler.state_dict()), self._numbers()
        self._at = 0

    def _numbers(self) -> list[dict[str, Any]]:
        return [copy.deepcopy({key: value for key, value in group.items() if key != "params"})
                for group in self._optimizer.param_groups]  # fmt: skip

    def start_anew(self) -> None:
        """Stand at step 0 again, with every number that the scheduler may have changed."""
        state, numbers = copy.deepcopy(self._first)
        self._scheduler.load_state_dict(state)
        for group, of_group in zip(self._optimizer.param_groups, numbers, strict=True):
            group.update(of_group)
        self._at = 0

    def go_to(self, step: int) -> None:
        """Give the optimizer the rates of that step, counted from 0."""
        if step < self._at:
            self.start_anew()
        while self._at < step:
            self._scheduler.step()
            self._at += 1

    def factors(self, steps: int) -> list[float]:
        """What the first group's rate is multiplied by at each step of a round."""
        rates = []
        with warnings.catch_warnings():  # torch misses the optimizer's own steps
            warnings.simplefilter("ignore")
            for step in range(steps):
                self.go_to(step)
                rates.append(float(self._optimizer.param_groups[0]["lr"]))
            self.start_anew()
        return rates


def _steps_of(scheduler: Any) -> int:
    """How often a scheduler was stepped; a chain knows only of its parts."""
    parts = getattr(scheduler, "_schedulers", [])
    own: int | None = getattr(scheduler, "last_epoch", None)
    return _steps_of(parts[0]) if own is None else own

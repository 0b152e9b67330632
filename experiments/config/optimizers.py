"""Optimisers and schedules of the learning rate, as tables of an experiment file."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .values import Count, Fraction, NonNegative, Period, Positive, Table


class SGD(Table):
    name: Literal["sgd"]
    lr: Positive
    momentum: Fraction = 0.0
    dampening: NonNegative = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "SGD":
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov = true takes a momentum above 0 and no dampening")
        return self


class Adam(Table):
    name: Literal["adam", "nadam", "radam", "adamax"]
    lr: Positive
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.999]
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0


class AdamW(Adam):
    name: Literal["adamw"]  # type: ignore[assignment]
    weight_decay: NonNegative = 0.01


class RMSprop(Table):
    name: Literal["rmsprop"]
    lr: Positive
    alpha: Fraction = 0.99
    eps: Positive = 1e-8
    momentum: Fraction = 0.0
    centered: bool = False
    weight_decay: NonNegative = 0.0


class Adagrad(Table):
    name: Literal["adagrad"]
    lr: Positive
    lr_decay: NonNegative = 0.0
    eps: Positive = 1e-10
    weight_decay: NonNegative = 0.0


Optimizer = Annotated[SGD | Adam | AdamW | RMSprop | Adagrad, Field(discriminator="name")]


class _Schedule(Table):
    warmup: Annotated[int, Field(ge=0)] = 0

    def at(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by at ``step`` (0-based) of a level of ``steps``.

        After the level's last step its factor holds: fine-tuning goes on at it.
        """
        step = min(step, steps - 1)
        ramp = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return ramp * self._factor(step, steps)

    def _factor(self, step: int, steps: int) -> float:
        return 1.0


class ConstantSchedule(_Schedule):
    """No change but the warm-up, which rises linearly over the first ``warmup`` steps."""

    kind: Literal["constant"]


class StepSchedule(_Schedule):
    """Times ``factor`` after every ``every`` steps."""

    kind: Literal["step"]
    factor: Positive
    every: Period

    def _factor(self, step: int, steps: int) -> float:
        return self.factor ** (step // self.every)  # type: ignore[operator]


class MilestoneSchedule(_Schedule):
    """Times ``factor`` at each of the steps ``at_steps`` (written ``at`` in the file)."""

    kind: Literal["milestones"]
    at_steps: Annotated[list[Count], Field(alias="at", min_length=1)]
    factor: Positive = 0.1

    def _factor(self, step: int, steps: int) -> float:
        return self.factor ** sum(step >= at for at in self.at_steps)


class CosineSchedule(_Schedule):
    """Half a cosine from 1 at the first step to 0 after the last."""

    kind: Literal["cosine"]

    def _factor(self, step: int, steps: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))


Schedule = Annotated[
    ConstantSchedule | StepSchedule | MilestoneSchedule | CosineSchedule,
    Field(discriminator="kind"),
]

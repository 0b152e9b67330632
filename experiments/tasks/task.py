"""What a model is trained for: a loss and a metric, in one frozen value."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from rewire.names import unknown
from rewire.strategy import Plain

from ..metric import Metric

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from rewire.session import Session
    from rewire.world import Trainable

Targets = Literal["classes", "numbers", "classes by place", "classes by place of a pair", "actions"]
IGNORED = -100  # a target at a place that does not count


class Examples(Protocol):
    """A part of a data set, as `experiments.data.Split`."""

    @property
    def pieces(self) -> Sequence[bytes]: ...
    def __len__(self) -> int: ...
    def part(self, rows: slice) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class Task(Plain):
    """A loss, which training lowers, and a metric, which results are judged by.

    A subclass defines `loss`, `tally` and `metric_of`, and says what it is for:

    targets: of its data: "classes", (N,) whole numbers; "numbers", (N, outputs); "classes by
             place", (N, T) whole numbers, -100 where a place does not count; "classes by place
             of a pair", the same of inputs (N, 2, T); "actions", (N, 2), an action and the return
             from there on.
    metrics: those that the field ``metric`` can name; the first is the default.
    at_once: examples in a pass of evaluation.
    """

    targets: ClassVar[Targets]
    metrics: ClassVar[tuple[Metric, ...]]
    at_once: ClassVar[int] = 1000

    metric: str = ""

    def __post_init__(self) -> None:
        known = [metric.key for metric in self.metrics]
        if not self.metric:
            object.__setattr__(self, "metric", known[0])
        elif self.metric not in known:
            raise ValueError(unknown("metric", self.metric, known))

    @property
    def judged_by(self) -> Metric:
        """The metric that the field ``metric`` names."""
        return next(metric for metric in self.metrics if metric.key == self.metric)

    # -- what a task is -------------------------------------------------------------------------

    @abstractmethod
    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """What training lowers: a scalar, a mean over the targets of a batch."""

    @abstractmethod
    def tally(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Sums over the targets of a batch, (k,): first of the loss, then how many targets, then
        whatever the metric is made of."""

    @abstractmethod
    def metric_of(self, sums: Sequence[float]) -> float:
        """The metric of a whole part, from the sums of its tallies."""

    def output_shape(self, shape: Sequence[int], outputs: int) -> tuple[int, ...]:
        """What a model computes of one example of ``shape``."""
        if self.targets == "classes by place":
            return (shape[0], outputs)
        return (outputs,)

    @property
    def lacks(self) -> str | None:
        """What is not installed that its metrics need, as the end of a sentence; None: nothing."""
        return None

    def unfit(self, batch: int) -> str | None:
        """Why batches of this size cannot be had, or None."""
        return None

    # -- what experiments do with it ------------------------------------------------------------

    def learn(self, net: Session, x: Tensor, y: Tensor) -> float:
        """One training step of a session, its rules left out: the loss."""
        return net.learn(x, y, loss=self.loss)

    def measure(self, world: Trainable, split: Examples) -> tuple[float, float]:
        """Mean loss and metric over a part of the data, in evaluation mode."""
        sums = self.sums(world.outputs, split)
        if not sums or not sums[1]:
            return math.nan, math.nan
        return sums[0] / sums[1], self.metric_of(sums)

    def sums(
        self, outputs: Callable[[Tensor], Tensor], split: Examples, most: int | None = None
    ) -> list[float]:
        """The sums of all tallies over a part of the data, or its first ``most`` examples."""
        sums: list[float] = []
        n = len(split) if most is None else min(most, len(split))
        for lo in range(0, n, self.at_once):
            x, y = self.shortened(*split.part(slice(lo, min(lo + self.at_once, n))))
            batch = self.tally(outputs(x), y).double().tolist()
            sums = [a + b for a, b in zip(sums, batch, strict=True)] if sums else batch
        return sums

    def shortened(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The same examples without places that nothing reads."""
        return x, y

    def beside(self, world: Trainable, split: Examples) -> dict[str, float]:
        """Its other metrics of the test part at the end of a level, by key."""
        return {}

    def example(self, info: Any, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """``n`` made-up examples of a data set's shapes, for timing a step."""
        import torch

        if info.inputs == "tokens":
            x = torch.randint(info.classes, (n, *info.shape), generator=generator)
        else:
            x = torch.randn(n, *info.shape, generator=generator)
        if self.targets == "numbers":
            return x, torch.randn(n, info.classes, generator=generator)
        places = info.shape[:1] if self.targets == "classes by place" else ()
        return x, torch.randint(info.classes, (n, *places), generator=generator)

    def targets_of(self, shape: Sequence[int]) -> int:
        """How many targets an example of ``shape`` has."""
        return shape[0] if self.targets == "classes by place" else 1

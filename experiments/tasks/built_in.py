"""Classification, regression, the next token, and a class at each place of a sequence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..metric import ACCURACY, Metric
from .task import IGNORED, Examples, Targets, Task

if TYPE_CHECKING:
    from torch import Tensor

    from rewire.session import Session
    from rewire.world import Trainable

LARGEST = 700.0  # mean losses beyond have no perplexity that a float can hold


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """One class an example: cross-entropy, judged by accuracy.

    In the sparse world both passes and the step are one native call, where a model can be traced.

    smoothing: of the labels that training learns (Szegedy et al. 2016, arXiv:1512.00567): the
        target of every class is this fraction over the number of classes, and the rest is that of
        the right one. What is measured is the cross-entropy of the labels as they are.
    """

    kind: ClassVar[str] = "a class an example"
    targets: ClassVar[Targets] = "classes"
    metrics: ClassVar[tuple[Metric, ...]] = (ACCURACY,)

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing is a fraction from 0 to below 1, got {self.smoothing}.")

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, y, label_smoothing=self.smoothing)

    def tally(self, outputs: Tensor, y: Tensor) -> Tensor:
        return tally_classes(outputs, y)

    def metric_of(self, sums: Sequence[float]) -> float:
        return sums[2] / sums[1]

    def learn(self, net: Session, x: Tensor, y: Tensor) -> float:
        return net.learn(x, y, loss=self.loss if self.smoothing else None)

    def measure(self, world: Trainable, split: Examples) -> tuple[float, float]:
        return loss_and_accuracy(world.evaluate, split, self.at_once)


@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """Numbers an example: mean squared error, judged by R² or by the error itself.

    R² is 1 minus the squared error over the variance of the targets, both summed over outputs.

    >>> import torch
    >>> y = torch.tensor([[1.0], [2.0], [3.0]])
    >>> task = Regression()
    >>> task.metric_of(task.tally(y + 0.5, y).tolist())
    0.625
    """

    kind: ClassVar[str] = "numbers an example"
    targets: ClassVar[Targets] = "numbers"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("r2", "R²"),
        Metric("mse", "mean squared error", lower=True),
    )

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        from torch.nn.functional import mse_loss

        return mse_loss(_alike(outputs, y), y)

    def tally(self, outputs: Tensor, y: Tensor) -> Tensor:
        import torch

        y = y.double()
        error = (_alike(outputs, y) - y).square().sum()
        count = torch.tensor(float(y.numel()), dtype=torch.float64)
        rows = torch.tensor(float(len(y)), dtype=torch.float64)
        return torch.cat([torch.stack([error.cpu(), count, rows]), y.sum(0).cpu(),
                          y.square().sum(0).cpu()])  # fmt: skip

    def metric_of(self, sums: Sequence[float]) -> float:
        error, count, rows, *moments = sums
        if self.metric == "mse":
            return error / count
        outputs = len(moments) // 2
        total = sum(
            square - first**2 / rows
            for first, square in zip(moments[:outputs], moments[outputs:], strict=True)
        )
        return 1 - error / total if total > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class NextToken(Task):
    """The token after each place of a sequence: cross-entropy, judged by perplexity or in bits."""

    kind: ClassVar[str] = "the next token at each place"
    targets: ClassVar[Targets] = "classes by place"
    at_once: ClassVar[int] = 100
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("perplexity", "perplexity", lower=True),
        Metric("bits", "bits per token", lower=True),
        Metric("bpc", "bits per character", lower=True),  # where a token is a character
    )

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return _cross_entropy_by_place(outputs, y)

    def tally(self, outputs: Tensor, y: Tensor) -> Tensor:
        return tally_classes(outputs, y)

    def metric_of(self, sums: Sequence[float]) -> float:
        loss = sums[0] / sums[1]
        return math.exp(min(loss, LARGEST)) if self.metric == "perplexity" else loss / math.log(2)


@dataclass(frozen=True, kw_only=True)
class Frames(Task):
    """A class at each place of a sequence: cross-entropy, judged by accuracy over the places."""

    kind: ClassVar[str] = "a class at each place"
    targets: ClassVar[Targets] = "classes by place"
    at_once: ClassVar[int] = 100
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("frames", "accuracy by place", percent=True),)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return _cross_entropy_by_place(outputs, y)

    def tally(self, outputs: Tensor, y: Tensor) -> Tensor:
        return tally_classes(outputs, y)

    def metric_of(self, sums: Sequence[float]) -> float:
        return sums[2] / sums[1]


def loss_and_accuracy(
    evaluate: Callable[[Tensor, Tensor], tuple[float, int]], split: Examples, at_once: int = 1000
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy (a fraction) over a split.

    evaluate: mean cross-entropy of a batch, and how many of it are classified right.
    """
    loss, right = 0.0, 0
    for lo in range(0, len(split), at_once):
        x, y = split.part(slice(lo, lo + at_once))
        mean, correct = evaluate(x, y)
        loss, right = loss + mean * len(y), right + correct
    return loss / len(split), right / len(split)


def _cross_entropy_by_place(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean over the places that count. outputs: (N, T, classes); y: (N, T)."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs.flatten(0, 1), y.flatten(), ignore_index=IGNORED)


def tally_classes(outputs: Tensor, y: Tensor) -> Tensor:
    """Summed cross-entropy, targets that count, and how many of them have the largest output."""
    import torch
    from torch.nn.functional import cross_entropy

    scores, wanted = outputs.flatten(0, -2), y.flatten()
    counts = wanted != IGNORED
    loss = cross_entropy(scores, wanted, ignore_index=IGNORED, reduction="sum")
    right = (scores.argmax(1) == wanted) & counts
    return torch.stack([loss.double(), counts.sum().double(), right.sum().double()])


def _alike(outputs: Tensor, y: Tensor) -> Tensor:
    """The outputs, refused where their shape is not that of the targets: subtraction would
    broadcast them."""
    if outputs.shape != y.shape:
        raise ValueError(
            f"the model's outputs are {tuple(outputs.shape)} and the targets {tuple(y.shape)}: "
            "let it return one number for each target."
        )
    return outputs

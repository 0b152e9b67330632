"""What a model trains on: pixels and labels in memory, cut into train, validation and test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set: ``x`` (N, C, H, W) and ``y`` (N,) int64, row by row."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def batch(
        self, index: Tensor, into: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rows ``index`` (B,) int64 of x and y. A copy, and 4x cheaper than ``x[index]``.

        into: tensors of that size to hold them.
        """
        x, y = into or (None, None)
        import torch

        select = torch.index_select
        return select(self.x, 0, index, out=x), select(self.y, 0, index, out=y)

    def to(self, device: torch.device | str) -> Split:
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Scaling:
    """How stored pixels became inputs: ``x = (pixels / peak - mean) / std``, channel by channel.

    ``peak`` is the largest value a pixel can take (255; 16 for digits), ``mean`` and ``std`` are in
    units of it. The scaling "none" leaves the pixels as they are stored.
    """

    name: str
    peak: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, pixels: Tensor) -> Tensor:
        """Inputs of ``pixels`` (N, C, H, W): a new float32 tensor, or ``pixels`` for "none"."""
        if self.name == "none":
            return pixels
        x = pixels.float() if not pixels.is_floating_point() else pixels.clone()
        x.div_(self.peak)
        if self.name == "standard":
            x.sub_(x.new_tensor(self.mean).view(-1, 1, 1))
            x.div_(x.new_tensor(self.std).view(-1, 1, 1))
        return x


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set ready to train on.

    ``shape`` is (C, H, W) of one input; models flatten it where they need to. Nothing may be chosen
    by looking at ``test``: early stopping and hyper-parameters use ``validation``.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    shape: tuple[int, int, int]
    scaling: Scaling

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on another device."""
        parts = {part: getattr(self, part).to(device) for part in ("train", "validation", "test")}
        return replace(self, **parts)


@dataclass(frozen=True, eq=False)
class Raw:
    """What a source reads: pixels uint8 or float32 (N, C, H, W) and labels of any integer type."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def shuffled(n: int, seed: int) -> np.ndarray:
    """A permutation of 0..n-1 that is the same in every version of numpy."""
    return np.random.RandomState(seed).permutation(n)  # the stream that NEP 19 froze for good


def stratified(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    """A random ``k`` of the rows, each class in proportion to its size: (N,) bool.

    Shares are exact where they come out whole; else the largest remainders get the rows that are
    left over (ties: the smaller label), so exactly ``k`` rows are chosen.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    whole, remainder = np.divmod(k * sizes, len(labels))
    left_over = k - whole.sum()
    whole[np.argsort(-remainder, kind="stable")[:left_over]] += 1
    order = shuffled(len(labels), seed)
    chosen = np.zeros(len(labels), bool)
    for label, share in zip(classes, whole, strict=True):
        chosen[order[labels[order] == label][:share]] = True
    return chosen

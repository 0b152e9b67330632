"""What a model trains on: inputs and targets in memory, cut into train, validation and test."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set: ``x`` (N, ...) and ``y``, row by row.

    ``y`` is what its task has for targets: (N,) int64 classes, (N, outputs) float32 numbers, or
    (N, T) int64 classes by place.

    stored: the inputs; or, with a ``scaling``, uint8 pixels that it turns into inputs batch by
    batch, the same numbers in a quarter of the memory. pieces: the text that each token stands for,
    of pairs of tokens.
    """

    stored: Tensor
    y: Tensor
    scaling: Scaling | None = None
    pieces: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    @property
    def x(self) -> Tensor:
        """All inputs. Of stored pixels, a new tensor at each call: ask for batches or parts."""
        return self.stored if self.scaling is None else self.scaling.apply(self.stored)

    def part(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Consecutive rows of x and y."""
        x = self.stored[rows]
        return x if self.scaling is None else self.scaling.apply(x), self.y[rows]

    def empty(self, n: int) -> tuple[Tensor, Tensor]:
        """Memory for ``n`` rows of x and y, on the same device, not yet filled."""
        import torch

        kind = None if self.scaling is None else torch.float32
        shape = (n, *self.stored.shape[1:])
        return self.stored.new_empty(shape, dtype=kind), self.y.new_empty(n, *self.y.shape[1:])

    def batch(
        self, index: Tensor, into: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rows ``index`` (B,) int64 of x and y. A copy, and 4x cheaper than ``x[index]``.

        into: tensors of that size to hold them.
        """
        import torch

        from rewire.kernels.pixels import examples

        x, y = into or self.empty(len(index))
        torch.index_select(self.y, 0, index, out=y)
        if self.scaling is None:
            return torch.index_select(self.stored, 0, index, out=x), y
        if x.device.type == "cpu":
            table = self.scaling.table(x.shape[1])
            examples(self.stored.numpy(), index.numpy(), table, x.numpy())
            return x, y
        return x.copy_(self.scaling.apply(self.stored[index])), y

    def to(self, device: torch.device | str) -> Split:
        """The same rows on another device, where pixels become inputs at once."""
        import torch

        if torch.device(device).type == "cpu":
            return replace(self, stored=self.stored.to(device), y=self.y.to(device))
        return Split(self.x.to(device), self.y.to(device), pieces=self.pieces)


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
    _tables: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def apply(self, pixels: Tensor) -> Tensor:
        """Inputs of ``pixels`` (N, C, H, W): a new float32 tensor, or ``pixels`` for "none"."""
        if self.name == "none":
            return pixels
        x = pixels.float() if not pixels.is_floating_point() else pixels.clone()
        x.div_(self.peak)
        if self.name == "standard":
            by_channel = (-1, *[1] * (x.dim() - 2))
            x.sub_(x.new_tensor(self.mean).view(by_channel))
            x.div_(x.new_tensor(self.std).view(by_channel))
        return x

    def table(self, channels: int) -> np.ndarray:
        """What each uint8 pixel becomes in each channel, (channels, 256) float32."""
        import torch

        if channels not in self._tables:
            pixels = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)
            inputs = self.apply(pixels.expand(-1, channels, 1, 1))
            self._tables[channels] = inputs.view(256, channels).T.contiguous().numpy()
        return self._tables[channels]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set ready to train on.

    ``shape`` is that of one input, (C, H, W) of a picture; models flatten it where they need to.
    ``classes``: how many outputs a model has: classes, numbers, or tokens. Nothing may be chosen by
    looking at ``test``: early stopping and hyper-parameters use ``validation``.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    shape: tuple[int, ...]
    scaling: Scaling

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on another device."""
        parts = {part: getattr(self, part).to(device) for part in ("train", "validation", "test")}
        return replace(self, **parts)


@dataclass(frozen=True, eq=False)
class Raw:
    """What a source reads: inputs uint8 or float32 (N, ...), or tokens, which are whole numbers;
    and targets: whole numbers (N,), numbers (N, outputs), or whole numbers by place (N, T).

    pieces: of pairs of tokens (N, 2, T), the text that each token stands for.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    pieces: tuple[bytes, ...] = ()


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

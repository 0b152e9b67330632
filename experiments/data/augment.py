"""Pictures flipped and shifted as they are trained on, by seed and step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rewire.kernels.pixels import examples

from .dataset import Dataset

if TYPE_CHECKING:
    from rewire.streams import Stream


class Ways(Protocol):
    """Which ways pictures are moved: `experiments.config.pictures.Augment`."""

    @property
    def flip(self) -> bool: ...
    @property
    def shift(self) -> int: ...


class Moves(NamedTuple):
    """How each picture of a batch is moved, (B,): mirrored first, then down and to the right."""

    flips: np.ndarray
    down: np.ndarray
    right: np.ndarray


def moves(ways: Ways, n: int, rng: Stream) -> Moves:
    """Of ``n`` pictures: flips with probability 1/2, shifts uniform from -shift to +shift.

    >>> from types import SimpleNamespace
    >>> from rewire import rng_for
    >>> drawn = moves(SimpleNamespace(flip=True, shift=4), 1000, rng_for(0, "augment"))
    >>> 400 < int(drawn.flips.sum()) < 600, drawn.down.min().item(), drawn.right.max().item()
    (True, -4, 4)
    """
    draws = rng.doubles(3 * n).reshape(3, n)
    flips = draws[0] < 0.5 if ways.flip else np.zeros(n, bool)
    down, right = (draws[1:] * (2 * ways.shift + 1)).astype(np.int64) - ways.shift
    return Moves(flips, down, right)


class Augmenter:
    """Batches of a split of pictures, moved; what comes in from outside a picture is black.

    Stored pixels are moved as they are stored, and become inputs afterwards.
    """

    def __init__(self, ways: Ways, dataset: Dataset):
        self.ways, self.split = ways, dataset.train
        stored = self.split.stored
        channels = stored.shape[1]
        self._black: Tensor | int = 0
        if self.split.scaling is None and stored.is_floating_point():
            black = dataset.scaling.apply(torch.zeros(1, channels, 1, 1))
            self._black = black.to(stored.device)
        self._pixels: Tensor | None = None  # of the last batch: memory to use again

    def batch(
        self, rows: Tensor, rng: Stream, into: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rows (B,) of x and y, moved as ``rng`` draws. into: tensors of that size to hold them."""
        split, how = self.split, moves(self.ways, len(rows), rng)
        x, y = into or split.empty(len(rows))
        torch.index_select(split.y, 0, rows, out=y)
        if x.device.type != "cpu":
            return x.copy_(_moved_at_once(split.stored[rows], how, self._black)), y
        if split.scaling is None:
            self._move(rows, how, x)
            return x, y
        if self._pixels is None or len(self._pixels) != len(rows):
            self._pixels = split.stored.new_empty((len(rows), *split.stored.shape[1:]))
        self._move(rows, how, self._pixels)
        table = split.scaling.table(x.shape[1])
        examples(self._pixels.numpy(), np.arange(len(rows)), table, x.numpy())
        return x, y

    def _move(self, rows: Tensor, how: Moves, into: Tensor) -> None:
        """Picture by picture: slices of few rows are the quickest copies there are."""
        if self.ways.shift:
            into[:] = self._black
        stored, moved = self.split.stored.numpy(), into.numpy()
        height, width = moved.shape[-2:]
        for i, (row, flips, down, right) in enumerate(
            zip(rows.tolist(), *(part.tolist() for part in how), strict=True)
        ):
            picture = stored[row]
            if flips:
                picture = picture[..., ::-1]
            moved[
                i, :, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)
            ] = picture[
                :, max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
            ]


def _moved_at_once(x: Tensor, how: Moves, black: Tensor | int) -> Tensor:
    """The same of a whole batch in a few operations, on its device."""
    flips, down, right = (torch.from_numpy(part).to(x.device)[:, None] for part in how)
    n, channels, height, width = x.shape
    rows = torch.arange(height, device=x.device) - down
    columns = torch.arange(width, device=x.device) - right
    inside = ((rows >= 0) & (rows < height))[:, None, :, None]
    inside = inside & ((columns >= 0) & (columns < width))[:, None, None, :]
    columns = torch.where(flips, width - 1 - columns, columns)
    at = torch.arange(n, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[None, :, None, None]
    moved = x[at, channel, rows.clamp(0, height - 1)[:, None, :, None],
              columns.clamp(0, width - 1)[:, None, None, :]]  # fmt: skip
    return torch.where(inside, moved, torch.as_tensor(black, dtype=x.dtype, device=x.device))

"""Batches of a training, by seed and step."""

from __future__ import annotations

import torch
from torch import Tensor

from rewire import rng_for

from ..data import Split


class Batches:
    """Batch of each step: every epoch visits all examples once, in an order of its own.

    A batch lies where the one before it lay, in memory that is still in the processor's cache.
    """

    def __init__(self, split: Split, size: int, seed: int):
        self.split, self.size, self.seed = split, size, seed
        self.per_epoch = -(-len(split) // size)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        self._into = split.empty(size)

    def rows(self, step: int) -> Tensor:
        """Which examples are in the batch, (B,) int64."""
        epoch, at = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            order = rng_for(self.seed, "data", epoch).permutation(len(self.split))
            self._epoch, self._order = epoch, order.to(self.split.y.device)
        return self._order[at * self.size : (at + 1) * self.size]

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        rows = self.rows(step)
        return self.split.batch(rows, self._into if len(rows) == self.size else None)

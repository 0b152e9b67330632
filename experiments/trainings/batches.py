"""Batches of a training, by seed and step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rewire import rng_for

from ..config.seeds import NONE_APART, SeedsApart
from ..data import Split
from ..data.augment import Augmenter


class Batches:
    """Batch of each step: every epoch visits all examples once, in an order of its own.

    A batch lies where the one before it lay, in memory that is still in the processor's cache.
    """

    looks = 0  # forward passes of each example before the step
    packages: tuple[str, ...] = ()  # that the examples are made by

    def __init__(
        self,
        split: Split,
        size: int,
        seed: int,
        apart: SeedsApart | None = None,
        augmenter: Augmenter | None = None,
    ):
        self.split, self.size, self.seed = split, size, seed
        self.apart, self.augmenter = apart or NONE_APART, augmenter
        self.per_epoch = -(-len(split) // size)
        self._ordered, self._order = (-1, -1), torch.empty(0, dtype=torch.int64)
        self._into = split.empty(size)

    def seed_at(self, step: int) -> int:
        """The seed of the order of the examples, and of dropout, at a step."""
        return self.apart.of("data", self.seed, step)

    def rows(self, step: int) -> Tensor:
        """Which examples are in the batch, (B,) int64."""
        epoch, at = divmod(step, self.per_epoch)
        seed = self.seed_at(step)
        if (seed, epoch) != self._ordered:
            order = rng_for(seed, "data", epoch).permutation(len(self.split))
            self._ordered, self._order = (seed, epoch), order.to(self.split.y.device)
        return self._order[at * self.size : (at + 1) * self.size]

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        rows = self.rows(step)
        into = self._into if len(rows) == self.size else None
        if self.augmenter is None:
            return self.split.batch(rows, into)
        seed = self.apart.of("augment", self.seed, step)
        return self.augmenter.batch(rows, rng_for(seed, "augment", step), into)

    def probe(self, n: int) -> list[tuple[Tensor, Tensor]]:
        """``n`` batches of a draw of their own, for what is looked at before the first step."""
        order = rng_for(self.seed, "probe").permutation(len(self.split)).to(self.split.y.device)
        return [self.split.batch(rows) for rows in order[: n * self.size].split(self.size)]

    # -- what batches of acting in an environment do, see `rollouts` ------------------------------

    def attend(self, policy: Any) -> None:
        """The model that is trained."""

    def restart(self) -> None:
        """A level begins."""

    def note(self, value: float) -> None:
        """The validation metric of the model as it is."""

    def columns(self) -> dict[str, Any]:
        """More columns of results."""
        return {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of them: nothing, they follow from seed and step."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Stand where :meth:`state` was asked for."""

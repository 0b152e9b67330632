"""What one process holds of a sharded model: its rows of weights, moments, gains and gradients.

Written and read by the keys of the whole network.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...graph import Graph
from ..torch_model.optimizers import Traits
from ..torch_model.shards import Shards, joined, local_of, part_of, whole_of
from .backward import Backward, scaled
from .gains import Gates
from .memory import Addresses, clear_one
from .moments import Moments
from .weights import MaskedWeights


class LocalWeights(MaskedWeights):
    """This process's rows of the weights and their masks, by the keys of the whole network."""

    def __init__(self, shards: Shards):
        super().__init__(shards, shards.locals)
        self._shards = shards

    def find_thin(self, graph: Graph) -> None:
        """Note which projections are not full here."""
        counts = zip(self._shards.counts(graph.array), self.sizes, strict=True)
        self.thin = [i for i, (n, size) in enumerate(counts) if n < size]

    def gradient(self, i: int) -> Tensor | None:
        """The gradient of this process's rows."""
        return self._shards.gradient(i)

    def _keep_only(self, gradients: Sequence[Tensor], graph: Graph) -> bool:
        return False

    def replace(
        self, before: Graph, after: Graph, drop: np.ndarray, *, whole: bool, fast: Addresses | None
    ) -> None:
        """After an edit: what this process holds of it."""
        super().replace(before, after, drop, whole=whole, fast=None)
        self.find_thin(after)  # rows may fill or thin though the layer's count stays

    def put(
        self, tensors: Sequence[Tensor | None], keys: np.ndarray, values: np.ndarray | float
    ) -> None:
        """Write numbers at those of rising keys that this process holds."""
        rows, local = self._shards.within(keys)
        super().put(tensors, local, values[rows] if isinstance(values, np.ndarray) else values)

    def gather(self, tensors: Sequence[Tensor], graph: Graph, fast: Addresses | None) -> np.ndarray:
        """The numbers at the graph's edges, of all processes."""
        rows, local = self._shards.within(graph.array)
        double = any(t.dtype is torch.float64 for t in tensors)
        numbers = np.zeros(len(local), np.float64 if double else np.float32)
        for i, at, own in self._split(local):
            numbers[own] = self.views.gather(tensors[i], at)
        return self._shards.gather(rows, numbers, len(graph.array))


class LocalMoments(Moments):
    """The optimiser's moments of this process's rows."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        weights: LocalWeights,
        traits: Traits,
        groups: Sequence[int],
        leaves: Sequence[Tensor],
    ):
        super().__init__(optimizer, weights, traits.births, groups)
        self._leaves = leaves

    def tensors(self) -> dict[str, list[Tensor | None]]:
        """name -> one tensor, or None, for each projection."""
        return {
            name: [None if t is None else local_of(t) for t in stack]
            for name, stack in super().tensors().items()
        }

    def lay(self) -> None:
        """Nothing: ``fully_shard`` takes weights of one layout alone."""


class LocalGates(Gates):
    """The gains of this process's rows."""

    def __init__(self, shards: Shards, graph: Graph, trains: str):
        self._shards = shards
        super().__init__(shards.locals, graph, trains)
        self.leaves = shards.leaves

    def _dense(self, graph: Graph, column: str) -> list[Tensor]:
        leaves = self._shards.leaves
        return [
            local_of(part_of(graph.dense(i, column).to(p.dtype), p)).clone()
            for i, p in enumerate(leaves)
        ]

    def _gradient(self, i: int) -> Tensor | None:
        return self._shards.gradient(i)


class LocalBackward(Backward):
    """The gradients of this process's rows, as torch leaves them once it has averaged them."""

    def __init__(self, shards: Shards, weights: LocalWeights):
        super().__init__(shards.leaves, weights)
        self._shards = shards
        # the gradients that passes left last, and how often those were written
        self._last: list[tuple[Any, int] | None] = [None] * len(shards.leaves)

    def listen(self, *, dense: bool) -> None:
        """Hook into the parameters, once."""
        if not self._handles:
            self._handles = [
                p.register_post_accumulate_grad_hook(self._masking(i))
                for i, p in enumerate(self._parameters)
            ]

    def _masking(self, i: int) -> Any:
        def mask(parameter: Tensor) -> None:
            gradient = self._shards.gradient(i)
            if gradient is None:
                return
            if self.wanted:
                self._keep(i, gradient)
            if i in self._weights.thin:
                clear_one(gradient, self._weights.masks[i])
            self._clean[i] = self._marks(i)
            assert parameter.grad is not None
            self._last[i] = weakref.ref(parameter.grad), parameter.grad._version

        return mask

    def _keep(self, i: int, gradient: Tensor) -> None:
        """Keep a gradient whose absent synapses hold what the last pass alone added."""
        earlier = self._whole[i]
        if earlier is None or self._is_new(i):
            self._whole[i] = gradient.clone()
        else:
            exists = self._weights.masks[i] != 0
            self._whole[i] = torch.where(exists, gradient, earlier + gradient)

    def _is_new(self, i: int) -> bool:
        """Whether a gradient was zeroed, or dropped, since the last pass."""
        gradient, last = self._parameters[i].grad, self._last[i]
        assert gradient is not None
        return last is None or last[0]() is not gradient or last[1] != gradient._version

    def _marks(self, i: int) -> tuple[int, int]:
        gradient, local = self._parameters[i].grad, self._shards.gradient(i)
        assert gradient is not None and local is not None
        return local.data_ptr(), gradient._version + local._version

    def unmasked(self, i: int) -> bool:
        """Whether something else than a backward pass wrote the gradient of projection i."""
        return self._parameters[i].grad is not None and self._clean[i] != self._marks(i)

    def dense(self) -> list[Tensor | None]:
        """The whole gradient of each projection, on every process."""
        return [self._whole_of(i) for i in range(len(self._parameters))]

    def _whole_of(self, i: int) -> Tensor | None:
        gradient, own, shards = self._parameters[i].grad, self._whole[i], self._shards
        if gradient is None or own is None:
            return None
        clean, marks, exists = self._clean[i], self._marks(i), None
        if shards.anywhere(self.unmasked(i)):
            exists = whole_of(joined((self._weights.masks[i] != 0).byte(), gradient)) != 0
        replaced = shards.anywhere(clean is None or clean[0] != marks[0])
        return scaled(whole_of(joined(own, gradient)), whole_of(gradient), exists, replaced)

"""Gradients of sparse weights, at edges and at absent synapses, of the last backward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...graph import Space
from ..masked.memory import clear_absent
from ..torch_model.group import Ranks
from . import edge_layers
from .native_step import NativeStep
from .weights import Weight


class Gradients:
    """dL/dw of weights in either form, from a plan or from what the layers noted.

    keeping: whether layers keep activations and output gradients, which gradients at absent
    synapses are made of. wanted: whether a rule will ask after the coming step: dense gradients are
    then kept as they are before masks. ranks: processes that train the model together, whose mean
    these gradients are.
    """

    def __init__(self, weights: Sequence[Weight], native: NativeStep):
        self._weights, self._native = weights, native
        self.keeping = False
        self.wanted = False
        self.ranks: Ranks | None = None
        self._whole: dict[str, Tensor] = {}

    def want(self, wanted: bool) -> None:
        """Forget those of the last step; keep the next ones if they are wanted."""
        self.wanted = wanted
        self._whole.clear()

    def mask(self) -> None:
        """Clear the dense ones at absent synapses."""
        for w in self._weights:
            if w.mask is not None and w.parameter.grad is not None:
                if self.wanted:
                    self._whole[w.name] = w.parameter.grad.clone()
                clear_absent([w.parameter.grad], [w.mask])

    def at(self, i: int, local: Tensor) -> Tensor:
        """Those of projection i at flat indices, existing or absent, (k,)."""
        w = self._weights[i]
        if w.wires is None:
            return self.dense(i)[local]
        values = self._own_at(w, local)
        return values if self.ranks is None else self.ranks.mean(values)

    def _own_at(self, w: Weight, local: Tensor) -> Tensor:
        """Those of a list of edges, of this process alone."""
        assert w.wires is not None
        width = w.wires.width
        rows, columns = local // width, local % width
        if self._native.plan is not None:
            return self._native.plan.sddmm(w.name, rows, columns)
        return edge_layers.gradient_at(w.wires, rows, columns)

    def dense(self, i: int) -> Tensor:
        """Those at every synapse of projection i, (size,)."""
        w, plan = self._weights[i], self._native.plan
        if w.wires is not None:
            whole = (
                edge_layers.dense_gradient(w.wires) if plan is None else plan.dense_gradient(w.name)
            )
            own = whole.reshape(-1)
            return own if self.ranks is None else self.ranks.mean(own)
        grad = self._whole.get(w.name)
        if grad is None:
            grad = w.parameter.grad if plan is None else plan.gradients[w.name]
        if grad is None:
            raise ValueError("there is no gradient yet: it is known after a backward pass.")
        return grad.reshape(-1)

    def top_absent(self, i: int, k: int, leaving: Tensor | None) -> tuple[Tensor, ...] | None:
        """Flat indices of the k absent synapses of projection i with the largest |dL/dw|, |dL/dw|
        there, how many are absent, and how many of these gradients are NaN; None for a dense
        weight, and where other ranks have a part in them: all are looked at then."""
        w = self._weights[i]
        if w.wires is None or self.ranks is not None:
            return None
        if self._native.plan is not None:
            return self._native.plan.top_absent(w.name, k, leaving)  # type: ignore[return-value]
        return edge_layers.top_absent(w.wires, k, leaving)  # type: ignore[return-value]

    def at_keys(self, space: Space, keys: Tensor, dtype: torch.dtype) -> Tensor:
        """Those at keys, existing or absent, (k,)."""
        out, which = torch.empty(len(keys), dtype=dtype), space.which(keys)
        for i in which.unique().tolist():
            rows = which == i
            out[rows] = self.at(i, keys[rows] - space.bounds[i])
        return out

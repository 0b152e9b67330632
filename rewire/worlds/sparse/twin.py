"""A copy of a sparse model: lists of edges, as many as there are now, or dense weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...graph import Graph
from ..torch_model.twin import Twin
from .edge_layers import unwire, wire
from .edge_weight import EdgeWeight
from .weights import Weight
from .wires import Wires


class EdgeTwin(Twin):
    """A copy of a model with lists of edges. dense: whether it holds dense weights in their place,
    in torch's own layers."""

    def __init__(self, model: nn.Module, weights: Sequence[Weight], *, dense: bool):
        super().__init__(model, [w.parameter for w in weights])
        self._weights, self._dense = weights, dense
        self._wires: list[Wires | None] = [None] * len(weights)  # those that the copy's are of

    @torch.no_grad()
    def hold(self, graph: Graph) -> None:
        """Let sparse weights be the column ``weight`` of the graph whose edges the world holds."""
        for i, w in enumerate(self._weights):
            module = self._copied[w.module]
            p = module._parameters[w.attribute]
            assert p is not None
            if w.wires is None or self._dense:
                values = graph.dense(i)
                if w.attribute in getattr(module, "wires", {}):
                    unwire(module, w.attribute)
            else:
                values = graph["weight"][graph.rows(i)].clone()
                if self._wires[i] is not w.wires:
                    lists = w.wires.indptr.clone(), w.wires.index.clone()
                    wire(module, w.attribute, Wires(w.wires.shape, *lists))
            self._wires[i] = w.wires
            if p.shape == values.shape:
                p.copy_(values)
            else:
                kind = EdgeWeight if w.wires is not None and not self._dense else nn.Parameter
                setattr(module, w.attribute, kind(values, requires_grad=p.requires_grad))

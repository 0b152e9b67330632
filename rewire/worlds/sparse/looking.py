"""Looks at a sparse model under another graph, or by a probe: training does not notice them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...graph import Graph
from ..masked.world import Masked
from ..torch_model.activity import Taps
from ..torch_model.base import TorchWorld
from ..torch_model.probe import Passes, Probe, evaluating
from .as_dense import dense_copy
from .weights import Held, Weight
from .wires import unheard


class Looking(TorchWorld):
    """What rules look at beside training: passes of a probe, other graphs."""

    weights: list[Weight]
    held: Held
    taps: Taps
    begun: bool
    probe: Probe | None
    _chosen: dict[str, Any]

    def holding(self, graph: Graph) -> Masked:
        """This world as if it were a masked one that held another graph: its probe runs dense,
        under that graph's masks, whatever the layers are here.

        For as long as it is used it takes the masked world's time and memory: a mask, and in a
        pass a weight and a gradient, of every possible synapse. Rules that prune at the start
        begin with all of those as edges. Nothing of it stays, and this world does not notice.
        """
        model, optimizer = self.model, self.optimizer
        if any(w.parameter.shape != w.shape for w in self.weights):
            now = self._edges_to_lend(graph)
            model, optimizer = dense_copy(model, optimizer, self.weights, now)
        world = Masked(model, optimizer, **self._chosen, probe=self.probe)
        world.space, world.taps, world.ranks = self.space, self.taps, self.ranks
        return world.holding(graph)

    def _edges_to_lend(self, graph: Graph) -> Graph:
        """The edges that are held, with their weights. Before step 0 weights are as they came, but
        for those on the meta device: they are made for the graph's edges."""
        if self.begun:
            return self.read(Graph(self.space, self.held.keys))
        return graph if "weight" in graph.columns else self.read(graph)

    @contextmanager
    def deriving(self, graph: Graph) -> Iterator[Passes]:
        """Within it the model can be derived by its weights, of edges alone where it holds those.

        The lists of edges keep what they noted in the last training pass, from which the signals
        of gradients come.
        """
        assert self.probe is not None
        weights = [w.parameter for w in self.weights]

        def at(tensors: Sequence[Tensor | None]) -> Tensor:
            parts = []
            for i, (t, w) in enumerate(zip(tensors, self.weights, strict=True)):
                if t is None:
                    t = torch.zeros_like(w.parameter)
                parts.append(t if w.form == "edges" else t.reshape(-1)[graph.local(i)])
            return torch.cat(parts)

        lists = [w.wires for w in self.weights if w.wires is not None]
        with evaluating(self.model), unheard(lists):
            owner = {id(p): i for i, p in enumerate(weights)}
            yield Passes(self.model, weights, at, self.probe, self.model, owner)

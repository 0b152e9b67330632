"""What rules may observe in a sparse model."""

from __future__ import annotations

import torch
from torch import Tensor

from ...graph import Graph
from ...signals import signal
from .world import Sparse


@signal("sparse", "weight")
def _weight(world: Sparse, graph: Graph, keys: Tensor) -> Tensor:
    """The weight; at absent synapses 0, but before step 0 what the model starts with there."""
    if not world.begun:
        return world.first_weights(Graph(graph.space, keys))
    row, exists = graph.find(keys)
    out = torch.zeros(len(keys), dtype=graph["weight"].dtype)
    out[exists] = graph["weight"][row[exists]]
    return out


@signal("sparse", "grad")
def _grad(world: Sparse, graph: Graph, keys: Tensor) -> Tensor:
    """dL/dw at existing and absent synapses, before the step."""
    return world.gradients.at_keys(graph.space, keys, world.held.flat.dtype)


def _best(
    world: Sparse, graph: Graph, i: int, k: int, leaving: Tensor
) -> tuple[Tensor, ...] | None:
    return world.gradients.top_absent(i, k, leaving)


def _gradient_block(world: Sparse, graph: Graph, i: int) -> Tensor:
    return world.gradients.dense(i)


@signal("sparse", "growth")
def _growth(world: Sparse, graph: Graph, keys: Tensor) -> Tensor:
    """|dL/dw|: how fast the loss would fall if the synapse moved (RigL's criterion)."""
    return _grad(world, graph, keys).abs()


@signal("sparse", "activity", kind="node")
def _activity(world: Sparse, graph: Graph, population: str) -> Tensor:
    """Standard deviation of each unit over the last training batch, shape (size,)."""
    return world.taps.activity(graph, population)


_grad.block = _growth.block = _gradient_block  # type: ignore[attr-defined]
_growth.magnitude, _growth.best = True, _best  # type: ignore[attr-defined]

"""What rules may observe in a masked model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...graph import Graph
from ...signals import blockwise, signal
from .world import Masked


def _by_projection(world: Masked, keys: Tensor, tensors: Sequence[Tensor | None]) -> Tensor:
    """The numbers at keys, float32; 0 where there is no tensor."""
    return world.numbers_at(keys, tensors).float()


def _weight_block(world: Masked, graph: Graph, i: int) -> Tensor:
    return world.stored[i].detach().reshape(-1)


def _grad_block(world: Masked, graph: Graph, i: int) -> Tensor:
    grad = world.gradients()[i]
    if grad is None:
        return torch.zeros(world.space.sizes[i], device=world.parameters[i].device)
    return grad.reshape(-1)


@signal("masked", "weight")
@blockwise(_weight_block)
def weight(world: Masked, graph: Graph, keys: Tensor) -> Tensor:
    """The stored weight; at absent synapses 0, but the model's own value before step 0."""
    return _by_projection(world, keys, world.stored)


@signal("masked", "grad")
@blockwise(_grad_block)
def grad(world: Masked, graph: Graph, keys: Tensor) -> Tensor:
    """dL/dw of the effective weight, at existing and absent synapses, before the step."""
    return _by_projection(world, keys, world.gradients())


@signal("masked", "growth")
@blockwise(_grad_block, magnitude=True)
def growth(world: Masked, graph: Graph, keys: Tensor) -> Tensor:
    """|dL/dw|: how fast the loss would fall if the synapse moved (RigL's criterion)."""
    return _by_projection(world, keys, world.gradients()).abs_()


@signal("masked", "activity", kind="node")
def unit_activity(world: Masked, graph: Graph, population: str) -> Tensor:
    """Standard deviation of each unit over the last training batch, shape (size,)."""
    return world.taps.activity(graph, population)

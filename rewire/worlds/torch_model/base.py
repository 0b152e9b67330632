"""What the worlds of a torch model and its optimiser share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...graph import Graph, Space
from ...world import Trainable
from .optimizers import check_optimizer
from .probe import Passes


class TorchWorld(Trainable):
    """A model whose sparse weights are parameters that one torch optimiser steps.

    space: a projection for each sparse weight. probe: a :class:`rewire.Probe`, or None.
    """

    can_skip = True

    model: nn.Module
    optimizer: torch.optim.Optimizer
    _groups: list[int]  # the optimiser's group of parameters that each projection is in
    _one_group: bool  # whether all are in the same

    @classmethod
    def attached(
        cls, model: nn.Module, optimizer: torch.optim.Optimizer, *, seed: int, **options: Any
    ) -> Self:
        """The world of a model and its optimiser, with the options of :func:`rewire.attach`."""
        return cls(model, optimizer, **options)  # type: ignore[call-arg]

    def deriving(self, graph: Graph) -> AbstractContextManager[Passes]:
        """Within it the model can be derived by the weights of this graph's edges, in passes of
        the probe's that training and other rules do not notice."""
        raise NotImplementedError(f"the {self.name} world has no passes of a probe.")

    def lr(self, graph: Graph, keys: Tensor | None) -> float | Tensor:
        """The learning rate of these synapses now, by the optimiser's groups of parameters."""
        groups = self.optimizer.param_groups
        if self._one_group:
            return float(groups[self._groups[0]]["lr"])
        rates = [float(groups[g]["lr"]) for g in self._groups]
        if len(set(rates)) == 1:
            return rates[0]
        return torch.tensor(rates)[graph.space.which(graph.keys if keys is None else keys)]


def groups_of(
    optimizer: torch.optim.Optimizer, space: Space, parameters: Sequence[Tensor]
) -> list[int]:
    """The optimiser's group that each projection's parameter is in. Raises ValueError for none, and
    TypeError for what is no optimiser."""
    check_optimizer(optimizer)
    place = {id(p): g for g, group in enumerate(optimizer.param_groups) for p in group["params"]}
    for projection, p in zip(space.projections, parameters, strict=True):
        if id(p) not in place:
            raise ValueError(
                f"the optimizer does not hold {projection.name!r}, which is to be sparse. Give the "
                "optimizer this model's parameters, freeze the weight, or leave it out with "
                "exclude=."
            )
    return [place[id(p)] for p in parameters]

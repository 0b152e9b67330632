"""What the worlds of a torch model and its optimiser share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...graph import Graph, Space
from ...signals import Signals, registered


class TorchWorld:
    """A model whose sparse weights are parameters that one torch optimiser steps.

    name: of the world, under which its signals are registered. space: a projection for each sparse
    weight. probe: data for signals that need passes of their own, or None.
    """

    name: str
    can_skip = True
    dt: float | None = None
    births: Mapping[str, Any] = {}
    straight = False

    model: nn.Module
    optimizer: torch.optim.Optimizer
    space: Space
    probe: Any
    _groups: list[int]  # the optimiser's group of parameters that each projection is in
    _one_group: bool  # whether all are in the same

    @property
    def offers(self) -> frozenset[str]:
        """Names of the signals that can be asked here."""
        signals = registered(self.name).items()
        return frozenset(n for n, s in signals if self.probe or not s.needs_probe)

    def settle(self) -> None:
        """Let the weights be what the last step made them, where they wait for the rules' edit."""

    def signals(self, graph: Graph) -> Signals:
        """What rules may ask, of this graph."""
        return Signals(self, graph)

    def lr(self, graph: Graph, keys: Tensor | None) -> float | Tensor:
        """The learning rate of these synapses now: one number where they share it, else (k,).

        None stands for the keys of the graph's edges.
        """
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
    """The optimiser's group that each projection's parameter is in. Raises ValueError for none."""
    place = {id(p): g for g, group in enumerate(optimizer.param_groups) for p in group["params"]}
    for projection, p in zip(space.projections, parameters, strict=True):
        if id(p) not in place:
            raise ValueError(
                f"the optimizer does not hold {projection.name!r}, which is to be sparse. Give the "
                "optimizer this model's parameters, freeze the weight, or leave it out with "
                "exclude=."
            )
    return [place[id(p)] for p in parameters]

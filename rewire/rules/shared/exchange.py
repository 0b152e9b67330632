"""The exchange of RigL and its kin: drop the weakest, grow by a signal."""

from __future__ import annotations

import torch
from torch import Tensor

from ...graph import Edit, Graph
from ...native import kernels


def exchange(graph: Graph, drop: Tensor, grow: Tensor) -> Edit:
    """Drop these rows and grow these keys; what is dropped and grown again never left.

    Both ascending; ``grow`` has no edge that is not dropped.
    """
    if kernels is not None and not graph.space.multapses:
        rows, keys = kernels.exchange(graph.array, drop.numpy(), grow.numpy())
        return Edit(drop=torch.from_numpy(rows), add=torch.from_numpy(keys))
    row, there = graph.find(grow)
    stays = torch.zeros(len(graph), dtype=torch.bool)
    stays[row[there]] = True
    return Edit(drop=drop[~stays[drop]], add=grow[~there])

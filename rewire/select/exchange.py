"""The exchange of RigL and its kin: drop the weakest, grow by a signal."""

from __future__ import annotations

import torch
from torch import Tensor

from ..graph import Edit, Graph
from ..kernels import keys


def exchange(graph: Graph, drop: Tensor, grow: Tensor) -> Edit:
    """Drop these rows and grow these keys; what is dropped and grown again never left.

    Both ascending; ``grow`` has no edge that is not dropped.
    """
    # a key in both lists is left out of both: its edge keeps weight and moments
    rows, new = keys.exchange(
        graph.array, drop.numpy(), grow.numpy(), parallel=graph.space.multapses
    )
    return Edit(drop=torch.from_numpy(rows), add=torch.from_numpy(new))

"""Absent synapses drawn without a list of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..graph import NONE, Graph
from ..kernels.absent import free_keys
from ..streams import Stream
from .choose import _counts


def sample_absent(
    graph: Graph, k: int | Sequence[int], rng: Stream, *, without: Tensor | None = None
) -> Tensor:
    """Keys of ``k[i]`` absent synapses of each projection i, or ``k`` anywhere, sorted.

    Uniform without replacement, always distinct. ``without``: rows of the graph that count as
    absent already (the edges about to be dropped). Below 50 % density absent positions are never
    listed: draws that hit an edge are drawn again. Where units have slots, only those with a free
    one gain. Raises ValueError when too few are free.

    >>> from rewire.graph import Population, Projection, Space
    >>> from rewire.streams import rng_for
    >>> space = Space([Population("a", 2)], [Projection("p", "a", "a", "linear", (2, 2))])
    >>> graph = Graph(space, torch.tensor([0, 3]))
    >>> sample_absent(graph, 2, rng_for(0, "example")).tolist()
    [1, 2]
    >>> sample_absent(graph, [3], rng_for(0, "example"), without=torch.tensor([1])).tolist()
    [1, 2, 3]
    """
    space = graph.space
    wide = isinstance(k, int | np.integer)
    bounds, ends = ([0, len(graph)], [0, space.possible]) if wide else (graph.bounds, space.bounds)
    counts = _counts(k, len(ends) - 1)
    if not any(counts):
        return torch.from_numpy(NONE)
    if space.capped:
        from .capacity import sample_with_room

        return sample_with_room(graph, ends, counts, rng, without)
    leaving = NONE if without is None else without.numpy()
    keys = free_keys(
        graph.array, leaving, rng.sequence(), ends, bounds, counts, parallel=space.multapses
    )
    return torch.from_numpy(keys)

"""Absent synapses drawn without a list of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..graph import NONE, Edit, Graph
from ..kernels.absent import free_keys
from ..streams import Stream
from .choose import _counts, counts_by, groups, smallest
from .exchange import exchange


def vacant(graph: Graph) -> list[int]:
    """Pairs of each projection that no synapse joins.

    >>> from rewire.graph import Population, Projection, Space
    >>> space = Space([Population("a", 2)], [Projection("p", "a", "a", "linear", (2, 2))])
    >>> vacant(Graph(space, torch.tensor([0, 3])))
    [2]
    """
    counts = graph.counts().tolist()
    if graph.space.multapses:  # several synapses may join one pair
        counts = Graph(graph.space, graph.keys.unique()).counts().tolist()
    return [size - n for size, n in zip(graph.space.sizes, counts, strict=True)]


def replace_at_random(graph: Graph, drop: Tensor, rng: Stream, scores: Tensor) -> Edit:
    """Drop these rows, and grow as many in each projection at places that are vacant already.

    What is dropped does not come back, so that a projection exchanges no more synapses than it has
    vacant places: those of smallest ``scores`` (E,) go, and a full one keeps all that it has. Where
    the slots of units, or limits, leave no other place, a synapse may be drawn for its own: it
    stays as it is.

    >>> from rewire.graph import Population, Projection, Space
    >>> from rewire.streams import rng_for
    >>> space = Space([Population("a", 2)], [Projection("p", "a", "a", "linear", (2, 2))])
    >>> graph = Graph(space, torch.tensor([0, 1, 3]), {"weight": torch.tensor([0.3, 0.1, 0.2])})
    >>> edit = replace_at_random(graph, torch.tensor([1, 2]), rng_for(0, "me"), graph["weight"])
    >>> edit.drop.tolist(), edit.add.tolist()  # one place is vacant
    ([1], [2])
    """
    layers = groups(graph, "layer")
    asked, room = counts_by(drop, layers), vacant(graph)
    counts = [min(k, n) for k, n in zip(asked, room, strict=True)]
    if counts != asked:
        ends = np.cumsum([0, *asked]).tolist()
        ranges = list(zip(ends[:-1], ends[1:], strict=True))
        drop = drop[smallest(scores[drop], counts, ranges)]
    return exchange(graph, drop, sample_absent(graph, counts, rng, without=drop, again=False))


def sample_absent(
    graph: Graph,
    k: int | Sequence[int],
    rng: Stream,
    *,
    without: Tensor | None = None,
    again: bool = True,
) -> Tensor:
    """Keys of ``k[i]`` absent synapses of each projection i, or ``k`` anywhere, sorted.

    Uniform without replacement, always distinct. ``without``: rows of the graph that count as
    absent already (the edges about to be dropped). Below 50 % density absent positions are never
    listed: draws that hit an edge are drawn again. Where units have slots, only those with a free
    one gain. ``again``: whether those edges may be drawn themselves; else they only leave their
    slots, and are drawn where no other place fits. Raises ValueError when too few are free.

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

        return sample_with_room(graph, ends, counts, rng, without, again)
    leaving = NONE if without is None or not again else without.numpy()
    keys = free_keys(
        graph.array, leaving, rng.sequence(), ends, bounds, counts, parallel=space.multapses
    )
    return torch.from_numpy(keys)

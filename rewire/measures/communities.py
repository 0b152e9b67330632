"""Groups of units that are joined to each other more than their degrees explain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..streams import rng_for
from .measure import Weights, matrix
from .shared.modularity import Joined, maximised

if TYPE_CHECKING:
    from ..graph import Graph


def communities(
    graph: Graph,
    seed: int = 0,
    weights: Weights = "none",
    tries: int = 3,
    projection: str | None = None,
) -> np.ndarray:
    """The community of each unit of ``graph.network``, (N,) int64, -1 for units without an edge.

    The best of ``tries`` searches for a partition of large :func:`modularity`, each a Louvain
    method with Barber's null model: units move to the community that gains most, population by
    population (label propagation and BRIM, Barber & Clark 2009, doi:10.1103/PhysRevE.80.026129:
    units of a layer do not depend on each other, so that a whole population moves at once), then
    whole communities do (Blondel et al. 2008, doi:10.1088/1742-5468/2008/10/P10008), and again. A
    local optimum, the same each time for one seed; 0 is the community of most units.

    projection: of the edges of that projection alone.

    >>> from rewire.analysis.examples import two_layers
    >>> communities(two_layers()).tolist()
    [0, 1, 2, -1, 0, 1, 2, 0, 1]
    """
    return _best(_joined(graph, weights, projection), seed, tries)


def modularity(
    graph: Graph, labels: np.ndarray, weights: Weights = "none", projection: str | None = None
) -> float:
    """Barber's modularity of given communities, (N,) by the numbers of ``graph.network``.

        Q = sum over projections p, over pairs of units i -> j of one community, of
            w_ij^p - s_i^p t_j^p / W_p,  over the sum of all W_p

    w: ones where ``weights`` is "none", else |weight| (signed weights are taken absolute, which
    keeps Q in [-1/2, 1]); s, t: sums of w by presynaptic and by postsynaptic unit; W: of all of a
    projection. One projection between two populations gives the Q of Barber 2007
    (doi:10.1103/PhysRevE.76.066102); within one population, that of Leicht & Newman 2008
    (doi:10.1103/PhysRevLett.100.118703). 0 without edges.

    >>> from rewire.analysis.examples import two_layers
    >>> modularity(two_layers(), np.zeros(9, int))
    0.0
    """
    labels = np.asarray(labels)
    if labels.shape != (graph.network.size,):
        raise ValueError(
            f"labels give the communities of {labels.shape} units; the network has "
            f"{graph.network.size}: one label for each of graph.network's numbers."
        )
    return _joined(graph, weights, projection).quality(labels)


def _best(joined: Joined, seed: int, tries: int) -> np.ndarray:
    """The best labels of several searches, the largest community first, -1 without an edge."""
    if tries < 1:
        raise ValueError(f"communities are searched for once or more, got tries={tries}.")
    streams = (rng_for(seed, "measure/communities", k) for k in range(tries))
    labels = max((maximised(joined, stream.numpy) for stream in streams), key=joined.quality)
    out = np.full(joined.size, -1, np.int64)
    inside = joined.degree > 0
    _, first, number, counts = np.unique(
        labels[inside], return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(counts), np.int64)
    rank[np.lexsort((first, -counts))] = np.arange(len(counts))
    out[inside] = rank[number]
    return out


def _joined(graph: Graph, weights: Weights, projection: str | None) -> Joined:
    """The pairs of units that one projection or all join, by their numbers in the network."""
    network = graph.network
    which = range(len(graph.projections)) if projection is None else [graph.space.index(projection)]
    starts = [(network.starts[p.source], network.starts[p.target]) for p in graph.projections]
    none = np.empty(0, np.int64)
    pre, post, number, weight = [none], [none], [none], [np.empty(0)]
    for k, i in enumerate(which):
        pairs = matrix(graph, i, "none" if weights == "none" else "absolute").tocoo()
        pre.append(pairs.col + starts[i][0])
        post.append(pairs.row + starts[i][1])
        number.append(np.full(pairs.nnz, k))
        weight.append(pairs.data)
    blocks = np.zeros(network.size, np.int64)
    for k, start in enumerate(sorted(set(network.starts.values()))):
        blocks[start:] = k
    ends = np.concatenate(pre), np.concatenate(post)
    return Joined(*ends, np.concatenate(number), np.concatenate(weight), blocks)

"""The least total capacity whose removal parts a network's inputs from its outputs."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from .reach import Reach

if TYPE_CHECKING:
    from ...graph.network import Network

MOST = 2**30  # the flow's largest value: scipy counts it in 32 bits


def least_cut(network: Network, capacity: np.ndarray, *, whole: bool) -> float:
    """Capacity, summed over edges, of a least cut; inf where links alone lead to an output.

    capacity: (E,) >= 0. whole: whether they are integers, whose sum of a cut fits 30 bits; the
    others are rounded down to MOST parts of an upper bound on the cut, which is then summed exactly
    (so that the result is the value of a cut, too large by at most edges / MOST of that bound).
    """
    import scipy.sparse as sp
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    reached = _by_links(network, network.inputs, backwards=False)
    ending = _by_links(network, network.outputs, backwards=True)
    if (reached & ending).any():
        return inf
    bound = min(capacity[reached[network.pre]].sum(), capacity[ending[network.post]].sum())
    if not bound:
        return 0.0
    scale = 1.0 if whole else MOST / bound
    edge = np.floor(np.minimum(capacity, bound) * scale).astype(np.int64)
    source, sink = network.size, network.size + 1
    pre, post = _with_ends(network, source, sink)
    unbounded = np.full(len(pre) - len(edge), MOST, np.int64)
    shape = (network.size + 2, network.size + 2)
    total = sp.coo_array((np.concatenate([edge, unbounded]), (pre, post)), shape=shape).tocsr()
    total.data = np.minimum(total.data, MOST)  # parallel edges may add up to more than the flow
    total = total.astype(np.int32)
    total.eliminate_zeros()
    left = total - maximum_flow(total, source, sink).flow
    left.eliminate_zeros()
    side = np.zeros(network.size + 2, bool)
    side[breadth_first_order(left, source, return_predecessors=False)] = True
    return float(capacity[side[network.pre] & ~side[network.post]].sum())


def _by_links(network: Network, units: np.ndarray, *, backwards: bool) -> np.ndarray:
    """Which units these are, or are joined to by links alone, (N,) bool."""
    no_edges = np.zeros(len(network.pre), bool)
    return Reach(network, no_edges, backwards=backwards).any_of(units)


def _with_ends(network: Network, source: int, sink: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges, links, then the source to the inputs and the outputs to the sink."""
    inputs, outputs = np.unique(network.inputs), np.unique(network.outputs)
    pre = [network.pre, network.link_pre, np.full(len(inputs), source), outputs]
    post = [network.post, network.link_post, inputs, np.full(len(outputs), sink)]
    return np.concatenate(pre), np.concatenate(post)

"""A network as a simple undirected graph: who is joined to whom by a synapse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ...graph.network import Network


def neighbours(network: Network) -> sp.csr_array:
    """Ones where a synapse joins two units, in either direction, (N, N); no unit joins itself."""
    import scipy.sparse as sp

    apart = network.pre != network.post
    pre, post = network.pre[apart], network.post[apart]
    ends = np.concatenate([pre, post]), np.concatenate([post, pre])
    shape = (network.size, network.size)
    joined = sp.coo_array((np.ones(2 * len(pre), np.int64), ends), shape=shape).tocsr()
    joined.data[:] = 1
    return joined


def degrees(joined: sp.csr_array) -> np.ndarray:
    """Number of neighbours of each unit, (N,) int64."""
    return np.diff(joined.indptr).astype(np.int64)


def core_numbers(joined: sp.csr_array) -> np.ndarray:
    """Of each unit, the largest k for which it is in the k-core, (N,) int64.

    The k-core is what is left when units of degree below k are removed again and again (Seidman
    1983). Whole rounds of removals at a time (Batagelj & Zaversnik 2003 take one unit each).
    """
    degree = degrees(joined)
    core = np.zeros_like(degree)
    alive = np.ones(len(degree), bool)
    while alive.any():
        k = int(degree[alive].min())  # above the last one: all units up to it are gone
        peeled = np.flatnonzero(alive & (degree <= k))
        while len(peeled):
            core[peeled] = k
            alive[peeled] = False
            lost = np.bincount(joined[peeled].indices, minlength=len(degree))
            degree -= lost
            peeled = np.flatnonzero(alive & (degree <= k) & (lost > 0))
    return core

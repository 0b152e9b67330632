"""Populations that project to themselves, each as one directed graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..bipartite import product_blocks
from ..measure import Weights, matrix

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ...graph import Graph


def recurrent(graph: Graph, weights: Weights = "none") -> Iterator[tuple[str, sp.csr_array]]:
    """Name and matrix, (size, size), pre -> post, of each population that projects to itself.

    Parallel edges, and several projections, are merged as :func:`matrix` does; no unit is joined to
    itself.

    >>> from rewire.graph import Graph, Population, Projection, Space
    >>> space = Space([Population("a", 2)], [Projection("p", "a", "a", "linear", (2, 2))])
    >>> for name, joined in recurrent(Graph.full(space)):
    ...     print(name, joined.toarray().tolist())
    a [[0.0, 1.0], [1.0, 0.0]]
    """
    import scipy.sparse as sp

    for population in graph.populations:
        own = [
            matrix(graph, i, weights)
            for i, p in enumerate(graph.projections)
            if p.source == p.target == population.name
        ]
        if own:
            total = sum(own[1:], start=own[0]).T.tocoo()
            row, column = total.coords
            apart = row != column
            data = total.data[apart] if weights != "none" else np.ones(np.count_nonzero(apart))
            joined = sp.csr_array((data, (row[apart], column[apart])), shape=total.shape)
            yield population.name, joined


def products_at(left: sp.csr_array, right: sp.csr_array, mask: sp.csr_array) -> np.ndarray:
    """Sums of the rows of (left @ right) * mask, (n,), the product computed block by block.

    >>> import scipy.sparse as sp
    >>> a = sp.csr_array([[0.0, 1.0], [1.0, 0.0]])
    >>> products_at(a, a, sp.csr_array([[3.0, 0.0], [5.0, 0.0]])).tolist()
    [3.0, 0.0]
    """
    sums = np.zeros(left.shape[0])
    for lo, _, block in product_blocks(left, right, dtype=np.float64):
        rows = mask[lo : lo + block.shape[0]]
        if isinstance(block, np.ndarray):
            which = np.repeat(np.arange(len(block)), np.diff(rows.indptr))
            values = block[which, rows.indices] * rows.data
            sums[lo : lo + len(block)] = np.bincount(which, values, len(block))
        else:
            sums[lo : lo + block.shape[0]] = block.multiply(rows).sum(axis=1)
    return sums

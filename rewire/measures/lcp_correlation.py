"""Whether links close local communities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import correlation, of_each, product_blocks
from .measure import Measure

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@article{daminelli2015common,
  title = {Common Neighbours and the Local-Community-Paradigm for Topological Link Prediction in
           Bipartite Networks},
  author = {Daminelli, Simone and Thomas, Josephine Maria and Dur{\'a}n, Claudio and
            Cannistraci, Carlo Vittorio},
  journal = {New Journal of Physics},
  volume = {17},
  pages = {113037},
  year = {2015},
  doi = {10.1088/1367-2630/17/11/113037},
}
"""


@dataclass(frozen=True)
class LCPCorrelation(Measure):
    """Correlation, over a projection's edges, of common neighbours with links among them.

        r = corr(CN, LCL) over the edges (u, v) with CN > 0

    Of the bipartite graph (Daminelli et al. 2015, doi:10.1088/1367-2630/17/11/113037): CN(u, v)
    counts the units, of both sides, on paths of three edges from u to v; LCL(u, v) the edges
    between them, which are the butterflies that (u, v) closes. Near 1, links come where local
    communities are dense: the local-community paradigm by which CHT grows (Zhang et al. 2024). As
    in the code of Cannistraci et al. 2013 (doi:10.1038/srep01613), 0 where one of the two does not
    vary or no edge has any.

    >>> from rewire.analysis.examples import two_layers
    >>> LCPCorrelation().of(two_layers())
    {'fc1': 0.0, 'fc2': 0.0}
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Daminelli et al. 2015, doi:10.1088/1367-2630/17/11/113037"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (-1, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each(graph, _correlation)


def _correlation(joined: sp.csr_array) -> float:
    common, links = communities_of_links(joined)
    r = correlation(common[common > 0], links[common > 0])
    return 0.0 if np.isnan(r) else r


def communities_of_links(joined: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """CN and LCL of each edge of a 0/1 matrix, row by row, each (E,).

    >>> import scipy.sparse as sp
    >>> common, links = communities_of_links(sp.csr_array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))
    >>> common.tolist(), links.tolist()
    ([2.0, 2.0, 2.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0])
    """
    import scipy.sparse as sp

    joined = joined.astype(np.float64)
    joined.sort_indices()
    other = joined.T.tocsr()
    other.sort_indices()
    rows, paths = _of_side(joined, other, links=True)
    columns, _ = _of_side(other, joined, links=False)
    columns = sp.csr_array((columns, other.indices, other.indptr), shape=other.shape).T.tocsr().data
    row = np.repeat(np.arange(joined.shape[0]), np.diff(joined.indptr))
    post, pre = joined.sum(axis=1)[row], joined.sum(axis=0)[joined.indices]
    return rows + columns, paths - post - pre + 1  # without those that go back over the edge


def _of_side(
    joined: sp.csr_array, other: sp.csr_array, *, links: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Of each edge (row y, column x): common neighbours among the rows; paths of three, if asked.

    A neighbour a of x lies on a path from y to x if it shares another column with y: two, with x.
    """
    import scipy.sparse as sp

    common, paths = np.zeros(joined.nnz), np.zeros(joined.nnz)
    dense = None
    most = joined.sum(axis=1).max(initial=0) * joined.sum(axis=0).max(initial=0)  # paths of three
    exact = np.float32 if most < 2**24 else np.float64
    for lo, _, block in product_blocks(joined, other):
        n = block.shape[0]
        edges = slice(joined.indptr[lo], joined.indptr[lo + n])
        row = np.repeat(np.arange(n), np.diff(joined.indptr[lo : lo + n + 1]))
        column = joined.indices[edges]
        if isinstance(block, np.ndarray):
            dense = joined.toarray().astype(exact) if dense is None else dense
            shares = (block >= 2).astype(exact)
            shares[np.arange(n), lo + np.arange(n)] = 0
            common[edges] = (shares @ dense)[row, column]
            if links:
                paths[edges] = (block.astype(exact) @ dense)[row, column]
        else:
            which = np.repeat(np.arange(n), np.diff(block.indptr))
            several = (block.data >= 2) & (which + lo != block.indices)
            entries = several.astype(np.float64), block.indices, block.indptr
            shares = sp.csr_array(entries, shape=block.shape)  # astype may reorder the entries
            pattern = joined.indptr[lo : lo + n + 1] - joined.indptr[lo], column
            common[edges] = _product_at(shares, joined, *pattern)
            if links:
                paths[edges] = _product_at(block, joined, *pattern)
    return common, paths


def _product_at(
    left: sp.csr_array, right: sp.csr_array, indptr: np.ndarray, indices: np.ndarray
) -> np.ndarray:
    """``left @ right`` at the places of a CSR pattern alone, in little memory."""
    out = np.zeros(len(indices))
    for lo, _, block in product_blocks(left, right, dtype=np.float64):
        n = block.shape[0]
        places = slice(indptr[lo], indptr[lo + n])
        row = np.repeat(np.arange(n), np.diff(indptr[lo : lo + n + 1]))
        out[places] = block[row, indices[places]]
    return out

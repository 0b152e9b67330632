"""How far projections are from the best expanders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import of_each
from .measure import Measure
from .shared.spectra import leading

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@article{marcus2015interlacing,
  title = {Interlacing Families {I}: Bipartite {R}amanujan Graphs of All Degrees},
  author = {Marcus, Adam W. and Spielman, Daniel A. and Srivastava, Nikhil},
  journal = {Annals of Mathematics},
  volume = {182},
  pages = {307--325},
  year = {2015},
  doi = {10.4007/annals.2015.182.1.7},
}
"""


@dataclass(frozen=True)
class RamanujanBound(Measure):
    """The difference of bound of each projection: >= 0 for a Ramanujan graph.

        delta = sqrt(d_pre - 1) + sqrt(d_post - 1) - sigma_2(B)

    B: ones where a pair is joined; sigma_2: its second singular value, the largest non-trivial
    eigenvalue of the bipartite graph; d: the mean degree of each side, over units with an edge. For
    equal degrees on each side the bound is that of bipartite Ramanujan graphs (Marcus, Spielman &
    Srivastava 2015, doi:10.4007/annals.2015.182.1.7); Pal et al. (ICML 2022) and Hoang et al. (ICLR
    2023) put mean degrees in. Unlike theirs, it is given below a mean degree of 3 too. NaN without
    edges.

    >>> from rewire.analysis.examples import two_layers
    >>> round(RamanujanBound().of(two_layers())["fc2"], 3)
    0.796
    """

    kind: ClassVar[str] = "spectrum"
    source: ClassVar[str] = "Marcus et al. 2015, doi:10.4007/annals.2015.182.1.7"
    bibtex: ClassVar[str] = PAPER

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each(graph, difference_of_bound)


def mean_degrees(joined: sp.csr_array) -> tuple[float, float]:
    """Mean degree of the units with an edge, of the columns' side and of the rows'."""
    pre, post = (np.count_nonzero(joined.sum(axis=axis)) for axis in (0, 1))
    return (joined.nnz / pre, joined.nnz / post) if joined.nnz else (0.0, 0.0)


def difference_of_bound(joined: sp.csr_array) -> float:
    """delta of a matrix of ones; NaN without any."""
    if not joined.nnz:
        return float("nan")
    left, right = mean_degrees(joined)
    return float(np.sqrt(left - 1) + np.sqrt(right - 1) - leading(joined, 2)[1])

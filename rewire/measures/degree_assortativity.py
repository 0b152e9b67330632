"""Whether units of many edges are joined to units of many edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import correlation, of_each
from .measure import Measure

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@article{newman2003mixing,
  title = {Mixing Patterns in Networks},
  author = {Newman, M. E. J.},
  journal = {Physical Review E},
  volume = {67},
  pages = {026126},
  year = {2003},
  eprint = {cond-mat/0209450},
  archiveprefix = {arXiv},
  doi = {10.1103/PhysRevE.67.026126},
}
"""


@dataclass(frozen=True)
class DegreeAssortativity(Measure):
    """Correlation, over the joined pairs of each projection, of the two units' degrees.

    Pearson's r between the out-degree of the presynaptic and the in-degree of the postsynaptic
    unit, within the projection (Newman 2003, arXiv:cond-mat/0209450, equation 21); nan where one of
    the two does not vary over the pairs.

    >>> from rewire.analysis.examples import two_layers
    >>> round(DegreeAssortativity().of(two_layers())["fc2"], 3)
    -0.5
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Newman 2003, arXiv:cond-mat/0209450"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (-1, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each(graph, over_pairs)


def over_pairs(weights: sp.csr_array) -> float:
    """Correlation over the stored entries of a matrix of the sums of their columns and rows."""
    pre, post = weights.sum(axis=0), weights.sum(axis=1)
    return correlation(pre[weights.indices], np.repeat(post, np.diff(weights.indptr)))

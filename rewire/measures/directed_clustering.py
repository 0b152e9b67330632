"""How often two neighbours of a unit are joined, whatever the directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .measure import Measure
from .shared.recurrent import products_at, recurrent

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@article{fagiolo2007clustering,
  title = {Clustering in Complex Directed Networks},
  author = {Fagiolo, Giorgio},
  journal = {Physical Review E},
  volume = {76},
  pages = {026107},
  year = {2007},
  doi = {10.1103/PhysRevE.76.026107},
}
"""


@dataclass(frozen=True)
class DirectedClustering(Measure):
    """Mean clustering coefficient of the units of each population that projects to itself.

        C_i = [(A + A')^3]_ii / (2 (d_i (d_i - 1) - 2 m_i))

    A: ones where an edge leads from one unit to another; d_i: edges in and out; m_i: those that
    have one in return. All directed triangles of a unit over all that it could have (Fagiolo 2007,
    doi:10.1103/PhysRevE.76.026107). 0 for a unit that could have none.

    >>> from rewire.graph import Graph, Population, Projection, Space
    >>> space = Space([Population("a", 4)], [Projection("p", "a", "a", "linear", (4, 4))])
    >>> DirectedClustering().of(Graph.full(space))
    {'a': 1.0}
    """

    kind: ClassVar[str] = "directed"
    source: ClassVar[str] = "Fagiolo 2007, doi:10.1103/PhysRevE.76.026107"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"recurrent"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return {name: mean_clustering(joined, joined) for name, joined in recurrent(graph)}


def mean_clustering(joined: sp.csr_array, strength: sp.csr_array) -> float:
    """Mean of C_i of a 0/1 matrix, each triangle counted by its edges' ``strength``.

    >>> import scipy.sparse as sp
    >>> ring = sp.csr_array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    >>> mean_clustering(ring, ring)  # one triangle of the two that each unit could have
    0.5
    """
    either = (strength + strength.T).tocsr()
    triangles = products_at(either, either, either)
    degree = joined.sum(axis=0) + joined.sum(axis=1)
    possible = 2 * (degree * (degree - 1) - 2 * joined.multiply(joined.T).sum(axis=1))
    some = possible > 0
    return float((triangles[some] / possible[some]).sum() / len(degree)) if len(degree) else np.nan

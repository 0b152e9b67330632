"""How often an edge has one in return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .measure import Measure
from .shared.recurrent import recurrent

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{garlaschelli2004patterns,
  title = {Patterns of Link Reciprocity in Directed Networks},
  author = {Garlaschelli, Diego and Loffredo, Maria I.},
  journal = {Physical Review Letters},
  volume = {93},
  pages = {268701},
  year = {2004},
  doi = {10.1103/PhysRevLett.93.268701},
}
"""


@dataclass(frozen=True)
class Reciprocity(Measure):
    """The share of a population's own edges that have one in return.

        r = sum of a_ij a_ji / sum of a_ij

    Over pairs of different units of each population that projects to itself; parallel edges count
    once. By chance it is the density, hence Garlaschelli & Loffredo 2004
    (doi:10.1103/PhysRevLett.93.268701): compare it with a null model's. NaN without edges.

    >>> from rewire.graph import Graph, Population, Projection, Space
    >>> space = Space([Population("a", 3)], [Projection("p", "a", "a", "linear", (3, 3))])
    >>> Reciprocity().of(Graph.full(space))
    {'a': 1.0}
    """

    kind: ClassVar[str] = "directed"
    source: ClassVar[str] = "Garlaschelli & Loffredo 2004, doi:10.1103/PhysRevLett.93.268701"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"recurrent"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return {
            name: joined.multiply(joined.T).sum() / joined.nnz if joined.nnz else float("nan")
            for name, joined in recurrent(graph)
        }

"""How far a network falls into communities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..fields import Count
from .communities import communities, modularity
from .measure import Measure, Weights

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{barber2007modularity,
  title = {Modularity and Community Detection in Bipartite Networks},
  author = {Barber, Michael J.},
  journal = {Physical Review E},
  volume = {76},
  pages = {066102},
  year = {2007},
  doi = {10.1103/PhysRevE.76.066102},
}
"""


@dataclass(frozen=True)
class BarberModularity(Measure):
    """The largest modularity that a search for communities reaches, of each projection and of all.

        Q = (1 / E) sum over pairs i -> j of one community of b_ij - k_i d_j / E

    b: ones where a pair is joined; k, d: the degrees of the two sides; E: their sum (Barber 2007,
    doi:10.1103/PhysRevE.76.066102). Of the whole, each projection with a null model of its own:
    rewire.measures.modularity has the formula, rewire.measures.communities the search by ``seed``,
    the best of ``tries``. A lower bound of the largest Q, which is in [0, 1]; Q of random graphs is
    far from 0, so compare it with a null model's. The whole is given for a graph in one piece.

    >>> from rewire.analysis.examples import two_layers
    >>> {part: round(q, 3) for part, q in BarberModularity().of(two_layers()).items()}
    {'fc1': 0.438, 'fc2': 0.222, '': 0.345}
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Barber 2007, doi:10.1103/PhysRevE.76.066102"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (-0.5, 1)
    numbered: ClassVar[bool] = True

    seed: int = 0
    tries: Count = 3

    def values(self, graph: Graph) -> Mapping[str, float]:
        return largest_found(graph, self.seed, self.tries, self.weights)


def largest_found(graph: Graph, seed: int, tries: int, weights: Weights) -> dict[str, float]:
    """Q of the communities found in each projection and, of a graph in one piece, in the whole."""
    parts: dict[str, str | None] = {p.name: p.name for p in graph.projections}
    if graph.network.joined:
        parts[""] = None
    out = {}
    for part, projection in parts.items():
        labels = communities(graph, seed, weights, tries, projection)
        out[part] = modularity(graph, labels, weights, projection)
    return out

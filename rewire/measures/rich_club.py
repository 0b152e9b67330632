"""Whether the hubs are joined to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..fields import Share
from .measure import Measure
from .shared.simple import degrees, neighbours

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{colizza2006detecting,
  title = {Detecting Rich-Club Ordering in Complex Networks},
  author = {Colizza, Vittoria and Flammini, Alessandro and Serrano, M. {\'A}ngeles and
            Vespignani, Alessandro},
  journal = {Nature Physics},
  volume = {2},
  pages = {110--115},
  year = {2006},
  doi = {10.1038/nphys209},
}
"""


@dataclass(frozen=True)
class RichClub(Measure):
    """The density of edges among the units of largest degree (Colizza et al. 2006,
    doi:10.1038/nphys209).

        phi(k) = 2 E_k / (N_k (N_k - 1))

    N_k: the units of degree above k; E_k: the edges between them. k is the least degree for which
    the club is no more than a ``share`` of the units that have an edge. Part ": k" is that degree,
    ": units" N_k. Directions, weights, parallel edges and links are ignored. NaN for a club of
    fewer than two. phi grows with degrees and is bounded by the layers: only its ratio to a null
    model's (at equal degrees) says whether there is a rich club.

    >>> from rewire.analysis.examples import two_layers
    >>> RichClub(share=0.5).of(two_layers())[": units"]
    4.0
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Colizza et al. 2006, doi:10.1038/nphys209"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined"})

    share: Share = 0.1

    def values(self, graph: Graph) -> Mapping[str, float]:
        joined = neighbours(graph.network)
        degree = degrees(joined)
        ranked = np.sort(degree[degree > 0])[::-1]
        allowed = int(self.share * len(ranked))
        k = int(ranked[allowed]) if allowed < len(ranked) else 0
        club = np.flatnonzero(degree > k)
        n = len(club)
        ends = joined[club][:, club].nnz  # of each edge both
        return {"": ends / (n * (n - 1)) if n > 1 else float("nan"), ": k": k, ": units": n}

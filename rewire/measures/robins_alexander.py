"""How often two units that share one neighbour share another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import butterflies, of_each
from .measure import Measure

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@article{robins2004small,
  title = {Small Worlds Among Interlocking Directors: Network Structure and Distance in Bipartite
    Graphs},
  author = {Robins, Garry and Alexander, Malcolm},
  journal = {Computational and Mathematical Organization Theory},
  volume = {10},
  number = {1},
  pages = {69--94},
  year = {2004},
  doi = {10.1023/B:CMOT.0000032580.12184.c0},
}
"""


@dataclass(frozen=True)
class RobinsAlexander(Measure):
    """Bipartite clustering of each projection (Robins & Alexander 2004).

    4 C4 / L3: C4 cycles of four units, L3 paths of three edges between distinct units; 0 where
    there is no such path (as networkx has it). doi:10.1023/B:CMOT.0000032580.12184.c0.

    >>> from rewire.analysis.examples import two_layers
    >>> RobinsAlexander().of(two_layers())
    {'fc1': 0.0, 'fc2': 0.0}
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Robins & Alexander 2004, doi:10.1023/B:CMOT.0000032580.12184.c0"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each(graph, clustering)


def clustering(joined: sp.csr_array) -> float:
    """4 x four-cycles / paths of three edges of a matrix of ones, (n_post, n_pre)."""
    post, pre = joined.sum(axis=1), joined.sum(axis=0)
    others = np.repeat(post - 1, np.diff(joined.indptr)) * (pre - 1)[joined.indices]
    paths = others.sum()
    return float(4 * butterflies(joined) / paths) if paths else 0.0

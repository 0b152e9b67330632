"""Nestedness as the largest eigenvalue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .bipartite import of_each
from .measure import Measure
from .shared.spectra import leading

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{staniczenko2013ghost,
  title = {The Ghost of Nestedness in Ecological Networks},
  author = {Staniczenko, Phillip P. A. and Kopp, Jason C. and Allesina, Stefano},
  journal = {Nature Communications},
  volume = {4},
  pages = {1391},
  year = {2013},
  doi = {10.1038/ncomms2422},
}
"""


@dataclass(frozen=True)
class SpectralNestedness(Measure):
    """Spectral radius of each projection as an undirected bipartite graph.

    The largest eigenvalue of [[0, B], [B', 0]], which is the largest singular value of the binary
    matrix B: of graphs with equal numbers of units and edges, the perfectly nested ones have the
    highest (Staniczenko, Kopp & Allesina 2013, doi:10.1038/ncomms2422). Compare it with a null.

    >>> from rewire.analysis.examples import two_layers
    >>> round(SpectralNestedness().of(two_layers())["fc2"], 4)
    1.618
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Staniczenko et al. 2013, doi:10.1038/ncomms2422"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each(graph, lambda joined: float(leading(joined, 1)[0]))

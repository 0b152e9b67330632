"""Nestedness as the largest eigenvalue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import of_each
from .measure import Measure

if TYPE_CHECKING:
    import scipy.sparse as sp

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
        return of_each(graph, _radius)


def _radius(joined: sp.csr_array) -> float:
    """The largest singular value: exact for small matrices, else to the solver's tolerance."""
    if not joined.nnz:
        return 0.0
    if min(joined.shape) <= 64:
        narrow = joined if joined.shape[1] <= joined.shape[0] else joined.T.tocsr()
        square = (narrow.T @ narrow).toarray()
        return float(np.sqrt(max(np.linalg.eigvalsh(square)[-1], 0.0)))
    from scipy.sparse.linalg import svds

    # a start of the same sign everywhere is never orthogonal to the leading singular vector
    start = np.ones(min(joined.shape))
    return float(svds(joined, k=1, v0=start, return_singular_vectors=False)[0])

"""How well a projection mixes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .bipartite import of_each
from .measure import Measure
from .shared.spectra import leading, normalised

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@book{chung1997spectral,
  title = {Spectral Graph Theory},
  author = {Chung, Fan R. K.},
  publisher = {American Mathematical Society},
  year = {1997},
  doi = {10.1090/cbms/092},
}
"""


@dataclass(frozen=True)
class SpectralGap(Measure):
    """1 - sigma_2 of each projection's normalised biadjacency matrix.

        sigma_1 >= sigma_2 >= ... of D_post^-1/2 B D_pre^-1/2

    B: ones where a pair is joined; D: degrees. sigma_1 is 1; sigma_2 is 1, and the gap 0, exactly
    where the edges fall into two components or more (Chung 1997, doi:10.1090/cbms/092). NaN without
    edges.

    >>> from rewire.analysis.examples import two_layers
    >>> {name: round(gap, 3) for name, gap in SpectralGap().of(two_layers()).items()}
    {'fc1': 0.0, 'fc2': 0.5}
    """

    kind: ClassVar[str] = "spectrum"
    source: ClassVar[str] = "Chung 1997, doi:10.1090/cbms/092"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each(graph, gap)


def gap(matrix: sp.csr_array) -> float:
    """1 - the second singular value of a non-negative matrix, normalised; NaN for one of zeros."""
    if not matrix.sum():
        return float("nan")
    return float(max(0.0, 1 - leading(normalised(matrix), 2)[1]))

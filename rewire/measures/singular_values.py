"""The largest singular values of projections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..fields import Count
from .bipartite import projections
from .measure import Measure
from .shared.spectra import leading, normalised

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@inproceedings{dhillon2001co,
  title = {Co-Clustering Documents and Words Using Bipartite Spectral Graph Partitioning},
  author = {Dhillon, Inderjit S.},
  booktitle = {International Conference on Knowledge Discovery and Data Mining},
  year = {2001},
  doi = {10.1145/502512.502550},
}
"""


@dataclass(frozen=True)
class SingularValues(Measure):
    """The ``count`` largest singular values of each projection's normalised biadjacency matrix.

        sigma_1 >= sigma_2 >= ... of D_post^-1/2 B D_pre^-1/2

    B: ones where a pair is joined; D: degrees (Dhillon 2001, doi:10.1145/502512.502550: values near
    1 are near components). Parts "NAME: 1", "NAME: 2", ...; 0 where a matrix has no more.

    >>> from rewire.analysis.examples import two_layers
    >>> values = SingularValues(count=3).of(two_layers())
    >>> [round(values[f"fc1: {k}"], 3) for k in (1, 2, 3)]
    [1.0, 1.0, 0.5]
    """

    kind: ClassVar[str] = "spectrum"
    source: ClassVar[str] = "Dhillon 2001, doi:10.1145/502512.502550"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)  # 1, but for rounding

    count: Count = 5

    def values(self, graph: Graph) -> Mapping[str, float]:
        return {
            f"{name}: {k}": value
            for name, joined in projections(graph)
            for k, value in enumerate(leading(normalised(joined), self.count).tolist(), 1)
        }

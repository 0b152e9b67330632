"""Whether the neighbours of units of few edges are among those of units of many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import projections, sums_over_sharing
from .measure import Measure

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@article{almeidaneto2008consistent,
  title = {A Consistent Metric for Nestedness Analysis in Ecological Systems: Reconciling Concept
    and Measurement},
  author = {Almeida-Neto, M{\'a}rio and Guimar{\~a}es, Paulo and Guimar{\~a}es, Paulo R. and
    Loyola, Rafael D. and Ulrich, Werner},
  journal = {Oikos},
  volume = {117},
  pages = {1227--1239},
  year = {2008},
  doi = {10.1111/j.0030-1299.2008.16644.x},
}
"""


@dataclass(frozen=True)
class NODF(Measure):
    """Nestedness by overlap and decreasing fill (Almeida-Neto et al. 2008), from 0 to 100.

    Of each pair of units of one side: 100 |N(u) & N(v)| / min(k_u, k_v) where the degrees differ, 0
    where they are equal. The numbers of a side are means over its pairs, that of the projection is
    the mean over the pairs of both sides. Units without an edge are left out; nan where no pair is
    left. doi:10.1111/j.0030-1299.2008.16644.x.

    >>> from rewire.analysis.examples import two_layers
    >>> NODF().of(two_layers())["fc2"]
    100.0
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Almeida-Neto et al. 2008, doi:10.1111/j.0030-1299.2008.16644.x"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 100)

    def values(self, graph: Graph) -> Mapping[str, float]:
        out = {}
        for name, joined in projections(graph):
            sums, pairs = {}, {}
            for side, of in (("pre", joined.T.tocsr()), ("post", joined)):
                sums[side], pairs[side] = _nested(of)
            out[name] = _mean(sum(sums.values()), sum(pairs.values()))
            out |= {f"{name}: {side}": _mean(sums[side], pairs[side]) for side in sums}
        return out


def _nested(joined: sp.csr_array) -> tuple[float, int]:
    """Sum of the pairs' numbers of the rows' side, and the number of pairs."""
    n = int(np.count_nonzero(np.diff(joined.indptr)))
    sums, _ = sums_over_sharing(joined, lambda shared, a, b: shared / np.minimum(a, b) * (a != b))
    return 100 * float(sums.sum()) / 2, n * (n - 1) // 2


def _mean(total: float, number: int) -> float:
    return total / number if number else float("nan")

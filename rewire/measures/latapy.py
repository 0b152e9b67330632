"""How alike the neighbourhoods are of units that share a neighbour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from .bipartite import projections, sums_over_sharing
from .measure import Measure

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@article{latapy2008basic,
  title = {Basic Notions for the Analysis of Large Two-Mode Networks},
  author = {Latapy, Matthieu and Magnien, Cl{\'e}mence and Del Vecchio, Nathalie},
  journal = {Social Networks},
  volume = {30},
  number = {1},
  pages = {31--48},
  year = {2008},
  doi = {10.1016/j.socnet.2007.04.006},
}
"""


@dataclass(frozen=True)
class Latapy(Measure):
    """Bipartite clustering by overlap of neighbourhoods, a mean over each side.

    For units u and v that share a neighbour, cc(u, v) = |N(u) & N(v)| / |N(u) | N(v)| ("dot");
    cc(u) is its mean over those v, 0 where there are none. ``mode`` "max" and "min" divide by the
    larger and the smaller of the two degrees instead. Latapy, Magnien & Del Vecchio 2008,
    doi:10.1016/j.socnet.2007.04.006; names of the modes are networkx's.

    >>> from rewire.analysis.examples import two_layers
    >>> Latapy().of(two_layers())["fc2: post"], Latapy("min").of(two_layers())["fc2: post"]
    (0.5, 1.0)
    """

    mode: Literal["dot", "max", "min"] = "dot"

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Latapy et al. 2008, doi:10.1016/j.socnet.2007.04.006"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        out = {}
        for name, joined in projections(graph):
            for side, of in (("pre", joined.T.tocsr()), ("post", joined)):
                out[f"{name}: {side}"] = self._mean(of)
        return out

    def _mean(self, joined: sp.csr_array) -> float:
        """Over the units of the rows' side."""
        if not joined.shape[0]:
            return float("nan")
        sums, units = sums_over_sharing(joined, lambda *of: of[0] / self._size(*of))
        others = np.maximum(units - 1, 1)  # a unit overlaps with itself by 1
        return float(np.clip((sums - (units > 0)) / others, 0, 1).mean())

    def _size(self, shared: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if self.mode == "dot":
            return a + b - shared
        return np.maximum(a, b) if self.mode == "max" else np.minimum(a, b)

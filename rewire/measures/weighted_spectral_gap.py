"""How well a projection mixes by its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .bipartite import of_each
from .measure import Measure, Weights
from .spectral_gap import PAPER, gap

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class WeightedSpectralGap(Measure):
    """1 - sigma_2 of each projection's normalised matrix of |weight|.

        sigma_1 >= sigma_2 >= ... of D_post^-1/2 |W| D_pre^-1/2

    D: sums of |weight| by unit. As SpectralGap in everything else (Chung 1997,
    doi:10.1090/cbms/092). NaN where no edge weighs anything.

    >>> from rewire.analysis.examples import sheets
    >>> WeightedSpectralGap().of(sheets())  # the rows of the sheet are components
    {'ff': 0.0}
    """

    kind: ClassVar[str] = "spectrum"
    source: ClassVar[str] = "Chung 1997, doi:10.1090/cbms/092"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})
    weights: ClassVar[Weights] = "absolute"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each(graph, gap, "absolute")

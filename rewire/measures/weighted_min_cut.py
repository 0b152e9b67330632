"""How much weight must go to cut the outputs off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .measure import Measure, Weights
from .min_cut import PAPER
from .shared.cut import least_cut

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class WeightedMinCut(Measure):
    """The least sum of |weight| over edges whose removal parts all inputs from all outputs.

    The largest flow from inputs to outputs with |weight| as capacities (Ford & Fulkerson 1956,
    doi:10.4153/CJM-1956-045-5). Links cannot be cut: inf
    where links alone lead from an input to an output. Capacities are compared at a resolution of
    2^-30 of the smaller of what the inputs send and the outputs receive.

    >>> from rewire.analysis.examples import sheets
    >>> WeightedMinCut().of(sheets())
    {'': 16.0}
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Ford & Fulkerson 1956, doi:10.4153/CJM-1956-045-5"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined", "ends", "weight"})
    weights: ClassVar[Weights] = "absolute"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        weight = np.abs(graph.numbers("weight").astype(np.float64))
        return {"": least_cut(graph.network, weight, whole=False)}

"""How much weight each unit sends and receives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .bipartite import of_each_side, spread
from .measure import Measure, Weights

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class Strengths(Measure):
    """Mean, maximum and variance of the strengths of each side of each projection.

    The strength of a unit is the sum of |w| over its edges, parallel ones included (Barrat,
    Barthelemy, Pastor-Satorras & Vespignani 2004, doi:10.1073/pnas.0400087101). The variance is
    over all units of the side.

    >>> from rewire.analysis.examples import sheets
    >>> strengths = Strengths().of(sheets())
    >>> strengths["ff: pre mean"], strengths["ff: post variance"]
    (1.0, 0.0)
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Barrat et al. 2004, doi:10.1073/pnas.0400087101"
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})
    weights: ClassVar[Weights] = "absolute"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each_side(graph, spread, self.weights)

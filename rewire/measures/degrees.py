"""How many units each unit is joined to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .bipartite import of_each_side, spread
from .measure import Measure

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class Degrees(Measure):
    """Mean, maximum and variance of the degrees of each side of each projection (definition).

    The degree of a unit is the number of units of the other side that it is joined to; kernel
    positions, gates and multapses of a pair count once. The variance is over all units of the side.

    >>> from rewire.analysis.examples import two_layers
    >>> degrees = Degrees().of(two_layers())
    >>> degrees["fc1: pre mean"], degrees["fc1: pre max"], degrees["fc1: post variance"]
    (1.0, 2.0, 0.2222222222222222)
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "definition"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each_side(graph, spread)

"""How unequally the units share the weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .bipartite import gini, of_each_side
from .measure import Measure, Weights

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class StrengthGini(Measure):
    """Gini coefficient of the strengths of each side (Badham 2013, doi:10.1017/nws.2013.10).

    As :class:`DegreeGini`, of the sums of |w| over a unit's edges; nan where all are 0.

    >>> from rewire.analysis.examples import sheets
    >>> StrengthGini().of(sheets())["ff: pre"]
    0.0
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Badham 2013, doi:10.1017/nws.2013.10"
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})
    weights: ClassVar[Weights] = "absolute"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each_side(graph, lambda strengths: {"": gini(strengths)}, self.weights)

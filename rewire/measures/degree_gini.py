"""How unequally the units share the edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .bipartite import gini, of_each_side
from .measure import Measure

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class DegreeGini(Measure):
    """Gini coefficient of the degrees of each side (Gini 1912; Badham 2013 for networks).

    sum over i, j of |k_i - k_j| / (2 n sum of k), over all n units of the side: 0 where all degrees
    are equal, 1 - 1/n where one unit has all edges; nan where there is no edge. Degrees as in
    :class:`Degrees`. Badham 2013, "Commentary: measuring the shape of degree distributions",
    doi:10.1017/nws.2013.10.

    >>> from rewire.analysis.examples import two_layers
    >>> DegreeGini().of(two_layers())["fc1: pre"]
    0.375
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Badham 2013, doi:10.1017/nws.2013.10"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each_side(graph, lambda degrees: {"": gini(degrees)})

"""How many edges there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .measure import Measure

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class LayerDensity(Measure):
    """Edges / possible edges of each projection, and of all together.

    Above 1 where multapses of a pair outnumber the pairs that are not joined.

    >>> from rewire.analysis.examples import two_layers
    >>> LayerDensity().of(two_layers())["fc2"]
    0.5
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "definition"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        shares = {
            p.name: edges / p.size if p.size else 0.0
            for p, edges in zip(graph.projections, graph.counts().tolist(), strict=True)
        }
        return {"": len(graph) / graph.possible if graph.possible else 0.0, **shares}

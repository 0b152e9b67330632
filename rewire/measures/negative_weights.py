"""How many weights are negative."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .measure import Measure, Weights

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class NegativeWeights(Measure):
    """Fraction of the edges whose weight is below 0, of all and of each projection (definition).

    Every edge counts, parallel ones each; nan where there is none.

    >>> from rewire.analysis.examples import sheets
    >>> NegativeWeights().of(sheets())
    {'': 0.0, 'ff': 0.0}
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "definition"
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})
    weights: ClassVar[Weights] = "signed"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        negative = graph.numbers("weight") < 0
        shares = {p.name: _share(negative[graph.rows(i)]) for i, p in enumerate(graph.projections)}
        return {"": _share(negative), **shares}


def _share(negative: np.ndarray) -> float:
    return float(negative.mean()) if len(negative) else float("nan")

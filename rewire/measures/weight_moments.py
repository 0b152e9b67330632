"""The shape of the distribution of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .measure import Measure, Weights

if TYPE_CHECKING:
    from ..graph import Graph

#: Weights that vary less than this, relative to the largest, have no shape but rounding.
RESOLUTION = 1e-12


@dataclass(frozen=True)
class WeightMoments(Measure):
    """Mean, standard deviation, skewness and excess kurtosis of the weights (definition).

    With central moments m_k of the edges' weights: sd = sqrt(m_2), skewness = m_3 / m_2^(3/2),
    excess kurtosis = m_4 / m_2^2 - 3, which is 0 for a normal distribution; of all edges and of
    each projection. nan where there is no edge, the last two also where no weight varies.

    >>> from rewire.analysis.examples import sheets
    >>> WeightMoments().of(sheets())["ff: sd"]
    0.25
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "definition"
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})
    weights: ClassVar[Weights] = "signed"

    def values(self, graph: Graph) -> Mapping[str, float]:
        weight = graph.numbers("weight").astype(np.float64)
        out = {f": {what}": number for what, number in _moments(weight).items()}
        for i, p in enumerate(graph.projections):
            numbers = _moments(weight[graph.rows(i)])
            out |= {f"{p.name}: {what}": number for what, number in numbers.items()}
        return out


def _moments(weight: np.ndarray) -> dict[str, float]:
    out = dict.fromkeys(("mean", "sd", "skewness", "kurtosis"), float("nan"))
    if len(weight):
        mean = weight.mean()
        centred = weight - mean
        sd = float(np.sqrt((centred * centred).mean()))
        out |= {"mean": float(mean), "sd": sd}
        if sd > RESOLUTION * np.abs(weight).max():
            scaled = centred / sd
            squares = scaled * scaled
            out |= {
                "skewness": float((squares * scaled).mean()),
                "kurtosis": float((squares * squares).mean() - 3),
            }
    return out

"""Robustness against removal by weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from .measure import Weights
from .shared.removal import Removal

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class PercolationByWeight(Removal):
    """Robustness against removal by |weight|, as pruning does it: the weakest first
    (Schneider et al. 2011, doi:10.1073/pnas.1009440108).

        R = mean over Q = 1 .. M of S(Q), as of Percolation

    ``first="strongest"`` turns the order around (an attack). ``remove="units"``: units by the sum
    of |weight| of their edges, in and out.

    >>> from rewire.analysis.examples import sheets
    >>> PercolationByWeight().giant(sheets()).round(3).tolist()[:3]
    [0.25, 0.25, 0.25]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"joined", "weight"})
    weights: ClassVar[Weights] = "absolute"

    first: Literal["weakest", "strongest"] = "weakest"

    def _scores(self, graph: Graph, units: np.ndarray) -> np.ndarray:
        network = graph.network
        score = np.abs(graph.numbers("weight").astype(np.float64))
        if self.remove == "units":
            total = np.bincount(network.pre, score, network.size)
            score = (total + np.bincount(network.post, score, network.size))[units]
        return score if self.first == "strongest" else -score

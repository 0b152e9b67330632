"""Robustness against an attack on hubs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .shared.removal import Removal
from .shared.simple import degrees, neighbours

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class PercolationByDegree(Removal):
    """Robustness against an attack on hubs: units go by degree, the largest first (Schneider
    et al. 2011, doi:10.1073/pnas.1009440108).

        R = mean over Q = 1 .. M of S(Q), as of Percolation

    Degree: the number of other units that synapses join a unit to, counted once, before any
    removal. ``remove="edges"``: edges by the product of their ends' degrees (Holme et al. 2002).

    >>> from rewire.analysis.examples import two_layers
    >>> PercolationByDegree().giant(two_layers()).round(2).tolist()[:4]
    [0.67, 0.33, 0.22, 0.22]
    """

    remove: Literal["units", "edges"] = "units"

    def _scores(self, graph: Graph, units: np.ndarray) -> np.ndarray:
        network = graph.network
        degree = degrees(neighbours(network))
        if self.remove == "units":
            return degree[units]
        return degree[network.pre] * degree[network.post]

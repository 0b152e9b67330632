"""Robustness against random removal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..streams import rng_for
from .shared.removal import Removal

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class Percolation(Removal):
    """Robustness against random removal, of edges or of units (Schneider et al. 2011,
    doi:10.1073/pnas.1009440108).

        R = mean over Q = 1 .. M of S(Q)

    S(Q): the share of units in the largest component (whatever the edges' direction) after Q
    removals of M; exact for every Q. ``remove``: "edges", each synapse by itself, or "units" with
    all their edges; ``seed`` draws the order. :meth:`giant` gives the curve S, :meth:`pairs` that
    of the pairs of an input and an output which a path joins.

    >>> from rewire.analysis.examples import two_layers
    >>> Percolation().giant(two_layers()).round(2).tolist()
    [0.67, 0.67, 0.56, 0.44, 0.44, 0.33, 0.22, 0.11]
    """

    seed: int = 0

    def _scores(self, graph: Graph, units: np.ndarray) -> np.ndarray:
        n = len(graph) if self.remove == "edges" else len(units)
        return rng_for(self.seed, "measure/Percolation").doubles(n)

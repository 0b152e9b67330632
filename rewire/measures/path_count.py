"""How many ways lead from the inputs to the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .layer_collapse import PAPER
from .measure import Measure

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class PathCount(Measure):
    """log10(1 + the number of directed paths from an input to an output).

        P(v) = [v is an input] + sum over edges and links u -> v of P(u), summed over the outputs

    Parallel synapses (kernel positions, gates) count each. A network with a cycle has no finite
    number and is refused. What SynFlow keeps high, with all weights 1 (Tanaka et al. 2020,
    arXiv:2006.05467).

    >>> from rewire.analysis.examples import two_layers
    >>> round(10 ** PathCount().of(two_layers())[""] - 1)
    5
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Tanaka et al. 2020, arXiv:2006.05467"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined", "ends", "acyclic"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        network = graph.network
        onward = network.adjacency().T.tocsr().astype(np.float64)
        paths = np.zeros(network.size)
        paths[network.inputs] = 1
        logarithm, scale = 0.0, 0.0  # of 1 + what has arrived; of the paths under way
        while paths.any():
            logarithm = _sum(logarithm, float(paths[network.outputs].sum()), scale)
            paths = onward @ paths
            largest = paths.max()
            if largest:  # 10^308 is not enough for a deep network
                scale += log10(largest)
                paths /= largest
        return {"": logarithm}


def _sum(logarithm: float, more: float, scale: float) -> float:
    """log10(10^logarithm + more x 10^scale)."""
    if not more:
        return logarithm
    return float(np.logaddexp2(logarithm / log10(2), np.log2(more) + scale / log10(2)) * log10(2))

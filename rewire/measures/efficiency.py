"""How close units are to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..fields import Count
from ..streams import rng_for
from .measure import Measure
from .shared.reach import reach

if TYPE_CHECKING:
    from ..graph import Graph
    from ..graph.network import Network

PAPER = r"""
@article{latora2001efficient,
  title = {Efficient Behavior of Small-World Networks},
  author = {Latora, Vito and Marchiori, Massimo},
  journal = {Physical Review Letters},
  volume = {87},
  pages = {198701},
  year = {2001},
  doi = {10.1103/PhysRevLett.87.198701},
}
"""


@dataclass(frozen=True)
class Efficiency(Measure):
    """Global efficiency: the mean inverse distance of two units, along the edges' direction
    (Latora & Marchiori 2001, doi:10.1103/PhysRevLett.87.198701).

        E = mean of 1 / d(i, j) over pairs of a unit i that has a projection out and another unit j
            that has one in; 0 where no path joins them

    d counts synapses; links have the length 0, and pairs that links alone join (the same signal)
    are left out. Of more than ``most`` units i, that many are drawn by ``seed``, and E is the mean
    over them. In a layered network most pairs cannot be joined: compare E with that of a null
    model.

    >>> from rewire.analysis.examples import two_layers
    >>> round(Efficiency().of(two_layers())[""], 4)  # 7 pairs at 1, 4 at 2, of 7 x 5 - 3
    0.2812
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Latora & Marchiori 2001, doi:10.1103/PhysRevLett.87.198701"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    most: Count = 4096
    seed: int = 0

    def values(self, graph: Graph) -> Mapping[str, float]:
        network = graph.network
        senders = _units(network, [p.source for p in graph.projections])
        receivers = _units(network, [p.target for p in graph.projections])
        if len(senders) > self.most:
            order = rng_for(self.seed, "measure/Efficiency").permutation(len(senders)).numpy()
            senders = np.sort(senders[order[: self.most]])
        pairs = reach(network).pairs(senders, receivers)
        possible = len(senders) * len(receivers) - int(pairs[:1].sum())  # a unit itself is at 0
        inverse = pairs[1:] @ (1 / np.arange(1, len(pairs)))
        return {"": float(inverse / possible) if possible else 0.0}


def _units(network: Network, names: list[str]) -> np.ndarray:
    """Numbers of the units of these populations, each once, ascending."""
    return np.unique(network.units(names))

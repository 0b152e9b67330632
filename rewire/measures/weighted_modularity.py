"""How far a network falls into communities by its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..fields import Count
from .barber_modularity import PAPER, largest_found
from .measure import Measure, Weights

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class WeightedModularity(Measure):
    """The largest modularity by |weight| that a search for communities reaches.

        Q = (1 / W) sum over pairs i -> j of one community of |w_ij| - s_i t_j / W

    s, t: sums of |w| by unit of the two sides; W: of all. As BarberModularity in everything else
    (Barber 2007, doi:10.1103/PhysRevE.76.066102). Weights are taken absolute: with their signs, W
    may be 0 and Q anything.

    >>> from rewire.analysis.examples import sheets
    >>> WeightedModularity().of(sheets())["ff"] >= 0.75  # the rows of the sheet
    True
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Barber 2007, doi:10.1103/PhysRevE.76.066102"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})
    weights: ClassVar[Weights] = "absolute"
    bounds: ClassVar[tuple[float | None, float | None]] = (-0.5, 1)
    numbered: ClassVar[bool] = True

    seed: int = 0
    tries: Count = 3

    def values(self, graph: Graph) -> Mapping[str, float]:
        return largest_found(graph, self.seed, self.tries, self.weights)

"""How strongly two neighbours of a unit are joined, whatever the directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .directed_clustering import PAPER, mean_clustering
from .measure import Measure, Weights
from .shared.recurrent import recurrent

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class WeightedDirectedClustering(Measure):
    """Mean weighted clustering coefficient of each population that projects to itself.

        C_i = [(W + W')^3]_ii / (2 (d_i (d_i - 1) - 2 m_i)),  W = (|w| / largest |w|)^(1/3)

    d and m count edges, as for DirectedClustering; a triangle counts by the geometric mean of its
    three |weights| (Fagiolo 2007, doi:10.1103/PhysRevE.76.026107). Parallel edges add up.

    >>> from rewire.graph import Graph, Population, Projection, Space
    >>> import torch
    >>> space = Space([Population("a", 3)], [Projection("p", "a", "a", "linear", (3, 3))])
    >>> graph = Graph.full(space).with_columns({"weight": torch.full((9,), -0.5)})
    >>> round(WeightedDirectedClustering().of(graph)["a"], 6)
    1.0
    """

    kind: ClassVar[str] = "directed"
    source: ClassVar[str] = "Fagiolo 2007, doi:10.1103/PhysRevE.76.026107"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"recurrent", "weight"})
    weights: ClassVar[Weights] = "absolute"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)  # 1, but for rounding

    def values(self, graph: Graph) -> Mapping[str, float]:
        pairs = zip(recurrent(graph), recurrent(graph, "absolute"), strict=True)
        out = {}
        for (name, joined), (_, weight) in pairs:
            largest = weight.data.max(initial=0)
            strength = weight.copy()
            if largest:
                strength.data = (strength.data / largest) ** (1 / 3)
            out[name] = mean_clustering(joined, strength)
        return out

"""Chance at the same densities of layers, in another order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..budget import allot
from .counts import uniform_keys
from .null import Null, refuse_caps

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class Layers(Null):
    """Graphs whose projections have each other's densities, dealt at random; edges uniform.

    All orders of the densities are equally likely. The number of edges stays as it is in all:
    dealt densities are multiplied by one factor, and what exceeds a projection's size goes to the
    others in proportion (:func:`rewire.budget.allot`). Weights are dealt over all projections, as
    their numbers of edges change. Where units hold a limited number of edges, or limits say which
    pairs may be joined, the null is refused.

    Control for what a method owes to its budget of layers: Su et al. 2020 (arXiv:2009.11094),
    Frankle et al. 2021 (arXiv:2009.08576).

    >>> from rewire.analysis.examples import two_layers
    >>> drawn = Layers().draw(two_layers(), np.random.default_rng(3))
    >>> two_layers().counts().tolist(), drawn.counts().tolist()  # 1/3 and 1/2 of 12 and 6
    ([4, 3], [5, 2])
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Su et al. 2020, arXiv:2009.11094"

    def check(self, graph: Graph) -> None:
        super().check(graph)
        refuse_caps(self, graph)
        if len(graph.projections) < 2:
            raise ValueError(
                "Layers deals densities among projections, and this graph has one only: use "
                "Degrees or Counts."
            )
        if graph.space.limits:
            raise ValueError(
                "Layers deals densities among projections without regard to limits "
                f"({', '.join(map(repr, graph.space.limits))}): use Counts."
            )

    def keys(self, graph: Graph, rng: np.random.Generator) -> np.ndarray:
        sizes = graph.space.sizes
        density = graph.counts().numpy() / np.maximum(sizes, 1)
        dealt = density[rng.permutation(len(sizes))]
        counts = allot(len(graph), (dealt * sizes).tolist(), sizes)
        return uniform_keys(graph.space, counts, rng)

    def weights(self, graph: Graph, drawn: Graph, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(graph.numbers("weight"))

"""Whether units of much weight are joined to units of much weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .bipartite import of_each
from .degree_assortativity import PAPER, over_pairs
from .measure import Measure, Weights

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class StrengthAssortativity(Measure):
    """Correlation, over the joined pairs of each projection, of the two units' strengths.

    As :class:`DegreeAssortativity`, with sums of |w| in the place of degrees; each pair counts
    once, whatever its weight (Newman 2003, arXiv:cond-mat/0209450, equation 21, as networkx's
    ``degree_pearson_correlation_coefficient`` with ``weight=``).

    >>> from rewire.analysis.examples import two_layers
    >>> import torch
    >>> graph = two_layers().with_columns({"weight": torch.ones(7)})
    >>> round(StrengthAssortativity().of(graph)["fc2"], 3)
    -0.5
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Newman 2003, arXiv:cond-mat/0209450"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})
    weights: ClassVar[Weights] = "absolute"
    bounds: ClassVar[tuple[float | None, float | None]] = (-1, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return of_each(graph, over_pairs, self.weights)

"""Edges that do something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..analysis import metrics
from .measure import Measure

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{vysogorets2023connectivity,
  title = {Connectivity Matters: Neural Network Pruning Through the Lens of Effective Sparsity},
  author = {Vysogorets, Artem and Kempe, Julia},
  journal = {Journal of Machine Learning Research},
  volume = {24},
  number = {99},
  pages = {1--23},
  year = {2023},
  eprint = {2107.02306},
  archiveprefix = {arXiv},
}
"""


@dataclass(frozen=True)
class EdgesOnPath(Measure):
    """Fraction of the edges that lie on a path from an input to an output.

    Of all edges and of each projection; nan where there is none. Times the density, it is the
    effective density of Vysogorets & Kempe 2023 (arXiv:2107.02306).

    >>> from rewire.analysis.examples import two_layers
    >>> EdgesOnPath().of(two_layers())["fc1"]
    0.75
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Vysogorets & Kempe 2023, arXiv:2107.02306"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined", "ends"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)

    def values(self, graph: Graph) -> Mapping[str, float]:
        effective = metrics.effective_edges(graph)
        parts = {"": effective}
        parts |= {p.name: effective[graph.rows(i)] for i, p in enumerate(graph.projections)}
        return {
            part: float(edges.mean()) if len(edges) else float("nan")
            for part, edges in parts.items()
        }

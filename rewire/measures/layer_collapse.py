"""Layers that nothing passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..analysis import metrics
from .measure import Measure

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@inproceedings{tanaka2020pruning,
  title = {Pruning neural networks without any data by iteratively conserving synaptic flow},
  author = {Tanaka, Hidenori and Kunin, Daniel and Yamins, Daniel L. K. and Ganguli, Surya},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2006.05467},
  archiveprefix = {arXiv},
  year = {2020},
}
"""


@dataclass(frozen=True)
class LayerCollapse(Measure):
    """Whether a projection carries nothing: 1 where none of its edges is on a path, else 0.

    A path leads from an input to an output; the whole is the number of such projections. Tanaka et
    al. 2020 (arXiv:2006.05467, section 3) call it layer collapse where no edge is left at all; here
    edges that lead nowhere do not count.

    >>> from rewire.analysis.examples import two_layers
    >>> LayerCollapse().of(two_layers())
    {'': 0.0, 'fc1': 0.0, 'fc2': 0.0}
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Tanaka et al. 2020, arXiv:2006.05467"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined", "ends"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        effective = metrics.effective_edges(graph)
        collapsed = {
            p.name: float(not effective[graph.rows(i)].any())
            for i, p in enumerate(graph.projections)
        }
        return {"": sum(collapsed.values()), **collapsed}

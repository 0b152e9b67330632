"""Pairs of units that share pairs of neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .bipartite import butterflies, of_each
from .measure import Measure

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@inproceedings{saneimehri2018butterfly,
  title = {Butterfly Counting in Bipartite Networks},
  author = {Sanei-Mehri, Seyed-Vahid and Sar{\i}y{\"u}ce, Ahmet Erdem and Tirthapura, Srikanta},
  booktitle = {International Conference on Knowledge Discovery and Data Mining},
  eprint = {1801.00338},
  archiveprefix = {arXiv},
  year = {2018},
}
"""


@dataclass(frozen=True)
class Butterflies(Measure):
    """Number of complete subgraphs of two units by two (K2,2) in each projection, and in all.

    sum over pairs of units u < v of one side of C(|N(u) & N(v)|, 2); either side gives the same
    (Sanei-Mehri, Sariyuce & Tirthapura 2018, arXiv:1801.00338).

    >>> from rewire.analysis.examples import two_layers
    >>> Butterflies().of(two_layers())
    {'': 0.0, 'fc1': 0.0, 'fc2': 0.0}
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Sanei-Mehri et al. 2018, arXiv:1801.00338"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        numbers = of_each(graph, butterflies)
        return {"": sum(numbers.values()), **numbers}

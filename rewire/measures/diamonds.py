"""Two ways through a layer from one unit to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import product_blocks
from .measure import Measure, matrix

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@article{milo2002network,
  title = {Network Motifs: Simple Building Blocks of Complex Networks},
  author = {Milo, Ron and Shen-Orr, Shai and Itzkovitz, Shalev and Kashtan, Nadav and Chklovskii,
    Dmitri and Alon, Uri},
  journal = {Science},
  volume = {298},
  pages = {824--827},
  year = {2002},
  doi = {10.1126/science.298.5594.824},
}
"""


@dataclass(frozen=True)
class Diamonds(Measure):
    """Two-layer diamonds: pairs of paths of two edges from one unit to another.

    The bi-parallel motif of Milo et al. 2002 (doi:10.1126/science.298.5594.824) between three
    populations: sum over units a and c of C(paths, 2), where paths is the product of the two
    consecutive projections' binary matrices at (c, a). Parts are "FIRST, SECOND", for each pair of
    projections of which the second begins where the first ends; the whole is their sum. A pair that
    comes back to a population is left out: there the four units need not be distinct.

    >>> from rewire.analysis.examples import two_layers
    >>> Diamonds().of(two_layers())  # input 1 reaches output 1 through hidden units 0 and 1
    {'': 1.0, 'fc1, fc2': 1.0}
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Milo et al. 2002, doi:10.1126/science.298.5594.824"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        numbers = {}
        for first, second in _consecutive(graph):
            part = f"{graph.projections[first].name}, {graph.projections[second].name}"
            numbers[part] = _diamonds(matrix(graph, second), matrix(graph, first))
        return {"": sum(numbers.values()), **numbers}


def _consecutive(graph: Graph) -> Iterator[tuple[int, int]]:
    """Numbers of projections of which the second begins at the units where the first ends."""
    starts, sizes = graph.network.starts, graph.network.sizes
    for i, first in enumerate(graph.projections):
        for j, second in enumerate(graph.projections):
            ends = [first.source, first.target, second.source, second.target]
            a, b, again, c = (starts[name] for name in ends)
            same = b == again and sizes[first.target] == sizes[second.source]
            if same and len({a, b, c}) == 3:
                yield i, j


def _diamonds(second: sp.csr_array, first: sp.csr_array) -> float:
    total = 0.0
    for _, _, block in product_blocks(second, first):
        paths = (block if isinstance(block, np.ndarray) else block.data).astype(np.float64)
        total += float((paths * (paths - 1) / 2).sum())
    return total

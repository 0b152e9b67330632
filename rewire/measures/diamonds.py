"""Two ways through a layer from one unit to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .bipartite import product_blocks
from .measure import Measure, Refused, matrix

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph
    from ..graph.network import Network

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
    projections of which the second begins where the first ends, or where sums, concatenations and
    flattenings lead from there (two ways over those are two paths); the whole is their sum. A pair
    that comes back to a population is left out: there the four units need not be distinct.

    >>> from rewire.analysis.examples import two_layers
    >>> Diamonds().of(two_layers())  # input 1 reaches output 1 through hidden units 0 and 1
    {'': 1.0, 'fc1, fc2': 1.0}
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Milo et al. 2002, doi:10.1126/science.298.5594.824"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        numbers = {}
        for i, j, between in _consecutive(self, graph):
            part = f"{graph.projections[i].name}, {graph.projections[j].name}"
            second = (matrix(graph, j) @ between).tocsr()
            numbers[part] = _diamonds(second, matrix(graph, i))
        return {"": sum(numbers.values()), **numbers}


def _consecutive(measure: Measure, graph: Graph) -> Iterator[tuple[int, int, sp.csr_array]]:
    """Numbers of projections one after the other, and the ways between the units that they share.

    The ways lead from units where the first ends (columns) to units where the second begins (rows).
    """
    network = graph.network
    ways = _ways(measure, network)

    def units(name: str) -> slice:
        return slice(network.starts[name], network.starts[name] + network.sizes[name])

    for i, first in enumerate(graph.projections):
        for j, second in enumerate(graph.projections):
            a, b, again, c = (
                network.starts[name]
                for name in (first.source, first.target, second.source, second.target)
            )
            if a not in (b, c) and c not in (b, again):
                between = ways[units(first.target)][:, units(second.source)]
                if between.nnz:
                    yield i, j, between.T.tocsr()


def _ways(measure: Measure, network: Network) -> sp.csr_array:
    """Number of ways over links alone from each unit (rows) to each unit, itself included."""
    import scipy.sparse as sp

    ends = network.link_pre, network.link_post
    links = sp.coo_array((np.ones(len(ends[0])), ends), shape=(network.size,) * 2).tocsr()
    power = ways = sp.eye_array(network.size, format="csr")
    for _ in network.sizes:
        power = (power @ links).tocsr()
        if not power.nnz:
            return ways
        ways = ways + power
    raise Refused(
        f"{measure.name} counts ways between projections, and this network comes back to a unit by "
        "sums, concatenations or flattenings alone: there is no number of ways."
    )


def _diamonds(second: sp.csr_array, first: sp.csr_array) -> float:
    total = 0.0
    for _, _, block in product_blocks(second, first):
        paths = (block if isinstance(block, np.ndarray) else block.data).astype(np.float64)
        total += float((paths * (paths - 1) / 2).sum())
    return total

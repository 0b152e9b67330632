"""How often three units are joined in each way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .diamonds import PAPER
from .measure import Measure
from .shared.recurrent import products_at, recurrent

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph


@dataclass(frozen=True)
class Motifs(Measure):
    """The number of triples of units that are joined in each of the 13 connected ways.

    Within each population that projects to itself (Milo et al. 2002,
    doi:10.1126/science.298.5594.824). Parts "NAME: 030T", ...: the names of Holland & Leinhardt are
    the numbers of mutual, asymmetric and absent pairs of a triple, then D(own), U(p), C(yclic) or
    T(ransitive). 111D is a <-> b <- c, and 111U is a <-> b -> c, as in igraph and networkx.

    From products of the matrices S of one-way and M of two-way edges, e.g. 030C = tr(S^3) / 3 and
    021D = sum over units of C(one-way out-degree, 2) - 030T - 120D.

    >>> from rewire.graph import Graph, Population, Projection, Space
    >>> space = Space([Population("a", 4)], [Projection("p", "a", "a", "linear", (4, 4))])
    >>> Motifs().of(Graph.full(space))["a: 300"]
    4.0
    """

    kind: ClassVar[str] = "directed"
    source: ClassVar[str] = "Milo et al. 2002, doi:10.1126/science.298.5594.824"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"recurrent"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return {
            f"{name}: {motif}": number
            for name, joined in recurrent(graph)
            for motif, number in census(joined).items()
        }


def census(joined: sp.csr_array) -> dict[str, float]:
    """Number of each connected triad of a 0/1 matrix, pre -> post, without loops.

    >>> import scipy.sparse as sp
    >>> ring = sp.csr_array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    >>> {motif: number for motif, number in census(ring).items() if number}
    {'030C': 1.0}
    """
    mutual = joined.multiply(joined.T).tocsr()
    mutual.eliminate_zeros()
    single = (joined - mutual).tocsr()
    single.eliminate_zeros()
    back = single.T.tocsr()
    # all three pairs joined: two edges that meet in a unit, and what joins their ends
    closed = {
        "030T": _sum(single, single, single),
        "030C": _sum(single, single, back) / 3,
        "120D": _sum(back, single, mutual) / 2,
        "120U": _sum(single, back, mutual) / 2,
        "120C": _sum(single, single, mutual),
        "210": _sum(mutual, mutual, single),
        "300": _sum(mutual, mutual, mutual) / 6,
    }
    # two pairs joined: every two edges of a unit, but those of triples that are closed
    out, into, both = (x.sum(axis=1).astype(np.float64) for x in (single, back, mutual))
    t = closed
    return {
        "021D": _twos(out) - t["030T"] - t["120D"],
        "021U": _twos(into) - t["030T"] - t["120U"],
        "021C": float(into @ out) - t["030T"] - 3 * t["030C"] - t["120C"],
        "111D": float(both @ into) - 2 * t["120D"] - t["120C"] - t["210"],
        "111U": float(both @ out) - 2 * t["120U"] - t["120C"] - t["210"],
        "201": _twos(both) - t["210"] - 3 * t["300"],
        **closed,
    }


def _sum(left: sp.csr_array, right: sp.csr_array, mask: sp.csr_array) -> float:
    return float(products_at(left, right, mask).sum())


def _twos(degree: np.ndarray) -> float:
    return float((degree * (degree - 1)).sum() / 2)

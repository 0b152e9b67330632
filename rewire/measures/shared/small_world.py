"""Clustering and distances of layers, and of what they are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ...nulls import Degrees
from ...streams import rng_for
from ..bipartite import projections
from ..measure import Measure, matrix
from ..robins_alexander import clustering
from .reach import WORD, Hops

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ...graph import Graph


@dataclass(frozen=True)
class SmallWorld(Measure):
    """What sigma and omega share."""

    draws: int = 10
    seed: int = 0
    sources: int = 256

    kind: ClassVar[str] = "layers"
    numbered: ClassVar[bool] = True  # which graphs are drawn depends on the order of the units

    def __post_init__(self) -> None:
        for name in ("draws", "sources"):
            if getattr(self, name) < 1:
                raise ValueError(f"{self.name}.{name} must be at least 1.")

    def of_layers(self, graph: Graph) -> Iterator[tuple[str, sp.csr_array, float, float]]:
        """Name and matrix of each projection, its clustering and its mean distance."""
        for name, joined in projections(graph):
            yield name, joined, clustering(joined), self.distance(joined)

    def chance(self, joined: sp.csr_array) -> tuple[float, float]:
        """Mean clustering and mean distance of graphs with the same degrees, units as they are."""
        numbers = [(clustering(one), self.distance(one)) for one in self.drawn(joined)]
        clustering0, distance0 = np.mean(numbers, axis=0).tolist()
        return clustering0, distance0

    def drawn(self, joined: sp.csr_array) -> Iterator[sp.csr_array]:
        """Graphs of one projection with its degrees on both sides."""
        for graph in Degrees().sample(as_graph(joined), self.draws, self.seed):
            yield matrix(graph, 0)

    def distance(self, joined: sp.csr_array) -> float:
        """Mean over pairs of units that a path joins; from some of them where there are many."""
        units = np.arange(sum(joined.shape))
        if len(units) > self.sources:
            rng = rng_for(self.seed, "measure/SmallWorld").numpy
            units = np.sort(rng.choice(len(units), self.sources, replace=False))
        return mean_distance(joined, units)


def as_graph(joined: sp.csr_array) -> Graph:
    """A graph of one projection, whose pairs are those of a matrix (n_post, n_pre)."""
    from ...graph import Graph, Population, Projection, Space

    n_post, n_pre = joined.shape
    space = Space(
        [Population("pre", n_pre), Population("post", n_post)],
        [Projection("layer", "pre", "post", "linear", (n_post, n_pre))],
    )
    post, pre = joined.nonzero()
    return Graph(space, torch.from_numpy(np.sort(post.astype(np.int64) * n_pre + pre)))


def mean_distance(joined: sp.csr_array, sources: np.ndarray) -> float:
    """Mean number of edges, whatever their direction, from sources to the units they reach.

    sources: numbers of units, those of the rows' side first. nan where none reaches another.

    >>> import scipy.sparse as sp
    >>> mean_distance(sp.csr_array([[1, 1]]), np.arange(3))
    1.3333333333333333
    """
    n_post, n_pre = joined.shape
    post, pre = (x.astype(np.int64) for x in joined.nonzero())
    pre = pre + n_post
    hops = Hops(np.concatenate([pre, post]), np.concatenate([post, pre]), n_post + n_pre)
    total = pairs = 0
    for begin in range(0, len(sources), WORD):
        some = sources[begin : begin + WORD]
        new = np.zeros(n_post + n_pre, np.uint64)
        new[some] = np.uint64(1) << np.arange(len(some), dtype=np.uint64)
        reached = new
        for distance in count(1):
            new = hops.onward(new) & ~reached
            number = int(np.bitwise_count(new).sum())
            if not number:
                break
            reached = reached | new
            total, pairs = total + distance * number, pairs + number
    return total / pairs if pairs else float("nan")


def lattice(joined: sp.csr_array) -> sp.csr_array:
    """The ring lattice of as many edges into each unit: each is fed by the units nearest to it.

    Both sides lie on one ring, the rows' side in the order of its degrees.

    >>> import scipy.sparse as sp
    >>> lattice(sp.csr_array([[1, 0, 1, 0], [0, 1, 0, 1]])).toarray().astype(int).tolist()
    [[1, 1, 0, 0], [0, 0, 1, 1]]
    """
    import scipy.sparse as sp

    n_post, n_pre = joined.shape
    degree = np.sort(np.diff(joined.indptr))[::-1]
    pointers = np.concatenate([[0], np.cumsum(degree)])
    centre = (np.arange(n_post) + 0.5) / n_post * n_pre
    first = np.floor(centre - degree / 2 + 0.5).astype(np.int64)
    place = np.arange(pointers[-1]) - np.repeat(pointers[:-1], degree)
    columns = (np.repeat(first, degree) + place) % max(n_pre, 1)
    out = sp.csr_array((np.ones(len(columns)), columns, pointers), shape=joined.shape)
    out.sort_indices()
    return out

"""Whether near units are joined more often than far ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .measure import Measure, Refused, matrix

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{bogdan2018structural,
  title = {Structural Plasticity on the {SpiNNaker} Many-Core Neuromorphic System},
  author = {Bogdan, Petrut A. and Rowley, Andrew G. D. and Rhodes, Oliver and Furber, Steve B.},
  journal = {Frontiers in Neuroscience},
  volume = {12},
  pages = {434},
  doi = {10.3389/fnins.2018.00434},
  year = {2018},
}
"""
BLOCK = 1 << 20  # pairs at a time


@dataclass(frozen=True)
class DistanceDependence(Measure):
    """How the probability of a connection depends on distance, by projection.

        r = correlation, over all pairs of a presynaptic and a postsynaptic unit, of "is joined" (0
            or 1) with the distance of the two

    Part "NAME: length": the mean distance of joined pairs over that of all pairs (1 by chance).
    Distances on the torus of side 1, as rewire.Distance has them (Bogdan et al. 2018,
    doi:10.3389/fnins.2018.00434, form synapses by it). Projections between populations without
    positions are left out. NaN where nothing varies.

    >>> from rewire.analysis.examples import sheets
    >>> {part: round(value, 3) for part, value in DistanceDependence().of(sheets()).items()}
    {'ff': -0.598, 'ff: length': 0.315}
    """

    kind: ClassVar[str] = "layers"
    source: ClassVar[str] = "Bogdan et al. 2018, doi:10.3389/fnins.2018.00434"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"positions"})

    def values(self, graph: Graph) -> Mapping[str, float]:
        out = {}
        for i, p in enumerate(graph.projections):
            places = [graph.space.population[name].positions for name in (p.source, p.target)]
            if places[0] is not None and places[1] is not None:
                pre, post = (place.double().numpy() for place in places if place is not None)
                out[p.name], out[f"{p.name}: length"] = _dependence(graph, i, pre, post)
        if not out:
            raise Refused(
                f"{self.name} needs a projection between two populations with positions, and none "
                "of this graph is one."
            )
        return out


def _dependence(graph: Graph, i: int, pre: np.ndarray, post: np.ndarray) -> tuple[float, float]:
    joined = matrix(graph, i).tocoo()
    pairs, nan = len(pre) * len(post), float("nan")
    if not pairs:
        return nan, nan
    mean, squares = _moments(pre, post)
    length = float((_between(pre[joined.col], post[joined.row]) - mean).sum())  # from the mean
    share = joined.nnz / pairs
    spread = np.sqrt(pairs * share * (1 - share) * squares)
    varies = 0 < share < 1 and squares > 1e-12 * pairs * mean**2
    r = float(np.clip(length / spread, -1, 1)) if varies else nan
    ratio = float(1 + length / joined.nnz / mean) if joined.nnz and mean else nan
    return r, ratio


def _moments(pre: np.ndarray, post: np.ndarray) -> tuple[float, float]:
    """Mean distance of all pairs, and the sum of squared differences from it."""
    blocks = _of_grids(pre, post) or _one_by_one(pre, post)
    totals = [(distance.sum() * times, times * distance.size) for distance, times in blocks()]
    mean = sum(total for total, _ in totals) / sum(pairs for _, pairs in totals)
    squares = sum(float(((d - mean) ** 2).sum() * times) for d, times in blocks())
    return mean, squares


Blocks = Callable[[], Iterable[tuple[np.ndarray, int]]]


def _one_by_one(pre: np.ndarray, post: np.ndarray) -> Blocks:
    """Distances of all pairs in blocks, and how often each counts: once."""
    step = max(1, BLOCK // len(pre))
    starts = range(0, len(post), step)
    return lambda: ((_between(pre, post[lo : lo + step, None]), 1) for lo in starts)


def _of_grids(pre: np.ndarray, post: np.ndarray) -> Blocks | None:
    """The same of one whole grid onto itself: the distances of all pairs are those of one unit."""
    rows, columns = (np.unique(axis) for axis in pre.T)
    whole = len(np.unique(pre, axis=0)) == len(pre) == len(rows) * len(columns)
    even = all(np.allclose(np.diff(axis), 1 / len(axis)) for axis in (rows, columns))
    if not (whole and even and np.array_equal(pre, post)):
        return None
    cells = np.indices((len(rows), len(columns))).reshape(2, -1).T / (len(rows), len(columns))
    return lambda: [(_between(cells, cells[:1]), len(pre))]


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances on the torus of side 1 of places, (..., 2) each."""
    apart = 0.5 - np.abs(np.abs(a - b) - 0.5)
    return np.sqrt((apart**2).sum(-1))

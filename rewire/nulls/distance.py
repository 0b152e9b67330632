"""Chance at the same distances on sheets."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ..graph.space import NONE
from .counts import allowed_keys, among
from .null import Null, refuse_caps

if TYPE_CHECKING:
    from ..graph import Graph, Space

MOST_PAIRS = 2**27  # whose distances are computed: 2 GiB of them


@dataclass(frozen=True)
class Distance(Null):
    """All graphs with the same histogram of distances in each projection, equally likely.

    Distances between the units' positions are Euclidean, around the torus of side 1. ``bins`` bins
    of equal width reach from 0 to the largest distance that the torus has, sqrt(d) / 2 in d
    dimensions; a bin holds its lower end. A projection with a population that has no positions
    keeps its number of edges alone. Limits on which pairs may be joined are kept; where units hold
    a limited number of edges the null is refused.

    Betzel & Bassett 2018 (doi:10.1073/pnas.1720186115) hold brain networks against such graphs.

    >>> from rewire.analysis.examples import sheets
    >>> drawn = Distance(bins=10).draw(sheets(), np.random.default_rng(0))
    >>> which, pre, post = drawn.locate()
    >>> positions = drawn.populations[0].positions.numpy()
    >>> apart = distances(positions[pre], positions[post])
    >>> int((apart == 0).sum()), int((apart == 0.25).sum())  # as many as in `sheets`
    (16, 16)
    """

    kind: ClassVar[str] = "distance"
    source: ClassVar[str] = "Betzel & Bassett 2018, doi:10.1073/pnas.1720186115"

    bins: int = 20

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"Distance.bins must be at least 1, got {self.bins}.")

    def check(self, graph: Graph) -> None:
        super().check(graph)
        refuse_caps(self, graph)
        space = graph.space
        placed = [i for i in range(len(space.projections)) if _positions(space, i)]
        if not placed:
            raise ValueError(
                "Distance needs a projection between two populations with positions, and there is "
                "none: pass positions= to attach, or use Degrees or Counts."
            )
        for i in placed:
            if (pairs := space.sizes[i]) > MOST_PAIRS:
                raise ValueError(
                    f"Distance lists all possible edges, and {space.projections[i].name!r} has "
                    f"{pairs:,} of them, more than {MOST_PAIRS:,}: use Degrees or Counts."
                )

    def projection(self, graph: Graph, i: int, rng: np.random.Generator) -> np.ndarray:
        candidates, ends = graph.topology.derived(
            ("distance null", self.bins, i), lambda: self._by_bin(graph.space, i)
        )
        own = graph.array[graph.rows(i)]
        counts = np.bincount(self._bin(graph.space, i, own), minlength=len(ends) - 1)
        parts = [
            among(candidates[ends[b] : ends[b + 1]], int(n), rng)
            for b, n in enumerate(counts)
            if n
        ]  # fmt: skip
        return np.sort(np.concatenate([NONE, *parts]))

    def _by_bin(self, space: Space, i: int) -> tuple[np.ndarray, np.ndarray]:
        """All keys that may hold an edge, bin by bin, and where each bin begins."""
        keys = allowed_keys(space, i)
        bins = self._bin(space, i, keys)
        ends = np.bincount(bins, minlength=self.bins).cumsum()
        return keys[bins.argsort(kind="stable")], np.concatenate([[0], ends])

    def _bin(self, space: Space, i: int, keys: np.ndarray) -> np.ndarray:
        """The bin of each key; 0 for all where units have no positions."""
        ends = _positions(space, i)
        if ends is None:
            return np.zeros(len(keys), np.int64)
        pre, post = space.projections[i].locate(torch.from_numpy(keys - space.bounds[i]))
        apart = distances(ends[0][pre.numpy()], ends[1][post.numpy()])
        longest = sqrt(ends[0].shape[1]) / 2
        # positions are rounded to float32: what lies at a bin's lower end is in it
        bins = np.floor(apart / longest * self.bins + 1e-5).astype(np.int64)
        return np.minimum(bins, self.bins - 1)


def distances(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance between positions (k, d), around the torus of side 1, (k,)."""
    apart = np.abs(start.astype(np.float64) - end)
    apart = np.minimum(apart, 1 - apart)
    return np.sqrt((apart**2).sum(1))


def _positions(space: Space, i: int) -> tuple[np.ndarray, np.ndarray] | None:
    p = space.projections[i]
    pre, post = (space.population[name].positions for name in (p.source, p.target))
    return None if pre is None or post is None else (pre.numpy(), post.numpy())

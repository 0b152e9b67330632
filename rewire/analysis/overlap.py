"""How much two masks share, and how much two random masks of the same counts would.

A mask is the sorted keys of its edges. Chance means: each projection's edges drawn uniformly,
without replacement, among its possible edges, at the counts the two masks have there. The number
shared is then hypergeometric, one draw per projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike

WHOLE = "whole"  # the name of the entry that is over all projections


@dataclass(frozen=True)
class Overlap:
    """What masks a and b share in one projection, or in all of them.

    edges_a, edges_b, shared: counts of (distinct) edges; possible: of possible edges.
    expected: mean number shared by chance, exact; deviation: its standard deviation, exact.
    """

    name: str
    edges_a: int
    edges_b: int
    possible: int
    shared: int
    expected: float
    deviation: float

    @property
    def jaccard(self) -> float:
        """Shared / union; NaN where both masks are empty."""
        return _ratio(self.shared, self.edges_a + self.edges_b - self.shared)

    @property
    def expected_jaccard(self) -> float:
        """Chance's Jaccard, approximated: the Jaccard of the expected number shared.

        A mean of a ratio is not the ratio of means. The Jaccard index is convex in the number
        shared, so this is a little too low, by a term of order deviation**2 / edges**2.
        """
        return _ratio(self.expected, self.edges_a + self.edges_b - self.expected)

    @property
    def hamming(self) -> int:
        """Number of edges that only one of the two has.

        >>> overlap([0, 1, 2], [1, 2, 3], [("fc1", 6)])[-1].hamming
        2
        """
        return self.edges_a + self.edges_b - 2 * self.shared

    @property
    def expected_hamming(self) -> float:
        """Mean of that by chance, exact."""
        return self.edges_a + self.edges_b - 2 * self.expected

    @property
    def against_chance(self) -> float:
        """Shared / expected: 1 is chance, NaN where chance expects nothing."""
        return _ratio(self.shared, self.expected)

    @property
    def z(self) -> float:
        """(shared - expected) / deviation; NaN where chance leaves no room."""
        return _ratio(self.shared - self.expected, self.deviation)


def overlap(a: ArrayLike, b: ArrayLike, projections: Sequence[Any]) -> list[Overlap]:
    """Overlap of two masks per projection, and :data:`WHOLE` as the last entry.

    a, b:        sorted int64 keys, arrays or CPU tensors; of parallel edges each pair counts once.
    projections: in key order, with ``name`` and ``size`` (or (name, size) pairs).

    Chance over the whole keeps each projection's counts: its mean and variance are the sums.
    Raises ValueError for keys that lie outside the projections.

    >>> overlap([0, 1, 2, 7], [1, 2, 3, 9], [("fc1", 6), ("fc2", 4)])[0].jaccard
    0.5
    """
    named = [_named(p) for p in projections]
    bounds = np.cumsum([0, *(size for _, size in named)])
    a, b = (_distinct(keys, bounds[-1]) for keys in (a, b))
    shared = np.intersect1d(a, b, assume_unique=True)
    counts = [np.diff(np.searchsorted(keys, bounds)) for keys in (a, b, shared)]
    parts = [
        Overlap(name, int(n_a), int(n_b), size, int(both), *_hypergeometric(n_a, n_b, size))
        for (name, size), n_a, n_b, both in zip(named, *counts, strict=True)
    ]
    whole = Overlap(
        WHOLE,
        len(a),
        len(b),
        int(bounds[-1]),
        len(shared),
        sum(p.expected for p in parts),
        sum(p.deviation**2 for p in parts) ** 0.5,
    )
    return [*parts, whole]


@dataclass(frozen=True, eq=False)
class Pairwise:
    """Overlap of every pair of M masks, each array (P + 1, M, M): projections, then the whole."""

    names: tuple[str, ...]
    shared: np.ndarray
    expected: np.ndarray
    union: np.ndarray

    @property
    def jaccard(self) -> np.ndarray:
        """Shared / union; NaN where both are empty."""
        with np.errstate(invalid="ignore"):
            return self.shared / self.union

    @property
    def against_chance(self) -> np.ndarray:
        """Shared / expected by chance; NaN where chance expects nothing."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.expected > 0, self.shared / self.expected, np.nan)


def pairwise(masks: Sequence[ArrayLike], projections: Sequence[Any]) -> Pairwise:
    """:func:`overlap` of all pairs at once, by sparse products; O(sum over edges of sharers).

    >>> pairs = pairwise([[0, 1, 2], [1, 2, 3]], [("fc1", 6)])
    >>> pairs.jaccard[-1].tolist(), float(pairs.expected[-1][0, 1])
    ([[1.0, 0.5], [0.5, 1.0]], 1.5)
    """
    named = [_named(p) for p in projections]
    bounds = np.cumsum([0, *(size for _, size in named)])
    keys = [_distinct(mask, bounds[-1]) for mask in masks]
    rows = np.repeat(np.arange(len(keys)), [len(k) for k in keys])
    columns = np.concatenate(keys) if keys else np.empty(0, np.int64)
    ones = np.ones(len(columns), np.int64)
    member = sp.coo_array((ones, (rows, columns)), (len(keys), bounds[-1])).tocsc()
    shared, counts = [], []
    for start, stop in zip(bounds, bounds[1:], strict=False):
        part = member[:, start:stop].tocsr()
        shared.append((part @ part.T).toarray())
        counts.append(np.diff(part.indptr))
    sizes = [max(size, 1) for _, size in named]
    expected = [np.outer(n, n) / size for n, size in zip(counts, sizes, strict=True)]
    edges = np.array([*counts, np.sum(counts, axis=0)])  # (P + 1, M)
    both = np.array([*shared, np.sum(shared, axis=0)])
    return Pairwise(
        (*(name for name, _ in named), WHOLE),
        both,
        np.array([*expected, np.sum(expected, axis=0)]),
        edges[:, :, None] + edges[:, None, :] - both,
    )


def _hypergeometric(n_a: int, n_b: int, possible: int) -> tuple[float, float]:
    """Mean and standard deviation of the number that two random subsets share."""
    if possible == 0:
        return 0.0, 0.0
    n_a, n_b = int(n_a), int(n_b)
    mean = n_a * n_b / possible
    spread = (possible - n_a) * (possible - n_b) / (possible * max(possible - 1, 1))
    return mean, (mean * spread) ** 0.5


def _distinct(keys: ArrayLike, possible: int) -> np.ndarray:
    keys = np.unique(np.asarray(keys, dtype=np.int64))
    if len(keys) and (keys[0] < 0 or keys[-1] >= possible):
        bad = keys[0] if keys[0] < 0 else keys[-1]
        raise ValueError(f"key {bad} lies outside the projections, which hold 0 to {possible - 1}.")
    return keys


def _named(projection: Any) -> tuple[str, int]:
    if isinstance(projection, tuple):
        return projection
    return projection.name, int(projection.size)


def _ratio(above: float, below: float) -> float:
    return above / below if below else float("nan")

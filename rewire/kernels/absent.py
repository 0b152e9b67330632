"""Absent keys drawn uniformly, without a list of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..native import kernels as compiled
from .random import GOLDEN, doubles_in_numpy, mix

EMPTY = np.empty(0, np.int64)


def free_keys(
    present: np.ndarray,
    leaving: np.ndarray,
    start: int,
    ends: Sequence[int],
    bounds: Sequence[int],
    counts: Sequence[int],
    *,
    parallel: bool,
) -> np.ndarray:
    """``counts[i]`` distinct free keys of each range [ends[i], ends[i + 1]), ascending.

    present: the keys that exist, ascending, those of range i in rows [bounds[i], bounds[i + 1]);
    leaving: rows that count as free. ``start`` names the random numbers. parallel: whether a key
    may be held by several rows; it is free where all of them leave. Raises ValueError where a
    range has too few.
    """
    if compiled is not None and not parallel:
        keys = compiled.free_keys(present, leaving, start, ends, bounds, counts)
        if keys is not None:  # else too few are free: the form below says where
            return keys
    parts = [
        _of_range(present, (ends[i], ends[i + 1]), n, leaving, mix(start + i), parallel)
        for i, n in enumerate(counts)
        if n
    ]
    return np.concatenate([EMPTY, *parts])


def _of_range(
    present: np.ndarray,
    ends: tuple[int, int],
    need: int,
    leaving: np.ndarray,
    counter: int,
    parallel: bool,
) -> np.ndarray:
    """``need`` of the free keys of a range: draw keys, and draw again what hits an edge.

    In order of drawing, the first distinct free keys are a uniform sample without replacement.
    Where few keys are free, or most of those are needed, they are drawn by number from a list.
    """
    lo, hi = ends
    first, end = present.searchsorted(ends)
    # as far as can be told without the list: rows that leave make more keys free
    if 2 * (end - first) > hi - lo or 2 * need > hi - lo - (end - first):
        free = _listed(present, (first, end), ends, leaving)
        if need > len(free):
            raise ValueError(
                f"cannot add {need} edges to keys [{lo}, {hi}): only {len(free)} are free."
            )
        if 2 * len(free) < hi - lo or 2 * need > len(free):
            few = 2 * need <= len(free)
            drawn = _distinct_draws(need if few else len(free) - need, len(free), counter)
            return free[drawn] if few else np.delete(free, drawn)
    leaves = np.zeros(len(present), bool)
    leaves[leaving] = True

    def is_free(drawn: np.ndarray) -> np.ndarray:
        if not len(present):
            return np.ones(len(drawn), bool)
        at = np.minimum(present.searchsorted(drawn + lo), len(present) - 1)
        same = present[at] == drawn + lo
        return ~same | (_all_leave(present, leaves, at, drawn + lo) if parallel else leaves[at])

    return _distinct_draws(need, hi - lo, counter, is_free) + lo


def _listed(
    present: np.ndarray, rows: tuple[int, int], ends: tuple[int, int], leaving: np.ndarray
) -> np.ndarray:
    """The free keys of a range, ascending.

    Parallel synapses share a pair, and some are about to go: only a list tells what is free.
    """
    stays = np.ones(len(present), bool)
    stays[leaving] = False
    part = slice(*rows)
    absent = np.ones(ends[1] - ends[0], bool)
    absent[present[part][stays[part]] - ends[0]] = False
    return np.flatnonzero(absent) + ends[0]


def _distinct_draws(
    n: int,
    size: int,
    counter: int,
    accept: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """The first ``n`` distinct integers of [0, size) that are drawn and accepted, ascending."""
    numbers = EMPTY
    while len(numbers) < n:
        tries = 2 * n + n // 2 + 4
        drawn = (doubles_in_numpy(tries, counter) * size).astype(np.int64)
        counter = (counter + tries * GOLDEN) % 2**64
        more = drawn if accept is None else drawn[accept(drawn)]
        numbers = distinct(np.concatenate([numbers, more]))[:n]
    return np.sort(numbers)


def distinct(values: np.ndarray) -> np.ndarray:
    """The values without repetitions, in order of first appearance.

    >>> distinct(np.array([3, 1, 3, 2, 1])).tolist()
    [3, 1, 2]
    """
    if len(values) < 64:  # sorting costs more than a dictionary of a few
        return np.fromiter(dict.fromkeys(values.tolist()), np.int64)
    _, first = np.unique(values, return_index=True)
    return values[np.sort(first)]


def _all_leave(
    present: np.ndarray, leaves: np.ndarray, at: np.ndarray, drawn: np.ndarray
) -> np.ndarray:
    """Whether every synapse of each drawn pair is about to go (a pair may hold several)."""
    out = leaves[at].copy()
    more = np.minimum(at + 1, len(present) - 1)
    while (again := out & (more > at) & (present[more] == drawn)).any():
        out[again] &= leaves[more[again]]
        at = more
        more = np.minimum(more + 1, len(present) - 1)
    return out

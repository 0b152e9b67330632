"""The rows of the first numbers in an order, exactly as many as asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..native import kernels as compiled
from .absent import EMPTY

# What is sorted so that the first of each order come first.
ORDERS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "smallest": lambda values: values,
    "largest": np.negative,
    "weakest": np.abs,
    "strongest": lambda values: -np.abs(values),
}
_NUMBER = {name: i for i, name in enumerate(ORDERS)}  # of each order, for the compiled form


def first_of(
    values: np.ndarray,
    ranges: Sequence[tuple[int, int]],
    counts: Sequence[int],
    order: str,
    without: np.ndarray = EMPTY,
) -> np.ndarray | None:
    """Rows of the ``counts[g]`` first in this order of each range, ascending, none of ``without``.

    The smaller row goes first among equals. None where a number that could be chosen is NaN. Each
    range has enough rows besides those, which are ascending.

    >>> first_of(np.array([3.0, 1.0, 2.0, 1.0]), [(0, 4)], [2], "smallest").tolist()
    [1, 3]
    >>> first_of(np.array([3.0, np.nan]), [(0, 2)], [1], "largest") is None
    True
    """
    if compiled is not None and _fits(values):
        low, high = [lo for lo, _ in ranges], [hi for _, hi in ranges]
        return compiled.first_of(values, low, high, counts, _NUMBER[order], without)
    free = None
    if len(without):
        free = np.ones(len(values), bool)
        free[without] = False
    parts = [EMPTY]
    for (lo, hi), k in zip(ranges, counts, strict=True):
        rows = None if free is None else np.flatnonzero(free[lo:hi])
        part = ORDERS[order](values[lo:hi] if rows is None else values[lo:hi][rows])
        if has_nan(part):
            return None
        first = _smallest(part, k)
        parts.append((first if rows is None else rows[first]) + lo)
    return np.concatenate(parts)


def _fits(values: np.ndarray) -> bool:
    """Whether the compiled form ranks such numbers: it keeps rows as 32 bits."""
    return values.dtype.char in "fd" and values.flags.c_contiguous and len(values) < 2**32


def has_nan(values: np.ndarray) -> bool:
    """Whether any number is NaN."""
    if values.dtype.kind != "f":
        return False
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum()  # a cheap sieve: finite sums hold no NaN
    return bool(not np.isfinite(total) and np.isnan(values).any())


def _smallest(values: np.ndarray, k: int) -> np.ndarray:
    """Places of the ``k`` smallest, ascending, the smaller place first among equals."""
    n = len(values)
    if k == 0:
        return EMPTY
    if k == n:
        return np.arange(n)
    cut = np.partition(values, k - 1)[k - 1]
    rows = np.flatnonzero(values <= cut)
    if len(rows) == k:
        return rows
    ties = np.flatnonzero(values[rows] == cut)
    return np.delete(rows, ties[k - len(rows) :])  # the last of the equals are too many

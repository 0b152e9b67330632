"""Trades between rows of 0/1 matrices that keep the sums of all rows and all columns."""

from __future__ import annotations

import numpy as np

from ..native import kernels as compiled
from .random import GOLDEN, mix, splitmix


def trade_rows(
    starts: np.ndarray, columns: np.ndarray, first: np.ndarray, second: np.ndarray, counter: int
) -> np.ndarray:
    """The columns after trades between pairs of rows, one after the other; curveball.

    starts, columns: a 0/1 matrix as CSR, (rows + 1,) and (E,) int64, columns ascending in each row.
    first, second: (T,) int64, the rows of each trade, never equal. Of the columns that one of
    the two has alone, each row gets as many as it gave, all choices equally likely; ``counter``
    names the random numbers. Columns of the result ascend in each row.

    >>> starts, columns = np.array([0, 2, 4]), np.array([0, 1, 1, 2])
    >>> traded = trade_rows(starts, columns, np.array([0]), np.array([1]), counter=1)
    >>> sorted(traded.tolist()), 1 in traded[:2], 1 in traded[2:]
    ([0, 1, 1, 2], True, True)
    """
    if compiled is not None:
        return compiled.trade_rows(starts, columns, first, second, counter)
    out = columns.copy()
    bounds = starts.tolist()
    for trade, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True), start=1):
        rows = slice(bounds[a], bounds[a + 1]), slice(bounds[b], bounds[b + 1])
        _trade(out[rows[0]], out[rows[1]], mix(counter + trade * GOLDEN))
    return out


def _trade(a: np.ndarray, b: np.ndarray, counter: int) -> None:
    """One trade, in place: of the columns that one row has alone, the lowest hashes go to ``a``."""
    both = np.concatenate([a, b])
    both.sort()
    twice = np.zeros(len(both) + 1, bool)
    np.equal(both[1:], both[:-1], out=twice[1:-1])
    shared, alone = both[:-1][twice[1:-1]], both[~(twice[1:] | twice[:-1])]
    n = len(a) - len(shared)  # of them a's
    if n == 0 or n == len(alone):
        return
    index = np.arange(1, len(alone) + 1, dtype=np.uint64)
    hashes = splitmix(index * np.uint64(GOLDEN) + np.uint64(counter))
    to_a = np.zeros(len(alone), bool)
    to_a[hashes.argsort(kind="stable")[:n]] = True
    a[:] = np.sort(np.concatenate([shared, alone[to_a]]))
    b[:] = np.sort(np.concatenate([shared, alone[~to_a]]))

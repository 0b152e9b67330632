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


def trade_off_diagonal(
    starts: np.ndarray, columns: np.ndarray, first: np.ndarray, second: np.ndarray, counter: int
) -> np.ndarray:
    """:func:`trade_rows` of a square matrix whose diagonal is empty and stays so.

    Two rows keep the columns of their own numbers out of a trade. There is no compiled form.
    """
    out = columns.copy()
    bounds = starts.tolist()
    for trade, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True), start=1):
        rows = slice(bounds[a], bounds[a + 1]), slice(bounds[b], bounds[b + 1])
        _trade(out[rows[0]], out[rows[1]], mix(counter + trade * GOLDEN), (a, b))
    return out


def turn_triangles(starts: np.ndarray, columns: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """The columns after circles of three were turned around, one after the other.

    A circle: a row of ``triples``, (T, 3), distinct numbers (i, j, k), whose entries (j, i), (k, j)
    and (i, k) are there, and none of those across the diagonal. Sums of rows and columns stay.

    >>> starts, columns = np.array([0, 1, 2, 3]), np.array([2, 0, 1])
    >>> turn_triangles(starts, columns, np.array([[0, 1, 2]])).tolist()
    [1, 2, 0]
    """
    n = len(starts) - 1
    row = np.repeat(np.arange(n), np.diff(starts))
    cells = row * n + columns
    i, j, k = triples.T
    circle, across = ((j, i), (k, j), (i, k)), ((i, j), (j, k), (k, i))
    done = 0
    while done < len(triples):
        left = slice(done, None)
        there = [_has(cells, r[left] * n + c[left]) for r, c in (*circle, *across)]
        turns = there[0] & there[1] & there[2] & ~(there[3] | there[4] | there[5])
        if not turns.any():
            break
        t = done + int(turns.argmax())
        old, new = ([int(r[t]) * n + int(c[t]) for r, c in pairs] for pairs in (circle, across))
        cells[np.searchsorted(cells, old)] = new
        cells.sort()
        done = t + 1
    return cells - row * n


def _has(cells: np.ndarray, queried: np.ndarray) -> np.ndarray:
    at = np.minimum(cells.searchsorted(queried), len(cells) - 1)
    return cells[at] == queried


def _trade(a: np.ndarray, b: np.ndarray, counter: int, out: tuple[int, int] | None = None) -> None:
    """One trade, in place: of the columns that one row has alone, the lowest hashes go to ``a``.

    out: columns that take no part: each row keeps them as it has them.
    """
    if out is not None:
        takes_part = [(row != out[0]) & (row != out[1]) for row in (a, b)]
        rows = [row[part] for row, part in zip((a, b), takes_part, strict=True)]
        _trade(rows[0], rows[1], counter)
        for to, part, traded in zip((a, b), takes_part, rows, strict=True):
            to[part] = traded
            to.sort()
        return
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

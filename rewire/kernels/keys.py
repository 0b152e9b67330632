"""Ascending arrays of keys: where keys lie in them, and how they change by an edit."""

from __future__ import annotations

import numpy as np

from ..native import kernels as compiled


def find(keys: np.ndarray, queried: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of each key (its first, where there are several) and whether it exists, each (k,).

    keys: ascending; queried: in any order.

    >>> row, exists = find(np.array([2, 5, 9]), np.array([5, 6]))
    >>> int(row[0]), exists.tolist()
    (1, [True, False])
    """
    if compiled is not None:
        return compiled.find(keys, queried)
    row = keys.searchsorted(queried)
    if not len(keys):
        return row, np.zeros(len(queried), bool)
    row = np.minimum(row, len(keys) - 1)
    return row, keys[row] == queried


def keys_left(keys: np.ndarray, drop: np.ndarray, first: int, last: int, offset: int) -> np.ndarray:
    """The keys of rows [first, last), less ``offset``, but for these rows of all, in any order."""
    if compiled is not None and (np.diff(drop) > 0).all():
        return compiled.keys_left(keys, drop, first, last, offset)
    stays = np.ones(len(keys), bool)
    stays[drop] = False
    return keys[first:last][stays[first:last]] - offset


def exchange(
    keys: np.ndarray, drop: np.ndarray, grow: np.ndarray, *, parallel: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Of rows to drop and keys to grow, those that are not the other's: (rows, keys).

    Both ascending; ``grow`` has no key of a row that stays. parallel: whether several rows may
    hold one key.
    """
    if compiled is not None and not parallel:
        return compiled.exchange(keys, drop, grow)
    row, exists = find(keys, grow)
    returns = np.zeros(len(keys), bool)
    returns[row[exists]] = True
    return drop[~returns[drop]], grow[~exists]


def columns_of(keys: np.ndarray, starts: np.ndarray, first: int, width: int) -> np.ndarray:
    """The place of each edge in its row of a weight, (E_i,) int32.

    first: key of the weight's first place; width: places in a row; starts: (rows + 1,), where the
    edges of each row begin in ``keys``.
    """
    if compiled is not None:
        return compiled.columns(keys, starts, first, width)
    return ((keys[starts[0] : starts[-1]] - first) % width).astype(np.int32)


def columns_after(
    columns: np.ndarray,
    before: int,
    drop: np.ndarray,
    keys: np.ndarray,
    born: np.ndarray,
    rows: slice,
    first: int,
    width: int,
) -> np.ndarray:
    """:func:`columns_of` after an edit, from what it was before.

    columns: before the edit, of rows ``before`` and on; drop: all rows that the edit dropped; keys,
    born: after it, all of them, and the new rows; rows: of this weight, after it.
    """
    if compiled is not None:
        return compiled.index_after(
            columns, before, drop, keys, born, rows.start, rows.stop, first, width
        )
    return ((keys[rows] - first) % width).astype(np.int32)


def spliced(column: np.ndarray, drop: np.ndarray, born: np.ndarray, birth: float) -> np.ndarray:
    """A column after an edit: without the rows ``drop``, with ``birth`` at the rows ``born``.

    Both ascending: ``drop`` are rows of the column as it was, ``born`` of the one returned.

    >>> spliced(np.array([1.0, 2.0, 3.0]), np.array([1]), np.array([0]), 0.5).tolist()
    [0.5, 1.0, 3.0]
    """
    if compiled is not None and column.dtype in (np.float32, np.float64):
        return compiled.spliced(column, drop, born, birth)
    staying = np.delete(column, drop)
    out = np.full(len(staying) + len(born), birth, staying.dtype)
    stays = np.ones(len(out), bool)
    stays[born] = False
    out[stays] = staying
    return out

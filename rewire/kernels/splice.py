"""Ascending keys and the columns aligned with them, carried through an edit: one linear merge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..native import kernels as compiled
from .absent import EMPTY

Births = np.ndarray | float  # of a column: one number, or one for each key that is added
Merged = tuple[np.ndarray, list[np.ndarray], np.ndarray, list[int]]


def merge(
    keys: np.ndarray,
    drop: np.ndarray,
    add: np.ndarray,
    columns: Sequence[np.ndarray],
    births: Sequence[Births],
    ends: np.ndarray,
    parallel: Sequence[bool],
) -> Merged | None:
    """Keys and columns without the rows ``drop`` and with the keys ``add``, in any order.

    births: what the added ones hold in each column; ends: where the keys of each projection end,
    from 0; parallel: of each projection, whether a key may be held several times, then in order of
    birth. Returns (keys, columns, rows of those added, row where each projection begins), or None
    for an edit that is wrong: rows that are not there or given twice, keys out of range or that
    exist already.

    >>> keys, columns, born, bounds = merge(
    ...     np.array([1, 4, 7]), np.array([1]), np.array([5]), [np.array([0.1, 0.4, 0.7])], [9.0],
    ...     np.array([0, 10]), [False],
    ... )
    >>> keys.tolist(), columns[0].tolist(), born.tolist()
    ([1, 5, 7], [0.1, 9.0, 0.7], [1])
    """
    if compiled is not None:
        merged = compiled.merge(keys, drop, add, columns, births, ends, parallel)
        if merged is not None:  # else the edit is wrong, or out of order
            return merged
    order = np.argsort(add, kind="stable")
    keep = _kept(len(keys), drop)
    if keep is None:
        return None
    old = keys[keep]
    born = _places(old, add[order], ends, parallel)
    if born is None:
        return None
    stays = np.ones(len(old) + len(add), bool)
    stays[born] = False

    def merged_with(staying: np.ndarray, new: Births) -> np.ndarray:
        values = np.empty(len(stays), staying.dtype)
        values[stays] = staying
        values[born] = new[order] if isinstance(new, np.ndarray) else new
        return values

    after = [merged_with(column[keep], new) for column, new in zip(columns, births, strict=True)]
    merged_keys = merged_with(old, add)
    return merged_keys, after, born, merged_keys.searchsorted(ends).tolist()


def _kept(n: int, drop: np.ndarray) -> np.ndarray | slice | None:
    """Which of n rows stay; None where a row is not there, or given twice."""
    if not len(drop):
        return slice(None)
    if drop.astype(np.uint64).max() >= n:  # a negative row is a huge one
        return None
    keep = np.ones(n, bool)
    keep[drop] = False
    return keep if np.count_nonzero(keep) == n - len(drop) else None


def _places(
    old: np.ndarray, add: np.ndarray, ends: np.ndarray, parallel: Sequence[bool]
) -> np.ndarray | None:
    """Rows of the keys to add, ascending, among all that will be there; None where one is wrong."""
    if not len(add):
        return EMPTY
    if add[0] < 0 or add[-1] >= ends[-1]:
        return None
    if not np.array(parallel)[ends.searchsorted(add[clashes(old, add)], "right") - 1].all():
        return None
    return old.searchsorted(add, "right") + np.arange(len(add))


def clashes(old: np.ndarray, add: np.ndarray) -> np.ndarray:
    """Which of the keys to add, ascending, exist already or are given twice, (a,) bool."""
    at = old.searchsorted(add, "right")
    # the key before a new one's place (before the first: the last, a larger one) is not itself
    clash = old[at - 1] == add if len(old) else np.zeros(len(add), bool)
    clash[1:] |= add[1:] == add[:-1]
    return clash


def starts_after(
    starts: np.ndarray, firsts: np.ndarray, drop: np.ndarray, add: np.ndarray
) -> np.ndarray:
    """Rows where each unit's edges begin after an edit, (P, units + 1), from where they began.

    firsts: the first key of each unit, of the same shape; drop, add: rows and keys, ascending.
    """
    if compiled is not None:
        return compiled.shifted(starts, firsts, drop, add)
    return starts - drop.searchsorted(starts) + add.searchsorted(firsts)

"""Slots of units: which of them a unit's new edges take."""

from __future__ import annotations

import numpy as np

from ..native import kernels as compiled


def fill_slots(starts: np.ndarray, born: np.ndarray, slot: np.ndarray, most: int) -> int | None:
    """Give each new row, in place, the lowest free of the ``most`` slots of its unit.

    starts: (P, units + 1), rows where each unit's edges of each projection begin; born: the new
    rows; slot: (E,) int64. In the order of the unit's incoming edges. Returns the first unit that
    holds more edges than it has slots, before anything is written, else None.
    """
    if compiled is not None and slot.dtype == np.int64:
        full = compiled.fill_slots(starts, born, slot, most)
        return None if full < 0 else full
    inside = (born >= starts[:, :1]) & (born < starts[:, -1:])  # (P, a)
    units = np.unique(np.concatenate([
        first.searchsorted(born[some], "right") - 1
        for first, some in zip(starts, inside, strict=True)
    ]))  # fmt: skip
    fan_in = np.diff(starts).sum(0)
    over = units[fan_in[units] > most]
    if len(over):
        return int(over[0])
    place, row = rows_of_units(starts, units)
    take_lowest(place, row, len(units), born, slot, most)
    return None


def rows_of_units(starts: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All incoming edges of some units: each one's place in ``units``, and its row.

    starts: as in :func:`fill_slots`, or (1, units + 1) where rows are those of another order.

    >>> place, row = rows_of_units(np.array([[0, 2, 3], [3, 3, 5]]), np.array([1]))
    >>> place.tolist(), row.tolist()
    ([0, 0, 0], [2, 3, 4])
    """
    first, end = starts[:, units], starts[:, units + 1]
    counts = (end - first).T.ravel()  # unit by unit, of each projection in turn
    place = np.repeat(np.repeat(np.arange(len(units)), len(first)), counts)
    row = np.arange(len(place)) + np.repeat(first.T.ravel() - counts.cumsum() + counts, counts)
    return place, row


def take_lowest(
    place: np.ndarray, row: np.ndarray, n: int, born: np.ndarray, slot: np.ndarray, most: int
) -> None:
    """Write the lowest free slots of n units to their new rows.

    place, row: of all their edges, as :func:`rows_of_units` gives them; born: the new rows of all.
    """
    newborn = np.zeros(len(slot), bool)
    newborn[born] = True
    new = newborn[row]
    free = np.ones((n, most), bool)
    free[place[~new], slot[row[~new]]] = False
    unit, lowest = free.nonzero()
    needed = np.bincount(place[new], minlength=n)
    rank = np.arange(len(unit)) - unit.searchsorted(np.arange(n))[unit]
    slot[row[new]] = lowest[rank < needed[unit]]

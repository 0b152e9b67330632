"""Carry keys and columns through an edit: one linear merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..native import kernels
from .columns import Births, Columns, Reader
from .edit import Edit, as_array
from .space import NONE
from .topology import Topology


def splice(before: Topology, columns: Columns, edit: Edit) -> tuple[Topology, Columns]:
    """Topology and columns without the edges that the edit drops and with those that it adds.

    Raises ValueError for rows that are not there or given twice, keys out of range, and keys that
    exist already or are given twice where no multapses are allowed.
    """
    drop, add = edit.drop, edit.add
    if drop.dtype.char == "?":
        _refuse_mask(drop)
    births = [columns.births_of(name, edit) for name in columns.values]
    values = [as_array(column) for column in columns.values.values()]
    topology, after = _spliced(before, drop, add, values, births)
    lazy = {name: _spliced_later(columns, name, edit, topology.born) for name in columns.lazy}
    return topology, Columns(dict(zip(columns.values, after, strict=True)), columns.births, lazy)


def _spliced(
    before: Topology,
    drop: np.ndarray,
    add: np.ndarray,
    columns: Sequence[np.ndarray],
    births: Sequence[Births],
) -> tuple[Topology, list[np.ndarray]]:
    space, starts = before.space, _shifted(before, drop, add)
    if kernels is not None:
        merged = kernels.merge(before.array, drop, add, columns, births, space.ends, space.parallel)
        if merged is not None:  # None for what is wrong or out of order
            keys, after, born, bounds = merged
            return Topology(space, keys, born=born, bounds=bounds, starts=starts), after
    keys, after, born = _merge(before, drop, add, columns, births)
    return Topology(space, keys, born=born, starts=starts), after


def _shifted(
    before: Topology, drop: np.ndarray, add: np.ndarray
) -> dict[str, np.ndarray | None] | None:
    """Where units' edges begin after an edit, of the populations of which it is known before."""
    known = before.known_starts
    if kernels is None or not known:
        return None
    drop = np.sort(drop) if len(drop) > 1 else drop
    add = np.sort(add) if len(add) > 1 else add
    firsts = before.space.firsts
    return {
        name: None if starts is None else kernels.shifted(starts, firsts(name), drop, add)
        for name, starts in known.items()
    }


def _merge(
    before: Topology,
    drop: np.ndarray,
    add: np.ndarray,
    columns: Sequence[np.ndarray],
    births: Sequence[Births],
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Keys, columns and the rows of the new edges; raises what is wrong with the edit."""
    order = np.argsort(add, kind="stable")
    keep = _kept(before, drop)
    old = before.array[keep]
    born = _places(before, add[order], old)
    stays = np.ones(len(old) + len(add), bool)
    stays[born] = False

    def merged(staying: np.ndarray, new: Births) -> np.ndarray:
        values = np.empty(len(stays), staying.dtype)
        values[stays] = staying
        values[born] = new[order] if isinstance(new, np.ndarray) else new
        return values

    after = [merged(column[keep], new) for column, new in zip(columns, births, strict=True)]
    return merged(old, add), after, born


def _kept(before: Topology, drop: np.ndarray) -> np.ndarray | slice:
    """Which rows stay."""
    if not len(drop):
        return slice(None)
    n = len(before)
    if drop.astype(np.uint64).max() >= n:  # a negative row is a huge one
        bad = int(drop[(drop < 0) | (drop >= n)][0])
        raise ValueError(
            f"cannot drop row {bad}: the graph has rows 0 to {n - 1}. Edit.drop names "
            "rows of the graph that the rule was shown, not keys."
        )
    keep = np.ones(n, bool)
    keep[drop] = False
    if len(drop) > 1 and np.count_nonzero(keep) != n - len(drop):
        rows, times = np.unique(drop, return_counts=True)
        raise ValueError(
            f"cannot drop row {int(rows[times > 1][0])} twice: {len(drop)} rows were given, "
            f"{len(rows)} of them different."
        )
    return keep


def _places(before: Topology, keys: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Rows of the keys to add, (a,) in order, among all that will be there."""
    if not len(keys):
        return NONE
    possible = before.space.possible
    if keys[0] < 0 or keys[-1] >= possible:
        bad = int(keys[0] if keys[0] < 0 else keys[-1])
        raise ValueError(f"cannot add key {bad}: keys run from 0 to {possible - 1}.")
    at = old.searchsorted(keys, "right")
    # the key before a new one's place (before the first: the last, a larger one) is not itself
    clash = old[at - 1] == keys if len(old) else np.zeros(len(keys), bool)
    clash[1:] |= keys[1:] == keys[:-1]
    if clash.any():
        _refuse_parallel(before, keys[clash], len(keys))
    return at + np.arange(len(keys))


def _refuse_parallel(before: Topology, keys: np.ndarray, n_add: int) -> None:
    """Raise ValueError where one of the keys is of a projection that allows no multapses."""
    projections = before.space.projections
    which = before.space.which(torch.from_numpy(keys)).tolist()
    single = [(projections[i].name, key) for i, key in zip(which, keys.tolist(), strict=True)
              if not projections[i].multapses]  # fmt: skip
    if single:
        name, first = single[0]
        raise ValueError(
            f"cannot add {len(single)} of {n_add} edges (first key {first}, in "
            f"{name!r}): they exist already or are named twice, and {name!r} allows no "
            "multapses. Draw keys with select.sample_absent."
        )


def _refuse_mask(drop: np.ndarray) -> None:
    raise ValueError(
        f"Edit.drop is a mask of {len(drop)} booleans; it holds row numbers. Give "
        "mask.nonzero().squeeze(1)."
    )


def _spliced_later(columns: Columns, name: str, edit: Edit, born: np.ndarray) -> Reader:
    """A column that is yet to be read, after an edit whose new edges are the rows ``born``."""

    def values(rows: Any) -> np.ndarray:
        staying = np.delete(columns.numbers(name), edit.drop)
        merged = np.empty(len(staying) + len(born), staying.dtype)
        stays = np.ones(len(merged), bool)
        stays[born] = False
        merged[stays] = staying
        merged[born] = columns.newborn(name, edit)
        return merged[rows]

    return values

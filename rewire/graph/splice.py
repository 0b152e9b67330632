"""Carry keys and columns through an edit: one linear merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..kernels.splice import clashes, merge, starts_after
from .columns import Births, Columns, Reader
from .edit import Edit
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
    values = [c if isinstance(c, np.ndarray) else c.numpy() for c in columns.values.values()]
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
    space = before.space
    merged = merge(before.array, drop, add, columns, births, space.ends, space.parallel)
    if merged is None:
        raise _wrong(before, drop, np.sort(add))
    keys, after, born, bounds = merged
    starts = _starts_after(before, drop, add)
    return Topology(space, keys, born=born, bounds=bounds, starts=starts), after


def _starts_after(
    before: Topology, drop: np.ndarray, add: np.ndarray
) -> dict[str, np.ndarray | None]:
    """Where units' edges begin after an edit, of the populations of which it is known before."""
    known = before.known_starts
    if not known:
        return {}
    drop = np.sort(drop) if len(drop) > 1 else drop
    add = np.sort(add) if len(add) > 1 else add
    carried: dict[str, np.ndarray | None] = dict.fromkeys(known)
    for name, starts in known.items():
        firsts = before.space.firsts(name)
        if starts is not None and firsts is not None:
            carried[name] = starts_after(starts, firsts, drop, add)
    return carried


def _wrong(before: Topology, drop: np.ndarray, add: np.ndarray) -> ValueError:
    """What is wrong with an edit that cannot be merged; ``add`` ascending."""
    n, possible = len(before), before.space.possible
    missing = (drop < 0) | (drop >= n)
    if missing.any():
        return ValueError(
            f"cannot drop row {int(drop[missing][0])}: the graph has rows 0 to {n - 1}. Edit.drop "
            "names rows of the graph that the rule was shown, not keys."
        )
    rows, times = np.unique(drop, return_counts=True)
    if len(rows) < len(drop):
        return ValueError(
            f"cannot drop row {int(rows[times > 1][0])} twice: {len(drop)} rows were given, "
            f"{len(rows)} of them different."
        )
    outside = add[(add < 0) | (add >= possible)]
    if len(outside):
        bad = int(outside[0] if outside[0] < 0 else outside[-1])
        return ValueError(f"cannot add key {bad}: keys run from 0 to {possible - 1}.")
    clash = add[clashes(np.delete(before.array, drop), add)]
    projections, which = before.space.projections, before.space.which(torch.from_numpy(clash))
    single = [(projections[i].name, key)
              for i, key in zip(which.tolist(), clash.tolist(), strict=True)
              if not projections[i].multapses]  # fmt: skip
    name, first = single[0]
    return ValueError(
        f"cannot add {len(single)} of {len(add)} edges (first key {first}, in "
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

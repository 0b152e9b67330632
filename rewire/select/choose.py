"""Choosing edges: the verbs that rules are written in.

Counts are exact, ties are broken by key (the smaller key goes first), NaN is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..graph import NONE, Graph
from ..native import kernels

SCOPES = ("layer", "global")


def groups(graph: Graph, scope: str) -> list[tuple[int, int]]:
    """Row ranges within which a budget holds: one per projection ("layer") or one in all."""
    if scope not in SCOPES:
        raise ValueError(f"scope must be 'layer' or 'global', got {scope!r}.")
    bounds = graph.bounds
    if scope == "global":
        return [(0, len(graph))]
    return list(pairwise(bounds))


def smallest(
    scores: Tensor,
    k: int | Sequence[int],
    groups: Sequence[tuple[int, int]] | Tensor | None = None,
    *,
    magnitude: bool = False,
    what: str = "score",
) -> Tensor:
    """Rows of the ``k`` smallest scores, ascending; ``k[g]`` of them in each group g.

    scores: (n,). groups: row ranges, or a group number for each row, shape (n,); None: one group.
    magnitude: rank by |score|. Exactly that many rows, the smaller row first among equals. Raises
    ValueError for NaN scores, naming ``what``, and for more rows than there are.
    """
    return _ranked(scores, k, groups, "weakest" if magnitude else "smallest", what)


def largest(
    scores: Tensor,
    k: int | Sequence[int],
    groups: Sequence[tuple[int, int]] | Tensor | None = None,
    *,
    magnitude: bool = False,
    what: str = "score",
) -> Tensor:
    """Rows of the ``k`` largest scores, ascending; otherwise as :func:`smallest`."""
    return _ranked(scores, k, groups, "strongest" if magnitude else "largest", what)


# What is ranked so that the first come first.
ORDERS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "smallest": lambda values: values,
    "largest": np.negative,
    "weakest": np.abs,
    "strongest": lambda values: -np.abs(values),
}
_NUMBER = {name: i for i, name in enumerate(ORDERS)}  # of each order, for the kernels


def first_of(
    values: np.ndarray,
    ranges: Sequence[tuple[int, int]],
    counts: Sequence[int],
    order: str,
    taken: np.ndarray = NONE,
) -> np.ndarray | None:
    """Rows of the ``counts[g]`` first in this order of each range, ascending, none of ``taken``.

    One pass, by kernel: None where that is not to be had, or where a number is NaN. Each range
    has enough rows that are not taken, which are ascending.
    """
    if kernels is None or values.dtype.char not in "fd" or not values.flags.c_contiguous:
        return None
    if len(values) >= 2**32:
        return None
    low, high = [lo for lo, _ in ranges], [hi for _, hi in ranges]
    return kernels.first_of(values, low, high, counts, _NUMBER[order], taken)


def _ranked(
    scores: Tensor,
    k: int | Sequence[int],
    groups: Sequence[tuple[int, int]] | Tensor | None,
    order: str,
    what: str,
) -> Tensor:
    values = scores.detach().numpy()
    if isinstance(groups, Tensor):  # the last groups may be empty: then only k knows of them
        values = ORDERS[order](ranked_numbers(values, what))
        most = int(groups.max()) + 1 if len(groups) else 0
        counts = _counts(k, most if isinstance(k, int) else max(most, len(k)))
        return torch.from_numpy(_smallest_by_number(values, counts, groups.numpy(), what))
    ranges = [(0, len(values))] if groups is None else groups
    counts = _counts(k, len(ranges))
    for (lo, hi), n in zip(ranges, counts, strict=True):
        if not 0 <= n <= hi - lo:
            ranked_numbers(values, what)
            raise ValueError(f"cannot choose the {n} smallest by {what} of {hi - lo} edges.")
    rows = first_of(values, ranges, counts, order)
    if rows is None:
        values = ORDERS[order](ranked_numbers(values, what))
        picked = [_smallest(values[lo:hi], n) + lo
                  for n, (lo, hi) in zip(counts, ranges, strict=True)]  # fmt: skip
        rows = np.concatenate([NONE, *picked])
    return torch.from_numpy(rows)


def _counts(k: int | Sequence[int], n: int) -> list[int]:
    counts = [int(k)] if isinstance(k, int | np.integer) else [int(x) for x in k]
    if len(counts) != n:
        raise ValueError(f"{len(counts)} counts were given for {n} groups; give one for each.")
    return counts


def ranked_numbers(values: np.ndarray, what: str) -> np.ndarray:
    """The values, which are to be ranked. Raises ValueError for NaN, naming ``what``."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            total = values.sum()  # a cheap sieve: finite sums hold no NaN
        if not np.isfinite(total) and np.isnan(values).any():
            bad = np.flatnonzero(np.isnan(values))
            raise ValueError(
                f"{what} is NaN at {len(bad)} of {len(values)} places (first: row {bad[0]}); "
                "edges cannot be ranked by it. Training has diverged, or the signal is broken."
            )
    return values


def _smallest(values: np.ndarray, k: int) -> np.ndarray:
    n = len(values)
    if k == 0:
        return np.empty(0, np.int64)
    if k == n:
        return np.arange(n)
    cut = np.partition(values, k - 1)[k - 1]
    rows = np.flatnonzero(values <= cut)
    if len(rows) == k:
        return rows
    ties = np.flatnonzero(values[rows] == cut)
    return np.delete(rows, ties[k - len(rows) :])  # the last of the equals are too many


def _smallest_by_number(
    values: np.ndarray, counts: list[int], group: np.ndarray, what: str
) -> np.ndarray:
    have = np.bincount(group, minlength=len(counts))
    for g, (k, n) in enumerate(zip(counts, have, strict=True)):
        if k > n:
            raise ValueError(f"cannot choose the {k} smallest by {what} of {n} edges (group {g}).")
    order = np.lexsort((values, group))  # stable: by group, then score, then row
    rank = np.arange(len(values)) - (have.cumsum() - have)[group[order]]
    return np.sort(order[rank < np.asarray(counts)[group[order]]])


def distinct(values: np.ndarray) -> np.ndarray:
    """The values without repetitions, in order of first appearance."""
    if len(values) < 64:
        return np.fromiter(dict.fromkeys(values.tolist()), np.int64)
    _, first = np.unique(values, return_index=True)
    return values[np.sort(first)]


def counts_by(rows: Tensor, groups: Sequence[tuple[int, int]]) -> list[int]:
    """How many of the ascending ``rows`` fall into each row range."""
    edges = rows.numpy().searchsorted([lo for lo, _ in groups] + [groups[-1][1]]).tolist()
    return [b - a for a, b in pairwise(edges)]

"""Choosing edges: the verbs that rules are written in.

Counts are exact, ties are broken by key (the smaller key goes first), NaN is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..graph import Graph
from ..kernels.absent import distinct as distinct
from ..kernels.ranking import ORDERS, first_of, has_nan

SCOPES = ("layer", "global")


def groups(graph: Graph, scope: str) -> list[tuple[int, int]]:
    """Row ranges within which a budget holds: one per projection ("layer") or one in all.

    >>> from rewire.graph import Population, Projection, Space
    >>> space = Space(
    ...     [Population("a", 3), Population("b", 2)],
    ...     [
    ...         Projection("p", "a", "b", "linear", (2, 3)),
    ...         Projection("q", "b", "b", "linear", (2, 2)),
    ...     ],
    ... )
    >>> graph = Graph(space, torch.tensor([0, 4, 5, 7]))
    >>> groups(graph, "layer"), groups(graph, "global")
    ([(0, 3), (3, 4)], [(0, 4)])
    """
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

    >>> scores = torch.tensor([0.5, -2.0, 0.1, 0.1])
    >>> smallest(scores, 2).tolist(), smallest(scores, 2, magnitude=True).tolist()
    ([1, 2], [2, 3])
    >>> smallest(scores, [1, 1], [(0, 2), (2, 4)]).tolist()
    [1, 2]
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
    """Rows of the ``k`` largest scores, ascending; otherwise as :func:`smallest`.

    >>> largest(torch.tensor([0.5, -2.0, 0.5, 0.1]), 1).tolist()
    [0]
    """
    return _ranked(scores, k, groups, "strongest" if magnitude else "largest", what)


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
        raise _nan(values, what)
    return torch.from_numpy(rows)


def _counts(k: int | Sequence[int], n: int) -> list[int]:
    counts = [int(k)] if isinstance(k, int | np.integer) else [int(x) for x in k]
    if len(counts) != n:
        raise ValueError(f"{len(counts)} counts were given for {n} groups; give one for each.")
    return counts


def ranked_numbers(values: np.ndarray, what: str) -> np.ndarray:
    """The values, which are to be ranked. Raises ValueError for NaN, naming ``what``."""
    if has_nan(values):
        raise _nan(values, what)
    return values


def _nan(values: np.ndarray, what: str) -> ValueError:
    bad = np.flatnonzero(np.isnan(values))
    return ValueError(
        f"{what} is NaN at {len(bad)} of {len(values)} places (first: row {bad[0]}); "
        "edges cannot be ranked by it. Training has diverged, or the signal is broken."
    )


def refuse_nan(graph: Graph, rule: str, step: int) -> None:
    """Raise ValueError for weights that are NaN, which ``rule`` would go on from for ever."""
    if not has_nan(graph.numbers("weight")):
        return
    bad = torch.isnan(graph["weight"])
    counts = {p.name: int(bad[graph.rows(i)].sum()) for i, p in enumerate(graph.projections)}
    listed = ", ".join(f"{n:,} in {name!r}" for name, n in counts.items() if n)
    raise ValueError(
        f"{rule} found NaN among the weights at step {step} ({listed}): training has diverged. "
        "Lower the learning rate, or look at the loss and its gradients."
    )


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


def counts_by(rows: Tensor, groups: Sequence[tuple[int, int]]) -> list[int]:
    """How many of the ascending ``rows`` fall into each row range.

    >>> counts_by(torch.tensor([0, 1, 5]), [(0, 3), (3, 6)])
    [2, 1]
    """
    edges = rows.numpy().searchsorted([lo for lo, _ in groups] + [groups[-1][1]]).tolist()
    return [b - a for a, b in pairwise(edges)]

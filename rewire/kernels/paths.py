"""Paths of three edges in a bipartite graph, scored as Cannistraci-Hebb training does."""

from __future__ import annotations

import numpy as np

from ..native import kernels as compiled


def paths_of_three(
    starts: np.ndarray, columns: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of the absent pairs that a path of three edges joins, and their CH3-L3 scores.

    starts, columns: the graph as CSR, (rows + 1,) and (E,); width: its number of columns. The score
    of (u, v) is the sum over paths u - a - b - v of 1 / sqrt((1 + e_a) (1 + e_b)), e the neighbours
    of a that lie on no path from u to v and are not u or v (likewise of b). Ascending; float64.
    """
    if compiled is not None:
        return compiled.paths_of_three(starts, columns, width)
    n = len(starts) - 1
    below = np.split(columns, starts[1:-1])  # columns of each row
    row = np.repeat(np.arange(n), np.diff(starts))
    by = columns.argsort(kind="stable")
    degree = np.bincount(columns, minlength=width)
    above = np.split(row[by], degree.cumsum()[:-1])  # rows of each column
    size = np.diff(starts)
    at, scores = [np.empty(0, np.int64)], [np.empty(0)]
    for v in range(n):
        # a row a shares common[a] columns with v: its other columns lie on no path to v
        common = np.bincount(np.concatenate([row[:0], *(above[b] for b in below[v])]), minlength=n)
        outside = size - common
        weight = np.where(outside > 0, 1 / np.sqrt(np.maximum(outside, 1)), 0.0)
        score, joined = np.zeros(width), np.zeros(width, bool)
        for b in below[v]:  # one b after the other: sums in the order of the compiled form
            rows = [a for a in above[b] if weight[a]]
            ends = np.concatenate([columns[:0], *(below[a] for a in rows)])
            of = np.repeat(weight[rows], size[rows])
            shared = np.bincount(ends, minlength=width)
            shared[below[v]] = 0  # u and v are joined already
            u = shared.nonzero()[0]
            part = np.bincount(ends, of, minlength=width)[u]
            score[u] += part / np.sqrt(degree[b] - shared[u])
            joined[u] = True
        u = joined.nonzero()[0]
        at.append(u + v * width)
        scores.append(score[u])
    return np.concatenate(at), np.concatenate(scores)

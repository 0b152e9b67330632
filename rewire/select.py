"""Choosing edges: the verbs that rules are written in.

Counts are exact, ties are broken by key (the smaller key goes first), NaN is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .graph import Graph
from .streams import Stream

GOLDEN, MIX_A, MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # splitmix64
SCOPES = ("layer", "global")


def groups(graph: Graph, scope: str) -> list[tuple[int, int]]:
    """Row ranges within which a budget holds: one per projection ("layer") or one in all."""
    if scope not in SCOPES:
        raise ValueError(f"scope must be 'layer' or 'global', got {scope!r}.")
    bounds = graph.bounds
    if scope == "global":
        return [(0, len(graph))]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def smallest(
    scores: Tensor,
    k: int | Sequence[int],
    groups: Sequence[tuple[int, int]] | Tensor | None = None,
    *,
    what: str = "score",
) -> Tensor:
    """Rows of the ``k`` smallest scores, ascending; ``k[g]`` of them in each group g.

    scores: (n,). groups: row ranges, or a group number for each row, shape (n,); None: one group.
    Exactly that many rows, the smaller row first among equals. Raises ValueError for NaN scores,
    naming ``what``, and for more rows than there are.
    """
    values = _numbers(scores, what)
    if groups is None:
        return torch.from_numpy(_smallest(values, _counts(k, 1)[0], what))
    if isinstance(groups, Tensor):  # the last groups may be empty: then only k knows of them
        most = int(groups.max()) + 1 if len(groups) else 0
        counts = _counts(k, most if isinstance(k, int) else max(most, len(k)))
        return torch.from_numpy(_smallest_by_number(values, counts, groups.numpy(), what))
    counts = _counts(k, len(groups))
    picked = [
        _smallest(values[lo:hi], n, what) + lo for n, (lo, hi) in zip(counts, groups, strict=True)
    ]
    return torch.from_numpy(np.concatenate(picked) if picked else np.empty(0, np.int64))


def largest(
    scores: Tensor,
    k: int | Sequence[int],
    groups: Sequence[tuple[int, int]] | Tensor | None = None,
    *,
    what: str = "score",
) -> Tensor:
    """Rows of the ``k`` largest scores, ascending; otherwise as :func:`smallest`."""
    return smallest(-scores, k, groups, what=what)


def _counts(k: int | Sequence[int], n: int) -> list[int]:
    counts = [int(k)] if isinstance(k, int | np.integer) else [int(x) for x in k]
    if len(counts) != n:
        raise ValueError(f"{len(counts)} counts were given for {n} groups; give one for each.")
    return counts


def _numbers(scores: Tensor, what: str) -> np.ndarray:
    values = scores.detach().numpy()
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


def _smallest(values: np.ndarray, k: int, what: str) -> np.ndarray:
    n = len(values)
    if not 0 <= k <= n:
        raise ValueError(f"cannot choose the {k} smallest by {what} of {n} edges.")
    if k == 0:
        return np.empty(0, np.int64)
    if k == n:
        return np.arange(n)
    cut = np.partition(values, k - 1)[k - 1]
    chosen = values < cut
    ties = np.flatnonzero(values == cut)[: k - int(np.count_nonzero(chosen))]
    chosen[ties] = True
    return np.flatnonzero(chosen)


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


def sample_absent(
    graph: Graph, k: int | Sequence[int], rng: Stream, *, without: Tensor | None = None
) -> Tensor:
    """Keys of ``k[i]`` absent synapses of each projection i, or ``k`` anywhere, sorted.

    Uniform without replacement, always distinct. ``without``: rows of the graph that count as
    absent already (the edges about to be dropped). Below 50 % density absent positions are never
    listed: draws that hit an edge are drawn again. Raises ValueError when too few are free.
    """
    bounds = graph.space.bounds
    ranges = (
        [(0, bounds[-1])]
        if isinstance(k, int | np.integer)
        else list(zip(bounds[:-1], bounds[1:], strict=True))
    )
    counts = _counts(k, len(ranges))
    if not any(counts):
        return torch.empty(0, dtype=torch.int64)
    taken = graph.keys.numpy()
    gone = None
    if without is not None and len(without):
        gone = np.zeros(len(taken), bool)
        gone[without.numpy()] = True
    here = _held(graph, ranges, gone)
    for n, (lo, hi), held in zip(counts, ranges, here, strict=True):
        if n > hi - lo - held:
            raise ValueError(
                f"cannot add {n} edges to keys [{lo}, {hi}): only {hi - lo - held} are free."
            )
    crowded = [
        2 * held > hi - lo or 2 * n > hi - lo - held
        for n, (lo, hi), held in zip(counts, ranges, here, strict=True)
    ]
    rare = [0 if full else n for n, full in zip(counts, crowded, strict=True)]
    picked = [_reject(taken, gone, ranges, rare, rng.numpy)] if any(rare) else []
    for n, (lo, hi), full in zip(counts, ranges, crowded, strict=True):
        if n and full:
            picked.append(_list_and_choose(taken, gone, lo, hi, n, rng.numpy))
    return torch.from_numpy(np.sort(np.concatenate(picked)))


def _held(graph: Graph, ranges: list[tuple[int, int]], gone: np.ndarray | None) -> list[int]:
    """Pairs in each key range that hold a synapse which stays."""
    keys = graph.keys.numpy()
    if any(p.multapses for p in graph.projections):
        stays = np.unique(keys if gone is None else keys[~gone])
        return [int(np.diff(np.searchsorted(stays, r))[0]) for r in ranges]
    bounds = [0, len(keys)] if len(ranges) == 1 else graph.bounds
    lost = [0] * len(ranges)
    if gone is not None:
        lost = [int(np.count_nonzero(gone[a:b])) for a, b in zip(bounds, bounds[1:], strict=False)]
    return [b - a - n for a, b, n in zip(bounds, bounds[1:], lost, strict=False)]


def _reject(
    taken: np.ndarray,
    gone: np.ndarray | None,
    ranges: list[tuple[int, int]],
    counts: list[int],
    rng: np.random.Generator,
) -> np.ndarray:
    """``counts[i]`` free keys of each range: draw, and draw again what hits an edge.

    In order of drawing, the first distinct free keys are a uniform sample without replacement.
    """
    need, found = np.asarray(counts), [np.empty(0, np.int64)] * len(counts)
    first = np.asarray([lo for lo, _ in ranges])
    size = np.asarray([hi - lo for lo, hi in ranges], np.float64)
    while True:
        short = need - [len(f) for f in found]
        if not short.any():
            return np.concatenate(found)
        tries = np.where(short > 0, (2.5 * short).astype(np.int64) + 4, 0)
        which = np.repeat(np.arange(len(counts)), tries)
        draws = first[which] + (rng.random(len(which)) * size[which]).astype(np.int64)
        if len(taken):
            at = np.minimum(np.searchsorted(taken, draws), len(taken) - 1)
            free = taken[at] != draws
            if gone is not None:
                free |= _all_gone(taken, gone, at, draws)
            draws, which = draws[free], which[free]
        ends = np.searchsorted(which, np.arange(len(counts) + 1))
        for i in np.flatnonzero(short):
            more = np.concatenate([found[i], draws[ends[i] : ends[i + 1]]])
            found[i] = _distinct(more)[: counts[i]]


def _all_gone(taken: np.ndarray, gone: np.ndarray, at: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Whether every synapse of each drawn pair is about to go (multapses may hold several)."""
    out = gone[at].copy()
    more = np.minimum(at + 1, len(taken) - 1)
    while (again := out & (more > at) & (taken[more] == draws)).any():
        out[again] &= gone[more[again]]
        at = more
        more = np.minimum(more + 1, len(taken) - 1)
    return out


def _list_and_choose(
    taken: np.ndarray,
    gone: np.ndarray | None,
    lo: int,
    hi: int,
    need: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Above half density: list the absent keys of one range and choose among them."""
    stays = taken if gone is None else taken[~gone]
    a, b = np.searchsorted(stays, (lo, hi))
    absent = np.ones(hi - lo, bool)
    absent[stays[a:b] - lo] = False
    return rng.choice(np.flatnonzero(absent), need, replace=False) + lo


def _distinct(values: np.ndarray) -> np.ndarray:
    """The values without repetitions, in order of first appearance."""
    if len(values) < 64:
        return np.fromiter(dict.fromkeys(values.tolist()), np.int64)
    _, first = np.unique(values, return_index=True)
    return values[np.sort(first)]


def pair_hash(keys: Tensor, seed: int) -> Tensor:
    """63 random bits for each key, a function of key and seed (splitmix64), int64 >= 0."""
    z = keys.numpy().astype(np.uint64) + np.uint64((GOLDEN * (2 * seed + 1)) % 2**64)
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_A)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_B)
    return torch.from_numpy(((z ^ (z >> np.uint64(31))) >> np.uint64(1)).astype(np.int64))


def pair_sign(keys: Tensor, seed: int) -> Tensor:
    """A fixed random sign, +1 or -1, of each possible synapse, float32.

    A function of key and seed: a synapse that is dropped and woken finds its own again.
    """
    return ((pair_hash(keys, seed) >> 40 & 1) * 2 - 1).float()


def counts_by(rows: Tensor, groups: Sequence[tuple[int, int]]) -> list[int]:
    """How many of the ascending ``rows`` fall into each row range."""
    edges = np.searchsorted(rows.numpy(), [lo for lo, _ in groups] + [groups[-1][1]])
    return np.diff(edges).tolist()

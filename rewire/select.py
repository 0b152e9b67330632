"""Choosing edges: the verbs that rules are written in.

Counts are exact, ties are broken by key (the smaller key goes first), NaN is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .graph import Graph
from .streams import Stream

GOLDEN, MIX_A, MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # splitmix64
_A, _B = np.uint64(MIX_A), np.uint64(MIX_B)
_BITS = [np.uint64(n) for n in range(64)]
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


def sample_absent(
    graph: Graph, k: int | Sequence[int], rng: Stream, *, without: Tensor | None = None
) -> Tensor:
    """Keys of ``k[i]`` absent synapses of each projection i, or ``k`` anywhere, sorted.

    Uniform without replacement, always distinct. ``without``: rows of the graph that count as
    absent already (the edges about to be dropped). Below 50 % density absent positions are never
    listed: draws that hit an edge are drawn again. Raises ValueError when too few are free.
    """
    space = graph.space
    wide = isinstance(k, int | np.integer)
    ranges = [(0, space.possible)] if wide else list(pairwise(space.bounds))
    counts = _counts(k, len(ranges))
    if not any(counts):
        return torch.empty(0, dtype=torch.int64)
    taken = graph.keys.numpy()
    gone = np.zeros(len(taken), bool)
    if without is not None:
        gone[without.numpy()] = True
    rare, picked = list(counts), []
    for i, ((lo, hi), n) in enumerate(zip(ranges, counts, strict=True)):
        rows = slice(*graph.bounds[i : i + 2]) if not wide else slice(None)
        held = len(taken[rows])  # at most: parallel synapses share a pair, some are about to go
        if not n or 2 * held <= hi - lo and 2 * n <= hi - lo - held:
            continue
        stays = taken[rows][~gone[rows]]
        free = hi - lo - (len(np.unique(stays)) if space.multapses else len(stays))
        if n > free:
            raise ValueError(f"cannot add {n} edges to keys [{lo}, {hi}): only {free} are free.")
        if 2 * free < hi - lo or 2 * n > free:
            rare[i] = 0
            picked.append(_list_and_choose(stays, lo, hi, n, rng.numpy))
    if any(rare):
        picked += _reject(taken, gone, ranges, rare, rng, space.multapses)
    found = np.concatenate(picked)
    found.sort()
    return torch.from_numpy(found)


def _reject(
    taken: np.ndarray,
    gone: np.ndarray,
    ranges: list[tuple[int, int]],
    counts: list[int],
    rng: Stream,
    multapses: bool,
) -> list[np.ndarray]:
    """``counts[i]`` free keys of each range: draw, and draw again what hits an edge.

    In order of drawing, the first distinct free keys are a uniform sample without replacement.
    """
    found = [np.empty(0, np.int64)] * len(counts)
    first = np.array([lo for lo, _ in ranges])
    size = np.array([hi - lo for lo, hi in ranges], np.float64)
    while True:
        short = [n - len(f) for n, f in zip(counts, found, strict=True)]
        if not any(short):
            return found
        tries = [2 * n + n // 2 + 4 if n else 0 for n in short]
        u = rng.doubles(sum(tries))
        draws = (u * size.repeat(tries)).astype(np.int64) + first.repeat(tries)
        free = np.ones(len(draws), bool)
        if len(taken):
            at = np.minimum(taken.searchsorted(draws), len(taken) - 1)
            free = (taken[at] != draws) | (
                _all_gone(taken, gone, at, draws) if multapses else gone[at]
            )
        end = 0
        for i, n in enumerate(tries):
            end += n
            if n:
                more = draws[end - n : end][free[end - n : end]]
                more = np.concatenate([found[i], more]) if len(found[i]) else more
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
    stays: np.ndarray, lo: int, hi: int, need: int, rng: np.random.Generator
) -> np.ndarray:
    """Above half density: list the absent keys of one range and choose among them."""
    absent = np.ones(hi - lo, bool)
    absent[stays - lo] = False
    return rng.choice(np.flatnonzero(absent), need, replace=False) + lo


def _distinct(values: np.ndarray) -> np.ndarray:
    """The values without repetitions, in order of first appearance."""
    if len(values) < 64:
        return np.fromiter(dict.fromkeys(values.tolist()), np.int64)
    _, first = np.unique(values, return_index=True)
    return values[np.sort(first)]


def pair_hash(keys: Tensor, seed: int) -> Tensor:
    """63 random bits for each key, a function of key and seed (splitmix64), int64 >= 0."""
    return torch.from_numpy(_hash(keys, seed).astype(np.int64))


def _hash(keys: Tensor, seed: int) -> np.ndarray:
    z = keys.numpy().astype(np.uint64)
    z += np.uint64((GOLDEN * (2 * seed + 1)) % 2**64)  # arrays wrap around, and say nothing
    z ^= z >> _BITS[30]
    z *= _A
    z ^= z >> _BITS[27]
    z *= _B
    z ^= z >> _BITS[31]
    z >>= _BITS[1]
    return z


def pair_sign(keys: Tensor, seed: int) -> Tensor:
    """A fixed random sign, +1 or -1, of each possible synapse, float32.

    A function of key and seed: a synapse that is dropped and woken finds its own again.
    """
    bit = (_hash(keys, seed) >> _BITS[40]) & _BITS[1]
    return torch.from_numpy(bit.astype(np.float32) * 2 - 1)


def counts_by(rows: Tensor, groups: Sequence[tuple[int, int]]) -> list[int]:
    """How many of the ascending ``rows`` fall into each row range."""
    edges = rows.numpy().searchsorted([lo for lo, _ in groups] + [groups[-1][1]]).tolist()
    return [b - a for a, b in pairwise(edges)]

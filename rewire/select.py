"""Choosing edges: the verbs that rules are written in.

Counts are exact, ties are broken by key (the smaller key goes first), NaN is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .graph import NONE, Graph
from .native import kernels
from .streams import GOLDEN, Stream, splitmix

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
    listed: draws that hit an edge are drawn again. Where units have slots, only those with a free
    one gain. Raises ValueError when too few are free.
    """
    space = graph.space
    wide = isinstance(k, int | np.integer)
    bounds, ends = ([0, len(graph)], [0, space.possible]) if wide else (graph.bounds, space.bounds)
    counts = _counts(k, len(ends) - 1)
    if not any(counts):
        return torch.from_numpy(NONE)
    if space.capped:
        from .slots import sample_with_room

        return sample_with_room(graph, ends, counts, rng, without)
    leaving = NONE if without is None else without.numpy()
    rare, picked = list(counts), []
    for i, n in enumerate(counts):
        held, size = bounds[i + 1] - bounds[i], ends[i + 1] - ends[i]
        if n and (2 * held > size or 2 * n > size - held):  # crowded, as far as this can tell
            found = _from_list(graph, (ends[i], ends[i + 1]), n, leaving, rng)
            if found is not None:
                rare[i] = 0
                picked.append(found)
    if any(rare):
        picked += _reject(graph, leaving, ends, rare, rng)
    if len(picked) == 1:
        return torch.from_numpy(picked[0])
    return torch.from_numpy(np.sort(np.concatenate(picked)))


def _from_list(
    graph: Graph, keys: tuple[int, int], need: int, leaving: np.ndarray, rng: Stream
) -> np.ndarray | None:
    """``need`` of the free keys of a range, from their list; None where drawing blindly is better.

    Parallel synapses share a pair, and some are about to go: only a list tells what is free.
    """
    lo, hi = keys
    taken = graph.array
    stays = np.ones(len(taken), bool)
    stays[leaving] = False
    rows = slice(*taken.searchsorted(keys))
    held = np.unique(taken[rows][stays[rows]])
    free = hi - lo - len(held)
    if need > free:
        raise ValueError(f"cannot add {need} edges to keys [{lo}, {hi}): only {free} are free.")
    if 2 * free >= hi - lo and 2 * need <= free:
        return None
    absent = np.ones(hi - lo, bool)
    absent[held - lo] = False
    return np.sort(rng.numpy.choice(np.flatnonzero(absent), need, replace=False) + lo)


def _reject(
    graph: Graph, leaving: np.ndarray, ends: list[int], counts: list[int], rng: Stream
) -> list[np.ndarray]:
    """``counts[i]`` free keys of each range: draw, and draw again what hits an edge.

    In order of drawing, the first distinct free keys are a uniform sample without replacement.
    """
    taken, multapses = graph.array, graph.space.multapses
    found = [NONE] * len(counts)
    while True:
        short = [n - len(f) for n, f in zip(counts, found, strict=True)]
        if not any(short):
            return [np.sort(np.concatenate(found))]
        tries = [2 * n + n // 2 + 4 if n else 0 for n in short]
        u = rng.doubles(sum(tries))
        if kernels is not None and not multapses and short == counts:  # the first round
            keys = kernels.first_free(taken, leaving, u, ends, short, tries)
            if keys is not None:
                return [keys]
        sizes = np.repeat(np.diff(ends), tries)
        draws = (u * sizes).astype(np.int64) + np.repeat(ends[:-1], tries)
        free = np.ones(len(draws), bool)
        if len(taken):
            gone = np.zeros(len(taken), bool)
            gone[leaving] = True
            at = np.minimum(taken.searchsorted(draws), len(taken) - 1)
            free = (taken[at] != draws) | (
                _all_gone(taken, gone, at, draws) if multapses else gone[at]
            )
        end = 0
        for i, n in enumerate(tries):
            end += n
            if n:
                more = draws[end - n : end][free[end - n : end]]
                found[i] = distinct(np.concatenate([found[i], more]))[: counts[i]]


def _all_gone(taken: np.ndarray, gone: np.ndarray, at: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Whether every synapse of each drawn pair is about to go (multapses may hold several)."""
    out = gone[at].copy()
    more = np.minimum(at + 1, len(taken) - 1)
    while (again := out & (more > at) & (taken[more] == draws)).any():
        out[again] &= gone[more[again]]
        at = more
        more = np.minimum(more + 1, len(taken) - 1)
    return out


def distinct(values: np.ndarray) -> np.ndarray:
    """The values without repetitions, in order of first appearance."""
    if len(values) < 64:
        return np.fromiter(dict.fromkeys(values.tolist()), np.int64)
    _, first = np.unique(values, return_index=True)
    return values[np.sort(first)]


def pair_hash(keys: Tensor, seed: int) -> Tensor:
    """63 random bits for each key, a function of key and seed (splitmix64), int64 >= 0."""
    return torch.from_numpy(_hash(keys, seed).astype(np.int64))


def _salt(seed: int) -> int:
    return (GOLDEN * (2 * seed + 1)) % 2**64


def _hash(keys: Tensor, seed: int) -> np.ndarray:
    z = keys.numpy().astype(np.uint64)
    z += np.uint64(_salt(seed))  # arrays wrap around, and say nothing
    splitmix(z)
    z >>= np.uint64(1)
    return z


def pair_sign(keys: Tensor, seed: int, turned: Tensor | None = None) -> Tensor:
    """A fixed random sign, +1 or -1, of each possible synapse, float32.

    A function of key and seed: a synapse that is dropped and woken again finds its own. Those among
    ``turned``, ascending keys, have the other sign.
    """
    other = NONE if turned is None else turned.numpy()
    if kernels is not None:
        return torch.from_numpy(kernels.hash_sign(keys.numpy(), _salt(seed), other))
    bit = (_hash(keys, seed) >> np.uint64(40)) & np.uint64(1)
    sign = bit.astype(np.float32) * 2 - 1
    if len(other):
        at = np.minimum(other.searchsorted(keys.numpy()), len(other) - 1)
        sign[other[at] == keys.numpy()] *= -1
    return torch.from_numpy(sign)


def counts_by(rows: Tensor, groups: Sequence[tuple[int, int]]) -> list[int]:
    """How many of the ascending ``rows`` fall into each row range."""
    edges = rows.numpy().searchsorted([lo for lo, _ in groups] + [groups[-1][1]]).tolist()
    return [b - a for a, b in pairwise(edges)]

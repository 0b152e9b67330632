"""Choosing edges: the verbs that rules are written in.

Counts are exact, ties are broken by key (the smaller key goes first), NaN is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .graph import NONE, Graph
from .native import kernels
from .streams import GOLDEN, Stream, doubles, mix, splitmix

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
    start = rng.sequence()
    if kernels is not None and not space.multapses:  # None where too few are free
        keys = kernels.free_keys(graph.array, leaving, start, ends, bounds, counts)
        if keys is not None:
            return torch.from_numpy(keys)
    found = [
        _free_keys(graph, (ends[i], ends[i + 1]), n, leaving, mix(start + i))
        for i, n in enumerate(counts)
        if n
    ]
    return torch.from_numpy(np.concatenate(found))


def _free_keys(
    graph: Graph, keys: tuple[int, int], need: int, leaving: np.ndarray, counter: int
) -> np.ndarray:
    """``need`` of the free keys of a range: draw keys, and draw again what hits an edge.

    In order of drawing, the first distinct free keys are a uniform sample without replacement.
    Where few keys are free, or most of those are needed, they are drawn by number from a list.
    """
    lo, hi = keys
    taken = graph.array
    first, end = taken.searchsorted(keys)
    if 2 * (end - first) > hi - lo or 2 * need > hi - lo - (end - first):  # as far as this can tell
        free = _listed(taken, (first, end), keys, leaving)
        if need > len(free):
            raise ValueError(
                f"cannot add {need} edges to keys [{lo}, {hi}): only {len(free)} are free."
            )
        if 2 * len(free) < hi - lo or 2 * need > len(free):
            few = 2 * need <= len(free)
            drawn = _distinct_draws(need if few else len(free) - need, len(free), counter)
            return free[drawn] if few else np.delete(free, drawn)
    gone = np.zeros(len(taken), bool)
    gone[leaving] = True

    def is_free(drawn: np.ndarray) -> np.ndarray:
        if not len(taken):
            return np.ones(len(drawn), bool)
        at = np.minimum(taken.searchsorted(drawn + lo), len(taken) - 1)
        same = taken[at] == drawn + lo
        return ~same | (
            _all_gone(taken, gone, at, drawn + lo) if graph.space.multapses else gone[at]
        )

    return _distinct_draws(need, hi - lo, counter, is_free) + lo


def _listed(
    taken: np.ndarray, rows: tuple[int, int], keys: tuple[int, int], leaving: np.ndarray
) -> np.ndarray:
    """The free keys of a range, ascending.

    Parallel synapses share a pair, and some are about to go: only a list tells what is free.
    """
    stays = np.ones(len(taken), bool)
    stays[leaving] = False
    here = slice(*rows)
    absent = np.ones(keys[1] - keys[0], bool)
    absent[taken[here][stays[here]] - keys[0]] = False
    return np.flatnonzero(absent) + keys[0]


def _distinct_draws(
    n: int,
    size: int,
    counter: int,
    accept: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """The first ``n`` distinct integers of [0, size) that are drawn and accepted, sorted."""
    found = NONE
    while len(found) < n:
        tries = 2 * n + n // 2 + 4
        drawn = (doubles(tries, counter) * size).astype(np.int64)
        counter = (counter + tries * GOLDEN) % 2**64
        more = drawn if accept is None else drawn[accept(drawn)]
        found = distinct(np.concatenate([found, more]))[:n]
    return np.sort(found)


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


@cache
def salt(seed: int) -> int:
    """What is added to keys before they are hashed."""
    return (GOLDEN * (2 * seed + 1)) % 2**64


def _hash(keys: Tensor, seed: int) -> np.ndarray:
    z = keys.numpy().astype(np.uint64)
    z += np.uint64(salt(seed))  # arrays wrap around, and say nothing
    splitmix(z)
    z >>= np.uint64(1)
    return z


def pair_sign(keys: Tensor, seed: int, turned: Tensor | None = None) -> Tensor:
    """A fixed random sign, +1 or -1, of each possible synapse, int8.

    A function of key and seed: a synapse that is dropped and woken again finds its own. Those among
    ``turned``, ascending keys, have the other sign.
    """
    other = NONE if turned is None else turned.numpy()
    if kernels is not None:
        return torch.from_numpy(kernels.hash_sign(keys.numpy(), salt(seed), other))
    bit = (_hash(keys, seed) >> np.uint64(40)) & np.uint64(1)
    sign = bit.astype(np.int8) * np.int8(2) - np.int8(1)
    if len(other):
        at = np.minimum(other.searchsorted(keys.numpy()), len(other) - 1)
        sign[other[at] == keys.numpy()] *= -1
    return torch.from_numpy(sign)


def counts_by(rows: Tensor, groups: Sequence[tuple[int, int]]) -> list[int]:
    """How many of the ascending ``rows`` fall into each row range."""
    edges = rows.numpy().searchsorted([lo for lo, _ in groups] + [groups[-1][1]]).tolist()
    return [b - a for a, b in pairwise(edges)]

"""Absent synapses drawn without a list of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..graph import NONE, Graph
from ..native import kernels
from ..streams import GOLDEN, Stream, doubles, mix
from .choose import _counts, distinct


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
        from .capacity import sample_with_room

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

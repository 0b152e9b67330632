"""Growth where units hold a limited number of synapses: choosing absent ones under that cap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .graph import Graph
from .streams import Stream

UNLIMITED = 2**62  # slots of a unit that has no cap
PATIENCE = 8  # rounds of blind draws before the absent synapses are listed


class Room:
    """The free slots of every unit; they become fewer as synapses are taken.

    without: rows of the graph whose slots count as free (the edges about to be dropped).
    """

    def __init__(self, graph: Graph, without: Tensor | None = None):
        self.space = graph.space
        stays = np.ones(len(graph), bool)
        if without is not None:
            stays[without.numpy()] = False
        kept = graph.keys.numpy()[stays]
        self.held = np.unique(kept)  # keys that are not absent
        populations = self.space.populations
        sizes = [p.size for p in populations]
        self._first = np.cumsum([0, *sizes[:-1]])  # unit 0 of each population
        slots = [UNLIMITED if p.slots is None else p.slots for p in populations]
        self.free = np.repeat(slots, sizes) - np.bincount(self._unit(kept), minlength=sum(sizes))

    def _unit(self, keys: np.ndarray) -> np.ndarray:
        lands, unit = self.space.targets(keys)
        return self._first[lands] + unit

    def absent(self, keys: np.ndarray) -> np.ndarray:
        """Those of the keys that no synapse holds, in their order."""
        if not len(self.held):
            return keys
        at = np.minimum(self.held.searchsorted(keys), len(self.held) - 1)
        return keys[self.held[at] != keys]

    def take(self, keys: np.ndarray, k: int) -> np.ndarray:
        """The first ``k`` of these absent keys whose units have room when their turn comes."""
        unit = self._unit(keys)
        order = np.argsort(unit, kind="stable")
        ranked = unit[order]
        rank = np.empty(len(keys), np.int64)  # of each key among those of its unit
        rank[order] = np.arange(len(keys)) - ranked.searchsorted(ranked)
        fits = (rank < self.free[unit]).nonzero()[0][:k]
        np.subtract.at(self.free, unit[fits], 1)
        taken = keys[fits]
        self.held = np.union1d(self.held, taken)
        return taken


def sample_with_room(
    graph: Graph, ends: Sequence[int], counts: Sequence[int], rng: Stream, without: Tensor | None
) -> Tensor:
    """``counts[i]`` absent keys of each range [ends[i], ends[i + 1]), sorted, under the cap.

    Absent synapses come in random order and are taken while their units have room. Raises
    ValueError where too few can be.
    """
    room, found = Room(graph, without), []
    for lo, hi, k in zip(ends[:-1], ends[1:], counts, strict=True):
        for _ in range(PATIENCE):
            if k:
                draws = lo + (rng.doubles(4 * k + 8) * (hi - lo)).astype(np.int64)
                _, first = np.unique(draws, return_index=True)
                found.append(room.take(room.absent(draws[np.sort(first)]), k))
                k -= len(found[-1])
        if k:
            rest = room.absent(np.arange(lo, hi))
            found.append(room.take(rng.numpy.permutation(rest), k))
            k -= len(found[-1])
        if k:
            raise _full(k, sum(map(len, found)) + k, lo, hi)
    return torch.from_numpy(np.sort(np.concatenate([np.empty(0, np.int64), *found])))


def largest_with_room(room: Room, keys: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """The ``k`` absent keys of largest score, (k,) ascending, of units that have room for them.

    keys: ascending, absent; the smaller key goes first among equals. Raises ValueError where too
    few can be taken.
    """
    taken = room.take(keys[np.argsort(-scores, kind="stable")], k)
    if len(taken) < k:
        raise _full(k - len(taken), k, int(keys[0]), int(keys[-1]) + 1)
    return np.sort(taken)


def _full(short: int, asked: int, lo: int, hi: int) -> ValueError:
    return ValueError(
        f"cannot add {short} of {asked} edges to keys [{lo}, {hi}): all units with absent synapses "
        "there have their slots full. Drop as many as you add, or raise Population.slots."
    )

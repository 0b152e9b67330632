"""Growth where units hold a limited number of synapses: choosing absent ones under that cap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .graph import NONE, Graph
from .select import distinct
from .streams import Stream

UNLIMITED = 2**62  # slots of a unit that has no cap
PATIENCE = 8  # rounds of blind draws before the absent synapses are listed


class Room:
    """The free slots of every unit; they become fewer as synapses are taken.

    without: rows of the graph whose slots count as free (the edges about to be dropped).
    """

    def __init__(self, graph: Graph, without: Tensor | None = None):
        self.space = graph.space
        populations = self.space.populations
        sizes = [p.size for p in populations]
        self._first = np.cumsum([0, *sizes])  # unit 0 of each population
        self._held, self._taken = graph.array, NONE  # keys that are not absent, ascending
        fan_in = [graph.fan_in(p.name).numpy() for p in populations]
        slots = [UNLIMITED if p.slots is None else p.slots for p in populations]
        self.free = np.repeat(slots, sizes) - np.concatenate(fan_in)
        if without is not None and len(without):
            rows = without.numpy()
            np.add.at(self.free, self._unit(self._held[rows]), 1)
            stays = np.ones(len(graph), bool)
            stays[rows] = False
            self._held = self._held[stays]

    def _unit(self, keys: np.ndarray) -> np.ndarray:
        lands, unit = self.space.targets(keys)
        return self._first[lands] + unit

    def absent(self, keys: np.ndarray) -> np.ndarray:
        """Those of the keys that no synapse holds, in their order."""
        for held in (self._held, self._taken):
            if len(held):
                at = np.minimum(held.searchsorted(keys), len(held) - 1)
                keys = keys[held[at] != keys]
        return keys

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
        self._taken = np.sort(np.concatenate([self._taken, taken]))
        return taken

    def draw(self, lo: int, hi: int, k: int, rng: Stream) -> np.ndarray:
        """``k`` absent keys in [lo, hi), each uniform among those whose units then have room.

        Fewer where no more can be taken. Pairs of units with room are drawn blindly, those that are
        no longer open passed over; listed are they only where that finds too few.
        """
        found = [NONE]
        for _ in range(PATIENCE):
            first, many = self._open(lo, hi)
            upto = many.cumsum()
            if not k or not len(upto):
                return np.concatenate(found)
            at = (rng.doubles(4 * k + 8) * upto[-1]).astype(np.int64)
            part = upto.searchsorted(at, "right")
            keys = first[part] + at - (upto - many)[part]
            found.append(self.take(self.absent(distinct(keys)), k))
            k -= len(found[-1])
        first, many = self._open(lo, hi)
        listed = np.arange(many.sum()) + np.repeat(first - (many.cumsum() - many), many)
        found.append(self.take(rng.numpy.permutation(self.absent(listed)), k))
        return np.concatenate(found)

    def _open(self, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
        """Where in [lo, hi) the keys of each unit with room begin, and how many they are.

        The whole range where a projection does not store them unit by unit.
        """
        space, firsts, many = self.space, [NONE], [NONE]
        for i, p in enumerate(space.projections):
            if not lo <= space.bounds[i] < hi:
                continue
            if p.kind not in ("linear", "spiking"):
                return np.array([lo]), np.array([hi - lo])
            first = self._first[lands := space.lands[i]]
            units = (self.free[first : self._first[lands + 1]] > 0).nonzero()[0]
            firsts.append(space.bounds[i] + units * p.shape[1])
            many.append(np.full(len(units), p.shape[1]))
        return np.concatenate(firsts), np.concatenate(many)


def sample_with_room(
    graph: Graph, ends: Sequence[int], counts: Sequence[int], rng: Stream, without: Tensor | None
) -> Tensor:
    """``counts[i]`` absent keys of each range [ends[i], ends[i + 1]), sorted, under the cap.

    One after the other, uniform among the absent pairs whose units have room at that time. Raises
    ValueError where too few can be.
    """
    room, found = Room(graph, without), [NONE]
    for lo, hi, k in zip(ends[:-1], ends[1:], counts, strict=True):
        if k:
            found.append(room.draw(lo, hi, k, rng))
            if short := k - len(found[-1]):
                raise _full(short, sum(map(len, found)) + short, lo, hi)
    return torch.from_numpy(np.sort(np.concatenate(found)))


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

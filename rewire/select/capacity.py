"""Growth where units hold a limited number of synapses: choosing absent ones under that cap.

Units' slots are one such cap; others (fan-out, memory of a core) come with a space's limits, as do
synapses that may not exist at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..graph import NONE, Graph
from ..streams import Stream
from .choose import distinct

UNLIMITED = 2**62  # slots of a unit that has no cap
PATIENCE = 8  # rounds of blind draws before the absent synapses are listed


class Room:
    """What is free under each cap, units' slots first; it becomes less as synapses are taken.

    without: rows of the graph whose slots count as free (the edges about to be dropped); with
    ``again`` they may be taken themselves.
    """

    def __init__(self, graph: Graph, without: Tensor | None = None, again: bool = True):
        self.space = graph.space
        populations = self.space.populations
        sizes = [p.size for p in populations]
        self._first = np.cumsum([0, *sizes])  # unit 0 of each population
        self._present, self._chosen = graph.array, NONE  # keys that are not absent, ascending
        self.dropped = NONE
        fan_in = [graph.fan_in(p.name).numpy() for p in populations]
        slots = [UNLIMITED if p.most is None else p.most for p in populations]
        self.free = np.repeat(slots, sizes) - np.concatenate(fan_in)
        self._more = [
            (cap.of, cap.most - np.bincount(cap.of(self._present), minlength=len(cap.most)))
            for cap in self.space.caps
        ]
        if without is not None and len(without):
            rows = without.numpy()
            self.dropped = np.unique(self._present[rows])
            for of, free in self._accounts():
                np.add.at(free, of(self._present[rows]), 1)
            stays = np.ones(len(graph), bool)
            stays[rows] = not again
            self._present = self._present[stays]

    def _unit(self, keys: np.ndarray) -> np.ndarray:
        lands, unit = self.space.targets(keys)
        return self._first[lands] + unit

    def _accounts(self) -> list[tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]]:
        return [(self._unit, self.free), *self._more]

    def absent(self, keys: np.ndarray) -> np.ndarray:
        """Those of the keys that no synapse holds, and the limits allow, in their order."""
        allowed = self.space.allowed(keys)
        if allowed is not None:
            keys = keys[allowed]
        for present in (self._present, self._chosen):
            if len(present):
                at = np.minimum(present.searchsorted(keys), len(present) - 1)
                keys = keys[present[at] != keys]
        return keys

    def take(self, keys: np.ndarray, k: int) -> np.ndarray:
        """The first ``k`` of these absent keys whose units have room when their turn comes."""
        if self._more:
            fits = self._fitting(keys, k)
            self._count(keys[fits], -1)
        else:
            unit = self._unit(keys)
            order = np.argsort(unit, kind="stable")
            ranked = unit[order]
            rank = np.empty(len(keys), np.int64)  # of each key among those of its unit
            rank[order] = np.arange(len(keys)) - ranked.searchsorted(ranked)
            fits = (rank < self.free[unit]).nonzero()[0][:k]
            np.subtract.at(self.free, unit[fits], 1)
        chosen = keys[fits]
        self._chosen = np.sort(np.concatenate([self._chosen, chosen]))
        return chosen

    def _count(self, keys: np.ndarray, change: int) -> None:
        for of, free in self._accounts():
            np.add.at(free, of(keys), change)

    def _fitting(self, keys: np.ndarray, k: int) -> list[int]:
        """Places of the first ``k`` keys that have room under every cap when their turn comes."""
        on = [(of(keys).tolist(), free.copy()) for of, free in self._accounts()]
        fits: list[int] = []
        for i in range(len(keys)):
            if len(fits) == k:
                break
            if all(free[account[i]] > 0 for account, free in on):
                fits.append(i)
                for account, free in on:
                    free[account[i]] -= 1
        return fits

    def exchange(self, first: np.ndarray, ranked: np.ndarray) -> np.ndarray:
        """As many keys as ``first``, which are taken: each replaced by the first of ``ranked`` for
        which letting it go makes room; where none is, it stays."""
        out = []
        on = [(of(ranked), free) for of, free in self._accounts()]
        open_ = np.ones(len(ranked), bool)
        open_[np.isin(ranked, first)] = False
        for key in first:
            self._count(key[None], +1)
            room = open_.copy()
            room[ranked == key] = True
            for account, free in on:
                room &= free[account] > 0
            best = int(room.argmax())
            if len(room) and room[best]:
                open_[ranked == key] = True
                key, open_[best] = ranked[best], False
            self._count(key[None], -1)
            out.append(key)
        new = np.array(out, np.int64)
        self._chosen = np.union1d(np.setdiff1d(self._chosen, first), new)
        return new

    def draw(self, lo: int, hi: int, k: int, rng: Stream) -> np.ndarray:
        """``k`` absent keys in [lo, hi), each uniform among those whose units then have room.

        Fewer where no more can be taken. Pairs of units with room are drawn blindly, those that are
        no longer open passed over; listed are they only where that finds too few.
        """
        drawn = [NONE]
        for _ in range(PATIENCE):
            first, many = self._open(lo, hi)
            upto = many.cumsum()
            if not k or not len(upto):
                return np.concatenate(drawn)
            at = (rng.doubles(4 * k + 8) * upto[-1]).astype(np.int64)
            part = upto.searchsorted(at, "right")
            keys = first[part] + at - (upto - many)[part]
            drawn.append(self.take(self.absent(distinct(keys)), k))
            k -= len(drawn[-1])
        first, many = self._open(lo, hi)
        listed = np.arange(many.sum()) + np.repeat(first - (many.cumsum() - many), many)
        drawn.append(self.take(rng.numpy.permutation(self.absent(listed)), k))
        return np.concatenate(drawn)

    def _open(self, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
        """Where in [lo, hi) the keys of each unit with room begin, and how many they are.

        The whole range where a projection does not store them unit by unit.
        """
        space, firsts, many = self.space, [NONE], [NONE]
        for i, p in enumerate(space.projections):
            if not lo <= space.bounds[i] < hi:
                continue
            if not p.by_unit:
                return np.array([lo]), np.array([hi - lo])
            first = self._first[lands := space.lands[i]]
            units = (self.free[first : self._first[lands + 1]] > 0).nonzero()[0]
            firsts.append(space.bounds[i] + units * p.shape[1])
            many.append(np.full(len(units), p.shape[1]))
        return np.concatenate(firsts), np.concatenate(many)


def sample_with_room(
    graph: Graph,
    ends: Sequence[int],
    counts: Sequence[int],
    rng: Stream,
    without: Tensor | None,
    again: bool = True,
) -> Tensor:
    """``counts[i]`` absent keys of each range [ends[i], ends[i + 1]), sorted, under the cap.

    One after the other, uniform among the absent pairs whose units have room at that time; those
    about to be dropped with ``again``, or where no others fit. Raises ValueError where too few can
    be.
    """

    def shuffled(lo: int, hi: int, room: Room) -> np.ndarray:
        return rng.numpy.permutation(room.absent(np.arange(lo, hi)))

    room, parts = Room(graph, without, again), [NONE]
    for lo, hi, k in zip(ends[:-1], ends[1:], counts, strict=True):
        if k:
            parts.append(room.draw(lo, hi, k, rng))
            if short := k - len(parts[-1]):
                if not again:
                    return sample_with_room(graph, ends, counts, rng, without)
                if graph.space.caps:
                    return _exchanged(graph, ends, counts, without, shuffled)
                raise _full(short, sum(map(len, parts)) + short, lo, hi)
    return torch.from_numpy(np.sort(np.concatenate(parts)))


def _exchanged(
    graph: Graph,
    ends: Sequence[int],
    counts: Sequence[int],
    without: Tensor | None,
    ranked: Callable[[int, int, Room], np.ndarray],
) -> Tensor:
    """What was dropped, which always fits, one after the other changed for what is ranked higher.

    For several caps that together leave no way to fill up what is free, such as a unit that has
    room for one more and no partner that has. ranked: the absent keys of a range, the best
    first. Raises ValueError where more are to be added than were dropped and they do not fit.
    """
    room, parts, starts = Room(graph, without), [NONE], list[np.ndarray]()
    ranges = list(zip(ends[:-1], ends[1:], counts, strict=True))
    orders = [ranked(lo, hi, room) if k else NONE for lo, hi, k in ranges]
    for k, order in zip(counts, orders, strict=True):
        back = order[np.isin(order, room.dropped)][:k]
        room.take(back, len(back))
        starts.append(back)
    for (lo, hi, k), order, back in zip(ranges, orders, starts, strict=True):
        parts.append(room.exchange(back, order))
        if more := k - len(back):
            parts.append(room.take(room.absent(order), more))
            if short := more - len(parts[-1]):
                raise _full(short, k, lo, hi)
    return torch.from_numpy(np.sort(np.concatenate(parts)))


def largest_with_room(
    graph: Graph,
    ends: Sequence[int],
    counts: Sequence[int],
    without: Tensor | None,
    ranked: Callable[[int, int, Room], np.ndarray],
) -> Tensor:
    """``counts[i]`` absent keys of each range, ascending, the first ``ranked`` that have room.

    ranked: the absent keys of a range, the best first. Raises ValueError where too few can be
    taken.
    """
    room, parts = Room(graph, without), [NONE]
    for lo, hi, k in zip(ends[:-1], ends[1:], counts, strict=True):
        order = ranked(lo, hi, room)
        parts.append(room.take(order, k))
        if short := k - len(parts[-1]):
            if graph.space.caps:
                return _exchanged(graph, ends, counts, without, ranked)
            raise _full(short, k, lo, hi)
    return torch.from_numpy(np.sort(np.concatenate(parts)))


def _full(short: int, n_add: int, lo: int, hi: int) -> ValueError:
    return ValueError(
        f"cannot add {short} of {n_add} edges to keys [{lo}, {hi}): all units with absent synapses "
        "there have their slots full, or are not allowed. Drop as many as you add, or allow more."
    )

"""Attempts at slots of units, of which most are over at the first look."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..native import kernels as compiled

Triple = tuple[int, int, int]
Chance = Callable[[int, int, int], float]  # projection, pre, post -> probability of a synapse


def draw_ahead(
    u: np.ndarray, slots: np.ndarray, ticks: int, n: int, one_more: float
) -> tuple[np.ndarray, np.ndarray]:
    """The attempts of some ticks: place (ticks, 2, n), unit and slot, and luck (ticks, 3, n).

    u: (ticks + 4 * ticks * n,) numbers in [0, 1): one a tick, which says whether it has n attempts
    or n - 1 (below ``one_more``: n), then those that choose a slot and the three of the luck.
    slots: (units + 1,), slots of all units before each, and at the end of all together. An attempt
    on a slot tried in its tick already, or that is one too many, has 2 as its first luck, below
    which no probability is.
    """
    if compiled is not None:
        return compiled.draw_ahead(u, slots, ticks, n, one_more)
    lucky, u = u[:ticks] < one_more, u[ticks:].reshape(ticks, 4, n)
    # one number over all slots, then the unit that has it: uniform where units have equally many
    ticket = (u[:, 0] * slots[-1]).astype(np.int64)
    unit = slots.searchsorted(ticket, "right") - 1
    luck = u[:, 1:].copy()
    luck[~lucky, 0, -1] = 2
    order = ticket.argsort(1, kind="stable")
    ranked = np.take_along_axis(ticket, order, 1)
    tick, again = (ranked[:, 1:] == ranked[:, :-1]).nonzero()
    luck[tick, 0, order[tick, again + 1]] = 2
    return np.stack([unit, ticket - slots[unit]], 1), luck


def draw_evenly(units: np.ndarray, ranges: np.ndarray, u: Sequence[float]) -> list[int]:
    """For each number in [0, 1) one of ``units``, all equally likely; none where there is none.

    units: ascending, int32; ranges: (R, 2), the numbers that count, laid in a row: what is returned
    are places in that row.

    >>> draw_evenly(np.array([1, 4, 7], np.int32), np.array([[4, 8], [0, 2]]), [0.0, 0.5, 0.9])
    [0, 3, 5]
    """
    if compiled is not None:
        return compiled.draw_spiking(units, ranges, u)
    places, first = list[int](), 0
    for start, stop in ranges.tolist():
        lower, upper = units.searchsorted((start, stop))
        places += (units[lower:upper] - start + first).tolist()
        first += stop - start
    return [places[int(x * len(places))] for x in u] if places else []


class Law(NamedTuple):
    """Formation with probability scale exp(fall d^2), each a number for each projection.

    sources: places of all sources in a row, (n, 2); targets: of the population, (size, 2), on the
    torus of side 1. A fall of 0 stands for units without a place.
    """

    scale: Sequence[float]
    falls: Sequence[float]
    sources: np.ndarray
    targets: np.ndarray


def attempts_on(ends: list[int], law: Law | None, chance: Chance) -> Any:
    """What carries out attempts on a population: :class:`Plain`, or a compiled form of it.

    ends: where the sources of each projection end, laid in a row; law: the probabilities as the
    compiled form knows them, where they are of that kind; chance: the same as a function.
    """
    if compiled is not None and law is not None:
        return compiled.Sheet(ends, *law)
    return Plain(ends, chance)


class Plain:
    """Attempts on the slots of a population, without compiled code.

    place, luck, at: attempts as :func:`draw_ahead` gives them, and which of their ticks it is.
    """

    def __init__(self, ends: list[int], chance: Chance):
        self._ends, self._chance = ends, chance

    def screen(
        self, starts: np.ndarray, place: np.ndarray, luck: np.ndarray, at: int, likely: float
    ) -> tuple[list[int], list[Triple]]:
        """The attempts on empty slots, and (attempt, projection, row) of those on full ones whose
        first luck is below ``likely``.

        starts: (P, units + 1), rows where each unit's edges of each projection begin.
        """
        unit, slot = place[at]
        first = starts[:, unit]
        fan_in = starts[:, unit + 1] - first  # (P, n); slots are counted over the projections
        upto = fan_in.cumsum(0)
        empty = slot >= upto[-1]
        k = (~empty & (luck[at, 0] < likely)).nonzero()[0]
        which = (slot[k] >= upto[:, k]).sum(0)
        row = first[which, k] + slot[k] - (upto - fan_in)[which, k]
        full = list(zip(k.tolist(), which.tolist(), row.tolist(), strict=True))
        return empty.nonzero()[0].tolist(), full

    def accepted(
        self,
        place: np.ndarray,
        luck: np.ndarray,
        at: int,
        tried: Sequence[int],
        partners: Sequence[int],
    ) -> list[Triple]:
        """(attempt, projection, presynaptic unit) of the partners that form a synapse.

        tried: the attempt for which each partner was drawn; there may be no partners at all.
        """
        formed = []
        for k, partner in zip(tried, partners, strict=False):
            which = bisect_right(self._ends, partner)
            pre = partner - (self._ends[which - 1] if which else 0)
            if luck[at, 0, k] < self._chance(which, pre, int(place[at, 0, k])):
                formed.append((k, which, pre))
        return formed

    def attempt(
        self,
        starts: np.ndarray,
        place: np.ndarray,
        luck: np.ndarray,
        at: int,
        units: np.ndarray,
        ranges: np.ndarray,
        weights: Callable[[list[int]], list[float]],
        weak: float,
        if_weak: float,
        if_strong: float,
    ) -> tuple[list[int], list[Triple]] | None:
        """All of a tick: the rows eliminated, and what :meth:`accepted` says; None for neither.

        units, ranges: partners, as in :func:`draw_evenly`; weights: of rows; an edge whose weight
        is below ``weak`` is eliminated with the probability ``if_weak``, else ``if_strong``.
        """
        free, full = self.screen(starts, place, luck, at, max(if_weak, if_strong))
        values = weights([row for _, _, row in full])
        eliminated = [
            row
            for (k, _, row), value in zip(full, values, strict=True)
            if luck[at, 0, k] < (if_weak if value < weak else if_strong)
        ]
        partners = draw_evenly(units, ranges, luck[at, 1, free].tolist())
        formed = self.accepted(place, luck, at, free, partners)
        return (eliminated, formed) if eliminated or formed else None

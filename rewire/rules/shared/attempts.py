"""Attempts at synapses, drawn ahead of the ticks that make them."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...graph import NONE, Graph, Population, Space
from ...native import kernels
from .turnover import DistanceDependentFormation, _limits

if TYPE_CHECKING:
    from ..structural_plasticity import StructuralPlasticity

AHEAD, AHEAD_TICKS = 8192, 256  # attempts, and ticks, drawn ahead at most
Triple = tuple[int, int, int]


class Attempts(NamedTuple):
    """Attempts drawn ahead, and which of their ticks it is.

    place: (ticks, 2, n) unit and slot; luck: (ticks, 3, n) numbers in [0, 1) that decide on the
    attempt, choose the partner, and choose among parallel synapses.
    """

    at: int
    place: np.ndarray
    luck: np.ndarray


def _ahead(
    u: np.ndarray, slots: np.ndarray, ticks: int, n: int, one_more: float
) -> tuple[np.ndarray, np.ndarray]:
    """What the kernel draws: places and luck of ``n`` attempts, of some ticks, from numbers u."""
    lucky, u = u[:ticks] < one_more, u[ticks:].reshape(ticks, 4, n)
    # a unit, then one of its slots: uniform over all slots where units have equally many
    ticket = (u[:, 0] * slots[-1]).astype(np.int64)
    unit = slots.searchsorted(ticket, "right") - 1
    luck = u[:, 1:].copy()
    luck[~lucky, 0, -1] = 2
    order = ticket.argsort(1, kind="stable")
    ranked = np.take_along_axis(ticket, order, 1)
    tick, again = (ranked[:, 1:] == ranked[:, :-1]).nonzero()
    luck[tick, 0, order[tick, again + 1]] = 2
    return np.stack([unit, ticket - slots[unit]], 1), luck


def _screen(graph: Graph, sheet: _Sheet, attempts: Attempts) -> tuple[list[int], list[Triple]]:
    """The attempts on empty slots, and those on full ones that may well succeed."""
    at, place, luck = attempts
    unit, slot = place[at]
    empty = slot >= graph.fan_in(sheet.name).numpy()[unit]
    full = []
    for k in (~empty & (luck[at, 0] < sheet.likely)).nonzero()[0].tolist():
        i, row = graph.incoming_edge(sheet.name, unit[k], slot[k])
        full.append((k, sheet.into.index(i), row))
    return empty.nonzero()[0].tolist(), full


class _Sheet:
    """The sources of all projections into one population, in a row, and where they lie.

    into: the projections; sources: their source populations; ends: where in the row each ends;
    slots, tried: names of what the rule keeps of the population; ahead: the attempts drawn last;
    likely: the most that elimination can be.
    """

    def __init__(self, rule: StructuralPlasticity, space: Space, name: str):
        self.name, self.into = name, space.into[name]
        self.slots, self.tried = f"slots/{name}", f"tried/{name}"
        self.ahead: tuple[Tensor | None, np.ndarray, np.ndarray] = None, NONE, NONE
        self.forms, elimination = rule.forms, rule.eliminates
        self.likely, self.limits = elimination.most, _limits(elimination)
        projections = [space.projections[i] for i in self.into]
        self.sources = tuple(p.source for p in projections)
        self.ends = list(accumulate(space.population[s].size for s in self.sources))
        self.lateral = [p.source == p.target for p in projections]
        self.here = [_places(space.population[s]) for s in self.sources]
        self.there = _places(space.population[name])

        self.native = None if kernels is None else self._native()

    def _native(self) -> Any:
        """What the kernel knows; a fall of 0 stands for units without a place."""
        if not isinstance(self.forms, DistanceDependentFormation):
            return None
        scale, falls = zip(*map(self.forms.law, self.lateral), strict=True)
        nowhere = [h is None or self.there is None for h in self.here]
        falls = tuple(0.0 if none else fall for none, fall in zip(nowhere, falls, strict=True))
        sizes = np.diff([0, *self.ends])
        here = [np.zeros((n, 2)) if h is None else h for n, h in zip(sizes, self.here, strict=True)]
        there = np.zeros((1, 2)) if self.there is None else np.array(self.there)
        places = np.concatenate(here).astype(np.float64)
        assert kernels is not None
        return kernels.Sheet(self.ends, scale, falls, places, there)

    def accepted(self, attempts: Attempts, tried: list[int], partners: list[int]) -> list[Triple]:
        """(attempt, projection, presynaptic unit) of the partners that form a synapse.

        tried: the attempt for which each partner was drawn; there may be no partners at all.
        """
        at, place, luck = attempts
        if self.native is not None:
            return self.native.accepted(place, luck, at, tried, partners)
        out = []
        for k, partner in zip(tried, partners, strict=False):
            which = bisect_right(self.ends, partner)
            pre = partner - (self.ends[which - 1] if which else 0)
            if luck[at, 0, k] < self._chance(which, pre, int(place[at, 0, k])):
                out.append((k, which, pre))
        return out

    def _chance(self, which: int, pre: int, post: int) -> float:
        """Probability that a pair that was drawn forms a synapse."""
        here, apart = self.here[which], None
        if here is not None and self.there is not None:
            apart = np.asarray(_squared(here[pre], self.there[post]))
        return float(self.forms.chance(self.lateral[which], apart))

    def chances(self, which: int, pre: Tensor, post: Tensor) -> Tensor:
        """The same of many pairs, (k,) float64."""
        here, lateral = self.here[which], self.lateral[which]
        if here is None or self.there is None:
            same = float(self.forms.chance(lateral, None))
            return torch.full((len(pre),), same, dtype=torch.float64)
        start, end = np.array(here)[pre.numpy()], np.array(self.there)[post.numpy()]
        return torch.from_numpy(self.forms.chance(lateral, _squared(start.T, end.T)))


def _squared(a: Any, b: Any) -> Any:
    """Squared distance of two places, or of (2, k) places, on the torus of side 1."""
    dx, dy = (0.5 - abs(abs(here - there) - 0.5) for here, there in zip(a, b, strict=True))
    return dx * dx + dy * dy


def _places(population: Population) -> list[list[float]] | None:
    return None if population.positions is None else population.positions.tolist()

"""Who may form synapses into a population, where they lie, and attempts at them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...compiled import Ahead
from ...graph import NONE, Graph, Population, Space
from ...kernels.attempts import Law, Triple, attempts_on, draw_ahead
from ...kernels.random import doubles
from ...streams import Stream
from ...when import Clock
from .turnover import DistanceDependentFormation, Elimination, Formation, chance_by_weight

AHEAD, AHEAD_TICKS = 8192, 256  # attempts, and ticks, drawn ahead at most
NOT_YET = (0, None, None)


class Attempts(NamedTuple):
    """Attempts drawn ahead, and which of their ticks it is.

    place: (ticks, 2, n) unit and slot; luck: (ticks, 3, n) numbers in [0, 1) that decide on the
    attempt, choose the partner, and choose among parallel synapses.
    """

    at: int
    place: np.ndarray
    luck: np.ndarray


class Sheet:
    """The sources of all projections into one population, in a row, and where they lie.

    into: the projections; sources: their source populations; ends: where in the row each ends;
    slots, tried: names of what the rule keeps of the population; ahead: the attempts drawn last;
    likely: the most that elimination can be; by_weight: elimination as a threshold and two
    probabilities, where it is of that kind; law: formation, where it is of the kind that is
    compiled; native: what carries the attempts out.
    """

    def __init__(self, space: Space, name: str, forms: Formation, eliminates: Elimination):
        self.name, self.into, self.forms = name, space.into[name], forms
        self.slots, self.tried = f"slots/{name}", f"tried/{name}"
        self.ahead: tuple[Tensor | None, np.ndarray, np.ndarray] = None, NONE, NONE
        self.likely, self.by_weight = eliminates.most, chance_by_weight(eliminates)
        projections = [space.projections[i] for i in self.into]
        self.sources = tuple(p.source for p in projections)
        self.ends = list(accumulate(space.population[s].size for s in self.sources))
        self.lateral = [p.source == p.target for p in projections]
        self.source_places = [_places(space.population[s]) for s in self.sources]
        self.places = _places(space.population[name])
        self.law = self._law()
        self.native = attempts_on(self.ends, self.law, self._chance)

    def _law(self) -> Law | None:
        """Formation as the compiled attempts know it; None where it is of another kind."""
        if not isinstance(self.forms, DistanceDependentFormation):
            return None
        scale, falls = zip(*map(self.forms.law, self.lateral), strict=True)
        nowhere = [places is None or self.places is None for places in self.source_places]
        sizes = np.diff([0, *self.ends])
        row = [
            np.zeros((n, 2)) if places is None else places
            for n, places in zip(sizes, self.source_places, strict=True)
        ]
        return Law(
            scale,
            # exp(0) = 1 whatever the distance: for units without a place
            tuple(0.0 if none else fall for none, fall in zip(nowhere, falls, strict=True)),
            np.concatenate(row).astype(np.float64),
            np.zeros((1, 2)) if self.places is None else np.array(self.places),
        )

    def next_attempts(
        self, state: dict[str, Any], rng: Stream, expected: Callable[[int], float]
    ) -> Attempts | None:
        """This tick's attempts on the population; None where it has no slots.

        state: what is kept from tick to tick, which moves on. expected: the number of attempts in a
        tick, on average, of so many slots: asked only where those drawn ahead are used up.
        """
        at, place, luck = state.get(self.tried, NOT_YET)
        if place is not None and self.ahead[0] is not place:  # resumed, or another run's
            self.ahead = place, place.numpy(), luck.numpy()
        if place is None or at == len(self.ahead[1]):
            slots = state[self.slots].numpy()
            if not slots[-1]:
                return None
            at, (place, luck) = 0, _drawn_ahead(slots, expected(int(slots[-1])), rng)
            self.ahead = place, place.numpy(), luck.numpy()
        state[self.tried] = at + 1, place, luck
        return Attempts(at, self.ahead[1], self.ahead[2])

    def screen(self, graph: Graph, attempts: Attempts) -> tuple[list[int], list[Triple]]:
        """The attempts on empty slots, and (attempt, projection, row) of those on full ones that
        may succeed; the projection by its place among those into the population."""
        at, place, luck = attempts
        starts = graph.starts(self.name)
        if starts is not None:
            return self.native.screen(starts, place, luck, at, self.likely)
        unit, slot = place[at]
        rows, pointers = (t.numpy() for t in graph.incoming(self.name))
        empty = slot >= (pointers[1:] - pointers[:-1])[unit]
        full = []
        for k in (~empty & (luck[at, 0] < self.likely)).nonzero()[0].tolist():
            row = int(rows[pointers[unit[k]] + slot[k]])
            full.append((k, self.into.index(bisect_right(graph.bounds, row) - 1), row))
        return empty.nonzero()[0].tolist(), full

    def accepted(self, attempts: Attempts, tried: list[int], partners: list[int]) -> list[Triple]:
        """(attempt, projection, presynaptic unit) of the partners that form a synapse.

        tried: the attempt for which each partner was drawn; there may be no partners at all.
        """
        at, place, luck = attempts
        return self.native.accepted(place, luck, at, tried, partners)

    def by_population(self, choice: float) -> int:
        """The place in the row that a number in [0, 1) chooses: a source, then a unit of it."""
        scaled = choice * len(self.ends)
        which = int(scaled)
        first = self.ends[which - 1] if which else 0
        return first + int((scaled - which) * (self.ends[which] - first))

    def _chance(self, which: int, pre: int, post: int) -> float:
        """Probability that a pair that was drawn forms a synapse."""
        sources, apart = self.source_places[which], None
        if sources is not None and self.places is not None:
            apart = np.asarray(_distance_squared(sources[pre], self.places[post]))
        return float(self.forms.chance(self.lateral[which], apart))

    def chances(self, which: int, pre: Tensor, post: Tensor) -> Tensor:
        """The same of many pairs, (k,) float64."""
        sources, lateral = self.source_places[which], self.lateral[which]
        if sources is None or self.places is None:
            same = float(self.forms.chance(lateral, None))
            return torch.full((len(pre),), same, dtype=torch.float64)
        start, end = np.array(sources)[pre.numpy()], np.array(self.places)[post.numpy()]
        return torch.from_numpy(self.forms.chance(lateral, _distance_squared(start.T, end.T)))


def _drawn_ahead(slots: np.ndarray, expected: float, rng: Stream) -> tuple[Tensor, Tensor]:
    """The attempts of the next ticks: (ticks, 2, n) unit and slot, (ticks, 3, n) luck.

    The first of the three random numbers decides on the attempt, and is 2, which nothing accepts,
    where there is none: a fraction left over is a chance of one more, and a slot is tried once a
    tick.
    """
    n, ticks = ahead(expected)
    u, one_more = rng.doubles(ticks + 4 * ticks * n), expected - int(expected)
    place, luck = draw_ahead(u, slots, ticks, n, one_more)
    return torch.from_numpy(place), torch.from_numpy(luck)


def ahead(expected: float) -> tuple[int, int]:
    """Of so many attempts in a tick, on average: the most there are in one, and the number of ticks
    whose attempts are drawn at once."""
    n = int(expected) + 1
    return n, max(1, min(AHEAD // n, AHEAD_TICKS))


class Batches(NamedTuple):
    """The attempts on a population in a run whose ticks are known, each of which is one.

    n, ticks: attempts in a tick at most, and ticks that are drawn at once; one_more: the chance of
    the last attempt; counters: where the random numbers of each batch begin.
    """

    sheet: Sheet
    slots: np.ndarray  # (units + 1,), those of all units before each
    n: int
    ticks: int
    one_more: float
    counters: list[int]

    @property
    def many(self) -> int:
        """Random numbers of a batch."""
        return self.ticks + 4 * self.ticks * self.n

    def settings(self, run: Ahead) -> list[Any]:
        """What the compiled form of the sheet reads, in its order."""
        sheet, law = self.sheet, self.sheet.law
        assert law is not None and sheet.by_weight is not None
        return [
            sheet.into, sheet.ends, np.array(law.scale), np.array(law.falls), law.sources,
            law.targets, self.slots, run.ranges(sheet.sources),
            np.array(self.counters, np.uint64), np.array([*sheet.by_weight, self.one_more]),
            [self.ticks, self.n],
        ]  # fmt: skip

    def last(self, run: Ahead) -> tuple[int, Tensor, Tensor]:
        """What a rule has kept of the attempts after the run's last tick."""
        u = doubles(self.many, self.counters[-1])
        place, luck = draw_ahead(u, self.slots, self.ticks, self.n, self.one_more)
        at = (len(run.clocks) - 1) % self.ticks + 1
        return at, torch.from_numpy(place), torch.from_numpy(luck)


def batches(
    sheets: Sequence[Sheet], run: Ahead, expected: Callable[[Clock, int], float]
) -> list[Batches]:
    """The attempts of a run on each population that has slots.

    expected: attempts in a tick, on average, of a clock and so many slots.
    """
    out, clocks = list[Batches](), run.clocks
    for sheet in sheets:
        slots = run.state[sheet.slots].numpy()
        if slots[-1]:
            per_tick = expected(run.clock, int(slots[-1]))
            out.append(Batches(sheet, slots, *ahead(per_tick), per_tick - int(per_tick), []))
    for i in sorted({i for batch in out for i in range(0, len(clocks), batch.ticks)}):
        rng = run.stream(clocks[i])
        for batch in out:  # those that draw at the same tick, one after the other
            if i % batch.ticks == 0:
                batch.counters.append(rng.skip_doubles(batch.many))
    return out


def _distance_squared(a: Any, b: Any) -> Any:
    """Squared distance of two places, or of (2, k) places, on the torus of side 1."""
    dx, dy = (0.5 - abs(abs(x - y) - 0.5) for x, y in zip(a, b, strict=True))
    return dx * dx + dy * dy


def _places(population: Population) -> list[list[float]] | None:
    return None if population.positions is None else population.positions.tolist()

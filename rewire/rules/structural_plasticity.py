"""Structural plasticity of topographic maps, on spiking and artificial networks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import Any, ClassVar, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from ..graph import NONE, NOTHING, Edit, Graph, Population, Projection, Space
from ..native import kernels
from ..rule import Budget, Clock, Rule, State, Strategy
from ..signals import Signals
from ..streams import Stream
from ..when import Every, When

PAPER = """
@article{bogdan2018structural,
  title = {Structural Plasticity on the {SpiNNaker} Many-Core Neuromorphic System},
  author = {Bogdan, Petrut A. and Rowley, Andrew G. D. and Rhodes, Oliver and Furber, Steve B.},
  journal = {Frontiers in Neuroscience},
  volume = {12},
  pages = {434},
  doi = {10.3389/fnins.2018.00434},
  year = {2018},
}
"""
SHEET = 16.0  # the sheet of the published model is 16 units wide; lengths here are in sheet sides
AHEAD, AHEAD_TICKS = 8192, 256  # attempts, and ticks, drawn ahead at most
Triple = tuple[int, int, int]
NO_OUTCOME: tuple[Sequence[int], Sequence[Triple]] = ((), ())
NOT_YET = (0, None, None)


def _probabilities(of: Any, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(of, name) <= 1:
            raise ValueError(
                f"{type(of).__name__}.{name} is a probability, got {getattr(of, name)}."
            )


@dataclass(frozen=True)
class Formation(Strategy):
    """How likely a partner that was drawn forms a synapse."""

    def chance(self, lateral: bool, apart: np.ndarray | None) -> Any:
        """The probability for pairs of units.

        lateral: whether both are of one population; apart: squared distances on the torus of side
        1, (k,), or one number, or None where units have no place.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class DistanceDependentFormation(Formation):
    """p exp(-d^2 / (2 sigma^2)); p_lateral and sigma_lateral within one population.

    Units without a place form with p whatever the distance; a sigma of infinity makes all do so.
    """

    p: float = 0.16
    sigma: float = 2.5 / SHEET
    p_lateral: float = 1.0
    sigma_lateral: float = 1.0 / SHEET

    def __post_init__(self) -> None:
        _probabilities(self, "p", "p_lateral")

    def law(self, lateral: bool) -> tuple[float, float]:
        """p and -1 / (2 sigma^2)."""
        p, sigma = (self.p_lateral, self.sigma_lateral) if lateral else (self.p, self.sigma)
        return p, -1 / (2 * sigma**2)

    def chance(self, lateral: bool, apart: np.ndarray | None) -> Any:
        p, fall = self.law(lateral)
        return p if apart is None else p * np.exp(apart * fall)


@dataclass(frozen=True)
class UniformFormation(Formation):
    """Every partner forms a synapse with the same probability."""

    p: float = 0.16

    def __post_init__(self) -> None:
        _probabilities(self, "p")

    def chance(self, lateral: bool, apart: np.ndarray | None) -> Any:
        return self.p if apart is None else np.full(np.shape(apart), self.p)


@dataclass(frozen=True)
class Elimination(Strategy):
    """How likely a synapse whose slot is tried is eliminated."""

    @property
    def most(self) -> float:
        """The most that the probability can be."""
        raise NotImplementedError

    def chances(
        self, graph: Graph, rows: Sequence[int], projections: Sequence[int]
    ) -> Sequence[float]:
        """The probability for each of these rows, which are of these projections."""
        raise NotImplementedError


@dataclass(frozen=True)
class WeightDependentElimination(Elimination):
    """p_depressed for synapses below the threshold, p_potentiated for the others.

    threshold: None stands for half of the projection's mean |weight|, of which |weight| is taken.
    """

    p_depressed: float = 0.0245
    p_potentiated: float = 1.36e-4
    threshold: float | None = None

    def __post_init__(self) -> None:
        _probabilities(self, "p_depressed", "p_potentiated")

    @property
    def most(self) -> float:
        return max(self.p_depressed, self.p_potentiated)

    def chances(
        self, graph: Graph, rows: Sequence[int], projections: Sequence[int]
    ) -> Sequence[float]:
        weights = graph.values("weight", rows)
        if self.threshold is not None:
            weak = [weight < self.threshold for weight in weights]
        else:
            half = {
                i: 0.5 * float(graph["weight"][graph.rows(i)].abs().mean())
                for i in set(projections)
            }
            weak = [abs(w) < half[i] for w, i in zip(weights, projections, strict=True)]
        return [self.p_depressed if yes else self.p_potentiated for yes in weak]


@dataclass(frozen=True)
class UniformElimination(Elimination):
    """Every synapse is eliminated with the same probability, whatever its weight."""

    p: float = 0.0245

    def __post_init__(self) -> None:
        _probabilities(self, "p")

    @property
    def most(self) -> float:
        return self.p

    def chances(
        self, graph: Graph, rows: Sequence[int], projections: Sequence[int]
    ) -> Sequence[float]:
        return [self.p] * len(rows)


@dataclass(frozen=True, kw_only=True)
class StructuralPlasticity(Rule):
    """Structural plasticity by formation and elimination (Bamford, Murray & Willshaw 2010;
    Bogdan, Rowley, Rhodes & Furber 2018, Frontiers in Neuroscience 12:434).

    Each attempt picks a postsynaptic unit and one of its slots, both uniformly. A full slot is
    emptied with probability ``p_elim_dep`` if its synapse is depressed, else ``p_elim_pot``. For
    an empty slot a presynaptic partner is drawn, and a synapse formed with probability

        p_form exp(-d^2 / (2 sigma_form^2)),

    d the distance of the two units' positions on the torus. The slot is chosen before the
    partner, so that feed-forward and lateral projections into one population compete for slots.

    attempts:  slots tried in a step, as a fraction of a population's slots.
    rate:      attempts per second on each whole target population (f_rew, 1e4 in the paper), in
               worlds with a time of their own; it replaces ``attempts``.
    slots:     s_max, slots of each unit (32); None takes the population's own, and where it has
               none gives each unit as many as the starting graph holds for its projections on
               average, the remainder to random units, so that all slots together are exactly the
               starting edges.
    initial:   "uniform" fills every slot with a random partner at the start, "kernel" by the
               formation rule itself (the paper), "given" keeps the starting graph.
    partner:   "activity" draws in proportion to the units' recent activity, "spiked" among those
               that spiked in the last time step (the paper), "uniform" at random.
    p_form, sigma_form: of feed-forward projections; p_form_lateral, sigma_form_lateral: of those
               within one population. Sigmas in sides of the sheet: 2.5 and 1 of the model's 16.
    p_elim_dep, p_elim_pot: 0.0245 and 1.36e-4 a try.
    threshold: weight below which a synapse is depressed (half of g_max in the paper); None: half
               of its projection's mean |weight|.
    birth:     weight of a new synapse: g_max = 0.2 in the paper; 0 leaves it to the world, which
               starts new synapses at 0 unless it says otherwise.

    **On an artificial network** (the defaults): "recently active" is the standard deviation of a
    unit's value over the last batch; depressed means weak in magnitude, as weights have both
    signs; units without a place (outputs) form at p_form whatever the distance. A partner that is
    connected already is a rejected formation, except where multapses are allowed. The number of
    synapses stays at or below the slots. ``StructuralPlasticity.bogdan()`` is the published model.
    """

    budget: ClassVar[Budget] = "cap"
    kind: ClassVar[str] = "neuromorphic"
    lives_under: ClassVar[frozenset[str]] = frozenset({"fan_in"})
    source: ClassVar[str] = "Bogdan et al. 2018, doi:10.3389/fnins.2018.00434"
    bibtex: ClassVar[str] = PAPER

    attempts: float = 0.01
    rate: float | None = None
    slots: int | None = None
    initial: Literal["uniform", "kernel", "given"] = "uniform"
    partner: str = "activity"
    p_form: float = 0.16
    sigma_form: float = 2.5 / SHEET
    p_form_lateral: float = 1.0
    sigma_form_lateral: float = 1.0 / SHEET
    p_elim_dep: float = 0.0245
    p_elim_pot: float = 1.36e-4
    threshold: float | None = None
    birth: float = 0.0
    formation: Formation | None = None
    elimination: Elimination | None = None
    when: When = Every(1)

    @classmethod
    def bogdan(cls, **fields: Any) -> StructuralPlasticity:
        """The published model: 32 slots, 10,000 attempts a second, g_max 0.2."""
        published = dict(rate=1e4, slots=32, initial="given", partner="spiked", threshold=0.1,
                         birth=0.2)  # fmt: skip
        return cls(**{**published, **fields})

    def __post_init__(self) -> None:
        _probabilities(self, "p_form", "p_form_lateral", "p_elim_dep", "p_elim_pot")
        if not 0 < self.attempts <= 1:
            raise ValueError(f"attempts is a fraction of the slots, got {self.attempts}.")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset() if self.partner == "uniform" else frozenset({self.partner})

    @cached_property
    def forms(self) -> Formation:
        """The strategy of formation."""
        return self.formation or DistanceDependentFormation(
            self.p_form, self.sigma_form, self.p_form_lateral, self.sigma_form_lateral
        )

    @cached_property
    def eliminates(self) -> Elimination:
        """The strategy of elimination."""
        return self.elimination or WeightDependentElimination(
            self.p_elim_dep, self.p_elim_pot, self.threshold
        )

    @property
    def timed(self) -> bool:  # type: ignore[override]
        return self.rate is not None

    @cached_property
    def _made(self) -> WeakKeyDictionary[Space, list[_Sheet]]:
        return WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        """The fields: what was made of them is made again by a copy."""
        names = {f.name for f in fields(self)}
        return {name: value for name, value in self.__dict__.items() if name in names}

    def _sheets(self, space: Space) -> list[_Sheet]:
        """One for each population that receives synapses; made once, read at every tick."""
        sheets = self._made.get(space)
        if sheets is None:
            sheets = self._made[space] = [_Sheet(self, space, p.name) for p in space.receiving]
        return sheets

    # -- the start ------------------------------------------------------------------------------

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        edit = Edit()
        if self.initial != "given":
            keys = torch.cat([self._filled(graph, i, rng) for i in range(len(graph.projections))])
            keys = keys.sort().values
            row, there = graph.find(keys)
            stays = torch.zeros(len(graph), dtype=torch.bool)
            stays[row[there]] = True
            add = keys[~there]
            edit = Edit(
                drop=(~stays).nonzero().squeeze(1),
                add=add,
                birth={"weight": signals.pair("weight", add)},
            )
        after, sheets = graph.apply(edit), self._sheets(graph.space)
        return edit, {
            sheet.slots: self._slots(after, p)
            for sheet, p in zip(sheets, graph.space.receiving, strict=True)
        }

    def _slots(self, graph: Graph, population: Population) -> Tensor:
        """Slots of all units before each, and at the end of all together, (size + 1,)."""
        held = graph.fan_in(population.name)
        slots = population.slots if self.slots is None else self.slots
        if slots is None:
            return torch.cat([torch.zeros(1, dtype=torch.int64), held.cumsum(0)])
        most = slots if population.most is None else population.most
        if self.slots is not None and slots > most:
            raise ValueError(
                f"StructuralPlasticity asks for {slots} slots, and units of {population.name!r} "
                f"may hold {most}: leave out slots= to take those."
            )
        slots = min(slots, most)
        if int(held.max()) > slots:
            raise ValueError(
                f"a unit of {population.name!r} starts with {int(held.max())} synapses, but has "
                f"{slots} slots; ask for a lower density or more slots."
            )
        return torch.arange(population.size + 1) * slots

    def _filled(self, graph: Graph, i: int, rng: Stream) -> Tensor:
        """Keys that fill the slots of every target unit of projection ``i``."""
        p, space = graph.projections[i], graph.space
        n_post = space.population[p.target].size
        total = graph.bounds[i + 1] - graph.bounds[i]
        if self.slots is None:
            fan_in = torch.full((n_post,), total // n_post)
            fan_in[rng.permutation(n_post)[: total % n_post]] += 1
        else:
            shared = sum(q.target == p.target for q in graph.projections)
            fan_in = torch.full((n_post,), self.slots // shared)
        local = torch.arange(p.size)
        pre, post = p.locate(local)
        if int(fan_in.max()) > p.size // n_post:
            raise ValueError(
                f"{p.name!r} has {p.size // n_post} possible synapses for each unit, fewer than "
                f"the {int(fan_in.max())} slots to fill; ask for fewer slots."
            )
        # the smallest of Exp(1) / chance are a draw without replacement in proportion to chance
        chance = torch.ones(p.size)
        if self.initial == "kernel":
            sheet = next(s for s in self._sheets(space) if s.name == p.target)
            chance = sheet.chances(sheet.into.index(i), pre, post).clamp(min=1e-300)
        clock = -(1 - rng.uniform(p.size).double()).log() / chance
        order = torch.from_numpy(np.lexsort((clock.numpy(), post.numpy())))
        size = torch.bincount(post, minlength=n_post)
        rank = torch.arange(p.size) - (size.cumsum(0) - size)[post[order]]
        return local[order[rank < fan_in[post[order]]]] + space.bounds[i]

    # -- a tick ---------------------------------------------------------------------------------

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        drop: list[int] = []
        add: list[int] = []
        after = dict(state)
        for sheet in self._sheets(graph.space):
            attempts = self._next(sheet, after, rng, clock)
            if attempts is not None:
                self._try(graph, signals, sheet, attempts, drop, add)
        if not drop and not add:
            return NOTHING, after
        edit = Edit.of_arrays(
            {},
            np.array(sorted(drop), np.int64),
            np.array(sorted(add), np.int64),
            {"weight": self.birth} if self.birth else None,
        )
        return edit, after

    def _next(
        self, sheet: _Sheet, state: dict[str, Any], rng: Stream, clock: Clock
    ) -> Attempts | None:
        """This tick's attempts on a population, drawn ahead; None where it has no slots."""
        at, place, luck = state.get(sheet.tried, NOT_YET)
        if place is not None and sheet.ahead[0] is not place:
            sheet.ahead = place, place.numpy(), luck.numpy()
        if place is None or at == len(sheet.ahead[1]):
            slots = state[sheet.slots].numpy()
            if not slots[-1]:
                return None
            at, (place, luck) = 0, self._draw_ahead(slots, rng, clock)
            sheet.ahead = place, place.numpy(), luck.numpy()
        state[sheet.tried] = at + 1, place, luck
        return Attempts(at, sheet.ahead[1], sheet.ahead[2])

    def _draw_ahead(self, slots: np.ndarray, rng: Stream, clock: Clock) -> tuple[Tensor, Tensor]:
        """The attempts of the next ticks: (ticks, 2, n) unit and slot, (ticks, 3, n) luck.

        The first of the three random numbers decides on the attempt, and is 2, which nothing
        accepts, where there is none: a fraction left over is a chance of one more, and a slot is
        tried once a tick.
        """
        expected = self._attempts(int(slots[-1]), clock)
        n = int(expected) + 1
        ticks = max(1, min(AHEAD // n, AHEAD_TICKS))
        u, one_more = rng.doubles(ticks + 4 * ticks * n), expected - int(expected)
        ahead = _ahead if kernels is None else kernels.draw_ahead
        place, luck = ahead(u, slots, ticks, n, one_more)
        return torch.from_numpy(place), torch.from_numpy(luck)

    def _attempts(self, slots: int, clock: Clock) -> float:
        """How many slots are tried in a tick, on average."""
        ticks = self.when.n if isinstance(self.when, Every) else 1
        if self.rate is None:
            return self.attempts * slots * ticks
        if clock.dt is None:
            raise ValueError(
                "StructuralPlasticity.rate is in attempts per second, and this world has no "
                "time of its own: set attempts, a fraction of the slots tried in each step."
            )
        return self.rate * clock.dt * ticks

    def _try(
        self,
        graph: Graph,
        signals: Signals,
        sheet: _Sheet,
        attempts: Attempts,
        drop: list[int],
        add: list[int],
    ) -> None:
        """Note the rows eliminated from, and the keys formed into, one population.

        Most attempts are over at the first look; the others are few, and taken one by one.
        """
        gone, formed = self._outcome(graph, signals, sheet, attempts)
        drop += gone
        for k, which, pre in formed:
            post = int(attempts.place[attempts.at, 0, k])
            parallel = float(attempts.luck[attempts.at, 2, k])
            key = pair_key(graph, sheet.into[which], pre, post, parallel)
            if key is not None and (key not in add or graph.space.multapses):
                add.append(key)

    def _outcome(
        self, graph: Graph, signals: Signals, sheet: _Sheet, attempts: Attempts
    ) -> tuple[Sequence[int], Sequence[Triple]]:
        """The rows that are eliminated, and the attempts that form a synapse.

        The latter as (attempt, projection, presynaptic unit), the projection by its place among
        those into the population.
        """
        at, place, luck = attempts
        starts = graph.starts(sheet.name)
        if sheet.native is None or starts is None:
            free, full = _screen(graph, sheet, attempts)
        else:
            if sheet.limits is not None and self.partner != "uniform":
                weights = getattr(graph.lazy("weight"), "native", None)
                evenly = signals.among(self.partner, sheet.sources)
                if weights is not None and evenly is not None:
                    return (
                        sheet.native.attempt(
                            starts, place, luck, at, *evenly, weights, *sheet.limits
                        )
                        or NO_OUTCOME
                    )
            free, full = sheet.native.screen(starts, place, luck, at, sheet.likely)
        gone = self._eliminated(graph, sheet, attempts, full) if full else []
        if not free:
            return gone, ()
        choices = luck[at, 1, free].tolist()
        # one draw over the sources of all projections together: they compete for the slot
        if self.partner == "uniform":
            partners = [int(choice * sheet.ends[-1]) for choice in choices]
        else:
            partners = signals.sample(self.partner, sheet.sources, choices)
        return gone, sheet.accepted(attempts, free, partners)

    def _eliminated(
        self, graph: Graph, sheet: _Sheet, attempts: Attempts, full: Sequence[Triple]
    ) -> list[int]:
        """The rows, of the attempts (attempt, projection, row) on full slots, that succeed."""
        luck, rows = attempts.luck[attempts.at, 0], [row for _, _, row in full]
        chances = self.eliminates.chances(graph, rows, [sheet.into[i] for _, i, _ in full])
        return [row for (k, _, row), chance in zip(full, chances, strict=True) if luck[k] < chance]


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


def _limits(elimination: Elimination) -> tuple[float, float, float] | None:
    """The kernel's form of an elimination: a weight, the chance below it, and that from it up."""
    match elimination:
        case WeightDependentElimination(weak, strong, threshold) if threshold is not None:
            return threshold, weak, strong
        case UniformElimination(p):
            return 0.0, p, p
    return None


def _squared(a: Any, b: Any) -> Any:
    """Squared distance of two places, or of (2, k) places, on the torus of side 1."""
    dx, dy = (0.5 - abs(abs(here - there) - 0.5) for here, there in zip(a, b, strict=True))
    return dx * dx + dy * dy


def _places(population: Population) -> list[list[float]] | None:
    return None if population.positions is None else population.positions.tolist()


def pair_key(graph: Graph, i: int, pre: int, post: int, luck: float) -> int | None:
    """Key of a new synapse pre -> post; None where there can be none, or is one already."""
    p = graph.projections[i]
    if p.kind in ("linear", "spiking"):
        local = post * p.shape[1] + pre
    elif p.kind == "embedding":
        local = pre * p.shape[1] + post
    else:  # several parallel synapses join a pair: one of them, at random
        local = _parallel(p, pre, post, luck)
    key = local + graph.space.bounds[i]
    if p.multapses:
        return key
    return None if local < 0 or graph.find(torch.tensor([key]))[1] else key


def _parallel(p: Projection, pre: int, post: int, luck: float) -> int:
    """Flat index of one of a pair's parallel synapses; -1 where a grouped pair has none."""
    shape = p.shape
    if p.kind in ("rnn", "attention"):  # one row for each gate
        return (int(luck * p.groups) * (shape[0] // p.groups) + post) * shape[1] + pre
    row, column = (post, pre) if p.kind == "conv" else (pre, post)
    block = column - row // (shape[0] // p.groups) * shape[1]
    taps = prod(shape[2:])
    return (row * shape[1] + block) * taps + int(luck * taps) if 0 <= block < shape[1] else -1

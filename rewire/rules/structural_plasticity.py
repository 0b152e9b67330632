"""Structural plasticity of topographic maps, on spiking and artificial networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..graph import Edit, Graph, Population, Projection, Space
from ..rule import Budget, Clock, Rule, State
from ..signals import Signals
from ..streams import Stream
from ..when import Every, When

SHEET = 16.0  # the sheet of the published model is 16 units wide; lengths here are in sheet sides
SIGNALS = {"activity": "activity", "spiked": "spiked", "uniform": None}


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
    source: ClassVar[str] = "Bogdan et al. 2018, doi:10.3389/fnins.2018.00434"

    attempts: float = 0.01
    rate: float | None = None
    slots: int | None = None
    initial: Literal["uniform", "kernel", "given"] = "uniform"
    partner: Literal["activity", "spiked", "uniform"] = "activity"
    p_form: float = 0.16
    sigma_form: float = 2.5 / SHEET
    p_form_lateral: float = 1.0
    sigma_form_lateral: float = 1.0 / SHEET
    p_elim_dep: float = 0.0245
    p_elim_pot: float = 1.36e-4
    threshold: float | None = None
    birth: float = 0.0
    when: When = Every(1)

    @classmethod
    def bogdan(cls, **fields: Any) -> StructuralPlasticity:
        """The published model: 32 slots, 10,000 attempts a second, g_max 0.2."""
        published = dict(rate=1e4, slots=32, initial="given", partner="spiked", threshold=0.1,
                         birth=0.2)  # fmt: skip
        return cls(**{**published, **fields})

    def __post_init__(self) -> None:
        for name in ("p_form", "p_form_lateral", "p_elim_dep", "p_elim_pot"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"StructuralPlasticity.{name} is a probability, got {getattr(self, name)}."
                )
        if not 0 < self.attempts <= 1:
            raise ValueError(f"attempts is a fraction of the slots, got {self.attempts}.")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        name = SIGNALS[self.partner]
        return frozenset() if name is None else frozenset({name})

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
        after = graph.apply(edit)
        return edit, {f"slots/{p.name}": self._slots(after, p) for p in _targets(graph.space)}

    def _slots(self, graph: Graph, population: Population) -> Tensor:
        """Slots of all units before each, and at the end of all together, (size + 1,)."""
        held = graph.fan_in(population.name)
        slots = population.slots if self.slots is None else self.slots
        if slots is None:
            return torch.cat([torch.zeros(1, dtype=torch.int64), held.cumsum(0)])
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
            sheet = _sheet(self, space, p.target)
            j = sheet.into.index(i)
            at = pre.numpy() + (sheet.end[j - 1] if j else 0)
            chance = torch.from_numpy(sheet.chance(at, post.numpy())).clamp(min=1e-300)
        clock = -(1 - rng.uniform(p.size).double()).log() / chance
        order = torch.from_numpy(np.lexsort((clock.numpy(), post.numpy())))
        size = torch.bincount(post, minlength=n_post)
        rank = torch.arange(p.size) - (size.cumsum(0) - size)[post[order]]
        return local[order[rank < fan_in[post[order]]]] + space.bounds[i]

    # -- a tick ---------------------------------------------------------------------------------

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        drop, add = [], []
        for population in _targets(graph.space):
            first = state[f"slots/{population.name}"].numpy()
            if not first[-1]:
                continue
            expected = self._attempts(int(first[-1]), clock)
            # one number to round the attempts, four for each of them
            u = rng.doubles(4 * int(expected) + 5)
            tried = int(expected + u[0])
            out, into = self._try(graph, signals, population, first, u[1:].reshape(4, -1), tried)
            drop += out
            add += into
        if not drop and not add:
            return Edit(), state
        edit = Edit(
            drop=torch.from_numpy(np.sort(np.concatenate(drop))) if drop else None,
            add=torch.from_numpy(np.sort(np.concatenate(add))) if add else None,
            birth={"weight": self.birth} if self.birth else {},
        )
        return edit, state

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
        population: Population,
        first: np.ndarray,
        u: np.ndarray,
        tried: int,
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Rows eliminated from, and keys formed into, one population; no array where none.

        u: four uniform numbers for each attempt, (4, >= tried).
        """
        # a unit, then one of its slots: uniform over all slots where units have equally many
        ticket = _distinct((u[0, :tried] * first[-1]).astype(np.int64))  # tried once a tick
        luck, choice, which = u[1:, : len(ticket)]
        unit = first.searchsorted(ticket, "right") - 1
        slot = ticket - first[unit]
        empty = slot >= graph.fan_in(population.name).numpy()[unit]
        out, into = [], []
        likely = (~empty & (luck < max(self.p_elim_dep, self.p_elim_pot))).nonzero()[0]
        if len(likely):
            row = graph.incoming_edge(population.name, unit[likely], slot[likely])
            p_elim = np.where(self._depressed(graph, row), self.p_elim_dep, self.p_elim_pot)
            row = row[luck[likely] < p_elim]
            out = [row] if len(row) else []
        empty = empty.nonzero()[0]
        if len(empty):
            drawn = luck[empty], choice[empty], which[empty]
            into = self._form(graph, signals, population, unit[empty], *drawn)
        return out, into

    def _depressed(self, graph: Graph, row: np.ndarray) -> np.ndarray:
        weight = graph["weight"].numpy()
        if self.threshold is not None:
            return weight[row] < self.threshold
        which = graph.space.which(graph.keys[row]).numpy()
        half = np.zeros(len(graph.projections))
        for i in set(which.tolist()):
            half[i] = 0.5 * np.abs(weight[graph.rows(i)]).mean()
        return np.abs(weight[row]) < half[which]

    def _form(
        self,
        graph: Graph,
        signals: Signals,
        population: Population,
        post: np.ndarray,
        luck: np.ndarray,
        choice: np.ndarray,
        parallel: np.ndarray,
    ) -> list[np.ndarray]:
        """Keys of the synapses formed in these empty slots, for each projection that gains."""
        sheet = _sheet(self, graph.space, population.name)
        pre = self._partners(graph, signals, sheet, choice)
        if pre is None:
            return []
        formed = (luck < sheet.chance(pre, post)).nonzero()[0]
        if not len(formed):
            return []
        pre, post, parallel = pre[formed], post[formed], parallel[formed]
        which = sheet.end.searchsorted(pre, "right")
        keys = []
        for j in set(which.tolist()):
            i, mine = sheet.into[j], which == j
            source = pre[mine] - (sheet.end[j - 1] if j else 0)
            keys.append(_keys(graph, i, source, post[mine], parallel[mine]))
        return [k for k in keys if len(k)]

    def _partners(
        self, graph: Graph, signals: Signals, sheet: _Sheet, choice: np.ndarray
    ) -> np.ndarray | None:
        """One draw over the sources of all projections, which compete for the slot; None: none."""
        total = sheet.end[-1]
        if self.partner == "uniform":
            return (choice * total).astype(np.int64)
        spread = [signals.node(self.partner, name).numpy() for name in sheet.sources]
        upto = np.concatenate(spread).cumsum(dtype=np.float64)
        if not upto[-1] > 0:
            return None
        return np.minimum(upto.searchsorted(choice * upto[-1], "right"), total - 1)


class _Sheet:
    """The sources of all projections into one population, in a row, and where they lie.

    into: the projections; sources: their source populations; end: where in the row each ends.
    """

    def __init__(self, rule: StructuralPlasticity, space: Space, name: str):
        self.into = space.into[name]
        projections = [space.projections[i] for i in self.into]
        self.sources = [p.source for p in projections]
        sizes = [space.population[s].size for s in self.sources]
        self.end = np.cumsum(sizes)
        there = space.population[name].positions
        blank = torch.zeros(space.population[name].size, 2)
        self.there = (blank if there is None else there).double().numpy()
        here, scale, falls = [], [], []
        for p, size in zip(projections, sizes, strict=True):
            at = space.population[p.source].positions
            placed = at is not None and there is not None
            lateral = p.source == p.target
            sigma = rule.sigma_form_lateral if lateral else rule.sigma_form
            here.append(at if at is not None and placed else torch.zeros(size, 2))
            scale.append(np.full(size, rule.p_form_lateral if lateral else rule.p_form))
            falls.append(np.full(size, -1 / (2 * sigma**2) if placed else 0.0))
        self.here = torch.cat(here).double().numpy()
        self.scale, self.falls = np.concatenate(scale), np.concatenate(falls)

    def chance(self, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
        """Probability that a pair that was drawn forms a synapse, (k,); pre counts the row."""
        apart = np.abs(self.here[pre] - self.there[post])
        apart = np.minimum(apart, 1 - apart)  # the sheet is a torus
        apart *= apart
        return self.scale[pre] * np.exp((apart[:, 0] + apart[:, 1]) * self.falls[pre])


@lru_cache(maxsize=16)
def _sheet(rule: StructuralPlasticity, space: Space, name: str) -> _Sheet:
    return _Sheet(rule, space, name)


def _distinct(values: np.ndarray) -> np.ndarray:
    """The values without repetitions."""
    return values if len(set(values.tolist())) == len(values) else np.unique(values)


def _keys(graph: Graph, i: int, pre: np.ndarray, post: np.ndarray, luck: np.ndarray) -> np.ndarray:
    """Keys of new synapses pre -> post; a pair that is connected already is left out."""
    p = graph.projections[i]
    if p.kind in ("linear", "spiking"):
        local = post * p.shape[1] + pre
    elif p.kind == "embedding":
        local = pre * p.shape[1] + post
    else:  # several parallel synapses join a pair: one of them, at random
        local = _parallel(p, pre, post, luck)
        local = local[local >= 0]
    keys = local + graph.space.bounds[i]
    if p.multapses:
        return keys
    keys = np.unique(keys)
    return keys[~graph.find(torch.from_numpy(keys))[1].numpy()]


def _targets(space: Space) -> list[Population]:
    """The populations that receive synapses, in the order of their first projection."""
    names = dict.fromkeys(p.target for p in space.projections)
    return [space.population[n] for n in names]


def _parallel(p: Projection, pre: np.ndarray, post: np.ndarray, luck: np.ndarray) -> np.ndarray:
    """Flat index of one of a pair's parallel synapses; -1 where a grouped pair has none."""
    shape = p.shape
    taps = prod(shape[2:])
    if p.kind == "conv":
        block = pre - post // (shape[0] // p.groups) * shape[1]
        inside = (block >= 0) & (block < shape[1])
        local = (post * shape[1] + block) * taps + (luck * taps).astype(np.int64)
        return np.where(inside, local, -1)
    if p.kind == "conv_transpose":
        block = post - pre // (shape[0] // p.groups) * shape[1]
        inside = (block >= 0) & (block < shape[1])
        local = (pre * shape[1] + block) * taps + (luck * taps).astype(np.int64)
        return np.where(inside, local, -1)
    units = shape[0] // p.groups  # rnn, attention: one row for each gate
    return ((luck * p.groups).astype(np.int64) * units + post) * shape[1] + pre

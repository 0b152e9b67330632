"""Structural plasticity of topographic maps, on spiking and artificial networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..graph import Edit, Graph, Population, Space
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
    slots:     s_max, slots of each unit (32); None gives each unit as many as the starting graph
               holds for its projections on average, the remainder to random units, so that all
               slots together are exactly the starting edges.
    initial:   "uniform" fills every slot with a random partner at the start, "kernel" by the
               formation rule itself (the paper), "given" keeps the starting graph.
    partner:   "activity" draws in proportion to the units' recent activity, "spiked" among those
               that spiked in the last time step (the paper), "uniform" at random.
    p_form, sigma_form: of feed-forward projections; p_form_lateral, sigma_form_lateral: of those
               within one population. Sigmas in sides of the sheet: 2.5 and 1 of the model's 16.
    p_elim_dep, p_elim_pot: 0.0245 and 1.36e-4 a try.
    threshold: weight below which a synapse is depressed (half of g_max in the paper); None: half
               of its projection's mean |weight|.
    birth:     weight of a new synapse: 0 here, g_max = 0.2 in the paper.

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
        """Slots of each unit, (size,)."""
        held = graph.fan_in(population.name)
        if self.slots is None:
            return held
        if int(held.max()) > self.slots:
            raise ValueError(
                f"a unit of {population.name!r} starts with {int(held.max())} synapses, but has "
                f"{self.slots} slots; ask for a lower density or more slots."
            )
        return torch.full_like(held, self.slots)

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
            chance = self._chance(space, i, pre, post).double().clamp(min=1e-300)
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
            slots = state[f"slots/{population.name}"]
            there_are = int(slots.sum())
            tried = self._attempts(there_are, rng, clock) if there_are else 0
            if tried:
                out, into = self._try(graph, signals, population, slots, tried, rng)
                drop.append(out)
                add.append(into)
        edit = Edit(
            drop=torch.cat(drop) if drop else None,
            add=torch.cat(add).sort().values if add else None,
            birth={"weight": self.birth},
        )
        return edit, state

    def _attempts(self, slots: int, rng: Stream, clock: Clock) -> int:
        """How many slots are tried in this tick; a fraction left over is a chance of one more."""
        ticks = self.when.n if isinstance(self.when, Every) else 1
        if self.rate is not None:
            if clock.dt is None:
                raise ValueError(
                    "StructuralPlasticity.rate is in attempts per second, and this world has no "
                    "time of its own: set attempts, a fraction of the slots tried in each step."
                )
            expected = self.rate * clock.dt * ticks
        else:
            expected = self.attempts * slots * ticks
        whole = int(expected)
        return whole + int(float(rng.uniform(1)) < expected - whole)

    def _try(
        self,
        graph: Graph,
        signals: Signals,
        population: Population,
        slots: Tensor,
        tried: int,
        rng: Stream,
    ) -> tuple[Tensor, Tensor]:
        """Rows eliminated from, and keys formed into, one population."""
        rows, pointers = graph.incoming(population.name)
        # a unit, then one of its slots: uniform over all slots where units have equally many
        first = torch.zeros(len(slots) + 1, dtype=torch.int64)
        first[1:] = slots.cumsum(0)
        ticket = rng.integers(int(first[-1]), tried).unique()  # a slot is tried once a tick
        unit = torch.searchsorted(first, ticket, right=True) - 1
        slot = ticket - first[unit]
        luck = rng.uniform(len(ticket))
        full = slot < pointers[unit + 1] - pointers[unit]

        row = rows[pointers[unit[full]] + slot[full]]
        p_elim = torch.where(self._depressed(graph, row), self.p_elim_dep, self.p_elim_pot)
        drop = row[luck[full] < p_elim].sort().values
        return drop, self._form(graph, signals, population, unit[~full], luck[~full], rng)

    def _depressed(self, graph: Graph, row: Tensor) -> Tensor:
        weight = graph["weight"]
        if self.threshold is not None:
            return weight[row] < self.threshold
        which = graph.space.which(graph.keys[row])
        half = weight.new_zeros(len(graph.projections))
        for i in which.unique().tolist():
            half[i] = 0.5 * weight[graph.rows(i)].abs().mean()
        return weight[row].abs() < half[which]

    def _form(
        self,
        graph: Graph,
        signals: Signals,
        population: Population,
        post: Tensor,
        luck: Tensor,
        rng: Stream,
    ) -> Tensor:
        """Keys of the synapses formed in these empty slots."""
        none = torch.empty(0, dtype=torch.int64)
        into = [i for i, p in enumerate(graph.projections) if p.target == population.name]
        if not len(post):
            return none
        spread = torch.cat([self._liveliness(graph, signals, i) for i in into])
        if not float(spread.sum()) > 0:
            return none
        # one draw over the sources of all projections together: they compete for the slot
        edge = torch.from_numpy(
            np.searchsorted(
                spread.double().cumsum(0).numpy(),
                (rng.uniform(len(post)).double() * float(spread.double().sum())).numpy(),
                side="right",
            )
        ).clamp(max=len(spread) - 1)
        sizes = [graph.space.population[graph.projections[i].source].size for i in into]
        formed, at = [], 0
        for i, size in zip(into, sizes, strict=True):
            mine = (edge >= at) & (edge < at + size)
            pre = edge[mine] - at
            at += size
            accepted = luck[mine] < self._chance(graph.space, i, pre, post[mine])
            formed.append(self._keys(graph, i, pre[accepted], post[mine][accepted], rng))
        return torch.cat(formed)

    def _liveliness(self, graph: Graph, signals: Signals, i: int) -> Tensor:
        """In proportion to what partners are drawn from projection ``i``'s source, (size,)."""
        source = graph.projections[i].source
        if self.partner == "uniform":
            return torch.ones(graph.space.population[source].size)
        return signals.node(self.partner, source).float()

    def _chance(self, space: Space, i: int, pre: Tensor, post: Tensor) -> Tensor:
        """Probability that a pair that was drawn forms a synapse, (k,)."""
        p = space.projections[i]
        lateral = p.source == p.target
        scale = self.p_form_lateral if lateral else self.p_form
        sigma = self.sigma_form_lateral if lateral else self.sigma_form
        here, there = space.population[p.source].positions, space.population[p.target].positions
        if here is None or there is None:
            return torch.full((len(pre),), scale)
        apart = (here[pre] - there[post]).abs()
        apart = torch.minimum(apart, 1 - apart)  # the sheet is a torus
        return scale * torch.exp(-(apart**2).sum(1) / (2 * sigma**2))

    def _keys(self, graph: Graph, i: int, pre: Tensor, post: Tensor, rng: Stream) -> Tensor:
        """Keys of new synapses pre -> post; a pair that is connected already is left out."""
        p = graph.projections[i]
        shape, n = p.shape, len(pre)
        if p.kind in ("linear", "spiking"):
            local = post * shape[1] + pre
        elif p.kind == "embedding":
            local = pre * shape[1] + post
        else:  # several parallel synapses join a pair: one of them, at random
            local = _parallel(p, pre, post, rng.uniform(n))
            pre = pre[local >= 0]
            local = local[local >= 0]
        keys = local + graph.space.bounds[i]
        if p.multapses:
            return keys
        keys = keys.unique()
        return keys[~graph.find(keys)[1]]


def _targets(space: Space) -> list[Population]:
    """The populations that receive synapses, in the order of their first projection."""
    names = dict.fromkeys(p.target for p in space.projections)
    return [space.population[n] for n in names]


def _parallel(p: Any, pre: Tensor, post: Tensor, luck: Tensor) -> Tensor:
    """Flat index of one of a pair's parallel synapses; -1 where a grouped pair has none."""
    shape = p.shape
    taps = int(np.prod(shape[2:]))
    if p.kind == "conv":
        block = pre - post // (shape[0] // p.groups) * shape[1]
        inside = (block >= 0) & (block < shape[1])
        local = (post * shape[1] + block) * taps + (luck * taps).long()
        return torch.where(inside, local, -1)
    if p.kind == "conv_transpose":
        block = post - pre // (shape[0] // p.groups) * shape[1]
        inside = (block >= 0) & (block < shape[1])
        local = (pre * shape[1] + block) * taps + (luck * taps).long()
        return torch.where(inside, local, -1)
    units = shape[0] // p.groups  # rnn, attention: one row for each gate
    return ((luck * p.groups).long() * units + post) * shape[1] + pre

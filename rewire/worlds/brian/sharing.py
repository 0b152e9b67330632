"""One pool of slots for each target neuron, shared by several Synapses objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ...graph import Population, Projection, Space
from .traces import Trace, whole
from .wiring import POST, PRE, Wiring
from .world import Brian

EMPTY = -1  # the number of the presynaptic neuron of a slot that is not in use


def share_slots(*worlds: Brian) -> Brian:
    """A world of all synapses of several worlds, whose target neurons have one pool of slots.

    worlds: each on a Synapses object of its own, in one network, as :func:`rewirable` gives them:
        with the same targets, as many slots of each target neuron, the same period and w_max.

    A slot is taken by a synapse of one of the objects at a time, as on SpiNNaker, where a neuron's
    s_max synapses are feed-forward or lateral (Bogdan et al. 2018): StructuralPlasticity draws
    among all slots, and other rules never leave a neuron more synapses than it has slots, over
    all projections. Until a rule acts every synapse stays what it is.

    The session is of the world that is returned; the others still tell what is ``filled``.

    Raises ValueError for worlds whose slots cannot be one pool, and where a neuron has more
    synapses in all than slots.

    >>> import brian2 as b2, rewire
    >>> from rewire.worlds.brian import drive, rewirable, share_slots
    >>> b2.prefs.codegen.target = "numpy"
    >>> inputs = b2.PoissonGroup(30, 50 * b2.Hz, name="inputs")
    >>> cells = b2.NeuronGroup(20, "dv/dt = -v / (10*ms) : 1", threshold="v > 1", reset="v = 0",
    ...                        method="exact", name="cells")
    >>> feed = b2.Synapses(inputs, cells, "w : 1", on_pre="v_post += w", name="feed")
    >>> feed.connect(i="(2 * j + k) % 30 for k in range(5)")
    >>> lateral = b2.Synapses(cells, cells, "w : 1", on_pre="v_post -= w", name="lateral")
    >>> lateral.connect(i="(j + 1 + k) % 20 for k in range(2)")
    >>> feed.w = lateral.w = 0.3
    >>> network = b2.Network(inputs, cells, feed, lateral)
    >>> world = share_slots(*(rewirable(s, network=network, slots=8, w_max=0.5)
    ...                       for s in (feed, lateral)))
    >>> world.space.projections[1].name, int(world.graph().fan_in("cells").max())
    ('lateral', 7)
    >>> rule = rewire.StructuralPlasticity(rate=1e4, slots=8, initial="given", partner="uniform")
    >>> session = rewire.Session(world, world.graph(), rule)
    >>> drive(session, duration=50 * b2.ms)
    >>> int(session.graph.fan_in("cells").max()) <= 8
    True
    """
    return Shared(worlds)


class Shared(Brian):
    """The world that :func:`share_slots` makes."""

    def __init__(self, worlds: Sequence[Brian]):
        _refuse_what_differs(worlds)
        first = worlds[0]
        self.wiring = pool = Pool([world.wiring for world in worlds])  # type: ignore[assignment]
        self.dt, self.w_max, self.births = first.dt, first.w_max, dict(first.births)
        self.weighted = first.weighted
        self._slots, self._targets = {}, first._targets
        self._sources: dict[str, slice] = {}
        for base, world in zip(pool.first_source, worlds, strict=False):
            for name, where in world._sources.items():
                self._sources.setdefault(name, slice(where.start + base, where.stop + base))
        self.space = _joined_space(worlds)
        of = [(at, p) for at, world in enumerate(worlds) for p in world.space.projections]
        tables = {name: _tables(pool, worlds, name) for name in self._targets}
        # a population that several objects have as a source is numbered for each of them
        starts = [worlds[at]._sources[p.source].start + pool.first_source[at] for at, p in of]
        self._lay_out([tables[p.target][at] for at, p in of], starts)


class Pool:
    """The slots of several wirings as those of one: what :class:`Brian` asks of a wiring.

    Slots and presynaptic neurons are numbered through, the second wiring's after the first's.
    """

    null, _offset = EMPTY, 0

    def __init__(self, wirings: Sequence[Wiring]):
        self.wirings = wirings
        first = wirings[0]
        self.brian2, self.network = first.brian2, first.network
        self.period, self.dt, self.steps = first.period, first.dt, first.steps
        self.w_max, self.clipped = first.w_max, first.clipped
        self.ticking = False
        self.first_slot = np.cumsum([0, *(len(w.pre) for w in wirings)])
        self.first_source = np.cumsum([0, *(w.sources for w in wirings)])
        self.joined = tuple(w.synapses for w in wirings)
        self.synapses, self.clock = first.synapses, first.clock
        self.sources = int(self.first_source[-1])
        self.pre = _Through(self, self._sources_of)
        self.w = _Through(self, lambda i: wirings[i].w)

    # -- slots ----------------------------------------------------------------------------------

    def _sources_of(self, at: int) -> np.ndarray:
        wiring = self.wirings[at]
        pre = wiring.pre.astype(np.int64) - wiring._offset
        return np.where(pre == wiring.null, EMPTY, pre + self.first_source[at])

    def parts(self, slots: np.ndarray) -> list[tuple[int, Any, np.ndarray]]:
        """Which wiring each slot is of: its number, places in ``slots``, and its own numbers."""
        which = self.first_slot.searchsorted(slots, "right") - 1
        places = [(i, np.nonzero(which == i)) for i in range(len(self.wirings))]
        return [(i, at, slots[at] - self.first_slot[i]) for i, at in places if len(at[0])]

    def retarget(self, slots: np.ndarray, pre: np.ndarray | int, w: np.ndarray | float) -> None:
        pre, w = np.broadcast_to(pre, slots.shape), np.broadcast_to(w, slots.shape)
        for i, at, own in self.parts(slots):
            wiring, of = self.wirings[i], pre[at]
            local = np.where(of == EMPTY, wiring.null, of - self.first_source[i])
            wiring.retarget(own, local, w[at].astype(wiring.w.dtype))

    def settle(self) -> None:
        for wiring in self.wirings:
            wiring.settle()

    # -- what rules look at ---------------------------------------------------------------------

    @property
    def step(self) -> int:
        return self.wirings[0].step

    @property
    def _clock(self) -> np.ndarray:
        return self.wirings[0]._clock

    @property
    def lacks(self) -> frozenset[str]:
        return frozenset().union(*(wiring.lacks for wiring in self.wirings))

    @property
    def last(self) -> Any:
        weights = [wiring.last for wiring in self.wirings]
        if any(last is None for last in weights):
            return None
        return _Through(self, lambda i: np.asarray(weights[i]))

    def require(self, signal: str, end: int) -> None:
        for wiring in self.wirings:
            wiring.require(signal, end)

    def trace(self, end: int) -> np.ndarray:
        return self._of_neurons(end, lambda wiring: wiring.trace(end))

    def rates(self, end: int) -> np.ndarray:
        return self._of_neurons(end, lambda wiring: wiring.rates(end))

    def spiking(self, end: int = PRE) -> np.ndarray:
        if end == POST:
            return self.wirings[0].spiking(POST)
        bases = self.first_source.astype(np.int32)
        parts = (w.spiking() + base for w, base in zip(self.wirings, bases, strict=False))
        return np.concatenate(list(parts))

    def _of_neurons(self, end: int, read: Callable[[Wiring], np.ndarray]) -> np.ndarray:
        """Of all sources, numbered through, or of the targets, which are everybody's."""
        if end == POST:
            return read(self.wirings[0])
        return np.concatenate([read(wiring) for wiring in self.wirings])

    def ages(self) -> np.ndarray:
        return np.concatenate([wiring.ages() for wiring in self.wirings])

    def drift(self) -> np.ndarray:
        return np.concatenate([wiring.drift() for wiring in self.wirings])

    # -- around a tick --------------------------------------------------------------------------

    def watch(self, needs: frozenset[str]) -> None:
        for wiring in self.wirings:
            wiring.watch(needs)

    def look(self) -> None:
        for wiring in self.wirings:
            wiring.look()

    @property
    def standalone(self) -> bool:
        return any(wiring.standalone for wiring in self.wirings)

    def refuse_nan(self) -> None:
        for wiring in self.wirings:
            wiring.refuse_nan()

    def refuse_busy_null(self) -> None:
        for wiring in self.wirings:
            wiring.refuse_busy_null()

    def note(self) -> None:
        for wiring in self.wirings:
            wiring.note()

    # -- saving ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """As :meth:`Wiring.state_dict`, of all wirings."""
        states = [wiring.state_dict() for wiring in self.wirings]
        kept = {str(at): state["rewire"] for at, state in enumerate(states)}
        return {"network": states[0]["network"], "rewire": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        for at, wiring in enumerate(self.wirings):
            one = {"network": state["network"], "rewire": state["rewire"][str(at)]}
            wiring.load_state_dict(one)


class _Through:
    """An array of each wiring, read and written by the numbers of slots that go through."""

    dtype = np.dtype(object)  # not one array: compiled code cannot read it

    def __init__(self, pool: Pool, of: Callable[[int], np.ndarray]):
        self._pool, self._of = pool, of

    def __len__(self) -> int:
        return int(self._pool.first_slot[-1])

    def __getitem__(self, slots: np.ndarray) -> np.ndarray:
        out = np.zeros(slots.shape, np.result_type(*map(self._of, range(len(self._pool.wirings)))))
        for i, at, own in self._pool.parts(slots):
            out[at] = self._of(i)[own]
        return out

    def __setitem__(self, slots: np.ndarray, values: np.ndarray) -> None:
        values = np.broadcast_to(values, slots.shape)
        for i, at, own in self._pool.parts(slots):
            self._of(i)[own] = values[at]


def _tables(pool: Pool, worlds: Sequence[Brian], name: str) -> list[np.ndarray]:
    """For each world the synapse behind every slot of a population's units, (units, slots).

    A slot that a synapse of one world holds is an empty one of the others.
    """
    own = [world._slots[name] for world in worlds]
    held = [pool.pre[table + base] != EMPTY
            for table, base in zip(own, pool.first_slot, strict=False)]  # fmt: skip
    slots = own[0].shape[1]
    many = sum(h.sum(1) for h in held)
    if many.max() > slots:
        raise ValueError(
            f"a neuron of {name!r} has {many.max()} synapses of {_named(worlds)} in all, and "
            f"{slots} slots: give each rewirable() slots={many.max()} or more."
        )
    tables = []
    taken = np.zeros(len(own[0]), np.int64)  # slots of each unit that earlier worlds hold
    for table, in_use, base in zip(own, held, pool.first_slot, strict=False):
        count = in_use.sum(1)
        # each unit's synapses in use first, then its empty ones; turned to where they belong
        order = np.argsort(~in_use, axis=1, kind="stable")
        place = np.arange(slots)[None, :] - taken[:, None]
        tables.append(np.take_along_axis(table, np.take_along_axis(order, place % slots, 1), 1)
                      + base)  # fmt: skip
        taken = taken + count
    return tables


def _joined_space(worlds: Sequence[Brian]) -> Space:
    populations: dict[str, Population] = {}
    projections: dict[str, Projection] = {}
    for world in worlds:
        for population in world.space.populations:
            populations.setdefault(population.name, population)
            if population.slots is not None:
                populations[population.name] = population
        projections |= {p.name: p for p in world.space.projections}
    limits = [limit for world in worlds for limit in world.space.limits]
    return Space(list(populations.values()), list(projections.values()), limits)


def _refuse_what_differs(worlds: Sequence[Brian]) -> None:
    """Raise ValueError for worlds whose slots cannot be one pool."""
    if len(worlds) < 2 or not all(isinstance(world, Brian) for world in worlds):
        raise ValueError("share_slots() takes two worlds or more, as rewirable() gives them.")
    wirings = [world.wiring for world in worlds]
    if any(isinstance(world, Shared) for world in worlds):
        raise ValueError("share_slots() takes worlds of one Synapses object each: give it all.")
    if len({id(w.synapses) for w in wirings}) < len(worlds):
        raise ValueError(
            "share_slots() takes worlds of different Synapses; rules of one Synapses object share "
            "its slots anyway."
        )
    if any(world._begun for world in worlds):
        raise ValueError("a session has begun in one of the worlds: share their slots before.")
    if len({id(w.network) for w in wirings}) > 1:
        raise ValueError("the worlds are of different networks: neurons share slots within one.")
    for a, b in pairwise(worlds):
        for what, of in _SAME.items():
            if of(a) != of(b):
                raise ValueError(
                    f"{_named([a])} and {_named([b])} have different {what}, {of(a)} and {of(b)}: "
                    "share_slots() needs the same."
                )
    names = [p.name for world in worlds for p in world.space.projections]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"two worlds have a projection {repeated!r}: name them apart.")
    _refuse_names_of_other_neurons(worlds)


def _neurons(group: Any, where: slice) -> tuple[str, int, int]:
    """A slice of a group, or of a part of one, as a range of the whole group's neurons."""
    return whole(group).name, where.start + group.start, where.stop + group.start


def _targets_of(world: Brian) -> dict[str, tuple[str, int, int]]:
    group = world.wiring.synapses.target
    return {name: _neurons(group, where) for name, where in world._targets.items()}


def _post_trace(world: Brian) -> str:
    trace = world.wiring._traces[POST]
    return f"of {trace.tau:g} s" if isinstance(trace, Trace) else str(getattr(trace, "name", None))


_SAME: dict[str, Callable[[Brian], Any]] = {
    "targets (population, group, neurons)": _targets_of,
    "numbers of slots": lambda world: [t.shape[1] for t in world._slots.values()],
    "w_max": lambda world: world.w_max,
    "periods of the ticks, s": lambda world: world.dt,
    "time steps, s": lambda world: world.wiring.dt,
    "weights (whether synapses have them)": lambda world: world.weighted,
    "traces of the targets": _post_trace,
}


def _refuse_names_of_other_neurons(worlds: Sequence[Brian]) -> None:
    known: dict[str, tuple[str, int, int]] = {}
    for world in worlds:
        for ends, group in ((world._sources, world.wiring.synapses.source),
                            (world._targets, world.wiring.synapses.target)):  # fmt: skip
            for name, where in ends.items():
                neurons = _neurons(group, where)
                if known.setdefault(name, neurons) != neurons:
                    raise ValueError(
                        f"{name!r} is neurons {known[name][1:]} of {known[name][0]!r} in one world "
                        f"and {neurons[1:]} of {neurons[0]!r} in another: name them apart."
                    )


def _named(worlds: Sequence[Brian]) -> str:
    return " and ".join(repr(world.wiring.synapses.name) for world in worlds)

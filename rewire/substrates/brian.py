"""The spiking world: a Brian2 network whose synapses are rewired inside one run.

Brian2 can neither remove synapses nor move them. So each target neuron owns a fixed number of
synapses, its slots, and an empty slot points at a *null neuron*: one that never spikes, so that
nothing is transmitted and, with traces on neurons, nothing is learned. Rewiring is to change where
a slot points. Network, equations and plasticity are the user's own::

    wiring = Wiring(network, synapses, null=512, w_max=0.2, traces=("r", "o"))
    world = Brian(wiring, sources={"in": slice(0, 256)}, targets={"out": slice(256, 512)})
    session = rewire.Session(world, world.graph(), rewire.StructuralPlasticity.bogdan())
    drive(session, duration=60 * second)

Several worlds on one wiring are disjoint copies of a network, each with a session of its own.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import product
from math import exp, gcd
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..graph import Edit, Graph, Population, Projection, Space
from ..native import kernels
from ..signals import Signals, blockwise, evenly, registered, signal
from ..streams import rng_for

if TYPE_CHECKING:
    import brian2 as b2

    from ..session import Session

# Versions of Brian2 whose internals retarget() was tested with: all of tests/substrates/test_brian
# (delays, ghost spikes, STDP, the bits of a numpy form, resuming), on both targets.
TESTED = ("2.9", "2.11")
STORE = "rewire"  # name of the state in Brian2's own store
FOREVER = 1e6  # seconds, where sessions say when they are done
ALL = slice(None)
ORDER = 1000  # among what Brian2 runs at the end of a time step: rules come last
RATE_WINDOW = 1.0  # seconds over which rates are running means
Slices = Mapping[str, slice]


def _brian2() -> Any:
    """The package. Raises ImportError that says what to install, or which version is tested."""
    try:
        import brian2
    except ImportError as error:
        raise ImportError(
            "the spiking world needs Brian2, which cannot be imported here "
            f"({error}). Install the extra: pip install 'neurorewire[spiking]'."
        ) from error
    if brian2.__version__.rsplit(".", 1)[0] not in TESTED:
        raise ImportError(
            f"the spiking world writes into internals of Brian2 that were tested with "
            f"{', '.join(TESTED)}; this is {brian2.__version__}. Install a tested version."
        )
    return brian2


class Wiring:
    """The slots of one Synapses object, and the one place that knows Brian2's internals.

    network, synapses: the user's own, connected already, with s_max synapses for each target.
    null:   number of the neuron, among the synapses' sources, that never spikes.
    w_max:  upper bound of the weights in the user's equations; the lower one is 0.
    weight: name of the weight variable.
    traces: names of the pre- and the postsynaptic neurons' traces, for the signals ``growth``
            (their product) and ``activity`` (the presynaptic one).
    period: of the rules' ticks, a multiple of the time step; rules act at the end of each.

    Variables of the synapses that follow differential equations start at 0 in a new synapse.

    Raises ValueError, with what to do, for what cannot be rewired.
    """

    def __init__(
        self,
        network: b2.Network,
        synapses: b2.Synapses,
        *,
        null: int,
        w_max: float,
        weight: str = "w",
        traces: tuple[str, str] | None = None,
        period: b2.Quantity | None = None,
    ):
        self.brian2 = _brian2()
        self.network, self.synapses, self.null, self.w_max = network, synapses, null, w_max
        self._check(weight, traces)
        self.dt = dt = float(synapses.source.clock.dt)
        self.period = 1e-3 if period is None else float(period)
        self.steps = round(self.period / dt)
        if self.steps < 1 or abs(self.steps * dt - self.period) > 1e-9 * self.period:
            raise ValueError(f"period {self.period} s is no multiple of the time step, {dt} s.")
        self._weight = weight
        self._into = [p for p in synapses._pathways if p.prepost == "pre"]
        self._offset = synapses.source.start
        self._moved: list[np.ndarray] = []
        for pathway in self._into:
            _own_queue(pathway)
        self.look()
        self._born = np.zeros(len(self.w), np.int64)  # time step of each slot's formation
        self.last: np.ndarray | None = None  # weights at the last tick, where asked for
        self._counter: Any = None  # of spikes, where rates are asked for
        self.ticking = False  # whether rules are at work, and the simulation stands still
        self._dynamic = {
            name: self._array(name) for name in synapses.equations.diff_eq_names
        }  # fmt: skip
        self._traces = None if traces is None else [
            group.variables[name].get_value()
            for group, name in zip((synapses.source, synapses.target), traces, strict=True)
        ]  # fmt: skip

    def _array(self, name: str) -> np.ndarray:
        return self.synapses.variables[name].get_value()

    def look(self) -> None:
        """Take hold of the arrays, which are views into Brian2's own."""
        self.pre = self._array("_synaptic_pre")
        self.post = self._array("_synaptic_post")
        self.w = self._array(self._weight)
        self._outgoing = self._array("N_outgoing")
        self._events = self.synapses.source.variables["_spikespace"].get_value()
        self._clock = self.synapses.source.clock.variables["timestep"].get_value()
        # as the kernel takes them: weights in double precision, which is Brian2's default
        kinds = [(self.w, np.float64), (self.pre, np.int32), (self._outgoing, np.int32)]
        self._plain = kernels is not None and all(
            array.dtype == kind and array.flags.c_contiguous for array, kind in kinds
        )
        self._last_update = (
            self._array("lastupdate") if "lastupdate" in self.synapses.variables else None
        )

    def _check(self, weight: str, traces: tuple[str, str] | None) -> None:
        b2, s = self.brian2, self.synapses
        if b2.get_device() is not b2.all_devices["runtime"]:
            raise ValueError(
                "rules are Python and run within the simulation, which a standalone device "
                "compiles away: use brian2.set_device('runtime')."
            )
        if s not in self.network.objects:
            raise ValueError(f"{s.name!r} is not in the network: add it with network.add().")
        if s.multisynaptic_index is not None:
            raise ValueError(
                f"{s.name!r} has a multisynaptic_index, which would go stale: leave it out."
            )
        if not s._connect_called:
            raise ValueError(f"{s.name!r} has no synapses yet: call connect() first.")
        names = sorted(n for n in s.variables if not n.startswith("_"))
        if weight not in s.variables or np.shape(self._array(weight)) != (len(s),):
            raise ValueError(
                f"{s.name!r} has no weight {weight!r} of each synapse (it has {names}): write it "
                "as a parameter of the model, 'w : 1', or name it with weight=."
            )
        if not 0 <= self.null < len(s.source):
            raise ValueError(
                f"null = {self.null} is not a neuron of {s.source.name!r}, which has "
                f"{len(s.source)}: add one that never spikes, for empty slots to point at."
            )
        if any(type(p.queue).__module__.endswith(".spikequeue") for p in s._pathways):
            raise ValueError(
                "this Brian2 lacks its compiled spike queue: install it from a wheel, or build it "
                "with a C++ compiler."
            )
        for group, name in zip((s.source, s.target), traces or (), strict=False):
            if name not in group.variables:
                raise ValueError(f"traces names {name!r}, which {group.name!r} does not have.")

    # -- rewiring -------------------------------------------------------------------------------

    def retarget(self, slots: np.ndarray, pre: np.ndarray | int, w: np.ndarray | float) -> None:
        """Let slots, (k,) numbers of synapses, come from other neurons, with these weights.

        Everything that a run refers to is written at once, but for the spike queue: call
        :meth:`settle` before the simulation goes on.
        """
        if not len(slots):
            return
        if self._plain and kernels is not None:
            held = self.pre, self._outgoing, self.w, self._born
            kernels.retarget(slots, pre, w, self._offset, self.step, *held)
        else:
            np.subtract.at(self._outgoing, self.pre[slots] - self._offset, 1)
            self.pre[slots] = now = np.broadcast_to(pre, slots.shape) + self._offset
            np.add.at(self._outgoing, now - self._offset, 1)
            self.w[slots] = w
            self._born[slots] = self.step
        for values in self._dynamic.values():
            values[slots] = 0
        if self._last_update is not None:
            self._last_update[slots] = self.synapses.clock.t_
        self._moved.append(slots)

    def settle(self) -> None:
        """Bring the spike queues in line: no spike of an old source arrives through a new slot."""
        if not self._moved:
            return
        moved = np.concatenate(self._moved) if len(self._moved) > 1 else self._moved[0]
        self._moved.clear()
        for pathway in self._into:
            if hasattr(pathway.queue, "retarget"):
                pathway.queue.retarget(moved, self.pre)
            else:
                _prepare_again(pathway, set(moved.tolist()), self.pre)

    # -- looking --------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """Time steps that are over; within a tick the one that ends is not."""
        return int(self._clock[0])

    def spiking(self) -> np.ndarray:
        """Numbers of the source neurons that spiked in this time step, ascending."""
        return self._events[: self._events[-1]]

    def ages(self) -> np.ndarray:
        """Seconds since each slot was last given to a synapse, or emptied."""
        return (self.step - self._born) * self.dt

    def watch(self, needs: frozenset[str]) -> None:
        """Keep from tick to tick what these signals are made of."""
        if "drift" in needs and self.last is None:
            self.last = self.w.copy()
        if "rate" in needs and self._counter is None:
            source = self.synapses.source
            self._counter = self.brian2.SpikeMonitor(source, record=False, name="rewire_counter")
            self.network.add(self._counter)
            self.rates = np.zeros(len(source))
            self._counted = np.zeros(len(source), np.int64)

    def note(self) -> None:
        """Close a tick: what comes next is seen against how things are now."""
        if self.last is not None:
            self.last[:] = self.w
        if self._counter is not None:
            count = self._counter.variables["count"].get_value()
            share = 1 - exp(-self.period / RATE_WINDOW)
            self.rates += share * ((count - self._counted) / self.period - self.rates)
            self._counted[:] = count

    # -- saving ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that the simulation goes on from: every variable of the network, spikes in flight.

        Nested dicts of tensors, numbers and strings. Random numbers need no state: :func:`drive`
        seeds them.
        """
        self.network.store(STORE)
        stored = self.network._stored_state.pop(STORE)
        del stored["_random_generator_state"]  # in 2.9 a pointer to a buffer, worthless later
        kept = {"born": self._born, "last": self.last}
        if self._counter is not None:
            kept |= {"rates": self.rates, "counted": self._counted}
        return {"network": _to_tree(stored), "rewire": _to_tree(kept)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; sessions load theirs afterwards.

        Raises KeyError for the state of a network with other objects.
        """
        self.network._stored_state[STORE] = _from_tree(state["network"])
        self.network.restore(STORE)
        del self.network._stored_state[STORE]
        self.look()
        for name, attribute in (("born", "_born"), ("last", "last"), ("rates", "rates"),
                                ("counted", "_counted")):  # fmt: skip
            if state["rewire"].get(name) is not None:
                getattr(self, attribute)[:] = state["rewire"][name].numpy()


def _own_queue(pathway: Any) -> None:
    """Give a pathway a queue in which single synapses move, where it can be read: the same spikes.

    Brian2's must be prepared anew, over all synapses, when one has moved.
    """
    # from 2.10 on compiled code reads the C++ object behind Brian2's own queue, its capsule
    readable = hasattr(pathway.queue, "peek") and not hasattr(pathway.queue, "get_capsule")
    if kernels is None or not readable or hasattr(pathway.queue, "retarget"):
        return
    queue = kernels.SlotQueue(pathway.source.start, pathway.source.stop)
    queue._restore_from_full_state(pathway.queue._full_state())
    pathway.queue = queue
    pathway.variables.add_object("_queue", queue)


def _prepare_again(pathway: Any, moved: set[int], pre: np.ndarray) -> None:
    """Brian2's own queue, with synapses that have moved and whose spikes in flight are gone."""
    offset, buckets = pathway.queue._full_state()
    if not all(map(moved.isdisjoint, buckets)):
        kept = [[k for k in bucket if k not in moved] for bucket in buckets]
        pathway.queue._restore_from_full_state((offset, kept))
    pathway.queue.prepare(pathway._delays.get_value(), pathway.source.clock.dt_, pre)


def _to_tree(value: Any) -> Any:
    """Brian2's stored state with tensors for arrays and for the spikes in flight."""
    if isinstance(value, Mapping):
        return {k: _to_tree(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if isinstance(value, list):  # a queue: the synapses that spike in each coming time step
        return [torch.tensor(events, dtype=torch.int32) for events in value]
    if isinstance(value, tuple):
        return tuple(_to_tree(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value


def _from_tree(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _from_tree(v) for k, v in value.items()}
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, list):
        return [events.tolist() for events in value]
    return tuple(map(_from_tree, value)) if isinstance(value, tuple) else value


class Brian:
    """One population of slots, or several, of a :class:`Wiring` as a world.

    sources, targets: populations by name as slices of the synapses' source and target group. A
        name in both is one population, whose units are both ends of lateral synapses.
    projections: name -> (source, target); by default all of them, named "source-target".
    positions: places in the unit sheet, a torus, by population, (size, 2).
    multapses: whether one pair may hold several synapses.

    New synapses are born at a tenth of w_max where a rule does not say otherwise: at 0 they would
    not live to see the next tick. Weights are strengths: the sign of every synapse is +1.
    A rewind restores the weights of this world's synapses; time, and all that neurons and spikes
    in flight are, runs on.
    """

    name = "brian"
    can_skip = False  # plasticity cannot be left out for a step: rules edit after it
    straight = False

    def __init__(
        self,
        wiring: Wiring,
        *,
        sources: Slices,
        targets: Slices,
        projections: Mapping[str, tuple[str, str]] | None = None,
        positions: Mapping[str, Any] | None = None,
        multapses: bool = True,
    ):
        self.wiring = wiring
        self.dt: float | None = wiring.period
        self.births: Mapping[str, Any] = {"weight": 0.1 * wiring.w_max, "sign": 1.0}
        self._sources, self._targets = dict(sources), dict(targets)
        self._slots = {name: self._table(name, where) for name, where in targets.items()}
        self._own = np.concatenate([t.ravel() for t in self._slots.values()])
        self.space = self._space(projections, positions or {}, multapses)
        projected = self.space.projections
        self._widths = np.array([p.shape[1] for p in projected])
        self._starts = np.array([self._sources[p.source].start for p in projected])
        self._begun = False
        # of each projection's target: its slots, and where in _own they begin
        begin = np.cumsum([0, *(t.size for t in self._slots.values())])
        place = {name: at for name, at in zip(self._slots, begin, strict=False)}
        self._first = np.array([place[p.target] for p in projected])
        self._many = np.array([self._slots[p.target].shape[1] for p in projected])
        self._native = None
        if kernels is not None:
            layout = self._widths, self._starts, self._first, self._many, self._own
            self._native = kernels.Slots(self.space.ends, *layout)
        self._ranges_of: dict[tuple[str, ...], np.ndarray] = {}
        self._all: tuple[Tensor | None, np.ndarray] = (None, self._own)
        self._shown: Graph | None = None  # at the last tick

    def _table(self, name: str, where: slice) -> np.ndarray:
        """Numbers of the synapses that each unit of a population owns, (size, slots)."""
        post = self.wiring.post - self.wiring.synapses.target.start
        mine = np.flatnonzero((post >= where.start) & (post < where.stop))
        mine = mine[np.argsort(post[mine], kind="stable")]
        held = np.bincount(post[mine] - where.start, minlength=where.stop - where.start)
        if len(set(held.tolist())) != 1:
            raise ValueError(
                f"neurons of {name!r} own from {held.min()} to {held.max()} synapses; all need "
                "equally many slots. Connect as many for each, those not in use to the null neuron."
            )
        return mine.reshape(len(held), -1)

    def _space(
        self,
        projections: Mapping[str, tuple[str, str]] | None,
        positions: Mapping[str, Any],
        multapses: bool,
    ) -> Space:
        sizes: dict[str, int] = {}
        for ends in (self._sources, self._targets):
            for name, where in ends.items():
                size = where.stop - where.start
                if sizes.setdefault(name, size) != size:
                    raise ValueError(f"{name!r} has {sizes[name]} sources but {size} targets.")
        for name, where in self._sources.items():
            if where.start <= self.wiring.null < where.stop:
                raise ValueError(f"the null neuron, {self.wiring.null}, lies within {name!r}.")
        populations = [
            Population(
                name,
                size,
                torch.as_tensor(positions[name], dtype=torch.float32)
                if name in positions
                else None,
                slots=self._slots[name].shape[1] if name in self._slots else None,
            )
            for name, size in sizes.items()
        ]
        if projections is None:
            projections = {f"{s}-{t}": (s, t) for t, s in product(self._targets, self._sources)}
        return Space(
            populations,
            [
                Projection(name, s, t, "spiking", (sizes[t], sizes[s]), multapses)
                for name, (s, t) in projections.items()
            ],
        )

    # -- graph and slots ------------------------------------------------------------------------

    def graph(self) -> Graph:
        """The connectivity as Brian2 holds it now, with columns weight and slot."""
        keys, weight, slot = [], [], []
        for i, p in enumerate(self.space.projections):
            table, source = self._slots[p.target], self._sources[p.source]
            pre = self.wiring.pre[table] - self.wiring._offset
            unit, at = np.nonzero((pre >= source.start) & (pre < source.stop))
            local = unit * p.shape[1] + pre[unit, at] - source.start
            order = np.argsort(local, kind="stable")
            keys.append(local[order] + self.space.bounds[i])
            weight.append(self.wiring.w[table[unit, at]][order])
            slot.append(at[order])
        foreign = self.wiring.pre[self._own] - self.wiring._offset != self.wiring.null
        if sum(map(len, keys)) != np.count_nonzero(foreign):
            raise ValueError(
                f"{np.count_nonzero(foreign) - sum(map(len, keys))} slots point at neurons of no "
                f"source population ({list(self._sources)}); empty ones point at null."
            )
        parts = (torch.from_numpy(np.concatenate(x)) for x in (keys, weight, slot))
        return Graph(self.space, *self._columned(*parts))

    @staticmethod
    def _columned(keys: Tensor, weight: Tensor, slot: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return keys, {"weight": weight, "slot": slot}

    def _synapses(self, graph: Graph, rows: Any = None) -> np.ndarray:
        """Number of the Brian2 synapse of each edge, (E,), or of those in a few rows."""
        if rows is None:
            if self._all[0] is not graph.keys:
                self._all = graph.keys, self._place(graph)
            return self._all[1]
        if self._native is not None:
            return self._native.synapses(graph.array, graph.numbers("slot"), rows)
        keys, slot = graph.array[rows], graph.numbers("slot")[rows]
        which = self.space.ends.searchsorted(keys, "right") - 1
        unit = (keys - self.space.ends[which]) // self._widths[which]
        return self._own[self._first[which] + unit * self._many[which] + slot]

    def _place(self, graph: Graph) -> np.ndarray:
        slot, out = graph["slot"].numpy(), np.empty(len(graph), np.int64)
        for i, width in enumerate(self._widths):
            rows = graph.rows(i)
            at = graph.local(i).numpy() // width * self._many[i] + slot[rows] + self._first[i]
            self._own.take(at, out=out[rows], mode="clip")
        return out

    def _source_of(self, graph: Graph, rows: np.ndarray) -> np.ndarray:
        """Number of the presynaptic neuron of each row."""
        if self._native is not None:
            return self._native.sources(graph.array, rows)
        keys = graph.array[rows]
        which = self.space.ends.searchsorted(keys, "right") - 1
        return (keys - self.space.ends[which]) % self._widths[which] + self._starts[which]

    def _ranges(self, populations: tuple[str, ...]) -> np.ndarray:
        """Numbers of the neurons of each population among the synapses' sources, (k, 2)."""
        if populations not in self._ranges_of:
            where = [self._sources[p] for p in populations]
            self._ranges_of[populations] = np.array([(s.start, s.stop) for s in where], np.int64)
        return self._ranges_of[populations]

    # -- what the session asks ------------------------------------------------------------------

    @cached_property
    def offers(self) -> frozenset[str]:
        """Names of the signals that can be asked here."""
        given = self.wiring._traces is not None
        return frozenset(n for n in registered(self.name) if given or n not in NEED_TRACES)

    def unsupported(self, columns: frozenset[str]) -> str | None:
        """Why these columns cannot live here, or None."""
        if "gain" in columns:
            return "its synapses transmit by the user's equations, which take no gain"
        return None

    def watch(self, needs: frozenset[str]) -> None:
        """Keep what the signals of a run are made of."""
        self.wiring.watch(needs)

    def want_grads(self, wanted: bool) -> None:
        """There are none."""

    def advance(self, graph: Graph, skip: bool, scaler: Any, closure: Any) -> tuple[bool, Any]:
        raise RuntimeError(
            "a Brian2 network runs by itself: call rewire.substrates.brian.drive(session, "
            "duration=...) instead of session.step()."
        )

    def begin(self, graph: Graph) -> None:
        """Let the network's slots hold this graph; what they hold already stays untouched."""
        wiring, own = self.wiring, self._own
        if "sign" in graph.columns and (graph["sign"] < 0).any():
            raise ValueError(
                f"{int((graph['sign'] < 0).sum())} synapses have the sign -1, and weights here are "
                "strengths from 0 up: let inhibition be a matter of the neuron equations."
            )
        self._check_weights(graph["weight"].numpy())
        pre = np.full(len(wiring.pre), wiring.null)
        w = np.zeros(len(wiring.pre))
        rows = self._synapses(graph)
        pre[rows], w[rows] = self._source_of(graph, np.arange(len(graph))), graph["weight"].numpy()
        moved = own[pre[own] != wiring.pre[own] - wiring._offset]
        wiring.retarget(moved, pre[moved], w[moved])
        wiring.w[own] = w[own]
        wiring.settle()
        if wiring.last is not None and not self._begun:
            wiring.last[own] = w[own]
        self._begun = True

    def _check_weights(self, weight: np.ndarray | float) -> None:
        if isinstance(weight, float) and weight >= 0:
            return
        weight = np.atleast_1d(weight)
        if len(weight) and weight.min() < 0:
            raise ValueError(
                f"{np.count_nonzero(weight < 0)} synapses would have a weight below 0 (the least: "
                f"{weight.min():.3g}); weights here are strengths in [0, {self.wiring.w_max}]."
            )

    def read(self, graph: Graph) -> Graph:
        """The graph with the weights as they are now, and with its slots."""
        if self.wiring.ticking:  # many a rule looks at no weight at all
            if graph is self._shown and graph.lazy("weight") is not None:
                return graph
            self._shown = graph.with_lazy("weight", _Weights(self, graph.only("slot")))
            return self._shown
        if "slot" not in graph.columns:
            graph = self._given_slots(graph)
        if self._begun:
            return graph.with_columns({"weight": torch.from_numpy(self._weights(graph))})
        if "weight" in graph.columns:  # a start with weights of its own
            return graph
        start = torch.full((len(graph),), self.wiring.w_max, dtype=torch.float64)
        return graph.with_columns({"weight": start})

    def _weights(self, graph: Graph) -> np.ndarray:
        return self.wiring.w[self._synapses(graph)]

    def _given_slots(self, graph: Graph) -> Graph:
        """The same edges, filling each unit's slots from the first on."""
        slot = torch.empty(len(graph), dtype=torch.int64)
        for p in self.space.populations:
            if p.slots is None:
                continue
            rows, pointers = graph.incoming(p.name)
            fan_in = pointers.diff()
            if int(fan_in.max()) > p.slots:
                raise ValueError(
                    f"a neuron of {p.name!r} has {int(fan_in.max())} synapses and {p.slots} slots; "
                    "start from fewer, or connect more in Brian2."
                )
            slot[rows] = torch.arange(len(rows)) - pointers[:-1].repeat_interleave(fan_in)
        return graph.with_columns({"slot": slot})

    def write(self, before: Graph, after: Graph, edit: Edit) -> None:
        """Make slots and weights match the graph after an edit."""
        if edit.n_drop:
            gone = self._synapses(before, edit.dropped)
            self.wiring.retarget(gone, self.wiring.null, 0.0)
        if edit.n_add:
            born = after.born
            new, weight = self._synapses(after, born), before.newborn("weight", edit)
            self._check_weights(weight)
            self.wiring.retarget(new, self._source_of(after, born), weight)
        if "weight" in edit.set:
            self.wiring.w[self._synapses(after)] = after["weight"].numpy()

    def settle(self) -> None:
        """Weights wait nowhere."""

    def lr(self, graph: Graph, keys: Tensor | None) -> None:
        """None: plasticity has no learning rate that a rule could share."""

    def signals(self, graph: Graph) -> Signals:
        return Signals(self, graph)

    def holding(self, graph: Graph) -> Brian:
        return self

    def snapshot(self) -> dict[str, Any]:
        """The weights, and what each slot came from."""
        own = self._own
        held = {"w": self.wiring.w[own], "pre": self.wiring.pre[own]}
        return {"model": {k: torch.from_numpy(v) for k, v in held.items()}, "optimiser": {}}

    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        """Bring back the weights of all synapses that come from where they came from then."""
        if "model" in parts:
            held, own = saved["model"], self._own
            same = own[self.wiring.pre[own] == held["pre"].numpy()]
            self.wiring.w[same] = held["w"].numpy()[self.wiring.pre[own] == held["pre"].numpy()]


class _Weights:
    """The weights of a graph's edges, read when asked for; ``native`` reads single ones."""

    def __init__(self, world: Brian, graph: Graph):
        self._world, self._graph = world, graph
        w = world.wiring.w
        self.native = None
        if kernels is not None and world._native is not None and w.dtype == np.float64:
            slot = graph.numbers("slot")
            self.native = kernels.Reader(world._native, graph.array, slot, w)

    def __call__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            return self._world._weights(self._graph)
        if self.native is not None:
            return self.native(rows)
        at = self._world._synapses(self._graph, np.array(rows, np.int64))
        return self._world.wiring.w[at].tolist()


# -- signals -------------------------------------------------------------------------------------

NEED_TRACES = ("growth", "activity")


@signal("brian", "weight")
def _weight(world: Brian, graph: Graph, keys: Tensor) -> Tensor:
    """Weights; w_max for pairs without a synapse: what one starts with."""
    row, there = graph.find(keys)
    out = torch.full((len(keys),), world.wiring.w_max, dtype=torch.float64)
    out[there] = graph["weight"][row[there]]
    return out


@signal("brian", "drift")
def _drift(world: Brian, graph: Graph, keys: Tensor) -> Tensor:
    """What plasticity has changed in the weights since the last tick; 0 for absent synapses."""
    assert world.wiring.last is not None
    return _at_synapses(world, graph, keys, world.wiring.w - world.wiring.last)


@signal("brian", "age")
def _age(world: Brian, graph: Graph, keys: Tensor) -> Tensor:
    """Seconds since the formation of each synapse; 0 for absent ones."""
    return _at_synapses(world, graph, keys, world.wiring.ages())


def _at_synapses(world: Brian, graph: Graph, keys: Tensor, values: np.ndarray) -> Tensor:
    row, there = graph.find(keys)
    out = torch.zeros(len(keys), dtype=torch.float64)
    out[there] = torch.from_numpy(values[world._synapses(graph, row[there].numpy())])
    return out


def _trace(world: Brian, end: int, name: str) -> np.ndarray:
    assert world.wiring._traces is not None
    where = (world._sources, world._targets)[end][name]
    return np.abs(world.wiring._traces[end][where])


def _coincidence(world: Brian, graph: Graph, i: int) -> Tensor:
    p = graph.projections[i]
    outer = np.outer(_trace(world, 1, p.target), _trace(world, 0, p.source))
    return torch.from_numpy(outer.reshape(-1))


@signal("brian", "growth")
@blockwise(_coincidence)
def _growth(world: Brian, graph: Graph, keys: Tensor) -> Tensor:
    """Coincidence of the pair's traces, |pre| x |post|, now."""
    out = torch.empty(len(keys), dtype=torch.float64)
    which = graph.space.which(keys)
    for i in which.unique().tolist():
        here = which == i
        out[here] = _coincidence(world, graph, i)[keys[here] - graph.space.bounds[i]]
    return out


@signal("brian", "activity", kind="node")
def _activity(world: Brian, graph: Graph, population: str) -> Tensor:
    """The presynaptic trace of each unit: its spikes, those long ago counting less."""
    return torch.from_numpy(_trace(world, 0, population))


@signal("brian", "rate", kind="node")
def _rate(world: Brian, graph: Graph, population: str) -> Tensor:
    """Spikes a second of each unit, a running mean over about the last second."""
    return torch.from_numpy(world.wiring.rates[world._sources[population]])


def _among_spiking(world: Brian, populations: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    return world.wiring.spiking(), world._ranges(tuple(populations))


@signal("brian", "spiked", kind="node")
@evenly(_among_spiking)
def _spiked(world: Brian, graph: Graph, population: str) -> Tensor:
    """1 for units that spiked in the last time step, else 0."""
    where, spiking = world._sources[population], world.wiring.spiking()
    out = np.zeros(where.stop - where.start, np.float32)
    first, end = spiking.searchsorted((where.start, where.stop))
    out[spiking[first:end] - where.start] = 1
    return torch.from_numpy(out)


# -- running -------------------------------------------------------------------------------------


def drive(
    *sessions: Session,
    duration: b2.Quantity | None = None,
    report: str | Callable[..., None] | None = None,
    report_period: b2.Quantity | None = None,
    namespace: Mapping[str, Any] | None = None,
) -> None:
    """Run the network, and let the sessions rewire it, in one ``run()`` of Brian2.

    sessions: one for each world on the same wiring.
    duration: simulated time; None goes on until every session is done.
    report, report_period, namespace: as for ``Network.run``.

    Brian2's random numbers are seeded at the start and at every full simulated second, from the
    sessions' seeds and the time: runs repeat bit for bit, and where drives end at full seconds it
    makes no difference how many they are.
    """
    wiring = _shared_wiring(sessions)
    b2, steps_a_second = wiring.brian2, round(1 / wiring.dt)
    if duration is None:
        if any(s._endless for s in sessions):
            raise ValueError("a session without an end needs a duration, such as 60 * second.")
        duration = FOREVER * b2.second
    wiring.look()
    label = "brian/" + "-".join(str(s.seed) for s in sessions)

    def reseed(step: int) -> None:
        b2.seed(rng_for(sessions[0].seed, label, step).key & 0xFFFFFFFF)

    now, often = wiring._clock, gcd(wiring.steps, steps_a_second)

    def tick() -> None:
        step = now.item() + 1
        if step % often:
            return
        if step % wiring.steps == 0:
            wiring.ticking = True
            done = True
            for session in sessions:
                if not session.done:
                    session.plan()
                    session.tick()
                    done = done and session.done
            wiring.ticking = False
            wiring.settle()
            wiring.note()
            if done:
                wiring.network.stop()
        if step % steps_a_second == 0:
            reseed(step)

    operation = b2.NetworkOperation(
        tick, clock=wiring.synapses.source.clock, when="end", order=ORDER, name="rewire"
    )
    wiring.network.add(operation)
    reseed(wiring.step)
    try:
        with _target(b2):
            wiring.network.run(
                duration,
                report=report,
                report_period=10 * b2.second if report_period is None else report_period,
                namespace=namespace,
                level=1,
            )
    finally:
        wiring.network.remove(operation)
        # where stopped it is a view of the clock, whose time goes on
        wiring.network.t_ = float(np.asarray(wiring.network.t_))


def _shared_wiring(sessions: Sequence[Session]) -> Wiring:
    worlds = [s.world for s in sessions]
    if not worlds or not all(isinstance(w, Brian) for w in worlds):
        raise ValueError("drive() takes one or more sessions in worlds made by Brian(...).")
    wirings = {id(w.wiring): w.wiring for w in worlds}  # type: ignore[attr-defined]
    if len(wirings) > 1:
        raise ValueError("drive() runs one network: its sessions' worlds must share one Wiring.")
    return next(iter(wirings.values()))


@contextmanager
def _target(b2: Any) -> Iterator[None]:
    """numpy where the user chose no target: "auto" compiles for half a minute unasked."""
    chosen = b2.prefs.codegen.target
    if chosen == "cython":
        compiler = (sysconfig.get_config_var("CXX") or "c++").split()[0]
        if shutil.which(compiler) is None:
            raise RuntimeError(
                f"the cython target needs a C++ compiler, and {compiler!r} is not there: install "
                "it, or set brian2.prefs.codegen.target = 'numpy'."
            )
    b2.prefs.codegen.target = "numpy" if chosen == "auto" else chosen
    try:
        yield
    finally:
        b2.prefs.codegen.target = chosen

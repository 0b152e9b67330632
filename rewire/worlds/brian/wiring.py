"""Synapses of a Brian2 network whose targets change while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...native import kernels
from .traces import Trace, trace_of

if TYPE_CHECKING:
    import brian2 as b2

# Versions of Brian2 whose internals retarget() was tested with: all of tests/worlds/test_brian
# (delays, ghost spikes, STDP, the bits of a numpy form, resuming), on both targets.
TESTED = ("2.9", "2.11")
STORE = "rewire"  # name of the state in Brian2's own store
RATE_WINDOW = 1.0  # seconds over which rates are running means
NEED_TRACES = ("growth", "activity")  # signals made of the neurons' traces
TAU = 0.02  # seconds, of the traces that the world keeps where the user names none
BEFORE_RULES = 999  # among what Brian2 runs at the end of a time step


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
    traces: of the pre- and the postsynaptic neurons, for the signals ``growth`` (their product)
            and ``activity`` (the presynaptic one): names of variables, or time constants of traces
            that are kept here while a rule asks for them; None: two of 20 ms.
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
        traces: tuple[str | b2.Quantity, str | b2.Quantity] | None = None,
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
        groups = synapses.source, synapses.target
        self._traces = [trace_of(*x) for x in zip(groups, traces or (TAU, TAU), strict=True)]
        self._counts: list[Any] = []  # operations that keep the traces, where asked for

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

    def _check(self, weight: str, traces: tuple[Any, Any] | None) -> None:
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
        if "_spikespace" not in s.source.variables:
            raise ValueError(
                f"{s.source.name!r}, the source of {s.name!r}, does not spike: give it a threshold."
            )
        for group, name in zip((s.source, s.target), traces or (), strict=False):
            if isinstance(name, str) and name not in group.variables:
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
            arrays = self.pre, self._outgoing, self.w, self._born
            kernels.retarget(slots, pre, w, self._offset, self.step, *arrays)
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

    def trace(self, end: int) -> np.ndarray:
        """|trace| of every source neuron (end 0), or of every target neuron (end 1), now."""
        trace = self._traces[end]
        assert trace is not None  # else no signal is offered that reads it
        return np.abs(trace.now())

    @property
    def lacks(self) -> frozenset[str]:
        """Signals that are not to be had, as the target neurons neither spike nor have a trace."""
        return frozenset() if self._traces[1] else frozenset({"growth"})

    def spiking(self) -> np.ndarray:
        """Numbers of the source neurons that spiked in this time step, ascending."""
        return self._events[: self._events[-1]]

    def ages(self) -> np.ndarray:
        """Seconds since each slot was last given to a synapse, or emptied."""
        return (self.step - self._born) * self.dt

    def watch(self, needs: frozenset[str]) -> None:
        """Keep from tick to tick what these signals are made of."""
        if not needs.isdisjoint(NEED_TRACES) and not self._counts:
            self._keep_traces()
        if "drift" in needs and self.last is None:
            self.last = self.w.copy()
        if "rate" in needs and self._counter is None:
            source = self.synapses.source
            name = self._name("rewire_counter")
            self._counter = self.brian2.SpikeMonitor(source, record=False, name=name)
            self.network.add(self._counter)
            self.rates = np.zeros(len(source))
            self._counted = np.zeros(len(source), np.int64)

    def _keep_traces(self) -> None:
        groups = self.synapses.source, self.synapses.target
        for end, group, trace in zip(("pre", "post"), groups, self._traces, strict=True):
            if isinstance(trace, Trace):
                count = self.brian2.NetworkOperation(
                    trace.count, clock=group.clock, when="end", order=BEFORE_RULES,
                    name=self._name(f"rewire_trace_{end}"),
                )  # fmt: skip
                self._counts.append(count)
                self.network.add(count)

    def _name(self, name: str) -> str:
        """The name, made another where an object of the network has it already."""
        names = {o.name for o in self.network.objects}
        return name if name not in names else f"{name}_{self.synapses.name}"

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
        arrays = {"born": self._born, "last": self.last}
        if self._counter is not None:
            arrays |= {"rates": self.rates, "counted": self._counted}
        for end, trace in zip(("pre", "post"), self._kept_traces(), strict=True):
            if trace is not None:
                arrays |= {f"trace_{end}": trace.value, f"last_{end}": trace.last}
        return {"network": _to_tree(stored), "rewire": _to_tree(arrays)}

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
        for end, trace in zip(("pre", "post"), self._kept_traces(), strict=True):
            if trace is not None:
                trace.value[:] = state["rewire"][f"trace_{end}"].numpy()
                trace.last[:] = state["rewire"][f"last_{end}"].numpy()

    def _kept_traces(self) -> list[Trace | None]:
        """Those of the sources and of the targets that are kept here."""
        return [t if self._counts and isinstance(t, Trace) else None for t in self._traces]


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
        staying = [[k for k in bucket if k not in moved] for bucket in buckets]
        pathway.queue._restore_from_full_state((offset, staying))
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

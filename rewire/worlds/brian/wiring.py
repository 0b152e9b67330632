"""Synapses of a Brian2 network whose targets change while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...kernels.ranking import has_nan
from ...native import kernels
from .births import Birth, Births, in_base_units
from .queues import own_queue, prepare, prepare_again
from .rates import Counter
from .refusals import refuse_sums
from .stored import from_tree, to_tree
from .traces import Trace, spikes, trace_of
from .values import NOT_KNOWN, reveal

if TYPE_CHECKING:
    import brian2 as b2

# Versions of Brian2 whose internals retarget() was tested with: all of tests/worlds/test_brian
# (delays, ghost spikes, STDP, the bits of a numpy form, resuming), on both targets.
TESTED = ("2.9", "2.11")
STANDALONE = "2.9"  # whose cpp_standalone device rewire/native/standalone was tested with
STORE = "rewire"  # name of the state in Brian2's own store
NEED_TRACES = ("growth", "activity")  # signals made of the neurons' traces
TAU = 0.02  # seconds, of the traces that the world keeps where the user names none
BEFORE_RULES = 999  # among what Brian2 runs at the end of a time step
COUNTED = ("", "target_")  # before the names of each end's rates in a checkpoint
NONE = np.zeros(1, np.int32)  # the spikes of neurons without a threshold
PRE, POST = 0, 1  # the ends of a synapse: its source group and its target group


def brian2() -> Any:
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
    w_max:  upper bound of the weights in the user's equations, a Quantity or a number in SI units;
            the lower one is 0. What a rule writes is clipped to between them.
    weight: name of the weight variable.
    traces: of the pre- and the postsynaptic neurons, for the signals ``growth`` (their product)
            and ``activity`` (the presynaptic one): names of variables, or time constants of traces
            that are kept here while a rule asks for them; None: two of 20 ms.
    period: of the rules' ticks, a multiple of the source group's time step; rules act at the end of
            each.
    births: what a new synapse carries besides its weight, see :class:`.births.Births`: name of a
            variable or delay -> value, or function of the pair, ``lambda pre, post: ...``. What is
            not named: variables that follow differential equations, clock-driven or event-driven,
            start at 0; a parameter or delay at the value that all synapses share.

    An event in flight, of a pre- or a postsynaptic spike, is gone with its synapse.

    Raises ValueError, with what to do, for what cannot be rewired.
    """

    def __init__(
        self,
        network: b2.Network,
        synapses: b2.Synapses,
        *,
        null: int,
        w_max: float | b2.Quantity,
        weight: str | None = "w",
        traces: tuple[str | b2.Quantity, str | b2.Quantity] | None = None,
        period: b2.Quantity | None = None,
        births: Mapping[str, Birth] | None = None,
    ):
        self.brian2 = brian2()
        self.network, self.synapses, self.null = network, synapses, null
        self.standalone = self.brian2.get_device() is self.brian2.all_devices["cpp_standalone"]
        self._ends = (synapses.source, synapses.target)
        self.dt = dt = float(synapses.source.clock.dt)
        self.period = 1e-3 if period is None else float(period)
        self.steps = round(self.period / dt)
        if self.steps < 1 or abs(self.steps * dt - self.period) > 1e-9 * self.period:
            raise ValueError(f"period {self.period} s is no multiple of the time step, {dt} s.")
        self._check(weight, traces)
        self.w_max = self._bound(w_max, weight)
        self._weight = weight
        self._offset = synapses.source.start
        self._moved: list[np.ndarray] = []
        self._delayed: set[Any] = set()  # pathways in which a delay has changed
        # no event is in flight when rules act, where a pathway is without delay
        self._queued = [
            p for p in synapses._pathways
            if p.prepost == "pre" or not p._delays.scalar or p._delays.get_value().any()
        ]  # fmt: skip
        for pathway in self._queued:
            own_queue(pathway)
        filled = self._array("_synaptic_pre") != null + self._offset
        self._births = Births(synapses, weight, births or {}, filled)
        self._ascending = [not _generates(group) for group in self._ends]
        self._size = len(synapses)
        self.look()
        self._born = np.zeros(len(self.w), np.int64)  # time step of each slot's formation
        self.last: np.ndarray | None = None  # weights at the last tick, where asked for
        self._counters: dict[int, Counter] = {}  # of spikes, by end, where rates are asked for
        self.ticking = False  # whether rules are at work, and the simulation stands still
        self._traces = [trace_of(*x) for x in zip(self._ends, traces or (TAU, TAU), strict=True)]
        self._counts: list[Any] = []  # operations that keep the traces, where asked for

    def _array(self, name: Any) -> np.ndarray:
        try:
            return self.synapses.variables[name].get_value()
        except NotImplementedError:
            raise ValueError(
                f"a standalone program computes {name!r} of {self.synapses.name!r} as it runs, and "
                f"it is to be known before: {NOT_KNOWN}."
            ) from None

    def look(self) -> None:
        """Take hold of the arrays, which are views into Brian2's own.

        Raises ValueError where synapses were added after the wiring was made.
        """
        if len(self.synapses) != self._size:
            raise ValueError(
                f"{self.synapses.name!r} has {len(self.synapses)} synapses now, and had "
                f"{self._size} when it was wired: call connect() before Wiring(...)."
            )
        self.pre = self._array("_synaptic_pre")
        self.post = self._array("_synaptic_post")
        self.w = self._array(self._weight)
        self._births.look()
        # Brian2 counts over all neurons of the group that a subgroup is a part of
        self._outgoing = self._array("N_outgoing")[self._offset :]
        self._events = [group.variables["_spikespace"].get_value() if spikes(group) else NONE
                        for group in self._ends]  # fmt: skip
        self._clock = self.synapses.source.clock.variables["timestep"].get_value()
        # as the kernel takes them: weights in double precision, which is Brian2's default
        kinds = [(self.w, np.float64), (self.pre, np.int32), (self._outgoing, np.int32)]
        self._plain = kernels is not None and all(
            array.dtype == kind and array.flags.c_contiguous for array, kind in kinds
        )

    def _bound(self, w_max: Any, weight: Any) -> float:
        """The largest weight in SI units."""
        variable = self.synapses.variables[weight]
        plain = in_base_units(f"w_max of the weight {weight!r}", w_max, variable.dim)
        if np.shape(plain) or not 0 < plain < np.inf:
            raise ValueError(f"w_max is one finite number above 0, got {w_max}.")
        return float(plain)

    def _check(self, weight: str | None, traces: tuple[Any, Any] | None) -> None:
        b2, s = self.brian2, self.synapses
        self._check_device()
        if s not in self.network.objects:
            raise ValueError(f"{s.name!r} is not in the network: add it with network.add().")
        if s.multisynaptic_index is not None:
            raise ValueError(
                f"{s.name!r} has a multisynaptic_index, which would go stale: leave it out."
            )
        if not s._connect_called:
            raise ValueError(f"{s.name!r} has no synapses yet: call connect() first.")
        if self.standalone:
            reveal(b2.get_device(), s)
        names = sorted(n for n in s.variables if not n.startswith("_"))
        if weight is not None and not self._is_one_each(weight):
            raise ValueError(
                f"{s.name!r} has no weight {weight!r} of each synapse (it has {names}): write it "
                "as a parameter of the model, 'w : 1', or name it with weight=."
            )
        refuse_sums(s, weight)
        self._check_null()
        if any(type(p.queue).__module__.endswith(".spikequeue") for p in s._pathways):
            raise ValueError(
                "this Brian2 lacks its compiled spike queue: install it from a wheel, or build it "
                "with a C++ compiler."
            )
        if "_spikespace" not in s.source.variables:
            raise ValueError(
                f"{s.source.name!r}, the source of {s.name!r}, does not spike: give it a threshold."
            )
        for group, name in zip(self._ends, traces or (), strict=False):
            if not isinstance(name, str):
                continue
            if name not in group.variables:
                raise ValueError(f"traces names {name!r}, which {group.name!r} does not have.")
            array = isinstance(group.variables[name], self.brian2.core.variables.ArrayVariable)
            if not array or group.variables[name].scalar:
                raise ValueError(
                    f"traces names {name!r}, which {group.name!r} does not hold as a number of "
                    "each neuron: name a parameter or a variable with an equation of its own."
                )

    def _check_device(self) -> None:
        b2, device = self.brian2, self.brian2.get_device()
        if not self.standalone:
            if device is b2.all_devices["runtime"]:
                return
            raise ValueError(
                "rules run within the simulation, on Brian2's own devices: use "
                "brian2.set_device('runtime'), or 'cpp_standalone'."
            )
        if not b2.__version__.startswith(STANDALONE):
            raise ValueError(
                f"programs of cpp_standalone are rewired with Brian2 {STANDALONE}, and this is "
                f"{b2.__version__}: use brian2.set_device('runtime')."
            )
        if device.has_been_run:
            raise ValueError(
                "this standalone program has been built and run already: call "
                "brian2.device.reinit() and brian2.device.activate() before the next network."
            )

    def _is_one_each(self, name: str) -> bool:
        """Whether each synapse has a number of this name."""
        variable = self.synapses.variables.get(name)
        is_array = isinstance(variable, self.brian2.core.variables.ArrayVariable)
        return is_array and np.shape(self._array(name)) == (len(self.synapses),)

    def _check_null(self) -> None:
        source = self.synapses.source
        if not 0 <= self.null < len(source):
            raise ValueError(
                f"null = {self.null} is not a neuron of {source.name!r}, which has "
                f"{len(source)}: add one that never spikes, for empty slots to point at."
            )

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
        self._carry(slots)
        self._moved.append(slots)

    def _carry(self, slots: np.ndarray) -> None:
        """Give synapses what is theirs from birth, and leave nothing in emptied slots."""
        if not self._births.any:
            return
        pre = self.pre[slots].astype(np.int64) - self._offset
        used = pre != self.null
        if not used.all():
            self._births.empty(slots[~used])
            slots, pre = slots[used], pre[used]
        if len(slots):
            post = self.post[slots].astype(np.int64) - self.synapses.target.start
            self._delayed.update(self._births.give(slots, pre, post))

    def settle(self) -> None:
        """Bring the spike queues in line: no spike of an old source arrives through a new slot."""
        if self.standalone:  # its program fills the queues as it begins
            self._moved.clear()
        if not self._moved:
            return
        moved = np.concatenate(self._moved) if len(self._moved) > 1 else self._moved[0]
        self._moved.clear()
        for pathway in self._queued:
            ends = pathway.synapse_sources.get_value()
            if hasattr(pathway.queue, "retarget"):
                pathway.queue.retarget(moved, ends)
                if pathway in self._delayed:
                    prepare(pathway)
            else:
                prepare_again(pathway, set(moved.tolist()))
        self._delayed.clear()

    def clipped(self, weights: np.ndarray | float, most: float) -> Any:
        """Weights, (k,), from 0 to ``most``."""
        return np.clip(weights, 0.0, most)

    @property
    def births(self) -> dict[str, Birth]:
        """What a new synapse carries besides its weight: a value in SI units, or a function."""
        return self._births.values

    # -- looking --------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """Time steps that are over; within a tick the one that ends is not."""
        return int(self._clock[0])

    def trace(self, end: int) -> np.ndarray:
        """|trace| of every source neuron (end 0), or of every target neuron (end 1), now."""
        self.require("activity", end)
        return np.abs(self._traces[end].now())  # type: ignore[union-attr]

    def require(self, signal: str, end: int) -> None:
        """Raise ValueError where neurons at this end have no ``activity``, or no ``rate``."""
        has = {"activity": self._traces[end] is not None, "rate": spikes(self._ends[end])}
        if not has.get(signal, True):
            other = ", or name a trace of its neurons by traces=" if signal == "activity" else ""
            raise ValueError(
                f"{self._ends[end].name!r} does not spike: give it a threshold{other}."
            )

    @property
    def lacks(self) -> frozenset[str]:
        """Signals that are not to be had, as the target neurons neither spike nor have a trace."""
        return frozenset() if self._traces[POST] else frozenset({"growth"})

    @property
    def sources(self) -> int:
        """How many neurons synapses may come from."""
        return len(self.synapses.source)

    @property
    def joined(self) -> tuple[Any, ...]:
        """The Synapses objects whose slots these are."""
        return (self.synapses,)

    @property
    def clock(self) -> Any:
        """Brian2's clock of the neurons that synapses come from."""
        return self.synapses.source.clock

    def spiking(self, end: int = PRE) -> np.ndarray:
        """Numbers of the neurons of the source (or target) group that spiked in their clock's last
        time step, ascending, int32."""
        events, group = self._events[end], self._ends[end]
        spiking = events[: events[-1]]
        if not self._ascending[end]:
            return np.unique(spiking)
        if group.start or len(events) - 1 != group.stop:  # a part of a group
            first, stop = spiking.searchsorted((group.start, group.stop))
            return spiking[first:stop] - np.int32(group.start)
        return spiking

    def refuse_busy_null(self) -> None:
        """Raise ValueError where the null neuron spiked in this time step."""
        events = self._events[PRE]
        count, null = events[-1], self.null + self._offset
        if not count or (self._ascending[PRE] and events[count - 1] < null):
            return
        if (events[:count] == null).any():
            raise ValueError(
                f"the null neuron, {self.null} of {self.synapses.source.name!r}, spiked at step "
                f"{self.step}, and every empty slot with it: it is to be a neuron that never does."
            )

    def refuse_nan(self) -> None:
        """Raise ValueError where the weight of a synapse is NaN, also of one that no rule read."""
        if not has_nan(self.w):
            return
        lost = np.isnan(self.w) & (self.pre - self._offset != self.null)
        if lost.any():
            raise ValueError(
                f"{np.count_nonzero(lost)} of the weights of {self.synapses.name!r} are NaN at "
                f"step {self.step}: look at the equations that move them."
            )

    def ages(self) -> np.ndarray:
        """Seconds since each slot was last given to a synapse, or emptied."""
        return (self.step - self._born) * self.dt

    def drift(self) -> np.ndarray:
        """What plasticity has changed in the weight of each slot since the last tick."""
        assert self.last is not None
        return self.w - self.last

    def watch(self, needs: frozenset[str]) -> None:
        """Keep from tick to tick what these signals are made of."""
        if not needs.isdisjoint(NEED_TRACES) and not self._counts:
            self._keep_traces()
        if "drift" in needs and self.last is None:
            self.last = self.w.copy()
        if "rate" in needs and not self._counters:
            for end, name in ((PRE, "rewire_counter"), (POST, "rewire_target_counter")):
                if end == PRE or self._ends[POST] is not self._ends[PRE]:
                    self._count(end, self._name(name))

    def _count(self, end: int, name: str) -> None:
        group = self._ends[end]
        if spikes(group):
            monitor = None  # a standalone program counts by itself
            if not self.standalone:
                monitor = self.brian2.SpikeMonitor(group, record=False, name=name)
                self.network.add(monitor)
            self._counters[end] = Counter(monitor, len(group))

    def take_rates(self, end: int, rates: np.ndarray, counted: np.ndarray) -> None:
        """Let the running means of an end's neurons, and their counts of spikes, be these."""
        counter = self._counters[end]
        counter.rates[:], counter.counted[:] = rates, counted

    def rates(self, end: int) -> np.ndarray:
        """Spikes a second of each neuron of the source (or target) group, running means."""
        counter = self._counters.get(PRE if self._ends[POST] is self._ends[PRE] else end)
        assert counter is not None  # who asks for rates has required them
        return counter.rates

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
        for counter in self._counters.values():
            counter.note(self.period)

    # -- saving ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that the simulation goes on from: every variable of the network, spikes in flight.

        Nested dicts of tensors, numbers and strings. Random numbers need no state: :func:`drive`
        seeds them.
        """
        self.network.store(STORE)
        stored = self.network._stored_state.pop(STORE)
        del stored["_random_generator_state"]  # in 2.9 a pointer to a buffer, worthless later
        return {"network": to_tree(stored), "rewire": to_tree(self._kept())}

    def _kept(self) -> dict[str, Any]:
        """The arrays that Brian2 does not store: ours, and the delays."""
        arrays = {"born": self._born, "last": self.last}
        for end, counter in self._counters.items():
            arrays |= {f"{COUNTED[end]}rates": counter.rates,
                       f"{COUNTED[end]}counted": counter.counted}  # fmt: skip
        for name, trace in zip(("pre", "post"), self._kept_traces(), strict=True):
            if trace is not None:
                arrays |= {f"trace_{name}": trace.value, f"last_{name}": trace.last}
        delays = {f"delays/{p.objname}": p._delays.get_value() for p in self.synapses._pathways}
        return arrays | delays

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; sessions load theirs afterwards.

        Raises KeyError for the state of a network with other objects.
        """
        self.network._stored_state[STORE] = from_tree(state["network"])
        self.network.restore(STORE)
        del self.network._stored_state[STORE]
        self.look()
        for name, array in self._kept().items():  # older files lack the delays
            if array is not None and state["rewire"].get(name) is not None:
                array[:] = state["rewire"][name].numpy()

    def _kept_traces(self) -> list[Trace | None]:
        """Those of the sources and of the targets that are kept here."""
        return [t if self._counts and isinstance(t, Trace) else None for t in self._traces]


def _generates(group: Any) -> bool:
    """Whether a group's spikes of one step come in the order of their times, not of its neurons."""
    return hasattr(group, "set_spikes")

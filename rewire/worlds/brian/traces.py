"""Traces of spikes that the world keeps itself, where the user's neurons have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Trace:
    """exp(-(t - t_k) / tau) summed over a neuron's spikes t_k, for every neuron of a group.

    group: of Brian2, one that spikes, or a subgroup. tau: in seconds.

    Neurons that spike are brought up to date then, all others when the trace is read, so that a
    time step costs what its spikes do.
    """

    def __init__(self, group: Any, tau: float):
        self._events = group.variables["_spikespace"].get_value
        self._step = group.clock.variables["timestep"].get_value
        self._first, self._end = group.start, group.stop
        self.tau = tau
        self.decay = float(group.clock.dt) / tau
        self.value = np.zeros(len(group))  # at the neuron's last spike
        self.last = np.zeros(len(group), np.int64)  # the time step of that

    def count(self) -> None:
        """Take up the spikes of this time step; to be called at the end of each."""
        events = self._events()
        spiking = np.unique(events[: events[-1]])  # a generator's are not in order
        first, end = spiking.searchsorted((self._first, self._end))
        if first == end:
            return
        spiking, now = spiking[first:end] - self._first, self._step().item()
        self.value[spiking] *= np.exp(-self.decay * (now - self.last[spiking]))
        self.value[spiking] += 1
        self.last[spiking] = now

    def now(self) -> np.ndarray:
        """The trace of every neuron, its spike of this time step included, (n,)."""
        return self.value * np.exp(-self.decay * (self._step().item() - self.last))


class GivenTrace:
    """A variable of the user's neurons that is their trace."""

    def __init__(self, group: Any, name: str):
        self.name = name
        self._value: Callable[[], np.ndarray] = group.variables[name].get_value
        self._where = slice(group.start, group.stop)

    def now(self) -> np.ndarray:
        """The trace of every neuron, (n,)."""
        return self._value()[self._where]


def trace_of(group: Any, given: Any) -> GivenTrace | Trace | None:
    """The trace of a group's neurons: a variable's name, or a time constant of one that is kept
    here; None where the neurons do not spike, so that there is none to keep."""
    if isinstance(given, str):
        return GivenTrace(group, given)
    return Trace(group, float(given)) if spikes(group) else None


def whole(group: Any) -> Any:
    """The group that a subgroup is a part of; a group that is none itself."""
    return getattr(group, "source", group)


def spikes(group: Any) -> bool:
    """Whether a group has spikes to look at: it has a threshold, or makes them."""
    return "_spikespace" in group.variables

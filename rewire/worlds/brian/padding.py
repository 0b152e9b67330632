"""Slots of Synapses that were connected without any: the empty ones are in no spike queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...native import kernels
from .births import Birth, Births
from .refusals import refuse_what_padding_changes, writes_to
from .traces import whole
from .wiring import Wiring


class Padded(Wiring):
    """The slots of one Synapses object, padded here to equally many for each target neuron.

    network, synapses: the user's own, connected as any others.
    slots: of each target neuron; None: as many as the neuron with most synapses has.
    w_max: as of :class:`Wiring`; None: the largest weight now, where no code of the synapses' own
        changes it.
    weight: name of the weight variable; None: all synapses transmit alike, and rules see 1.
    options: as of :class:`Wiring`, without ``null``.

    The padding is a second ``connect()``. To Brian2 an empty slot is a synapse from some neuron
    (``synapses.i`` names one), which no spike passes, before or after: the queues of all pathways
    have it as coming from one neuron past the last, which is not there to spike. What a run draws,
    and in which order, is what the synapses without padding have it draw.

    Raises ValueError for synapses in which padding would change anything.
    """

    def __init__(
        self,
        network: Any,
        synapses: Any,
        *,
        slots: int | None = None,
        w_max: Any = None,
        weight: str | None = "w",
        births: Mapping[str, Birth] | None = None,
        **options: Any,
    ):
        self._asked, self._w_max, self._given = slots, w_max, births or {}
        self._held = dict[str, np.ndarray]()
        null = _size(synapses.source) - synapses.source.start
        super().__init__(
            network, synapses, null=null, w_max=w_max, weight=weight, births=births, **options
        )
        self._queued = list(synapses._pathways)

    # -- before anything is looked at -----------------------------------------------------------

    def _check_null(self) -> None:
        return

    def _check(self, weight: str | None, traces: Any) -> None:
        if self.standalone:
            raise ValueError(
                "synapses are padded in running simulations alone, whose spike queues can be told "
                "of empty slots: use brian2.set_device('runtime'), or Wiring with a null neuron "
                "that never spikes."
            )
        if weight is not None and weight not in self.synapses.variables:
            raise ValueError(
                f"{self.synapses.name!r} has no weight {weight!r}: name it by weight=, or say "
                "weight=None where all transmit alike."
            )
        super()._check(weight, traces)
        refuse_what_padding_changes(self.synapses)
        for pathway in self.synapses._pathways:
            if isinstance(pathway.synapse_sources, _Shown):
                raise ValueError(
                    f"{self.synapses.name!r} has been made rewirable already: use that world."
                )
            if hasattr(pathway.queue, "get_capsule"):
                raise ValueError(
                    "from Brian2 2.10 on compiled code reads spike queues that are not replaced "
                    "here: use Brian2 2.9, or Wiring with a null neuron that never spikes."
                )
        self.authored = len(self.synapses)
        self._bound(self._w_max, weight)  # refused before anything is connected
        Births(self.synapses, weight, self._given, np.ones(self.authored, bool))
        self._pad()
        for pathway in self.synapses._pathways:
            pre = pathway.prepost == "pre"
            _hide(pathway, self._sources if pre else self._targets)

    def _pad(self) -> None:
        """Connect what is missing of every target's slots, and hold what is in use."""
        s = self.synapses
        post = s.variables["_synaptic_post"].get_value() - s.target.start
        self.fan_in = np.bincount(post, minlength=len(s.target))
        most = int(self.fan_in.max(initial=0))
        self.slots = most if self._asked is None else self._asked
        if self.slots < max(most, 1):
            raise ValueError(
                f"slots = {self._asked}, and a neuron of {s.target.name!r} has {most} synapses of "
                f"{s.name!r} already: give {max(most, 1)} slots or more."
            )
        missing = self.slots - self.fan_in
        if missing.any():
            j = np.repeat(np.arange(len(missing)), missing)
            s.connect(i=np.zeros(len(j), np.int32), j=j)
        empty = np.arange(len(s)) >= self.authored
        pre, post = (s.variables[n].get_value() for n in ("_synaptic_pre", "_synaptic_post"))
        nowhere = _size(s.source), _size(s.target)
        held = np.where(empty, nowhere[0], pre).astype(np.int32)
        outgoing = np.bincount(held, minlength=nowhere[0] + 1).astype(np.int32)
        self._held = {"_synaptic_pre": held, "N_outgoing": outgoing}
        self._heard = np.where(empty, nowhere[1], post).astype(np.int32)  # whose spikes end where
        self._alike = np.where(empty, 0.0, 1.0)  # the weights, where there are none

    def _bound(self, w_max: Any, weight: str | None) -> float:
        if weight is None:
            if w_max is not None:
                raise ValueError("w_max is for weights, and weight=None says that there are none.")
            return 1.0
        if w_max is None:
            if (what := writes_to(self.synapses, weight)) is not None:
                raise ValueError(
                    f"{what} of {self.synapses.name!r} changes {weight!r}, up to a bound that only "
                    "you know: say w_max=."
                )
            w_max = self._array(weight)[: self.authored].max(initial=0.0)
            if not w_max > 0:
                raise ValueError(
                    f"no synapse of {self.synapses.name!r} has a weight above 0 yet: set "
                    f"{weight!r} first, or say w_max=."
                )
            return float(w_max)
        return super()._bound(w_max, weight)

    # -- where things are -----------------------------------------------------------------------

    def _array(self, name: Any) -> np.ndarray:
        """Brian2's, but of the sources and their counts, which know here what is empty."""
        if name is None:
            return self._alike
        return self._held[name] if name in self._held else super()._array(name)

    def _sources(self) -> np.ndarray:
        """Where each synapse comes from, as the queues of presynaptic spikes are told."""
        return self._held["_synaptic_pre"]

    def _targets(self) -> np.ndarray:
        """Where each synapse ends, as the queues of postsynaptic spikes are told."""
        return self._heard

    def settle(self) -> None:
        """Bring the queues of all pathways, and Brian2's own arrays, in line."""
        if not self._moved:
            return
        moved = np.concatenate(self._moved)
        pre, post = self._held["_synaptic_pre"], self.synapses.variables["_synaptic_post"]
        used = pre[moved] < _size(self.synapses.source)
        self._heard[moved] = np.where(used, post.get_value()[moved], _size(self.synapses.target))
        filled = moved[used]
        self.synapses.variables["_synaptic_pre"].get_value()[filled] = pre[filled]
        super().settle()

    def clipped(self, weights: np.ndarray | float, most: float) -> Any:
        """Weights, (k,), from 0 to ``most``."""
        if self._weight is None and not np.all(np.asarray(weights) == 1):
            raise ValueError(
                f"a rule writes weights, and the synapses of {self.synapses.name!r} have none "
                "(weight=None): give them one, 'w : 1', or take a rule that moves none."
            )
        return super().clipped(weights, most)

    def _kept(self) -> dict[str, Any]:
        held = {f"held/{name}": array for name, array in self._held.items()}
        return super()._kept() | held | {"held/heard": self._heard, "held/alike": self._alike}


class _Shown:
    """The neurons that a queue is told the synapses come from, in the place of Brian2's array."""

    def __init__(self, get_value: Callable[[], np.ndarray]):
        self.get_value = get_value


def _hide(pathway: Any, ends: Callable[[], np.ndarray]) -> None:
    """Let a pathway's queue be told these ends of the synapses, among them one neuron past the
    last of the whole group."""
    pathway.synapse_sources = _Shown(ends)
    last = _size(pathway.source) + 1
    kind = type(pathway.queue) if kernels is None else kernels.SlotQueue
    queue = kind(0, last)
    queue._restore_from_full_state(pathway.queue._full_state())
    pathway.queue = queue
    pathway.variables.add_object("_queue", queue)


def _size(group: Any) -> int:
    """Neurons of the whole group, by whose numbers its spikes go."""
    return len(whole(group))

"""From Synapses as their author wrote and connected them to a world that rules can rewire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...graph import Space
from ...limits import NoAutapses, limited
from ...offer import Offer
from ...rule import Rule
from .loop import runtime_target
from .padding import Padded
from .traces import Trace, whole
from .wiring import brian2
from .world import Brian, Slices, ranges


class Rewirable(Brian):
    """The world that :func:`rewirable` makes: a :class:`Brian` that knows what was added to it."""

    wiring: Padded

    @property
    def filled(self) -> np.ndarray:
        """Which of the Synapses' synapses are in use now, (N,) bool, as ``synapses.w[...]`` takes
        it; the others are empty slots."""
        return self.wiring.pre - self.wiring._offset != self.wiring.null

    @property
    def summary(self) -> str:
        """What was found in the synapses and what was added to them, some lines of text."""
        w, s = self.wiring, self.wiring.synapses
        spread = f"{w.fan_in.min()} to {w.fan_in.max()}"
        pairs = "may hold several synapses" if self.space.multapses else "holds one synapse at most"
        source, target = _names(s)
        joined = f"  self     {_selves(self)}" if _may_join_itself(s) else None
        lines = [
            f"{s.name}: {w.authored:,} synapses from {source} to {target}",
            f"  slots    {w.slots} for each of {len(s.target):,} neurons, which have {spread} "
            f"synapses; {len(s) - w.authored:,} empty slots were added",
            f"  pairs    each {pairs}",
            *([joined] if joined else []),
            f"  weight   {_weights(w)}",
            f"  newborn  {_born(w)}",
            f"  traces   {_traces(w)}",
            f"  ticks    every {w.period * 1e3:g} ms",
        ]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class NotItself(NoAutapses):
    """No synapse from a neuron of Brian2 to itself, in populations of whatever names.

    shifts: projection -> number of the target unit that is its source unit 0.
    """

    shifts: tuple[tuple[str, int], ...] = ()

    def __repr__(self) -> str:
        return "rewirable(..., autapses=False)"

    def narrowed(self, space: Space) -> Space:
        return space

    def _shift(self, space: Space, i: int) -> int | None:
        return dict(self.shifts).get(space.projections[i].name)

    def unsuited(self, rule: Rule, world: Offer) -> str | None:
        why = super().unsuited(rule, world)
        return why and f"{why}; autapses=True lets neurons connect to themselves"


def _selves(world: Rewirable) -> str:
    limited = any(isinstance(limit, NotItself) for limit in world.space.limits)
    return f"neurons {'never' if limited else 'may'} connect to themselves"


def _may_join_itself(synapses: Any) -> bool:
    """Whether source and target are of one group of neurons."""
    return whole(synapses.source).name == whole(synapses.target).name


def _weights(wiring: Padded) -> str:
    if wiring._weight is None:
        return "none: all synapses transmit alike, and rules see 1"
    return f"{wiring._weight!r}, from 0 to {wiring.w_max:.6g} in SI units"


def _born(wiring: Padded) -> str:
    values = wiring._births.values
    if not values:
        return "carries its weight alone"
    said = (f"{name} {'by your function' if callable(v) else format(v, '.6g')}"
            for name, v in values.items())  # fmt: skip
    return "carries " + ", ".join(said) + " (SI units)"


def _traces(wiring: Padded) -> str:
    kept = [f"{t.tau * 1e3:g} ms" for t in wiring._traces if isinstance(t, Trace)]
    if len(kept) < 2:
        return "of the neurons' own" if not kept else f"of the neurons' own, and one of {kept[0]}"
    return f"kept by the world while a rule asks for them, of {kept[0]} and {kept[1]}"


def rewirable(
    synapses: Any,
    *,
    network: Any,
    slots: int | None = None,
    w_max: Any = None,
    weight: str | None = "w",
    traces: tuple[Any, Any] | None = None,
    period: Any = None,
    births: Mapping[str, Any] | None = None,
    sources: Slices | None = None,
    targets: Slices | None = None,
    positions: Mapping[str, Any] | None = None,
    multapses: bool | None = None,
    autapses: bool | None = None,
) -> Rewirable:
    """A world of Synapses that were written and connected as any others.

    A second ``connect()`` pads them to equally many slots for each target neuron. No neuron has to
    be added to the model: an empty slot is in no spike queue, and until a rule acts the network
    does to the bit what it did before.

    synapses:  connected already, with weights and parameters set.
    network:   the Network that they are in, and that :func:`drive` then runs.
    slots:     of each target neuron, the most synapses it may ever have; None: as many as the
               neuron with most has.
    w_max:     the upper bound of the weights, a Quantity or in SI units. It may be left out where
               no code of the synapses changes weights: then the largest is.
    weight:    name of the weight variable; None where the synapses have none, as with
               ``on_pre='ge += we'``, and all transmit alike.
    traces:    (source, target): names of the neurons' own traces, or time constants of traces that
               the world keeps while a rule asks for them; None: those of 20 ms.
    period:    of the rules' ticks; None: 1 ms.
    births:    what a new synapse carries besides its weight, as for :class:`Wiring`.
    sources, targets: populations by name as slices of the source and the target group; None: each
               group is one, under its own name (``cells[4:16]`` is "cells_4_16").
    positions: places in the unit sheet by population, (size, 2), for rules that ask for distances.
    multapses: whether a pair may hold several synapses; None: where some pair does already.
    autapses: whether a neuron may connect to itself; None: where one does already, so that what
        was connected by ``condition="i != j"`` stays so.

    Raises ValueError, with what to do, for synapses that cannot be padded without a change.

    >>> import brian2 as b2, rewire
    >>> from rewire.worlds.brian import drive, rewirable
    >>> b2.prefs.codegen.target = "numpy"
    >>> cells = b2.NeuronGroup(40, "dv/dt = (1.1 - v) / (10*ms) : 1", threshold="v > 1",
    ...                        reset="v = 0", method="exact", name="cells")
    >>> lateral = b2.Synapses(cells, cells, "w : 1", on_pre="v_post += w", name="lateral")
    >>> lateral.connect(i=[0, 1, 2, 0], j=[1, 2, 3, 2])
    >>> lateral.w = 0.1
    >>> network = b2.Network(cells, lateral)
    >>> world = rewirable(lateral, network=network, slots=3)
    >>> print(world.summary)
    lateral: 4 synapses from cells to cells
      slots    3 for each of 40 neurons, which have 0 to 2 synapses; 116 empty slots were added
      pairs    each holds one synapse at most
      self     neurons never connect to themselves
      weight   'w', from 0 to 0.1 in SI units
      newborn  carries delay 0 (SI units)
      traces   kept by the world while a rule asks for them, of 20 ms and 20 ms
      ticks    every 1 ms
    >>> rule = rewire.SET(fraction=0.5, when=rewire.every(10))
    >>> session = rewire.Session(world, world.graph(), rule)
    >>> drive(session, duration=50 * b2.ms)
    >>> session.edges, session.history.formed
    (4, 10)
    """
    names = _names(synapses)
    sources = ranges(sources or {names[0]: slice(None)}, synapses.source, "sources")
    targets = ranges(targets or {names[1]: slice(None)}, synapses.target, "targets")
    with runtime_target(brian2()):
        wiring = Padded(
            network, synapses, slots=slots, w_max=w_max, weight=weight, traces=traces,
            period=period, births=births,
        )  # fmt: skip
    one = len(sources) == len(targets) == 1
    world = Rewirable(
        wiring,
        sources=sources,
        targets=targets,
        projections={synapses.name: (next(iter(sources)), next(iter(targets)))} if one else None,
        positions=positions,
        multapses=_repeats(wiring) if multapses is None else multapses,
    )
    _limit_selves(world, autapses)
    if weight is None:
        world.births, world.weighted = {"weight": 1.0, "sign": 1.0}, False
    return world


def _limit_selves(world: Rewirable, autapses: bool | None) -> None:
    """Keep neurons from connecting to themselves, where they are not to."""
    wiring, synapses = world.wiring, world.wiring.synapses
    if not _may_join_itself(synapses):
        return
    selves = np.count_nonzero((wiring.pre == wiring.post)[: wiring.authored])
    if autapses or (autapses is None and selves):
        return
    if selves:
        raise ValueError(
            f"autapses=False, and {selves} synapses of {synapses.name!r} join a neuron to itself: "
            'connect with condition="i != j", or leave autapses= out.'
        )
    between = synapses.source.start - synapses.target.start
    shifts = tuple(
        (p.name, world._sources[p.source].start - world._targets[p.target].start + between)
        for p in world.space.projections
    )
    world.space = limited(world.space, [NotItself(shifts=shifts)])


def _names(synapses: Any) -> tuple[str, str]:
    """Names of the source and the target population; one where they are the same neurons."""
    return _name(synapses.source), _name(synapses.target)


def _name(group: Any) -> str:
    """A group's own, or of a part of one which neurons of it: Brian2 counts those up."""
    if whole(group) is group:
        return group.name
    return f"{whole(group).name}_{group.start}_{group.stop}"


def _repeats(wiring: Padded) -> bool:
    """Whether some pair of neurons holds several of the author's synapses."""
    ends = np.stack([wiring.pre, wiring.post])[:, : wiring.authored]
    return len(np.unique(ends, axis=1).T) < wiring.authored

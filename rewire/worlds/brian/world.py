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

from collections.abc import Mapping, Sequence
from itertools import product
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...graph import Edit, Graph, Population, Projection, Space
from ...kernels.ranking import has_nan
from ...limits import FixedPoint
from ...native import kernels
from ...signals import Signal, registered
from ...world import World
from .traces import whole
from .wiring import POST, PRE, Wiring

Slices = Mapping[str, slice]


class Brian(World):
    """A spiking network in Brian2: synapses of one population of slots, or of several, move.

    sources, targets: populations by name as slices of the synapses' source and target group. A
        name in both is one population, whose units are both ends of lateral synapses.
    projections: name -> (source, target); by default all of them, named "source-target".
    positions: places in the unit sheet, a torus, by population, (size, 2).
    multapses: whether one pair may hold several synapses.

    New synapses have a tenth of w_max unless the rule gives them another weight, because at 0 they
    would be eliminated at the next tick. Weights are strengths: the sign of every synapse is +1,
    and what a rule writes is clipped to [0, w_max]. Other values of a new synapse are set by the
    wiring (``births``). Rewinding restores the weights of this world's synapses, but not time, the
    state of neurons or spikes in flight.

    Raises ValueError for slices that overlap or leave their group, for a name in both tables that
    is not the same neurons, for unequal numbers of slots, and for repeated pairs where
    ``multapses`` is False.
    """

    name = "brian"
    can_skip = False  # plasticity cannot be left out for a step: rules edit after it

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
        self.dt, self.w_max = wiring.period, wiring.w_max
        self.births = {"weight": 0.1 * wiring.w_max, "sign": 1.0}
        source, target = wiring.synapses.source, wiring.synapses.target
        self._sources = ranges(sources, source, "sources")
        self._targets = ranges(targets, target, "targets")
        _refuse_other_neurons(self._sources, source, self._targets, target)
        self._slots = {name: self._table(name, where) for name, where in self._targets.items()}
        self.space = self._space(projections, positions or {}, multapses)
        projected = self.space.projections
        self._lay_out(
            [self._slots[p.target] for p in projected],
            [self._sources[p.source].start for p in projected],
        )

    def _lay_out(self, tables: Sequence[np.ndarray], starts: Sequence[int]) -> None:
        """Note where the synapses of each projection are, and where its sources begin.

        tables: numbers of synapses, (units, slots), one table for projections of one wiring that
            end at the same units.
        """
        projected, self._tables = self.space.projections, tables
        self._widths = np.array([p.shape[1] for p in projected])
        self._starts = np.array(starts, np.int64)
        self._begun = False
        # all tables one after the other, and where in them that of each projection begins
        apart = list({id(table): table for table in (*self._slots.values(), *tables)}.values())
        self._own = np.concatenate([table.ravel() for table in apart])
        begin = np.cumsum([0, *(table.size for table in apart)])
        place = {id(table): at for table, at in zip(apart, begin, strict=False)}
        self._first = np.array([place[id(table)] for table in tables])
        self._many = np.array([table.shape[1] for table in tables])
        self._native = None
        if kernels is not None:
            layout = self._widths, self._starts, self._first, self._many, self._own
            self._native = kernels.Slots(self.space.ends, *layout)
        self._ranges_of: dict[tuple[str, ...], np.ndarray] = {}
        self._all: tuple[Tensor | None, np.ndarray] = (None, self._own)
        self._shown: Graph | None = None  # at the last tick
        self._offered: tuple[int, Mapping[str, Signal]] = 0, {}

    def _table(self, name: str, where: slice) -> np.ndarray:
        """Numbers of the synapses that each unit of a population owns, (size, slots)."""
        post = self.wiring.post - self.wiring.synapses.target.start
        synapses = np.flatnonzero((post >= where.start) & (post < where.stop))
        synapses = synapses[np.argsort(post[synapses], kind="stable")]
        counts = np.bincount(post[synapses] - where.start, minlength=where.stop - where.start)
        if len(set(counts.tolist())) != 1:
            raise ValueError(
                f"neurons of {name!r} own from {counts.min()} to {counts.max()} synapses; all need "
                "equally many slots. Connect as many for each, those not in use to the null neuron."
            )
        return synapses.reshape(len(counts), -1)

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
            table, width = self._tables[i], p.shape[1]
            pre = self.wiring.pre[table] - self.wiring._offset - self._starts[i]
            unit, at = np.nonzero((pre >= 0) & (pre < width))
            local = unit * width + pre[unit, at]
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
        self._refuse_repeated(np.concatenate(keys))
        parts = (torch.from_numpy(np.concatenate(x)) for x in (keys, weight, slot))
        return Graph(self.space, *self._columned(*parts))

    def _refuse_repeated(self, keys: np.ndarray) -> None:
        """Raise ValueError where a pair, of keys that do not fall, holds several synapses."""
        repeated = keys[1:][np.diff(keys) == 0]
        if len(repeated) and not self.space.multapses:
            which, pre, post = self.space.locate(torch.from_numpy(repeated[:1]))
            p = self.space.projections[int(which)]
            raise ValueError(
                f"{len(repeated)} synapses join pairs that another joins already, the first from "
                f"{int(pre)} of {p.source!r} to {int(post)} of {p.target!r}: connect each pair "
                "once, or allow it by multapses=True."
            )

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

    def end_of(self, population: str) -> int:
        """The end of synapses at which a population is looked at: PRE, if it is ever one."""
        return PRE if population in self._sources else POST

    def at(self, end: int) -> Mapping[str, slice]:
        """The populations at one end of the synapses, as slices of that end's group."""
        return self._targets if end == POST else self._sources

    def ranges(self, populations: tuple[str, ...]) -> np.ndarray:
        """Numbers of the neurons of each population among the synapses' sources, (k, 2); those of
        populations that are targets only follow after them."""
        if populations not in self._ranges_of:
            after, ranges = self.wiring.sources, []
            for name in populations:
                end = self.end_of(name)
                where, first = self.at(end)[name], after if end == POST else 0
                ranges.append((where.start + first, where.stop + first))
            self._ranges_of[populations] = np.array(ranges, np.int64)
        return self._ranges_of[populations]

    # -- what the session asks ------------------------------------------------------------------

    @property
    def offered(self) -> Mapping[str, Signal]:
        """The signals that can be asked here: all but those that this network does not have."""
        known, (many, offered) = registered(self.name), self._offered
        if len(known) != many:  # asked at every tick, and nothing else ever changes them
            lacks = self.wiring.lacks
            offered = {name: s for name, s in super().offered.items() if name not in lacks}
            self._offered = len(known), offered
        return offered

    @classmethod
    def unsupported(cls, columns: frozenset[str]) -> str | None:
        """Why these columns cannot live here, or None."""
        if "gain" in columns:
            return "its synapses transmit by the user's equations, which take no gain"
        return None

    def watch(self, needs: frozenset[str]) -> None:
        """Keep what the signals of a run are made of."""
        self.wiring.watch(needs)

    def require(self, signal: str, population: str) -> None:
        """Raise ValueError where a population's neurons do not have the signal."""
        self.wiring.require(signal, self.end_of(population))

    def advance(
        self, graph: Graph, skip: bool, scaler: Any = None, closure: Any = None
    ) -> tuple[bool, Any]:
        raise RuntimeError(
            "a Brian2 network runs by itself: call rewire.worlds.brian.drive(session, "
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
        if not self._begun:
            self._refuse_repeated(graph.array)
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

    @property
    def most(self) -> float:
        """The largest weight: w_max, or under `FixedPoint` the next multiple from it up."""
        grains = [2.0**-x.fraction for x in self.space.limits if isinstance(x, FixedPoint)]
        return max([self.wiring.w_max, *(ceil(self.wiring.w_max / g) * g for g in grains)])

    def _check_weights(self, weight: np.ndarray) -> None:
        """Refuse weights that are out of bounds at the start."""
        w_max = self.most
        if not len(weight):
            return
        if weight.min() < 0:
            raise ValueError(
                f"{np.count_nonzero(weight < 0)} synapses would have a weight below 0 (the least: "
                f"{weight.min():.3g}); weights here are strengths in [0, {w_max}]."
            )
        if not self._begun and weight.max() > w_max * (1 + 1e-6):  # in single precision too
            raise ValueError(
                f"{np.count_nonzero(weight > w_max)} synapses start with a weight above w_max = "
                f"{w_max:.6g} (the largest: {weight.max():.6g}): start lower, or raise w_max."
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
            emptied = self._synapses(before, edit.drop)
            self.wiring.retarget(emptied, self.wiring.null, 0.0)
        if edit.n_add:
            born = after.born
            new, weight = self._synapses(after, born), before.newborn("weight", edit)
            clipped = self.wiring.clipped(weight, self.most)
            self.wiring.retarget(new, self._source_of(after, born), clipped)
        if "weight" in edit.set:
            weights = self.wiring.clipped(after["weight"].numpy(), self.most)
            self.wiring.w[self._synapses(after)] = weights

    def holding(self, graph: Graph) -> Brian:
        return self

    def snapshot(self) -> dict[str, Any]:
        """The weights, and what each slot came from."""
        own = self._own
        arrays = {"w": self.wiring.w[own], "pre": self.wiring.pre[own]}
        return {"model": {k: torch.from_numpy(v) for k, v in arrays.items()}, "optimiser": {}}

    def restore(self, saved: Mapping[str, Any], parts: frozenset[str], graph: Graph) -> None:
        """Bring back the weights of all synapses that come from where they came from then."""
        if "model" in parts:
            arrays, own = saved["model"], self._own
            same = own[self.wiring.pre[own] == arrays["pre"].numpy()]
            self.wiring.w[same] = arrays["w"].numpy()[self.wiring.pre[own] == arrays["pre"].numpy()]


def ranges(slices: Slices, group: Any, what: str) -> dict[str, slice]:
    """The slices with both ends, numbers of a group's neurons.

    Raises ValueError for those that are empty, have steps, leave the group or overlap.
    """
    size, ranges = len(group), dict[str, slice]()
    for name, where in slices.items():
        start, stop = where.start or 0, size if where.stop is None else where.stop
        if where.step not in (None, 1) or not 0 <= start < stop <= size:
            raise ValueError(
                f"{what}[{name!r}] = {where} is no range of neurons of {group.name!r}, which has "
                f"{size}: give slice(first, one past the last)."
            )
        for other, taken in ranges.items():
            if start < taken.stop and taken.start < stop:
                raise ValueError(
                    f"{what} {other!r} and {name!r} overlap: both have neuron "
                    f"{max(start, taken.start)} of {group.name!r}."
                )
        ranges[name] = slice(start, stop)
    return ranges


def _refuse_other_neurons(
    sources: Mapping[str, slice], source: Any, targets: Mapping[str, slice], target: Any
) -> None:
    """Raise ValueError where a name in both tables is not the same neurons."""
    same_group = whole(source).name == whole(target).name
    for name in sources.keys() & targets.keys():
        pre, post = sources[name], targets[name]
        if pre.stop - pre.start != post.stop - post.start:
            continue  # which is said with both sizes
        if not same_group or pre.start + source.start != post.start + target.start:
            raise ValueError(
                f"{name!r} is neurons from {pre.start} of {source.name!r} as a source, and others, "
                f"from {post.start} of {target.name!r}, as a target: one name is one set of "
                "neurons, so give two."
            )


class _Weights:
    """The weights of a graph's edges, read when asked for; ``native`` reads single ones."""

    def __init__(self, world: Brian, graph: Graph):
        self._world, self._graph, self._lost = world, graph, False
        w = world.wiring.w
        self.native = None
        if kernels is not None and world._native is not None and w.dtype == np.float64:
            slot = graph.numbers("slot")
            self.native = kernels.Reader(world._native, graph.array, slot, w)

    def __call__(self, rows: Any) -> Any:
        if not isinstance(rows, slice) and self.native is not None:
            return self.native(rows)
        if isinstance(rows, slice):
            read = self._world._weights(self._graph)
        else:
            at = self._world._synapses(self._graph, np.array(rows, np.int64))
            read = self._world.wiring.w[at]
        self._lost = self._lost or has_nan(read)
        return read if isinstance(rows, slice) else read.tolist()

    @property
    def lost(self) -> bool:
        """Whether a weight that was read was NaN."""
        return self._lost or (self.native is not None and self.native.lost)

"""Neurons onto cores, cores onto chips: in order, each population on cores of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..graph import Graph, Population
from .layout import Block, block
from .targets import Target

ROUNDS = 50  # of dividing populations further for the axons that leave their cores


@dataclass(frozen=True)
class Core:
    """Neurons ``begin`` to ``end`` - 1 of a population, and the rows of their synapses.

    blocks: of each projection into the population, by its number. synapses: of these neurons,
    incoming. input_axons: presynaptic neurons that reach the core, counted in each projection.
    output_axons: cores that the neurons reach, counted for each neuron and projection.
    """

    population: str
    begin: int
    end: int
    blocks: Mapping[int, Block]
    synapses: int
    input_axons: int
    output_axons: int

    @property
    def neurons(self) -> int:
        return self.end - self.begin

    @property
    def bytes(self) -> int:
        return sum(block.bytes for block in self.blocks.values())

    @property
    def longest_row(self) -> int:
        return max((block.longest for block in self.blocks.values()), default=0)

    def over(self, target: Target) -> list[tuple[str, int, int]]:
        """(limit, value, most) of what this core alone breaks, a chip's limits included."""
        values = {
            "core_bytes": self.bytes,
            "chip_bytes": self.bytes,
            "row_bytes": self.longest_row,
            "synapses_per_chip": self.synapses,
            "neurons_per_chip": self.neurons,
            "input_axons": self.input_axons,
            "output_axons": self.output_axons,
        }
        limits = ((name, value, getattr(target, name)) for name, value in values.items())
        return [(name, value, most) for name, value, most in limits if most and value > most]


class Placement:
    """All cores of a graph on a target, (in order) ``cores``, and the chips that they fill.

    A population is divided further than `neurons_per_core` where a limit of a core asks for it; a
    core that breaks one with a single neuron stays as it is: see :meth:`Core.over`.
    """

    def __init__(self, graph: Graph, target: Target):
        self.graph, self.target = graph, target
        self._incoming = {p.name: _Incoming(graph, p) for p in graph.populations}
        none = {p.name: np.zeros(p.size, np.int64) for p in graph.populations}
        placed = self._placed(none)
        if target.output_axons is not None:
            for _ in range(ROUNDS):
                again = self._placed(self._output_axons(placed))
                same = _ends(again) == _ends(placed)
                placed = again
                if same:
                    break
            placed = self._with_axons(placed)
        self.cores = [core for name in placed for core in placed[name]]

    def _placed(self, leaving: Mapping[str, np.ndarray]) -> dict[str, list[Core]]:
        """Cores by population, whose neurons reach so many cores."""
        return {p.name: self._cores_of(p, leaving[p.name]) for p in self.graph.populations}

    def _cores_of(self, population: Population, leaving: np.ndarray) -> list[Core]:
        incoming = self._incoming[population.name]
        most = self.target.neurons_per_core
        if not incoming.projections:
            if self.target.sources_per_core is None:
                return []
            most = self.target.sources_per_core
        cores, begin = list[Core](), 0
        while begin < population.size:
            last = min(population.size, begin + (most or population.size))
            core = self._largest(incoming, leaving, begin, last)
            cores.append(core)
            begin = core.end
        return cores

    def _largest(self, incoming: _Incoming, leaving: np.ndarray, begin: int, last: int) -> Core:
        """The core of most neurons that breaks no limit: what it holds grows with its neurons."""

        def core(end: int) -> Core:
            return incoming.core(begin, end, self.target, int(leaving[begin:end].sum()))

        whole = core(last)
        if not whole.over(self.target):
            return whole
        good, bad = begin + 1, last
        while bad - good > 1:
            middle = (good + bad) // 2
            if core(middle).over(self.target):
                bad = middle
            else:
                good = middle
        return core(good)

    def _output_axons(self, placed: Mapping[str, Sequence[Core]]) -> dict[str, np.ndarray]:
        """Cores that each unit reaches, counted in each projection, by population."""
        axons = {p.name: np.zeros(p.size, np.int64) for p in self.graph.populations}
        for p in self.graph.populations:
            ends = np.array([core.end for core in placed[p.name]], np.int64)
            for source, pre, post in self._incoming[p.name].edges:
                pairs = np.unique(pre * len(ends) + ends.searchsorted(post, "right"))
                axons[source] += np.bincount(pairs // len(ends), minlength=len(axons[source]))
        return axons

    def _with_axons(self, placed: Mapping[str, Sequence[Core]]) -> dict[str, list[Core]]:
        """The same cores, with the axons that leave them now."""
        axons = self._output_axons(placed)
        return {
            name: [replace(c, output_axons=int(axons[name][c.begin : c.end].sum())) for c in cores]
            for name, cores in placed.items()
        }

    @cached_property
    def chips(self) -> int:
        """Chips that the cores fill in turn: 1 where a target has no limit of a chip."""
        return max(1, chips_of(self.cores, self.target))


def chips_of(cores: Sequence[Core], target: Target) -> int:
    """How many chips the cores fill in turn, each until one of its limits is reached."""
    sizes: dict[str, Callable[[Core], int]] = {
        "cores_per_chip": lambda core: 1,
        "chip_bytes": lambda core: core.bytes,
        "neurons_per_chip": lambda core: core.neurons,
        "synapses_per_chip": lambda core: core.synapses,
    }
    limits = {name: most for name in sizes if (most := getattr(target, name)) is not None}
    chips, filled = 0, dict.fromkeys(limits, 0)
    for core in cores:
        more = {name: filled[name] + sizes[name](core) for name in limits}
        if not chips or any(more[name] > most for name, most in limits.items()):
            chips, more = chips + 1, {name: sizes[name](core) for name in limits}
        filled = more
    return chips


def _ends(placed: Mapping[str, Sequence[Core]]) -> dict[str, list[int]]:
    return {name: [core.end for core in cores] for name, cores in placed.items()}


class _Incoming:
    """The synapses into a population by postsynaptic neuron, in each of its projections."""

    def __init__(self, graph: Graph, population: Population):
        self.population = population
        self.projections = graph.space.into[population.name]
        self.edges: list[tuple[str, np.ndarray, np.ndarray]] = []
        self._shapes: list[tuple[int, bool]] = []
        for i in self.projections:
            p = graph.projections[i]
            pre, post = (x[graph.rows(i)].numpy() for x in graph.locate()[1:])
            order = np.argsort(post, kind="stable")
            self.edges.append((p.source, pre[order], post[order]))
            size = graph.space.population[p.source].size
            self._shapes.append((size, p.taps == 1 and not p.multapses))

    def core(self, begin: int, end: int, target: Target, output_axons: int) -> Core:
        blocks, synapses, axons = dict[int, Block](), 0, 0
        least = self.population.slots or 0
        for i, (_, pre, post), (n_pre, simple) in zip(
            self.projections, self.edges, self._shapes, strict=True
        ):
            first, last = post.searchsorted([begin, end])
            counts = np.bincount(pre[first:last], minlength=n_pre)
            blocks[i] = block(counts, end - begin, target, least=least, simple=simple)
            synapses += int(last - first)
            axons += int(np.count_nonzero(counts))
        return Core(self.population.name, begin, end, blocks, synapses, axons, output_axons)

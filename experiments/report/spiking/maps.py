"""A run of the spiking world as its page needs it: maps before and after, and edits in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ... import compare, store
from ...spiking.cells import END, FORWARD, START
from ..graphs import graph_of
from ..run import RunData

if TYPE_CHECKING:
    from rewire.analysis.lifetimes import Lifetimes
    from rewire.analysis.topography import Topography
    from rewire.graph import Graph


@dataclass(frozen=True, eq=False)
class Sheet:
    """The connectivity of a cell at one of its ends, and what fired in its last seconds.

    w_max:  the most that a weight may be.
    spikes: unit and time step of each spike, by population; the steps count from ``start`` s and
            last ``dt`` s. Empty at the start.
    """

    graph: Graph
    w_max: float
    start: float
    dt: float
    spikes: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def fields(self, column: str | None = None) -> np.ndarray:
        """Receptive fields over the source sheet, (n_post, side, side)."""
        from rewire.analysis import topography

        return topography.receptive_fields(self.graph, FORWARD, column)

    def map(self, column: str | None = None) -> Topography:
        from rewire.analysis import topography

        return topography.topography(self.graph, FORWARD, column)

    @property
    def places(self) -> np.ndarray:
        """Row and column of each target neuron, (n_post, 2)."""
        from rewire.analysis import topography

        return topography.places(self.graph, FORWARD)

    @property
    def side(self) -> int:
        return self.fields().shape[1]

    def weights(self, projection: str) -> np.ndarray:
        """Of a projection's synapses as fractions of w_max; none where there is no projection."""
        if projection not in [p.name for p in self.graph.projections]:
            return np.empty(0)
        rows = self.graph.rows(self.graph.space.index(projection))
        return self.graph["weight"][rows].numpy() / self.w_max


@dataclass
class Simulation:
    """One cell, as far as it came: its rows and evaluations, and its files when asked for."""

    run: RunData
    first: store.Row
    last: store.Row | None
    evals: list[store.Row]

    @property
    def label(self) -> str:
        return self.first["label"]

    @property
    def seed(self) -> int:
        return self.first["seed"]

    def over_time(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Seconds, and a column at each; NaN where it has no value."""
        rows = [self.first, *self.evals]
        values = [np.nan if row[column] is None else row[column] for row in rows]
        return np.array([row["simulated_seconds"] for row in rows]), np.array(values, dtype=float)

    @cached_property
    def before(self) -> Sheet | None:
        return self._sheet(START)

    @cached_property
    def after(self) -> Sheet | None:
        return self._sheet(END) if self.last is not None else None

    @cached_property
    def lives(self) -> Lifetimes | None:
        """The life of every synapse, born and died in ticks; of a finished cell only."""
        from rewire.analysis.lifetimes import lifetimes
        from rewire.edit_log import read

        if self.last is None:
            return None
        with self.run.reading(f"the edits of {self.label}, seed {self.seed}"):
            start = self._cell.read_start(START)[0]["keys"]
            with self._cell.edit_log.reader() as log:
                return lifetimes(start, read(log), self.last["step"])
        return None

    @cached_property
    def period(self) -> float:
        """Seconds of a tick."""
        return float(self.run.config.get("period", 1.0)) / 1e3

    def lives_in_seconds(self) -> Lifetimes | None:
        lives = self.lives
        if lives is None:
            return None
        return replace(lives, born=lives.born * self.period, died=lives.died * self.period)

    @property
    def _cell(self) -> store.CellStore:
        return store.CellStore(self.run.out / "cells" / self.first["cell"])

    def _sheet(self, level: int) -> Sheet | None:
        with self.run.reading(f"the connectivity of {self.label}, seed {self.seed}"):
            tree, meta = self._cell.read_level(level)
            weight = tree["weight"]
            spikes = {
                name: (times["unit"].numpy(), times["step"].numpy())
                for name, times in tree.get("spikes", {}).items()
            }
            return Sheet(
                graph_of(tree["keys"], meta).with_columns({"weight": weight}),
                float(meta.get("w_max") or (weight.max() if len(weight) else 1.0)),
                float(meta["raster"]["start"]),
                float(meta["raster"]["dt"]),
                spikes,
            )
        return None


def simulated(run: RunData) -> dict[str, list[Simulation]]:
    """The cells of each label that have begun, by seed, in the experiment's order of rules."""
    cells: dict[str, list[Simulation]] = {label: [] for label in run.points}
    firsts = {row["cell"]: row for row in run.rows if row["level"] == START}
    lasts = {row["cell"]: row for row in run.rows if row["level"] == END}
    for cell, first in firsts.items():
        evals = run.curves.get((cell, END), [])
        cells[first["label"]].append(Simulation(run, first, lasts.get(cell), evals))
    return {k: sorted(v, key=lambda one: one.seed) for k, v in cells.items() if v}


def finished(cells: Sequence[Simulation]) -> list[Simulation]:
    return [one for one in cells if one.last is not None]


def example(cells: Sequence[Simulation]) -> Simulation | None:
    """The cell that pictures of a single network are of: the first seed's that can be read."""
    return next((one for one in finished(cells) if one.before and one.after), None)


@dataclass(frozen=True)
class Change:
    """The rows of a label's finished cells at their start and end, paired by seed."""

    label: str
    start: compare.Point
    end: compare.Point

    @property
    def n(self) -> int:
        return len(self.end.rows)

    def of(self, column: str) -> tuple[float, float]:
        """Means at the start and at the end; NaN where nothing has a value."""
        return self.start.mean(column), self.end.mean(column)

    def by(self, column: str) -> float:
        """What was added to it, in the mean."""
        start, end = self.of(column)
        return end - start


def changes(cells: Mapping[str, Sequence[Simulation]]) -> dict[str, Change]:
    """Of every label with a finished cell."""
    by_label = {}
    for label, every in cells.items():
        rows = [(one.first, one.last) for one in every if one.last is not None]
        if rows:
            first, last = (
                compare.Point(label, ends[0]["rule"], None, level, ends)
                for level, ends in zip((START, END), zip(*rows, strict=True), strict=True)
            )
            by_label[label] = Change(label, first, last)
    return by_label


def keys_at(lives: Lifetimes, tick: int) -> np.ndarray:
    """The keys that exist after a tick's edits, ascending, parallel ones as often as they are."""
    alive = (lives.born <= tick) & ((lives.died > tick) | lives.alive)
    return np.sort(lives.key[alive])


@dataclass
class MapRun(RunData):
    """A run of the spiking world: its cells by label, and what changed in those that finished."""

    @classmethod
    def of(cls, run: RunData) -> MapRun:
        """The same run; what cannot be read is listed in the problems of both."""
        return cls(**{f.name: getattr(run, f.name) for f in fields(RunData)})

    @cached_property
    def simulations(self) -> dict[str, list[Simulation]]:
        return simulated(self)

    @cached_property
    def changes(self) -> dict[str, Change]:
        return changes(self.simulations)

    @property
    def evaluated(self) -> bool:
        """Whether any cell was evaluated after its start."""
        return any(one.evals for every in self.simulations.values() for one in every)

    @cached_property
    def examples(self) -> dict[str, tuple[Sheet, Sheet]]:
        """Of each label the sheets, at the start and at the end, that pictures of one cell show."""
        pairs = {}
        for label, every in self.simulations.items():
            one = example(every)
            if one is not None and one.before is not None and one.after is not None:
                pairs[label] = one.before, one.after
        return pairs

    @property
    def example_seeds(self) -> str:
        """Whose seed the pictures of single cells show."""
        seeds = {one.seed for every in self.simulations.values() if (one := example(every))}
        if len(seeds) == 1:
            return f"seed {seeds.pop()}"
        return "the first finished seed of each rule"

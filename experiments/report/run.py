"""A run's folder as the report needs it: its rows, evaluations, graphs and lives of edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import compare, store
from ..early_stopping import with_steps_to_dense_loss
from ..errors import StoreError
from ..tasks import Metric, metric_of
from . import crowd
from .graphs import read_graph
from .measures import Measure, Measurements, installed_measures
from .style import Look, looks

if TYPE_CHECKING:
    from rewire.analysis.lifetimes import Lifetimes
    from rewire.graph import Graph


MOST_LINES = 16  # rules that one panel of lines can tell apart
FOLLOWED = 200_000  # edges whose lives are followed; of more, a sample
TOLD_APART = 50_000_000  # pairs of which a report remembers whether they were ever edges
T = TypeVar("T")


@dataclass(frozen=True)
class CellState:
    """One cell that the experiment lists: how far it came."""

    hash: str
    label: str
    seed: int | None
    status: str  # finished, failed, running, waiting
    error: str = ""


@dataclass
class RunData:
    """One run: ``rows`` and ``evals`` are those of `store`, ``problems`` says what cannot be read.

    spikes: the rows of trained networks run in spikes, which are not among ``rows``.
    """

    out: Path
    experiment: Mapping[str, Any]
    rows: list[store.Row]
    evals: list[store.Row]
    cells: list[CellState]
    toml: str = ""
    spikes: list[store.Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @cached_property
    def points(self) -> dict[str, list[compare.Point]]:
        """Points by label, in the experiment's order of rules."""
        by_label = compare.points(self.rows)
        order = [*self.planned, *by_label]
        return {label: by_label[label] for label in dict.fromkeys(order) if label in by_label}

    @cached_property
    def metric(self) -> Metric:
        """What the task of the run's models is judged by."""
        return metric_of(self.rows[0] if self.rows else {})

    @cached_property
    def looks(self) -> dict[str, Look]:
        """Colour, marker and line of every label."""
        rules = {label: points[0].rule for label, points in self.points.items()}
        return crowd.looks(rules) if self.crowded else looks(rules)

    @cached_property
    def families(self) -> dict[str, list[str]]:
        """Labels by the kind of their rules, for the panels of a crowded run."""
        return crowd.families({label: points[0].rule for label, points in self.points.items()})

    @property
    def title(self) -> str:
        return str(self.experiment.get("title") or self.name)

    @property
    def name(self) -> str:
        return str(self.experiment.get("name") or self.out.name)

    @cached_property
    def planned(self) -> list[str]:
        """Labels that the experiment asked for, in its order."""
        rules = self.config.get("rules", [])
        return [str(r.get("label", r.get("rule"))) for r in rules if isinstance(r, Mapping)]

    @property
    def crowded(self) -> bool:
        """Whether there are more rules than lines in one panel can show."""
        return len(self.points) > MOST_LINES

    @property
    def config(self) -> Mapping[str, Any]:
        config = self.experiment.get("config")
        return config if isinstance(config, Mapping) else {}

    @cached_property
    def densities(self) -> list[float]:
        """Densities below 1 that have results, from dense to sparse."""
        return compare.requested_densities(self.points)

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({row["seed"] for row in self.rows})

    @cached_property
    def dense(self) -> compare.Point | None:
        """The network with every edge, where there is one."""
        return next((p[0] for p in self.points.values() if compare.is_dense(p)), None)

    @cached_property
    def focus(self) -> float | None:
        """The density of sentences and single figures: the sparsest with results of most rules."""
        counts = {
            d: sum(self.point(label, d) is not None for label in self.points)
            for d in self.densities
        }
        return min((d for d in counts if counts[d] == max(counts.values())), default=None)

    def point(self, label: str, density: float) -> compare.Point | None:
        """A label's own point at a requested density (Dense has none)."""
        return next((p for p in self.points.get(label, ()) if p.requested == density), None)

    @cached_property
    def curves(self) -> dict[tuple[str, int], list[store.Row]]:
        """Evaluations by (cell, level), in order of time."""
        curves: dict[tuple[str, int], list[store.Row]] = {}
        for event in self.evals:
            curves.setdefault((event["cell"], event["level"]), []).append(event)
        return curves

    @cached_property
    def graphs(self) -> dict[tuple[str, float, int], Graph]:
        """The connectivity at the end of every (label, requested density, seed) but the dense."""
        graphs = {}
        for label, points in self.points.items():
            for point in points:
                if point.requested is None or point.requested >= 1:
                    continue
                for row in point.rows:
                    graph = self.graph(row)
                    if graph is not None:
                        graphs[label, point.requested, row["seed"]] = graph
        return graphs

    def graphs_at(self, label: str, density: float | None) -> list[Graph]:
        """Per seed the graph at a requested density, a copy for one use.

        What is derived from a graph is kept with it; with those of :attr:`graphs` it would stay in
        memory until the page is written.
        """
        from rewire.graph import Graph

        return [Graph(g.space, g.keys) for (one, d, _), g in self.graphs.items()
                if (one, d) == (label, density)]  # fmt: skip

    def graph(self, row: Mapping[str, Any]) -> Graph | None:
        """The connectivity at the end of a row's level; None where it was not saved."""
        with self.reading(f"the connectivity of {row['label']}, seed {row['seed']}"):
            return read_graph(self.out, row)
        return None

    @cached_property
    def measures(self) -> list[Measure]:
        """The measures of installed packages."""
        return installed_measures()

    @cached_property
    def measurements(self) -> Measurements:
        return Measurements()

    def measured(self, measure: Measure, point: compare.Point) -> list[float]:
        """An installed measure of the graphs of a point, for the seeds that have a value."""
        values = [self.measure(measure, row) for row in point.rows]
        return [value for value in values if value is not None]

    def measure(self, measure: Measure, row: Mapping[str, Any]) -> float | None:
        """An installed measure of the graph at the end of a row's level; None without a value."""
        key = (row["cell"], row["level"])
        if (measure.name, key) not in self.measurements.values:
            whose = f"{row['label']}, seed {row['seed']}"
            graph = None
            with self.reading(f"the connectivity of {whose}"):
                graph = read_graph(self.out, row, weights=True)
            if graph is None:
                return None
            return self.measurements.take(measure, graph, key, whose)
        return self.measurements.values[measure.name, key]

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Read files that may be damaged or missing: an error becomes one of `problems`."""
        from rewire.checkpoint import CheckpointError

        try:
            yield
        except (CheckpointError, StoreError, KeyError, TypeError, ValueError) as error:
            problem = f"{what}: {error}"
            if problem not in self.problems:
                self.problems.append(problem)

    def lives(self, label: str, density: float) -> list[Lifetimes]:
        """Per seed the lives of a label's edges, from its start to the end of a density's level.

        Only of finished cells: the log of others may lag behind. A cell that starts several times
        (a branch) never rewires.
        """
        point = self.point(label, density)
        lives = [self._lives(row) for row in (point.rows if point else ())]
        return [one for one in lives if one is not None and len(one.key)]

    def _lives(self, row: Mapping[str, Any]) -> Lifetimes | None:
        from rewire.analysis.lifetimes import lifetimes, sampled

        return self._replayed(
            row, lambda start, records, end: lifetimes(*sampled(start, records, FOLLOWED), end)
        )

    def explored(self, point: compare.Point) -> float | None:
        """Fraction of all pairs that were edges at any time, R_s, its mean over the seeds.

        None where a log is not whole, or there are too many pairs to tell them apart.
        """
        from rewire.analysis.exploration import exploration

        def fraction(possible: int) -> Callable[..., float]:
            return lambda start, records, end: float(exploration(start, records, possible)[-1])

        if any(row["possible"] > TOLD_APART for row in point.rows):
            return None
        fractions = [self._replayed(row, fraction(row["possible"])) for row in point.rows]
        known = [f for f in fractions if f is not None]
        return sum(known) / len(known) if known and len(known) == len(fractions) else None

    def _replayed(self, row: Mapping[str, Any], what: Callable[..., T]) -> T | None:
        """``what`` of the keys of a finished cell's start, its edits up to a level, and its end."""
        from rewire.edit_log import read

        cell = store.CellStore(self.out / "cells" / row["cell"])
        events = self.curves.get((row["cell"], row["level"]))
        with self.reading(f"the edits of {row['label']}, seed {row['seed']}"):
            if not events or len(cell.starts) != 1 or not cell.finished:
                return None
            start = cell.read_start(cell.starts[0])[0]["keys"]
            end = events[-1]["total"]
            with cell.edit_log.reader() as log:
                # a level is written down before the edit of its last step
                return what(start, (r for r in read(log) if r.total < end), end)
        return None


def load(out: str | Path) -> RunData:
    """Read the run in ``out``. Raises StoreError where none is, or where a cell is damaged."""
    out = Path(out)
    path = out / "experiment.json"
    experiment = store.read_json(path) if path.exists() else {}
    if not isinstance(experiment, dict):
        raise StoreError(f"{path}: holds a {type(experiment).__name__} where an object belongs")
    toml = out / "experiment.toml"
    listed = bool(experiment.get("cells"))
    evals = store.evals(out, listed=listed)
    rows = with_steps_to_dense_loss(store.results(out, listed=listed), evals)
    return RunData(
        out,
        experiment,
        [row for row in rows if "spiking_accuracy" not in row],
        evals,
        [_state(out, item) for item in experiment.get("cells", [])],
        toml.read_text(errors="replace") if toml.is_file() else "",
        [row for row in rows if "spiking_accuracy" in row],
    )


def _state(out: Path, item: Any) -> CellState:
    item = {"hash": item} if isinstance(item, str) else item
    cell = store.CellStore(out / "cells" / item["hash"])
    if not (cell.path / "cell.json").exists():
        return CellState(cell.hash, str(item.get("label") or "?"), item.get("seed"), "waiting")
    config = cell.cell().get("config", {})
    rule = config.get("rule")
    label = item.get("label") or config.get("label") or (rule or {}).get("rule", rule)
    error = (cell.error or {}).get("message", "")
    return CellState(cell.hash, str(label), config.get("seed"), cell.status, str(error))

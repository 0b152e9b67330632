"""The table of all results: a row for each rule and requested density, a column for each entry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ... import compare
from ...early_stopping import LEAST, OWN, STEPS
from ...trainings.synops import SPIKES, SYNOPS
from ..measures import Measure
from ..rounding import grouped, power_of_ten, times
from ..run import RunData
from ..tables import Cell, Row, Table


@dataclass(frozen=True)
class Column:
    """One column: its title, and what stands in it for a rule at a density."""

    title: str
    cell: Callable[[RunData, compare.Point], Cell]


def show(run: RunData) -> dict[str, Any] | None:
    """The table, and the cost of one dense training, which costs are multiples of."""
    columns = [*COLUMNS, *(_of_measure(measure) for measure in run.measures)]
    spiking = any(SYNOPS in row for point in _points(run) for row in point.rows)
    if spiking:
        columns += EVENTS
    rows = [
        Row(
            point.label,
            [column.cell(run, point) for column in columns],
            {"label": point.label, "density": _requested(point)},
        )
        for point in _points(run)
    ]
    named = {"metric": run.metric.title}
    titles = ["rule", *(named.get(column.title, column.title) for column in columns)]
    table = Table(titles, rows, "all results", "results", grouped=True)
    unit = _dense_cost(run)
    shown = {"table": table, "unit": power_of_ten(unit) if unit else "", "spiking": spiking}
    return shown if rows else None


def _points(run: RunData) -> Iterator[compare.Point]:
    """Every rule at every requested density, and the dense network."""
    for points in run.points.values():
        for point in points:
            if point.requested is not None or compare.is_dense(points):
                yield point


def _requested(point: compare.Point) -> float:
    return point.requested if point.requested is not None else 1


def _dense_cost(run: RunData) -> float | None:
    return run.dense.mean("train_flops_sparse") if run.dense else None


# --- cells ---


def _judged(run: RunData, point: compare.Point) -> Cell:
    mean = point.mean(run.metric.test)
    return Cell(run.metric.number(mean), "main", {"value": mean})


def _interval(run: RunData, point: compare.Point) -> Cell:
    metric = run.metric
    summary = compare.summarise(point.values(metric.test))
    if summary.low is None or summary.high is None:
        return Cell("", note=summary.method)
    return Cell(f"{metric.number(summary.low)} to {metric.number(summary.high)}")


def _early_stop(run: RunData, point: compare.Point) -> Cell:
    mean = point.mean(run.metric.at_early_stop)
    return Cell(run.metric.number(mean), data={"value": mean})


def _own_steps(run: RunData, point: compare.Point) -> Cell:
    mean = point.mean(OWN)
    return Cell(grouped(mean), data={"value": mean})


def _steps_to_dense(run: RunData, point: compare.Point) -> Cell:
    """The mean over the seeds, where all of them reach the loss; else how many do."""
    compared = [row for row in point.rows if row.get(LEAST) is not None]
    steps = point.values(STEPS)
    if not compared:
        return Cell("–")
    if len(steps) < len(compared):
        return Cell("", note=f"{len(steps)} of {len(compared)} seeds")
    return Cell(grouped(steps.mean()), data={"value": steps.mean()})


def _density(run: RunData, point: compare.Point) -> Cell:
    kind = "over" if point.over_budget else ""
    return Cell(f"{point.density:.4g}", kind, {"value": point.density})


def _edges(run: RunData, point: compare.Point) -> Cell:
    edges = [int(row["edges"]) for row in point.rows]
    fewest, most = min(edges), max(edges)
    return Cell(grouped(fewest) + (f" to {grouped(most)}" if most > fewest else ""))


def _cost(column: str) -> Callable[[RunData, compare.Point], Cell]:
    def cell(run: RunData, point: compare.Point) -> Cell:
        cost, unit = point.mean(column), _dense_cost(run)
        return Cell(times(cost / unit) if unit else power_of_ten(cost), data={"value": cost})

    return cell


def _count(column: str) -> Callable[[RunData, compare.Point], Cell]:
    return lambda run, point: Cell(grouped(point.mean(column)))


def _events(column: str) -> Callable[[RunData, compare.Point], Cell]:
    """Of an example, where the network spikes."""

    def cell(run: RunData, point: compare.Point) -> Cell:
        mean = point.mean(column)
        return Cell("–") if math.isnan(mean) else Cell(grouped(mean), data={"value": mean})

    return cell


def _explored(run: RunData, point: compare.Point) -> Cell:
    fraction = run.explored(point)
    return Cell("" if fraction is None else f"{fraction:.3g}")


def _of_measure(measure: Measure) -> Column:
    """The column of an installed measure: its mean over the seeds."""

    def cell(run: RunData, point: compare.Point) -> Cell:
        values = run.measured(measure, point)
        if not values:
            return Cell("–")
        mean = sum(values) / len(values)
        return Cell(f"{mean:.3g}", data={"measure": measure.name, "value": mean})

    return Column(measure.title, cell)


COLUMNS = (
    Column("asked", lambda run, point: Cell(f"{_requested(point):g}")),
    Column("metric", _judged),
    Column("interval", _interval),
    Column("early stop", _early_stop),
    Column("at step", _own_steps),
    Column("dense loss at step", _steps_to_dense),
    Column("n", lambda run, point: Cell(str(len(point.rows)))),
    Column("density", _density),
    Column("edges", _edges),
    Column("FLOPs, sparse", _cost("train_flops_sparse")),
    Column("FLOPs, dense", _cost("train_flops_dense")),
    Column("formed", _count("formed")),
    Column("dropped", _count("dropped")),
    Column("explored", _explored),
    Column("seconds", lambda run, point: Cell(f"{point.mean('seconds'):.3g}")),
)
EVENTS = [Column("spikes", _events(SPIKES)), Column("SynOps", _events(SYNOPS))]

"""The tables of a spiking run: start and end, published numbers, controls, contrasts."""

from __future__ import annotations

import math
from typing import Any

from ... import compare
from ...spiking.published import PUBLISHED, published
from ..measures import Measure
from ..rounding import fixed, signed
from ..tables import Cell, Row, Table
from .maps import Change, MapRun
from .measures import CONTRASTS, LENGTHS, MEASURES, MapMeasure

CHANCE = 0.05  # below which a test over a simulation's neurons counts


# --- start and end ---


def ends(run: MapRun) -> Table | None:
    """Every measure of the map at the start and at the end, those of installed packages last."""
    rows = [
        Row(
            label,
            [
                Cell(str(change.n)),
                *(_arrow(change, measure) for measure in MEASURES),
                *(_of_graphs(run, change, measure) for measure in run.measures),
            ],
            {"label": label},
        )
        for label, change in run.changes.items()
    ]
    titles = [*(m.title for m in MEASURES), *(m.title for m in run.measures)]
    return Table(["rule", "n", *titles], rows, "start and end", "ends") if rows else None


def _arrow(change: Change, measure: MapMeasure) -> Cell:
    start, end = change.of(measure.column)
    if not measure.at_start:
        return Cell(fixed(end, measure.digits))
    data = {"column": measure.column, "start": start, "value": end}
    kind = "main" if measure is MEASURES[0] else ""
    return Cell(" → ".join(fixed(value, measure.digits) for value in (start, end)), kind, data)


def _of_graphs(run: MapRun, change: Change, measure: Measure) -> Cell:
    """An installed measure of the graphs at both ends, means over the seeds."""
    means = []
    for point in (change.start, change.end):
        values = run.measured(measure, point)
        means.append(sum(values) / len(values) if values else None)
    texts = ("–" if mean is None else f"{mean:.3g}" for mean in means)
    return Cell(" → ".join(texts), data={"measure": measure.name, "value": means[1]})


# --- published numbers ---


def published_cases(run: MapRun) -> Table | None:
    """Our means beside what was published, for each label that is a published case."""
    cases = {k: v for k, v in published(run.config).items() if k in run.changes}
    titles = ["at the end"]
    for label in cases:
        titles += [f"{label} (n = {run.changes[label].n})", "published", "ratio"]
    rows = [
        Row(
            measure.name,
            [cell for k in cases for cell in _ratio(run.changes[k], cases[k], measure)],
        )
        for measure in sorted(MEASURES, key=_published_place)
        if measure.column in PUBLISHED
    ]
    return Table(titles, rows, "published numbers", "published") if cases else None


def _published_place(measure: MapMeasure) -> int:
    order = [*PUBLISHED]
    return order.index(measure.column) if measure.column in order else len(order)


def _ratio(change: Change, case: dict[str, float], measure: MapMeasure) -> list[Cell]:
    mean, reference = change.end.mean(measure.column), case[measure.column]
    if math.isnan(mean):  # no number of a run of an older version
        return [Cell("–"), Cell(f"{reference:.2f}", data={"value": reference}), Cell("–")]
    return [
        Cell(f"{mean:.2f}", "main", {"value": mean}),
        Cell(f"{reference:.2f}", data={"value": reference}),
        Cell(f"{mean / reference:.2f}"),
    ]


# --- controls ---


def controls(run: MapRun) -> Table | None:
    """The maps at the end beside shuffled ones."""
    titles = ["rule"]
    for measure in LENGTHS:
        titles += [measure.title, "shuffled", "apart"]
    rows = [
        Row(label, [cell for measure in LENGTHS for cell in _control(change, measure.column)])
        for label, change in run.changes.items()
    ]
    return Table(titles, rows, "controls", "controls-table") if rows else None


def _control(change: Change, column: str) -> list[Cell]:
    p = change.end.values(f"p_{column}")
    return [
        Cell(fixed(change.end.mean(column)), "main"),
        Cell(fixed(change.end.mean(f"control_{column}"))),
        Cell(f"{int((p < CHANCE).sum())} of {len(p)}"),
    ]


# --- contrasts ---


def contrasts(pairs: list[tuple[str, compare.Contrast]]) -> Table:
    """Named contrasts, each with the column that it compares."""
    titles = ["contrast", "of", "n", "difference", "interval", "g", "what may be said"]
    rows = [_contrast(column, c) for column, c in pairs]
    return Table(titles, rows, "contrasts", "contrasts")


def _contrast(column: str, c: compare.Contrast) -> Row:
    name = f"{c.a} − {c.b}"
    interval = "–"
    if c.low is not None and c.high is not None:
        interval = f"{signed(c.low)} to {signed(c.high)}"
    cells: list[Any] = [
        Cell(CONTRASTS[column]),
        Cell(str(c.n)),
        Cell(signed(c.mean), "main", {"value": c.mean}),
        Cell(interval),
        Cell("–" if c.g is None else fixed(c.g, 1)),
        Cell(c.verdict, "words"),
    ]
    return Row(name, cells, {"contrast": name})

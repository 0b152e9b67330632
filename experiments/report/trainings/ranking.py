"""The main figure of a run of more rules than lines can show: a row for each, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from rewire.pictures.style import THEME, new_figure

from ... import compare
from ...tasks import Metric
from ..axes import ERRORS, INK, LEAST_ERROR, MUTED, PAPER, panel
from ..frame import evenly
from ..rounding import density_percent
from ..run import RunData
from .figures import metric_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

DENSITIES = [("vermillion", "o"), ("blue", "D"), ("green", "s"), ("purple", "^"), ("orange", "v")]


def ranking(run: RunData) -> list[str]:
    """Labels from best to worst mean test metric at the focus density (Dense at its own)."""

    def mean(label: str) -> float:
        point = run.point(label, run.focus) if run.focus is not None else None
        return (point or run.points[label][-1]).mean(run.metric.test)

    return sorted(run.points, key=lambda label: (run.metric.rank(mean(label)), label))


def shown_densities(run: RunData) -> list[float]:
    """The densities that have a mark, from dense to sparse: that of the order among them."""
    if len(run.densities) <= len(DENSITIES) or run.focus is None:
        return run.densities
    return sorted({*evenly(run.densities, len(DENSITIES) - 1), run.focus}, reverse=True)


def ranked(run: RunData, *, wide: bool) -> Figure:
    """Test metric of every rule, a row each, best first; a mark for each density asked for.

    An axis of fractions is logarithmic in the error, so that 97 and 98 % stand apart as 70 and
    80 % do.
    """
    labels = ranking(run)
    row = 0.235 if wide else 0.215
    figure = new_figure(10.4 if wide else 4.1, row * len(labels) + 0.85)
    axes = panel(figure, left=2.45 if wide else 1.62, bottom=0.52, top=0.33, right=0.02)
    metric = run.metric
    axes.set(xscale="log" if metric.percent else "linear", ylim=(len(labels) - 0.4, -0.6))
    for i in range(0, len(labels), 2):  # a stripe to read along
        axes.axhspan(i - 0.5, i + 0.5, color=THEME["grid"][0], alpha=0.35, linewidth=0)
    marks: dict[str, Line2D] = {}
    places = [_row(axes, run, i, label, marks) for i, label in enumerate(labels)]
    if run.dense is not None:
        axes.axvline(_places(run.dense, metric).mean(), color=INK, linewidth=1, zorder=1)
    _scale(axes, np.concatenate(places), metric)
    by_error = ", log scale of the error" if wide and metric.percent else ""
    axes.set_xlabel(metric.axis("test") + by_error)
    figure.numbers += metric_rows(run)
    axes.set_yticks(range(len(labels)), [_name(run, label, wide) for label in labels])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    handles, names = list(marks.values()), list(marks)
    axes.legend(handles, names, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names),
                frameon=False, borderaxespad=0.1, handletextpad=0.2, columnspacing=1.2)  # fmt: skip
    return figure


def _scale(axes: Axes, places: np.ndarray, metric: Metric) -> None:
    """Better is further right: errors fall, other metrics as they are good."""
    if not metric.percent:
        low, high = places.min(), places.max()
        room = 0.05 * (high - low) or 0.01
        ends = (low - room, high + room)
        axes.set_xlim(ends[::-1] if metric.lower else ends)
        return
    low, high = places.min() / 1.15, places.max() * 1.15
    axes.set_xlim(high, low)
    ticks = [t for t in ERRORS if low <= t <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 - error:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _row(axes: Axes, run: RunData, i: int, label: str, marks: dict[str, Line2D]) -> np.ndarray:
    """Draw one rule's marks, intervals and seeds; returns where the seeds are drawn."""
    metric, every = run.metric, []
    densities = shown_densities(run)
    points = [p for d in densities if (p := run.point(label, d)) is not None]
    if run.dense is not None and label == run.dense.label:
        points = [run.dense]
    means = [_places(p, metric).mean() for p in points]
    gid = f"rule:{label}"
    axes.plot(means, [i] * len(points), color=MUTED, linewidth=0.8, zorder=2, gid=gid)
    for point in points:
        colour, marker = _mark(densities, point.requested)
        places = _places(point, metric)
        summary = compare.summarise(point.values(metric.test))
        if summary.low is not None and summary.high is not None:
            ends = _on_axis(np.array([summary.high, summary.low]), metric)
            axes.plot(ends, [i, i], color=colour, linewidth=2.2, alpha=0.4, zorder=2.5, gid=gid)
        axes.scatter(places, [i] * len(places), s=6, color=colour, alpha=0.55, linewidths=0,
                     gid=gid)  # fmt: skip
        (mark,) = axes.plot(
            places.mean(), i, linestyle="none", marker=marker, color=colour, markersize=6,
            markerfacecolor=PAPER if point.over_budget else colour,
            markeredgecolor=colour if point.over_budget else PAPER,
            markeredgewidth=1.4 if point.over_budget else 0.7, zorder=4, gid=gid,
        )  # fmt: skip
        if not point.over_budget:
            marks.setdefault(_density(point.requested), mark)
        every.append(places)
    return np.concatenate(every) if every else np.empty(0)


def _places(point: compare.Point, metric: Metric) -> np.ndarray:
    """Where the seeds of a point stand on the axis."""
    return _on_axis(point.values(metric.test), metric)


def _on_axis(values: np.ndarray, metric: Metric) -> np.ndarray:
    """Of fractions the errors in %, above 0 for the logarithm; other values as they are."""
    return np.maximum(100 - 100 * values, LEAST_ERROR) if metric.percent else values


def _mark(densities: Sequence[float], density: float | None) -> tuple[str, str]:
    if density is None or density not in densities:
        return INK, "o"
    name, marker = DENSITIES[list(densities).index(density) % len(DENSITIES)]
    return THEME[name][0], marker


def _density(density: float | None) -> str:
    return "all edges" if density in (None, 1) else density_percent(float(density or 0))


def _name(run: RunData, label: str, wide: bool) -> str:
    """The label, and the densities that it came to where they are not those asked for."""
    most = 24 if wide else 20
    name = label if len(label) <= most else f"{label[: most - 1]}…"
    points = run.points[label]
    if not wide or not any(p.over_budget or p.under_budget for p in points):
        return name
    return f"{name}  ({', '.join(f'{100 * p.density:.2g}' for p in points)} %)"

"""The figures of trained networks. Each function draws one panel of a run and returns it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from rewire.pictures.style import new_figure

from ... import compare
from ...tasks import Metric
from .. import lives
from ..axes import (
    INK,
    MOST_SEEDS,
    PANEL,
    PAPER,
    Curve,
    Looks,
    density_ticks,
    dots,
    draw_range,
    falling_density,
    log_ticks,
    mean_curve,
    panel,
    space_by_error,
    thinned,
)
from ..measures import Measure
from ..rounding import power_of_ten
from ..run import RunData
from ..style import Look, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# --- the metric against density ---


def metric_against_density(run: RunData, looks: Looks, *, wide: bool) -> Figure:
    """Mean test metric of every rule with bootstrap band and seeds; Dense as a level line."""
    figure = new_figure(10.4, 5.0) if wide else new_figure(4.1, 4.1)
    right = 1.75 / 10.4 if wide else 0.1 / 4.1
    axes = panel(figure, left=0.62, right=right, bottom=0.55)
    labels = [label for label in run.points if label_has_line(run, label)]
    ends = {}
    for i, label in enumerate(labels):
        points = run.points[label]
        aside = 1.012 ** (i - (len(labels) - 1) / 2) if len(labels) > 1 else 1.0
        x = np.array([p.density for p in points]) * aside
        alpha = 0.13 if len(labels) < 6 else 0.09
        ends[label] = _curve(axes, x, points, looks[label], run.metric, bold=wide, alpha=alpha)
    densities = [p.density for label in labels for p in run.points[label]]
    low, high = (min(densities), max(densities)) if densities else (0.01, 1.0)
    figure.numbers += metric_rows(run)
    axes.set_xscale("log")
    axes.set_xlim(high * 1.16, low / 1.14)
    if run.dense is not None:
        _dense_line(axes, run.dense, run.metric, high * 1.16, label=not wide)
    ticks = thinned(run.densities or densities, ratio=1.3 if wide else 1.6)
    ticks += [t for t in (0.5, 1.0) if high * 1.16 > t > 1.3 * max(ticks, default=0)]
    density_ticks(axes, ticks)
    name = "density: edges kept of all possible, log scale" if wide else "density, log scale"
    axes.set_xlabel(f"{name}  (sparser →)")
    axes.set_ylabel(run.metric.axis("test"))
    if wide:
        _direct_labels(axes, run, ends, looks)
    return figure


def metric_rows(run: RunData) -> Iterator[dict[str, Any]]:
    """A row for each seed at each density, with the mean of the seeds and its interval."""
    column = run.metric.test
    for points in run.points.values():
        for point in points:
            summary = compare.summarise(point.values(column))
            over_seeds = {"mean": summary.mean, "low": summary.low, "high": summary.high}
            for row in point.rows:
                yield {**_which(row), column: row[column], **over_seeds}


def _which(row: Mapping[str, Any]) -> dict[str, Any]:
    """Whose numbers a row of a figure has, in the words of the table of results."""
    return {name: row[name] for name in ("label", "requested_density", "density", "seed")}


def label_has_line(run: RunData, label: str) -> bool:
    """Whether a label is drawn as a curve over densities (Dense is a level line)."""
    return run.dense is None or label != run.dense.label


def _curve(
    axes: Axes,
    x: np.ndarray,
    points: Sequence[compare.Point],
    look: Look,
    metric: Metric,
    *,
    bold: bool = True,
    alpha: float = 0.13,
) -> float:
    """Band, line, means and seeds over ``x``; returns the last mean."""
    summaries = [compare.summarise(p.values(metric.test)) for p in points]
    mean = np.array([metric.factor * s.mean for s in summaries])
    banded = np.array([s.low is not None for s in summaries])
    if banded.any():
        low, high = (
            np.array(
                [
                    metric.factor * getattr(s, end) if s.low is not None else np.nan
                    for s in summaries
                ]
            )  # fmt: skip
            for end in ("low", "high")
        )
        axes.fill_between(x, low, high, color=look.hex, alpha=alpha, linewidth=0)
    rung = np.array([p.requested is None for p in points])
    seeds = [
        (a, metric.factor * v)
        for a, p in zip(x, points, strict=True)
        for v in p.values(metric.test)
    ]
    dots(axes, seeds, look, 9 if bold else 6)
    axes.plot(x, mean, color=look.hex, linestyle=look.line, linewidth=1.8, zorder=3)
    axes.plot(
        x[~rung],
        mean[~rung],
        linestyle="none",
        marker=look.marker if look.marker != "_" else "o",
        color=look.hex,
        markersize=(8 if bold else 6.5) * look.size,
        markeredgecolor=PAPER,
        markeredgewidth=0.8,
        zorder=4,
    )
    return float(mean[-1])


def _dense_line(axes: Axes, dense: compare.Point, metric: Metric, x: float, *, label: bool) -> None:
    summary, factor = compare.summarise(dense.values(metric.test)), metric.factor
    axes.axhline(factor * summary.mean, color=INK, linewidth=1.2, zorder=2.5)
    if summary.low is not None and summary.high is not None:
        low, high = factor * summary.low, factor * summary.high
        axes.axhspan(low, high, color=INK, alpha=0.09, linewidth=0)
    values = factor * dense.values(metric.test)
    # beside each other from the left, closer where there are more seeds than 59
    place = np.geomspace(x, axes.get_xlim()[1], max(60, len(values) + 1))[1 : len(values) + 1]
    axes.scatter(place, values, s=9, color=INK, alpha=0.6, linewidths=0)
    if label:
        mean = f"{factor * summary.mean:.1f}" if metric.percent else metric.number(summary.mean)
        axes.annotate(  # at the sparse end, where the lines of rules fall away from it
            f"{dense.label} {mean}",
            (axes.get_xlim()[1], factor * summary.mean),
            xytext=(-3, 3),
            textcoords="offset points",
            ha="right",
            fontsize=9,
        )


def _direct_labels(axes: Axes, run: RunData, ends: dict[str, float], looks: Looks) -> None:
    """Each curve's name at its sparse end, spread apart so that all can be read."""
    if run.dense is not None:
        ends = ends | {run.dense.label: run.metric.factor * run.dense.mean(run.metric.test)}
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height / axes.figure.dpi * 72
    gap = 13 * (high - low) / height
    for (label, y), at in zip(ends.items(), spread(ends.values(), gap, low, high), strict=True):
        axes.annotate(
            label if len(label) < 24 else label[:22] + "…",
            (1, y),
            xytext=(1.025, (at - low) / (high - low)),
            xycoords=("axes fraction", "data"),
            textcoords="axes fraction",
            color=looks[label].hex,
            va="center",
            fontsize=9.5,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": looks[label].hex, "linewidth": 0.7,
                        "shrinkA": 1, "shrinkB": 0},
        )  # fmt: skip


# --- the metric against cost ---

COSTS = {
    "train_flops_sparse": "training FLOPs, live edges only",
    "train_flops_dense": "training FLOPs, counted as if dense",
    "synops_per_example": "synaptic operations of a test example",
}


def metric_against_cost(run: RunData, looks: Looks, cost: str, *, legend: bool = False) -> Figure:
    """Test metric against cumulative training cost, ancestors included, or against the synaptic
    operations of an example; a path per rule."""
    figure = new_figure(7.2, 4.2) if legend else new_figure(4.7, 3.7)
    axes = panel(figure, left=0.55, bottom=0.6, right=0.3 if legend else 0.03)
    axes.set_xscale("log")
    for label, points in run.points.items():
        look = looks[label]
        path = [p for p in points if p.requested is not None or len(points) == 1]
        path = [p for p in path if (p.values(cost) > 0).any()]
        if not path:
            continue
        x = [p.mean(cost) for p in path]
        factor, column = run.metric.factor, run.metric.test
        y = [factor * p.mean(column) for p in path]
        seeds = [(row[cost], factor * row[column]) for p in path for row in p.rows]
        figure.numbers += cost_rows(path, cost, column)
        dots(axes, seeds, look, 6)
        dense = not label_has_line(run, label)
        axes.plot(
            x,
            y,
            color=look.hex,
            linestyle=look.line,
            marker="o" if dense else look.marker,
            markersize=8 if dense else 6.5 * look.size,
            markerfacecolor="none" if dense else look.hex,
            markeredgecolor=look.hex if dense else PAPER,
            markeredgewidth=1.6 if dense else 0.8,
            linewidth=1.4,
            zorder=3,
            label=label,
        )
    if legend:
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: power_of_ten(v)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{COSTS[cost]}, log scale")
    axes.set_ylabel(run.metric.axis("test"))
    return figure


def cost_rows(points: Iterable[compare.Point], cost: str, column: str) -> list[dict[str, Any]]:
    """A row for each seed of each point."""
    return [
        {**_which(row), "cost": cost, "amount": row[cost], column: row[column]}
        for point in points
        for row in point.rows
    ]


# --- learning curves ---


def learning_curves(
    run: RunData,
    looks: Looks,
    density: float,
    column: str,
    title: str = "",
    only: Collection[str] | None = None,
) -> Figure:
    """Mean of one column against the step of the level that ended at ``density``, and all seeds;
    of many seeds their range. only: labels that are drawn, over the range of all.
    """
    figure = new_figure(*PANEL)
    axes = panel(figure, left=0.58, bottom=0.52, top=0.3)
    metric = run.metric
    judged = column == metric.validation
    factor = metric.factor if judged else 1
    ranges: list[np.ndarray] = []
    means: list[Curve] = []
    for label, points in run.points.items():
        point = compare.at_density(points, density)
        by_seed = _curves(run, point, column) if point else {}
        curves = list(by_seed.values())
        if not curves:
            continue
        step, mean = mean_curve(curves)
        means.append((step, factor * mean))
        ranges += [factor * value[len(value) // 4 :] for _, value in curves]
        if only is not None and label not in only:
            continue
        figure.numbers += [
            {"label": label, "requested_density": density, "seed": seed, "step": at,
             "measure": column, "value": one}
            for seed, curve in by_seed.items()
            for at, one in zip(*curve, strict=True)
        ]  # fmt: skip
        look = looks[label]
        if len(curves) > MOST_SEEDS:
            draw_range(axes, [(at, factor * value) for at, value in curves], look.hex)
        elif len(curves) > 1 and only is None:
            for at, value in curves:
                axes.plot(at, factor * value, color=look.hex, linewidth=0.6, alpha=0.35)
        axes.plot(
            step, factor * mean, color=look.hex, linestyle=look.line, linewidth=1.6, zorder=3,
            gid=f"rule:{label}",
        )  # fmt: skip
    if only is not None and means:
        draw_range(axes, means)
    if ranges:
        values = np.concatenate(ranges)
        low, high = np.nanquantile(values, [0.02, 1] if judged and not metric.lower else [0, 0.98])
        room = 0.06 * (high - low) or 0.01
        axes.set_ylim(low - room, high + room)
    if column == "val_loss" and ranges and low > 0:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.08, high * 1.1)
        axes.yaxis.set_major_locator(FixedLocator(log_ticks(low / 1.08, high * 1.1)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    if judged and metric.percent and run.crowded:
        space_by_error(axes)
    axes.set_title(title or f"density {density:g}")
    axes.set_xlabel("step")
    axes.set_ylabel(
        metric.axis("validation", hint=False) if judged else "validation loss, log scale"
    )
    return figure


def _curves(run: RunData, point: compare.Point, column: str) -> dict[int, Curve]:
    """Steps and values of every seed of a point, over the evaluations of its own level."""
    curves = {}
    for row in point.rows:
        events = [
            e for e in run.curves.get((row["cell"], row["level"]), []) if e[column] is not None
        ]
        if events:
            steps, values = ([e[name] for e in events] for name in ("step", column))
            curves[row["seed"]] = np.array(steps), np.array(values)
    return curves


# --- churn ---


def churn_of(run: RunData, label: str, density: float) -> dict[int, tuple[np.ndarray, ...]]:
    """By seed the steps of a cell's evaluations, and edges formed and dropped per step between.

    A cell that visits several densities (IMP) is followed to the level that ended at ``density``.
    """
    point = run.point(label, density)
    rates = {}
    for row in point.rows if point else ():
        events = [
            e for level in range(row["level"] + 1) for e in run.curves.get((row["cell"], level), [])
        ]
        table = np.array([[e["total"], e["formed"], e["dropped"]] for e in events], dtype=float)
        table = table[np.unique(table[:, 0], return_index=True)[1]] if len(table) else table
        if len(table):
            start = np.zeros((int(table[0, 0] > 0), 3))  # where no evaluation is of step 0
            rates[row["seed"]] = lives.rates_of(np.concatenate([start, table]))
    return rates


# --- degrees ---


def degree_panel(
    tails: dict[str, tuple[np.ndarray, np.ndarray]], title: str, looks: Looks, xlabel: str
) -> Figure:
    """Fraction of units with at least the number of edges on the axis, one line per rule."""
    figure = new_figure(PANEL[0], 2.6)
    axes = panel(figure, left=0.58, bottom=0.52, top=0.3)
    for label, (degree, fraction) in tails.items():
        figure.numbers += [
            {"label": label, "units": title, "edges_at_least": least, "fraction": share}
            for least, share in zip(degree, fraction, strict=True)
        ]
        axes.plot(
            degree,
            100 * fraction,
            color=looks[label].hex,
            linestyle=looks[label].line,
            drawstyle="steps-pre",
            linewidth=1.5,
        )
    degree_axis(axes, max((degree[-1] for degree, _ in tails.values()), default=10))
    axes.set_ylim(0, 102)
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("units, %")
    return figure


def degree_axis(axes: Axes, most: float) -> None:
    """Numbers of edges from 0 to ``most``: linear up to 10, logarithmic beyond."""
    axes.set_xscale("symlog", linthresh=10, linscale=0.8)
    ticks = [t for t in (0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if t <= most]
    ticks = ticks if len(ticks) < 9 else [t for t in ticks if t not in (2, 20, 200, 2000)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, max(most, 1) * 1.02)


# --- measures of installed packages ---

Values = list[tuple[float, list[float]]]  # per density: the values of the seeds


def measured(run: RunData, measure: Measure) -> dict[str, Values]:
    """A measure of every label's networks at the densities asked for, labels without one left out.

    The dense network, where the run has one, stands at density 1.
    """
    by_label = {}
    for label, points in run.points.items():
        points = [p for p in points if p.requested is not None or compare.is_dense(points)]
        values = [(p.density, run.measured(measure, p)) for p in points]
        if values := [(density, seeds) for density, seeds in values if seeds]:
            by_label[label] = values
    return by_label


def measure_panel(
    by_label: Mapping[str, Values], title: str, looks: Looks, ticks: Sequence[float]
) -> Figure:
    """A measure against density: a line through the means of each label, and every seed."""
    figure = new_figure(*PANEL)
    axes = panel(figure, left=0.68, bottom=0.52, top=0.3)
    for label, values in by_label.items():
        look = looks[label]
        every = [(density, v) for density, seeds in values for v in seeds]
        figure.numbers += [
            {"label": label, "measure": title, "density": at, "value": v} for at, v in every
        ]
        dots(axes, every, look, 6)
        axes.plot(
            [density for density, _ in values], [np.mean(seeds) for _, seeds in values],
            color=look.hex, linestyle=look.line, markersize=6.5 * look.size, zorder=3,
            marker=look.marker if look.marker != "_" else "o",
        )  # fmt: skip
    densities = [density for values in by_label.values() for density, _ in values]
    falling_density(axes, densities, ticks)
    axes.set_title(title)
    return figure

"""The figures of a report. Each function draws one panel from a `Loaded` run and returns it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from ... import compare
from ..axes import (
    INK,
    PANEL,
    PAPER,
    Curve,
    Looks,
    _by_error,
    density_axis,
    dots,
    log_ticks,
    mean_curve,
    panel,
    power_of_ten,
    thinned,
)
from ..run import Loaded
from ..style import Look, figure, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# --- accuracy against density ---


def accuracy_against_density(run: Loaded, looks: Looks, *, wide: bool) -> Figure:
    """Mean test accuracy of every rule with bootstrap band and seeds; Dense as a level line."""
    made = figure(10.4, 5.0) if wide else figure(4.1, 4.1)
    right = 1.75 / 10.4 if wide else 0.1 / 4.1
    axes = panel(made, left=0.62, right=right, bottom=0.55)
    labels = [label for label in run.points if label_has_line(run, label)]
    ends = {}
    for i, label in enumerate(labels):
        points = run.points[label]
        aside = 1.012 ** (i - (len(labels) - 1) / 2) if len(labels) > 1 else 1.0
        x = np.array([p.density for p in points]) * aside
        ends[label] = _curve(
            axes, x, points, looks[label], bold=wide, alpha=0.13 if len(labels) < 6 else 0.09
        )
    densities = [p.density for label in labels for p in run.points[label]]
    low, high = (min(densities), max(densities)) if densities else (0.01, 1.0)
    axes.set_xscale("log")
    axes.set_xlim(high * 1.16, low / 1.14)
    if run.dense is not None:
        _dense_line(axes, run.dense, high * 1.16, label=not wide)
    ticks = thinned(run.densities or densities, ratio=1.3 if wide else 1.6)
    ticks += [t for t in (0.5, 1.0) if high * 1.16 > t > 1.3 * max(ticks, default=0)]
    density_axis(axes, ticks)
    kept = "density: edges kept of all possible, log scale" if wide else "density, log scale"
    axes.set_xlabel(f"{kept}  (sparser →)")
    axes.set_ylabel("test accuracy, %")
    if wide:
        _direct_labels(axes, run, ends, looks)
    return made


def label_has_line(run: Loaded, label: str) -> bool:
    """Whether a label is drawn as a curve over densities (Dense is a level line)."""
    return run.dense is None or label != run.dense.label


def _curve(
    axes: Axes,
    x: np.ndarray,
    points: Sequence[compare.Point],
    look: Look,
    *,
    bold: bool = True,
    alpha: float = 0.13,
) -> float:
    """Band, line, means and seeds over ``x``; returns the last mean."""
    summaries = [compare.summarise(p.values(compare.ACCURACY)) for p in points]
    mean = np.array([100 * s.mean for s in summaries])
    banded = np.array([s.low is not None for s in summaries])
    if banded.any():
        low, high = (
            np.array([100 * getattr(s, end) if s.low is not None else np.nan for s in summaries])
            for end in ("low", "high")
        )
        axes.fill_between(x, low, high, color=look.hex, alpha=alpha, linewidth=0)
    rung = np.array([p.requested is None for p in points])
    seeds = [
        (a, 100 * v) for a, p in zip(x, points, strict=True) for v in p.values("test_accuracy")
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


def _dense_line(axes: Axes, dense: compare.Point, x: float, *, label: bool) -> None:
    found = compare.summarise(dense.values(compare.ACCURACY))
    axes.axhline(100 * found.mean, color=INK, linewidth=1.2, zorder=2.5)
    if found.low is not None and found.high is not None:
        axes.axhspan(100 * found.low, 100 * found.high, color=INK, alpha=0.09, linewidth=0)
    place = np.geomspace(x, axes.get_xlim()[1], 60)[1 : len(dense.rows) + 1]
    axes.scatter(
        place, 100 * dense.values(compare.ACCURACY), s=9, color=INK, alpha=0.6, linewidths=0
    )
    if label:
        axes.annotate(
            f"{dense.label} {100 * found.mean:.1f}",
            (x, 100 * found.mean),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=9,
        )


def _direct_labels(axes: Axes, run: Loaded, ends: dict[str, float], looks: Looks) -> None:
    """Each curve's name at its sparse end, spread apart so that all can be read."""
    if run.dense is not None:
        ends = ends | {run.dense.label: 100 * run.dense.mean(compare.ACCURACY)}
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


# --- accuracy against cost ---

COSTS = {
    "train_flops_sparse": "training FLOPs, live edges only",
    "train_flops_dense": "training FLOPs, counted as if dense",
}


def accuracy_against_cost(run: Loaded, looks: Looks, cost: str, *, legend: bool = False) -> Figure:
    """Test accuracy against cumulative training cost, ancestors included; a path per rule."""
    made = figure(7.2, 4.2) if legend else figure(4.7, 3.7)
    axes = panel(made, left=0.55, bottom=0.6, right=0.3 if legend else 0.03)
    axes.set_xscale("log")
    for label, points in run.points.items():
        look = looks[label]
        asked = [p for p in points if p.requested is not None or len(points) == 1]
        asked = [p for p in asked if (p.values(cost) > 0).any()]
        if not asked:
            continue
        x = [p.mean(cost) for p in asked]
        y = [100 * p.mean(compare.ACCURACY) for p in asked]
        seeds = [(row[cost], 100 * row[compare.ACCURACY]) for p in asked for row in p.rows]
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
    axes.set_ylabel("test accuracy, %")
    if run.crowded:
        _by_error(axes)
    return made


# --- learning curves ---


def learning_curves(run: Loaded, looks: Looks, density: float, column: str) -> Figure:
    """Mean of one column against the step of the level that ended at ``density``, and all seeds."""
    made = figure(*PANEL)
    axes = panel(made, left=0.58, bottom=0.52, top=0.3)
    factor = 100 if column == "val_accuracy" else 1
    shown: list[np.ndarray] = []
    for label, points in run.points.items():
        point = compare.at_density(points, density)
        curves = _curves(run, point, column) if point else []
        if not curves:
            continue
        look = looks[label]
        for step, value in curves:
            if len(curves) > 1:
                axes.plot(step, factor * value, color=look.hex, linewidth=0.6, alpha=0.35)
        step, mean = mean_curve(curves)
        axes.plot(step, factor * mean, color=look.hex, linestyle=look.line, linewidth=1.6, zorder=3)
        shown += [factor * value[len(value) // 4 :] for _, value in curves]
    if shown:
        values = np.concatenate(shown)
        low, high = np.nanquantile(values, [0.02, 1] if factor == 100 else [0, 0.98])
        room = 0.06 * (high - low) or 0.01
        axes.set_ylim(low - room, high + room)
    if column == "val_loss" and shown and low > 0:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.08, high * 1.1)
        axes.yaxis.set_major_locator(FixedLocator(log_ticks(low / 1.08, high * 1.1)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    if factor == 100 and run.crowded:
        _by_error(axes)
    axes.set_title(f"density {density:g}")
    axes.set_xlabel("step")
    axes.set_ylabel("validation accuracy, %" if factor == 100 else "validation loss, log scale")
    return made


def _curves(run: Loaded, point: compare.Point, column: str, x: str = "step") -> list[Curve]:
    """(x, value) of every seed of a point, over the evaluations of its own level."""
    found = []
    for row in point.rows:
        events = [
            e for e in run.curves.get((row["cell"], row["level"]), []) if e[column] is not None
        ]
        if events:
            found.append((np.array([e[x] for e in events]), np.array([e[column] for e in events])))
    return found


# --- churn ---


def churn_of(run: Loaded, label: str, density: float) -> list[tuple[np.ndarray, ...]]:
    """Per seed (total, formed per step, dropped per step) between the evaluations of a cell.

    A cell that visits several densities (IMP) is followed to the level that ended at ``density``.
    """
    point = run.point(label, density)
    found = []
    for row in point.rows if point else ():
        events = [
            e for level in range(row["level"] + 1) for e in run.curves.get((row["cell"], level), [])
        ]
        table = np.array([[e["total"], e["formed"], e["dropped"]] for e in events], dtype=float)
        table = table[np.unique(table[:, 0], return_index=True)[1]] if len(table) else table
        if len(table) > 1:
            between = np.diff(table, axis=0)
            found.append((table[1:, 0], *(between[:, 1:] / between[:, :1]).T))
    return found


# --- degrees ---


def degree_panel(
    tails: dict[str, tuple[np.ndarray, np.ndarray]], title: str, looks: Looks, xlabel: str
) -> Figure:
    """Fraction of units with at least so many edges, one line per rule."""
    made = figure(PANEL[0], 2.6)
    axes = panel(made, left=0.58, bottom=0.52, top=0.3)
    for label, (degree, fraction) in tails.items():
        axes.plot(
            degree,
            100 * fraction,
            color=looks[label].hex,
            linestyle=looks[label].line,
            drawstyle="steps-pre",
            linewidth=1.5,
        )
    axes.set_xscale("symlog", linthresh=10, linscale=0.8)
    most = max((degree[-1] for degree, _ in tails.values()), default=10)
    ticks = [t for t in (0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if t <= most]
    ticks = ticks if len(ticks) < 9 else [t for t in ticks if t not in (2, 20, 200, 2000)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(0, max(most, 1) * 1.02)
    axes.set_ylim(0, 102)
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("units, %")
    return made

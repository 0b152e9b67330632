"""The figures of a report. Each function draws one panel from a `Loaded` run and returns it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from rewire.experiments import compare

from .load import Loaded
from .look import THEME, Look, figure, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rewire.analysis.lifetimes import Lifetimes

INK, MUTED, PAPER = (THEME[name][0] for name in ("ink", "muted", "paper"))
PANEL = (4.1, 2.9)  # inches: a phone's width at a legible size
ERRORS = (0.01, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50, 90)  # in %, where an axis of them has ticks
LEAST_ERROR = 0.01  # %, for an axis where all images are right
Looks = dict[str, Look]


def percent(density: float) -> str:
    """A density as people say it: 5 %, 1.33 %."""
    return f"{100 * density:.3g} %"


def power_of_ten(value: float) -> str:
    """1e12 as 10¹², 2e9 as 2·10⁹."""
    if not value > 0:
        return "0"
    exponent = math.floor(math.log10(value) + 1e-9)
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    front = round(value / 10**exponent, 1)
    return f"10{raised}" if front == 1 else f"{front:g}·10{raised}"


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


def dots(axes: Axes, places: Sequence[tuple[float, float]], look: Look, size: float) -> None:
    x, y = np.array(places, dtype=float).reshape(-1, 2).T
    axes.scatter(x, y, s=size, color=look.hex, alpha=0.55, linewidths=0)


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


Curve = tuple[np.ndarray, np.ndarray]


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


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over seeds where all of them were evaluated."""
    steps = sorted(set.intersection(*({*step.tolist()} for step, _ in curves)))
    rows = [dict(zip(step.tolist(), value, strict=True)) for step, value in curves]
    return np.array(steps), np.array([np.mean([row[s] for row in rows]) for s in steps])


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


def churn_panel(
    seeds: Sequence[tuple[np.ndarray, ...]],
    label: str,
    look: Look,
    most: float,
    xlabel: str = "step, all levels",
) -> Figure:
    """Edges formed (up) and dropped (down) over time by one rule; ``most`` sets the common scale.

    ``seeds``: of each the ends of its stretches of time, and the rates in them.
    """
    made = figure(PANEL[0], 2.5)
    axes = panel(made, left=0.68, bottom=0.5, top=0.3)
    for total, formed, dropped in seeds:
        for value, sign, line in ((formed, 1, "-"), (dropped, -1, (0, (2.5, 1)))):
            axes.plot(
                total, sign * value, color=look.hex, linewidth=1.1, alpha=0.75, linestyle=line,
                drawstyle="steps-pre",
            )  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_yscale("symlog", linthresh=1, linscale=0.6)
    top = 10 ** math.ceil(math.log10(max(most, 10)))
    axes.set_ylim(-top, top)
    decades = [10.0**k for k in range(int(math.log10(top)) + 1)]
    decades = decades if len(decades) < 4 else decades[::2]
    axes.yaxis.set_major_locator(FixedLocator([*(-d for d in decades[::-1]), 0, *decades]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{abs(v):,.0f}".replace(",", " ")))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(label)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("← dropped   formed →")
    return made


# --- survival ---


def survival_panel(
    lives: Mapping[str, Sequence[Lifetimes]],
    title: str,
    looks: Looks,
    xlabel: str,
    least: float = 1,
) -> Figure:
    """Fraction of edges that live longer than so long: all seeds of a rule, and each.

    ``least``: the shortest time on the log scale.
    """
    made = figure(4.7, 3.4)
    axes = panel(made, left=0.58, bottom=0.52, top=0.3)
    for label, seeds in lives.items():
        look = looks[label]
        if len(seeds) > 1:
            for one in seeds:
                axes.plot(*_survival([one], least), color=look.hex, linewidth=0.6, alpha=0.35,
                          drawstyle="steps-post")  # fmt: skip
        axes.plot(*_survival(seeds, least), color=look.hex, linestyle=look.line, linewidth=1.6,
                  drawstyle="steps-post", zorder=3)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(left=least)
    axes.xaxis.set_major_locator(LogLocator(numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _grouped(v)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 103)
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("still there, %")
    return made


def _grouped(value: float) -> str:
    """10 000, 0.01."""
    return f"{value:,.0f}".replace(",", " ") if value >= 1 else f"{value:g}"


def _survival(seeds: Sequence[Lifetimes], least: float) -> Curve:
    """Times (from ``least`` on, for a log scale) and per cent that live beyond, seeds pooled."""
    pooled = seeds[0]
    if len(seeds) > 1:
        pooled = type(pooled)(
            *(np.concatenate([getattr(s, name) for s in seeds])
              for name in ("key", "born", "died", "alive"))
        )  # fmt: skip
    age, beyond = pooled.survival()
    last = beyond[-1] if len(beyond) else 1.0
    times = np.concatenate([[least], np.maximum(age, least), [max(pooled.age.max(), least)]])
    return times, 100 * np.concatenate([[1.0], beyond, [last]])


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


# --- maps and colours without axes ---


def heat(values: np.ndarray, most: float) -> str:
    """A picture, one pixel a value, as a PNG in a data address; 0 is dark, ``most`` is bright."""
    from PIL import Image

    colours = matplotlib.colormaps["inferno"](np.clip(values / max(most, 1e-12), 0, 1), bytes=True)
    data = io.BytesIO()
    Image.fromarray(colours[..., :3]).save(data, format="PNG", optimize=True)
    return address(data.getvalue())


def address(png: bytes) -> str:
    """A PNG as an address that holds its data."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def ratio_colour(ratio: float, most: float) -> tuple[str, str]:
    """Background and text colour of a ratio to chance: white at 1, blue above, orange below."""
    if not math.isfinite(ratio):
        return "transparent", "inherit"
    strength = min(abs(math.log2(max(ratio, 2**-10))) / max(math.log2(max(most, 2)), 1), 1) ** 0.75
    end = (0, 84, 147) if ratio >= 1 else (200, 90, 0)
    mixed = tuple(round(250 + (e - 250) * strength) for e in end)
    return f"rgb({mixed[0]} {mixed[1]} {mixed[2]})", "#fff" if strength > 0.55 else "#1b1f24"


# --- what figures share ---


def panel(
    made: Figure, *, left: float, bottom: float, right: float = 0.03, top: float = 0.12
) -> Axes:
    """Axes with margins in inches (``right`` as a fraction); no layout engine, which is slow."""
    width, height = made.get_size_inches()
    axes = made.add_axes(
        (left / width, bottom / height, 1 - left / width - right, 1 - (bottom + top) / height)
    )
    axes.tick_params(length=3, width=0.7)
    return axes


def _by_error(axes: Axes) -> None:
    """Space accuracies by the logarithm of the error, so that 97 and 98 % stand well apart."""

    def rise(accuracy: np.ndarray) -> np.ndarray:
        return -np.log10(np.maximum(100 - np.asarray(accuracy), LEAST_ERROR))

    def back(height: np.ndarray) -> np.ndarray:
        return 100 - 10 ** -np.asarray(height)

    low = max(axes.get_ylim()[0], 0)
    high = 100 - max(0.85 * (100 - axes.dataLim.y1), LEAST_ERROR)
    axes.set_yscale("function", functions=(rise, back))
    axes.set_ylim(low, high)
    ticks = [100 - error for error in ERRORS if low <= 100 - error <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def density_axis(axes: Axes, ticks: Sequence[float]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float, least: int = 3) -> list[float]:
    """Round numbers in [low, high], at least so many where any set of fronts has them."""
    ticks: list[float] = []
    for fronts in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), range(1, 10), range(10, 100, 2)):
        decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        ticks = [f * 10.0**k for k in decades for f in fronts if low <= f * 10.0**k <= high]
        if len({*ticks}) >= least:
            break
    return sorted({*ticks})


def thinned(values: Iterable[float], ratio: float) -> list[float]:
    """Values that differ by at least a factor, from the largest down."""
    kept: list[float] = []
    for value in sorted(set(values), reverse=True):
        if not kept or kept[-1] / value >= ratio:
            kept.append(value)
    return kept

"""The figures of a run of more rules than lines can show, beside the ranking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rewire.pictures.style import ON_PIXELS, THEME, new_figure

from ... import compare
from ..axes import INK, MUTED, PANEL, PAPER, panel, ratio_rgb, space_by_error
from ..crowd import Families
from ..rounding import power_of_ten
from ..run import RunData
from .figures import COSTS, cost_rows, degree_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.2  # inches of a rule's row
NAME = 22  # letters of a rule's name beside its row
LETTER = 0.075  # inches of a letter beside a dot
FRONT = "vermillion"


def shortened(label: str) -> str:
    """A label that fits beside its row."""
    return label if len(label) <= NAME else f"{label[: NAME - 1]}…"


# --- cost ---


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which points (cost, rank) no other beats: none has a lower rank at the same cost or less.

    By ascending cost.

    >>> front([(1.0, 5.0), (2.0, 6.0), (3.0, 1.0)])
    [0, 2]
    """
    best, kept = np.inf, []
    for i in sorted(range(len(points)), key=points.__getitem__):
        if points[i][1] < best:
            best = points[i][1]
            kept.append(i)
    return kept


def metric_against_cost(run: RunData, cost: str, *, wide: bool = False) -> Figure:
    """Test metric against cost, a dot for each rule and density; those are named that no other
    beats at the same cost or less. wide: for a file of its own, with room for more names."""
    figure = new_figure(7.2, 5.0) if wide else new_figure(4.7, 4.0)
    axes = panel(figure, left=0.62, bottom=0.55)
    axes.set_xscale("log")
    metric = run.metric
    points = [p for _, p in _costly(run, cost)]
    places = [(p.mean(cost), metric.factor * p.mean(metric.test)) for p in points]
    figure.numbers += cost_rows(points, cost, metric.test)
    best = front([(x, metric.rank(p.mean(metric.test))) for (x, _), p in
                  zip(places, points, strict=True)])  # fmt: skip
    for i, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        leads = i in best
        axes.plot(
            x, y, linestyle="none", marker="o", markersize=6.5 if leads else 5, color=MUTED,
            markerfacecolor=THEME[FRONT][0] if leads else MUTED, alpha=1 if leads else 0.45,
            markeredgecolor=PAPER, markeredgewidth=0.6, zorder=4 if leads else 3,
            gid=f"rule:{point.label}",
        )  # fmt: skip
    if metric.percent:
        space_by_error(axes)
    line = [places[i] for i in best]
    axes.step(*zip(*line, strict=True), where="post", color=THEME[FRONT][0], linewidth=1, zorder=2)
    _name(axes, [(points[i], places[i]) for i in best], up=not metric.lower)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: power_of_ten(v)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{COSTS[cost]}, log scale")
    axes.set_ylabel(metric.axis("test"))
    return figure


def _costly(run: RunData, cost: str) -> Iterator[tuple[str, compare.Point]]:
    for label, points in run.points.items():
        for point in points:
            asked = point.requested is not None or len(points) == 1
            if asked and not point.over_budget and (point.values(cost) > 0).any():
                yield label, point


def _name(
    axes: Axes, points: Sequence[tuple[compare.Point, tuple[float, float]]], *, up: bool
) -> None:
    """Names on the side where the front leaves room; of those too close the better one's."""
    taken: list[tuple[float, float, float]] = []
    for point, place in reversed(points):  # the best first
        x, y = axes.transData.transform(place)
        density = "" if point.requested is None else f" {point.requested:g}"
        name = f"{shortened(point.label)}{density}"
        width = LETTER * len(name) * axes.figure.dpi
        left = x < axes.bbox.x0 + width
        begin, end = (x, x + width) if left else (x - width, x)
        if any(
            abs(y - at) < 0.15 * axes.figure.dpi and begin < b and a < end for a, b, at in taken
        ):
            continue
        taken.append((begin, end, y))
        axes.annotate(
            name, place, fontsize=8.5, color=INK, zorder=5,
            xytext=(5 if left else -5, 3 if up else -3), textcoords="offset points",
            ha="left" if left else "right", va="bottom" if up else "top",
        )  # fmt: skip


# --- degrees ---


def degree_rows(
    degrees: Mapping[str, np.ndarray], title: str, xlabel: str, order: Sequence[str]
) -> Figure:
    """A row for each rule: the median of its units' degrees, their middle half, and 5 to 95 %."""
    labels = [label for label in order if label in degrees]
    figure = new_figure(PANEL[0], ROW * len(labels) + 0.85)
    axes = panel(figure, left=1.62, bottom=0.52, top=0.3)
    _rows(axes, labels)
    for i, label in enumerate(labels):
        low, first, middle, third, high = np.quantile(degrees[label], [0.05, 0.25, 0.5, 0.75, 0.95])
        figure.numbers.append(
            {"label": label, "units": title, "p5": low, "p25": first, "median": middle,
             "p75": third, "p95": high, "largest": degrees[label].max(),
             "without_edges": float(np.mean(degrees[label] == 0))}
        )  # fmt: skip
        gid = f"rule:{label}"
        axes.plot([low, high], [i, i], color=MUTED, linewidth=1, gid=gid)
        axes.plot([first, third], [i, i], color=THEME["blue"][0], linewidth=3.5, alpha=0.55,
                  solid_capstyle="butt", gid=gid)  # fmt: skip
        axes.plot(middle, i, marker="o", markersize=4.5, color=THEME["blue"][0], gid=gid)
    degree_axis(axes, max(row["p95"] for row in figure.numbers))
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    return figure


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    """Names beside rows, from the top, and stripes to read along."""
    axes.set_ylim(len(labels) - 0.4, -0.6)
    for i in range(0, len(labels), 2):
        axes.axhspan(i - 0.5, i + 0.5, color=THEME["grid"][0], alpha=0.35, linewidth=0)
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


# --- overlap ---


def overlap_matrix(
    ratios: np.ndarray, labels: Sequence[str], families: Families, numbers: Sequence[dict[str, Any]]
) -> Figure:
    """Ratios to chance of all pairs, (n, n), as colours; lines between the families of rules."""
    order = [label for members in families.values() for label in members if label in labels]
    at = [labels.index(label) for label in order]
    values, most = ratios[np.ix_(at, at)], float(np.nanmax(ratios))
    side = ROW * len(order)
    figure = new_figure(side + 1.75, side + 1.72)
    axes = panel(figure, left=1.7, bottom=0.05, top=1.65, right=0.02)
    figure.numbers += numbers
    axes.imshow(_pixels(values, most), aspect="auto")
    _colour_scale(figure, most)
    names = [shortened(label) for label in order]
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(order)), names, rotation=90)
    axes.set_yticks(range(len(order)), names)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    end = -0.5
    for members in [*families.values()][:-1]:
        end += sum(label in labels for label in members)
        axes.axhline(end, color=ON_PIXELS, linewidth=0.7)
        axes.axvline(end, color=ON_PIXELS, linewidth=0.7)
    return figure


def _pixels(ratios: np.ndarray, most: float) -> np.ndarray:
    return np.array([[ratio_rgb(v, most) for v in row] for row in ratios], np.uint8)


def _colour_scale(figure: Figure, most: float) -> None:
    """What the colours of ratios stand for, in the corner that no name is in."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.2 / width, 1 - 0.6 / height, 1.2 / width, 0.12 / height))
    end = max(float(np.log2(max(most, 2))), 1.0)
    ratios = 2.0 ** np.linspace(-end, end, 129)
    axes.imshow(_pixels(ratios[None], most), aspect="auto", extent=(-end, end, 0, 1))
    axes.set_title("times chance")
    axes.set_xticks((-end, 0, end), (f"1/{2**end:.3g}", "1", f"{2**end:.3g}"))
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)

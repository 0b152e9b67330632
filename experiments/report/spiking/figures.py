"""The figures of a run of the spiking world, each a panel."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from rewire.pictures.style import new_figure

from .. import lives
from ..axes import INK, MUTED, PANEL, Looks, address, draw_range, mean_curve, panel
from ..style import Look
from .maps import Sheet, Simulation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = np.linspace(0, 1, 21)  # of weights
COLUMN = 2e-3  # seconds of a raster's column
RATE_BIN = 20e-3  # seconds
LINE = 0.2  # inches of a legend's line
SHADE = 205  # of 255, how dark a spike is


# --- over time ---


def over_time(
    cells: Mapping[str, Sequence[Simulation]],
    column: str,
    title: str,
    ylabel: str,
    looks: Looks,
    *,
    legend: bool = False,
    only: Collection[str] | None = None,
) -> Figure:
    """A column against simulated time: every seed, and the mean of each rule's seeds.

    only: labels that are drawn, as means, over the range of all.
    """
    size = (7.2, max(4.2, LINE * len(cells) + 0.9)) if legend else (4.7, 3.2)
    figure = new_figure(*(size if only is None else PANEL))
    axes = panel(figure, left=0.58, bottom=0.52, top=0.3, right=0.3 if legend else 0.03)
    if only is not None:
        means = [mean_curve([one.over_time(column) for one in every]) for every in cells.values()]
        known = [(at[np.isfinite(mean)], mean[np.isfinite(mean)]) for at, mean in means]
        draw_range(axes, [curve for curve in known if len(curve[0])])
    for label, every in cells.items():
        if only is not None and label not in only:
            continue
        curves = [one.over_time(column) for one in every]
        figure.numbers += [
            {"label": label, "seed": one.seed, "seconds": at, "measure": column, "value": number}
            for one, curve in zip(every, curves, strict=True)
            for at, number in zip(*curve, strict=True)
        ]
        for seconds, value in curves if len(curves) > 1 and only is None else ():
            axes.plot(seconds, value, color=looks[label].hex, linewidth=0.7, alpha=0.45)
        if curves:
            axes.plot(
                *mean_curve(curves), color=looks[label].hex, linestyle=looks[label].line,
                linewidth=1.9, zorder=3, marker="o", markersize=3, markeredgewidth=0, label=label,
                gid=f"rule:{label}",
            )  # fmt: skip
    if legend:
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    if only is None:
        axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_title(title)
    axes.set_xlabel("simulated seconds")
    axes.set_ylabel(ylabel)
    return figure


def turnover_of(one: Simulation) -> tuple[np.ndarray, ...]:
    """Seconds of the evaluations, and synapses formed and eliminated per second between them."""
    rows = [one.first, *one.evals]
    table = np.array([[r["simulated_seconds"], r["formed"], r["dropped"]] for r in rows], float)
    return lives.rates_of(table)


# --- maps ---


def meshes(before: Sheet, after: Sheet, look: Look, label: str) -> Figure:
    """Preferred locations of neighbouring target neurons joined on the torus, start and end."""
    figure = new_figure(PANEL[0] + 0.4, 2.62)
    for i, (sheet, when) in enumerate(((before, "start"), (after, "end"))):
        axes = figure.add_axes((0.005 + 0.51 * i, 0.01, 0.485, 0.83))
        map_ = sheet.map()
        figure.numbers += [
            {"label": label, "at": when, "row": place[0], "column": place[1],
             "preferred_row": preferred[0], "preferred_column": preferred[1]}
            for place, preferred in zip(sheet.places, map_.preferred, strict=True)
        ]  # fmt: skip
        for x, y in _wrapped_lines(map_.preferred, sheet.side):
            axes.plot(x, y, color=look.hex, linewidth=0.8, solid_capstyle="round")
        axes.set(
            xlim=(-0.5, sheet.side - 0.5), ylim=(sheet.side - 0.5, -0.5), xticks=[], yticks=[],
            aspect="equal", anchor="NW",
        )  # fmt: skip
        axes.spines[["top", "right"]].set_visible(True)
        known = not np.isnan(map_.ad)
        numbers = f"σ {map_.sigma_aff:.2f}, AD {map_.ad:.2f}" if known else "no synapse"
        axes.set_title(f"{when}: {numbers}", fontsize=9, pad=4)
    figure.text(0.005, 0.995, label, fontweight="bold", fontsize=9.5, va="top")
    return figure


def _wrapped_lines(preferred: np.ndarray, side: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """x and y of the shortest lines on the torus between neighbours of the sheet, NaN between them.

    A line that leaves the sheet is drawn again where it comes in.
    """
    grid = preferred.reshape(side, side, 2)
    starts, ends = [], []
    for axis in (0, 1):
        step = np.roll(grid, -1, axis) - grid
        step -= side * np.round(step / side)
        starts.append(grid.reshape(-1, 2))
        ends.append((grid + step).reshape(-1, 2))
    start, end = np.concatenate(starts), np.concatenate(ends)
    known = np.isfinite(start + end).all(1)
    start, end = start[known], end[known]
    lines = []
    for shift in ((a, b) for a in (-side, 0, side) for b in (-side, 0, side)):
        at, to = start + shift, end + shift
        low, high = np.minimum(at, to), np.maximum(at, to)
        inside = ((high > -0.5) & (low < side - 0.5)).all(1)
        if inside.any():
            points = np.stack([at[inside], to[inside], np.full_like(at[inside], np.nan)], 1)
            lines.append((points[..., 1].ravel(), points[..., 0].ravel()))
    return lines


# --- spikes ---


def raster(sheet: Sheet, label: str, look: Look) -> Figure:
    """Spikes of both sheets, a row a neuron, and under them the populations' rates."""
    steps = max((int(step.max()) + 1 for _, step in sheet.spikes.values() if len(step)), default=1)
    seconds = np.ceil(steps * sheet.dt * 50) / 50
    extent = (sheet.start, sheet.start + seconds)
    figure = new_figure(4.7, 3.6)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.62 / width, 1.55 / height, 1 - 0.75 / width, 1.77 / height))
    size = sheet.side**2
    picture = np.zeros((2 * size, max(round(seconds / COLUMN), 1)), bool)
    for i, name in enumerate(("source", "target")):
        unit, step = sheet.spikes[name]
        column = (step * sheet.dt / COLUMN).astype(int)
        figure.numbers += [
            {"label": label, "population": name, "neuron": one, "seconds": at}
            for one, at in zip(unit, sheet.start + step * sheet.dt, strict=True)
        ]
        picture[i * size + unit, np.minimum(column, picture.shape[1] - 1)] = True
    ink = np.zeros((*picture.shape, 4), np.uint8)
    ink[picture] = SHADE
    axes.imshow(ink, extent=(*extent, 2 * size, 0), aspect="auto", interpolation="none")
    axes.axhline(size, color=MUTED, linewidth=0.8)
    axes.grid(False)
    axes.set_yticks([size / 2, 1.5 * size], ["source", "target"], rotation=90, va="center")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=False)
    axes.set_title(label)
    below = figure.add_axes((0.62 / width, 0.5 / height, 1 - 0.75 / width, 0.95 / height))
    _population_rates(below, sheet, extent, look)
    for one in (axes, below):
        one.set_xlim(*extent)
        one.xaxis.set_major_locator(MaxNLocator(4))
    return figure


def two_colours(svg: str) -> str:
    """The raster's picture as ink or nothing, which takes a third of the bytes."""

    def smaller(match: re.Match[str]) -> str:
        alpha = np.asarray(Image.open(io.BytesIO(base64.b64decode(match[1]))).getchannel("A"))
        picture = Image.fromarray((alpha > 0).astype(np.uint8), "P")
        picture.putpalette([round(255 * c) for c in to_rgb(INK)] * 2)
        data = io.BytesIO()
        picture.save(data, "PNG", bits=1, transparency=bytes([0, SHADE]), optimize=True)
        return f'"{address(data.getvalue())}"'

    return re.sub(r'"data:image/png;base64,([^"]+)"', smaller, svg)


def _population_rates(axes: Axes, sheet: Sheet, extent: tuple[float, float], look: Look) -> None:
    bins = max(round((extent[1] - extent[0]) / RATE_BIN), 1)
    edges = np.linspace(*extent, bins + 1)
    for name, colour, width, line in (
        ("source", MUTED, 1.0, (0, (1.5, 1))), ("target", look.hex, 1.5, "-"),
    ):  # fmt: skip
        at = sheet.start + (sheet.spikes[name][1] + 0.5) * sheet.dt
        rate = np.histogram(at, edges)[0] / (sheet.side**2 * np.diff(edges))
        axes.stairs(rate, edges, color=colour, linewidth=width, linestyle=line, baseline=None)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("simulated seconds")
    axes.set_ylabel("Hz")


# --- weights ---


def weights(start: np.ndarray, end: np.ndarray, label: str, look: Look, most: float) -> Figure:
    """Weights, as fractions of the most they may be, at the start (dotted) and end (filled)."""
    figure = new_figure(PANEL[0], 2.5)
    axes = panel(figure, left=0.58, bottom=0.52, top=0.3)
    for when, values in (("start", start), ("end", end)):
        if (share := histogram(values)) is not None:
            figure.numbers += [
                {"label": label, "at": when, "weight_from": low, "weight_to": high, "percent": part}
                for low, high, part in zip(BINS[:-1], BINS[1:], share, strict=True)
            ]
    if (share := histogram(start)) is not None:
        axes.stairs(share, BINS, color=INK, linewidth=1.3, linestyle=(0, (1.5, 1.2)))
    if (share := histogram(end)) is not None:
        axes.stairs(share, BINS, fill=True, color=look.hex, alpha=0.75)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, most)
    axes.set_title(label)
    axes.set_xlabel("weight, of the most it may be")
    axes.set_ylabel("synapses, %")
    return figure


def histogram(weights: np.ndarray) -> np.ndarray | None:
    """Per cent of the synapses in each of `BINS`; None where there is none.

    >>> share = histogram(np.array([0.01, 0.99, 0.99, 1.0]))
    >>> float(share[0]), float(share[-1])
    (25.0, 75.0)
    """
    if not len(weights):
        return None
    # additive changes leave a weight at a bound but for rounding
    return 100 * np.histogram(np.clip(weights, 0, 1), BINS)[0] / len(weights)

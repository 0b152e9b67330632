"""Axes, panels and colours of every figure."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from rewire.pictures.style import THEME, ink_on, new_figure

from .style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rewire.analysis.lifetimes import Lifetimes

INK, MUTED, PAPER, GREY = (THEME[name][0] for name in ("ink", "muted", "paper", "grey"))
POINTS = 60  # at which a range is drawn
PANEL = (4.1, 2.9)  # inches: a phone's width at a legible size
# in %, where an axis of them has ticks
ERRORS = (0.01, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 90)
MOST_SEEDS = 20  # that lines show one by one
LEAST_ERROR = 0.01  # %, for an axis where all images are right
Looks = dict[str, Look]


def dots(axes: Axes, places: Sequence[tuple[float, float]], look: Look, size: float) -> None:
    x, y = np.array(places, dtype=float).reshape(-1, 2).T
    axes.scatter(x, y, s=size, color=look.hex, alpha=0.55, linewidths=0)


Curve = tuple[np.ndarray, np.ndarray]


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over seeds at the steps at which all of them were evaluated.

    >>> steps, mean = mean_curve([(np.array([0, 10]), [1, 2]), (np.array([0, 20]), [3, 4])])
    >>> steps.tolist(), mean.tolist()
    ([0], [2.0])
    """
    steps = sorted(set.intersection(*({*step.tolist()} for step, _ in curves)))
    rows = [dict(zip(step.tolist(), value, strict=True)) for step, value in curves]
    return np.array(steps), np.array([np.mean([row[s] for row in rows]) for s in steps])


def turnover_panel(
    seeds: Mapping[int, tuple[np.ndarray, ...]],
    label: str,
    look: Look,
    most: float,
    xlabel: str = "step, all levels",
    small: bool = False,
) -> Figure:
    """Edges formed (up) and dropped (down) over time by one rule; ``most`` sets the common scale.

    ``seeds``: of each the ends of its stretches of time, (n + 1,), and the rates in them, (n,).
    """
    time = xlabel.partition(",")[0]
    figure = new_figure(2.3, 1.6) if small else new_figure(PANEL[0], 2.5)
    axes = panel(figure, left=0.5 if small else 0.68, bottom=0.28 if small else 0.5, top=0.3)
    for seed, (ends, formed, dropped) in seeds.items():
        figure.numbers += [
            {"label": label, "seed": seed, time: at, "formed": come, "dropped": gone}
            for at, come, gone in zip(ends[1:], formed, dropped, strict=True)
        ]
        for value, sign, line in ((formed, 1, "-"), (dropped, -1, (0, (2.5, 1)))):
            axes.stairs(
                sign * value, ends, baseline=None, color=look.hex, linewidth=1.1, alpha=0.75,
                linestyle=line,
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
    if small:
        axes.xaxis.set_major_locator(MaxNLocator(3))
    else:
        axes.set_xlabel(xlabel)
        axes.set_ylabel("← dropped   formed →")
    return figure


def draw_range(
    axes: Axes, curves: Sequence[Curve], colour: str | None = None, *, steps: bool = False
) -> None:
    """Shade where curves lie, (x ascending, y) of each, and darker where their middle half does.

    colour: grey by default, the range of all rules. steps: a curve keeps each value until its next.
    """
    every = np.unique(np.concatenate([x for x, _ in curves]))
    at = every[np.unique(np.linspace(0, len(every) - 1, POINTS).round().astype(int))]
    values = np.array([_values_at(at, x, y, steps) for x, y in curves])
    for lower, upper, alpha in ((0, 1, 0.16), (0.25, 0.75, 0.22)):
        low, high = np.nanquantile(values, [lower, upper], axis=0)
        axes.fill_between(at, low, high, step="post" if steps else None, color=colour or GREY,
                          alpha=alpha, linewidth=0, zorder=0)  # fmt: skip


def _values_at(at: np.ndarray, x: np.ndarray, y: np.ndarray, steps: bool) -> np.ndarray:
    """A curve at other places; NaN before its first and after its last."""
    if not steps:
        return np.interp(at, x, y, left=np.nan, right=np.nan)
    kept = np.asarray(y, float)[np.searchsorted(x, at, side="right") - 1]
    return np.where((at < x[0]) | (at > x[-1]), np.nan, kept)


# --- survival ---


def survival_panel(
    lives: Mapping[str, Sequence[Lifetimes]],
    title: str,
    looks: Looks,
    xlabel: str,
    least: float = 1,
    only: Collection[str] | None = None,
) -> Figure:
    """Fraction of edges that outlive each age: all seeds of a rule together, and each alone.

    ``least``: the shortest time on the log scale. only: labels that are drawn, over the range of
    all.
    """
    figure = new_figure(4.7, 3.4) if only is None else new_figure(*PANEL)
    axes = panel(figure, left=0.58, bottom=0.52, top=0.3)
    if only is not None:
        draw_range(axes, [_survival(seeds, least) for seeds in lives.values()], steps=True)
    for label, seeds in lives.items():
        if only is not None and label not in only:
            continue
        look = looks[label]
        if 1 < len(seeds) <= MOST_SEEDS:
            for i, one in enumerate(seeds):
                which = f"{i + 1} of {len(seeds)}"
                figure.numbers += _survival_rows(label, title, [one], least, which)
                axes.plot(*_survival([one], least), color=look.hex, linewidth=0.6, alpha=0.35,
                          drawstyle="steps-post")  # fmt: skip
        figure.numbers += _survival_rows(label, title, seeds, least, "all")
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
    return figure


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


def _survival_rows(
    label: str, of: str, seeds: Sequence[Lifetimes], least: float, which: str
) -> list[dict[str, Any]]:
    ages, alive = _survival(seeds, least)
    return [
        {"label": label, "of": of, "seeds": which, "age": age, "alive_percent": share}
        for age, share in zip(ages, alive, strict=True)
    ]


# --- maps and colours without axes ---


def heat(values: np.ndarray, most: float) -> str:
    """A picture, one pixel a value, as a PNG in a data address; 0 is dark, ``most`` is bright."""
    from PIL import Image

    colours = matplotlib.colormaps["inferno"](np.clip(values / max(most, 1e-12), 0, 1), bytes=True)
    data = io.BytesIO()
    Image.fromarray(colours[..., :3]).save(data, format="PNG", optimize=True)
    return address(data.getvalue())


def picture_rows(values: np.ndarray) -> list[dict[str, Any]]:
    """The numbers of a picture, a row for each of its rows, and a column for each pixel of it.

    >>> picture_rows(np.array([[0.5, 2.0]]))
    [{'row': 0, 'column 0': 0.5, 'column 1': 2.0}]
    """
    return [
        {"row": i, **{f"column {j}": round(float(v), 3) for j, v in enumerate(row)}}
        for i, row in enumerate(values)
    ]


def address(png: bytes) -> str:
    """A PNG as an address that holds its data."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def ratio_colour(ratio: float, most: float) -> tuple[str, str]:
    """Background and text colour of a ratio to chance: white at 1, blue above, orange below.

    >>> ratio_colour(1.0, most=8.0)
    ('rgb(250 250 250)', '#1b1f25')
    """
    if not math.isfinite(ratio):
        return "transparent", "inherit"
    colour = ratio_rgb(ratio, most)
    return f"rgb({colour[0]} {colour[1]} {colour[2]})", ink_on(colour)


def ratio_rgb(ratio: float, most: float) -> tuple[int, ...]:
    """The background of a ratio to chance, from 0 to 255; grey where there is no number."""
    if not math.isfinite(ratio):
        return 223, 227, 232
    strength = min(abs(math.log2(max(ratio, 2**-10))) / max(math.log2(max(most, 2)), 1), 1) ** 0.75
    end = (0, 84, 147) if ratio >= 1 else (200, 90, 0)
    return tuple(round(250 + (e - 250) * strength) for e in end)


# --- what figures share ---


def panel(
    figure: Figure, *, left: float, bottom: float, right: float = 0.03, top: float = 0.12
) -> Axes:
    """Axes with margins in inches (``right`` as a fraction); no layout engine, which is slow."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes(
        (left / width, bottom / height, 1 - left / width - right, 1 - (bottom + top) / height)
    )
    axes.tick_params(length=3, width=0.7)
    return axes


def space_by_error(axes: Axes) -> None:
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


def falling_density(
    axes: Axes, densities: Sequence[float], ticks: Sequence[float] | None = None
) -> None:
    """A logarithmic axis of densities that falls to the right: further right is sparser.

    ticks: where there may be some, by default at the densities themselves.
    """
    axes.set_xscale("log")
    axes.set_xlim(max(densities) * 1.2, min(densities) / 1.2)
    density_ticks(axes, thinned(densities if ticks is None else ticks, ratio=1.6))
    axes.set_xlabel("density, log scale  (sparser →)")


def density_ticks(axes: Axes, ticks: Sequence[float]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float, least: int = 3) -> list[float]:
    """Round numbers in [low, high], at least ``least`` where any set of leading digits has them.

    >>> log_ticks(0.5, 30)
    [1.0, 3.0, 10.0, 30.0]
    """
    ticks: list[float] = []
    for fronts in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), range(1, 10), range(10, 100, 2)):
        decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        ticks = [f * 10.0**k for k in decades for f in fronts if low <= f * 10.0**k <= high]
        if len({*ticks}) >= least:
            break
    return sorted({*ticks})


def thinned(values: Iterable[float], ratio: float) -> list[float]:
    """Values that differ by at least a factor, from the largest down.

    >>> thinned([0.1, 0.2, 0.19, 0.05], ratio=1.5)
    [0.2, 0.1, 0.05]
    """
    ticks: list[float] = []
    for value in sorted(set(values), reverse=True):
        if not ticks or ticks[-1] / value >= ratio:
            ticks.append(value)
    return ticks

"""Measures as pictures: rules against measures, over training, survival and percolation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import ArrayLike

from .panels import GREY, MUTED, POSITIVE, WIDTH, panel, signed_colours
from .style import MUTED_ON_PIXELS, THEME, drawing, ink_on, new_figure

COLOURS = ("blue", "vermillion", "green", "purple", "orange", "indigo", "teal", "wine")
LINES = ("-", (0, (4, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.4, 1.2, 1.4)))
NOTICEABLE = 2.0  # |z| below this is what chance gives


def measures_by_rule(z: Mapping[str, Mapping[str, float]], *, most: float = 20.0) -> Figure:
    """Rules x measures, each cell coloured and labelled by its z against a null model.

    z: rule -> measure -> z; a measure that a rule lacks, or NaN, is an empty cell. Blue is above
    chance, vermillion below; the colour is full at ``most``. |z| < 2 is grey text: what chance
    gives.

    >>> figure = measures_by_rule({"SET": {"clustering": 0.3}, "RigL": {"clustering": 66.0}})
    >>> len(figure.axes)
    1
    """
    rules = list(z)
    names = list(dict.fromkeys(name for row in z.values() for name in row))
    values = np.array([[z[r].get(n, np.nan) for n in names] for r in rules], float)
    values = values.reshape(len(rules), len(names))
    longest = max(map(len, rules), default=1)
    with drawing():
        left = 0.25 + 0.075 * longest
        top = 0.35 + 0.062 * max(map(len, names), default=1)
        right = 0.5  # the last heading leans over
        width = max(WIDTH, left + 0.46 * len(names) + right)
        figure = new_figure(width, top + 0.27 * max(len(rules), 1) + 0.1)
        axes = panel(figure, left=left, bottom=0.08, top=top, right=right)
        axes.grid(False)
        figure.numbers += [
            {"label": rule, "measure": name, "z": z[rule][name]}
            for rule in rules
            for name in names
            if name in z[rule]
        ]
        colours = signed_colours(np.nan_to_num(values), most)
        axes.imshow(colours, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                pixel = (255 * colours[row, column, :3]).tolist()
                colour = MUTED_ON_PIXELS if abs(value) < NOTICEABLE else ink_on(pixel)
                text = f"{value:.0f}" if abs(value) >= 10 else f"{round(value, 1) + 0.0:.1f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(names)), names, rotation=55, ha="left", rotation_mode="anchor")
        axes.set_yticks(range(len(rules)), rules)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def measure_over_time(
    steps: ArrayLike,
    values: Mapping[str, ArrayLike],
    *,
    band: tuple[ArrayLike, ArrayLike] | None = None,
    name: str = "",
    xlabel: str = "step",
) -> Figure:
    """A measure over training, each line a rule, with the band that a null model fills.

    steps: (T,). values: name -> (T,). band: lower and upper end, each (T,), as of the 2.5 and 97.5
    percentiles of the null's draws.

    >>> figure = measure_over_time([0, 10], {"SET": [1, 2]}, band=([0, 0], [1, 1]), name="Q")
    >>> figure.axes[0].get_ylabel()
    'Q'
    """
    with drawing():
        figure = new_figure(WIDTH, 3.1)
        axes = panel(figure, left=0.7, bottom=0.5)
        at = np.asarray(steps)
        if band is not None:
            low, high = (np.asarray(x, float) for x in band)
            axes.fill_between(at, low, high, color=GREY, alpha=0.3, linewidth=0, label="chance")
        _lines(axes, at, values)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(name)
        axes.legend(frameon=False, labelcolor=MUTED, fontsize=9)
    return figure


def survival_by_module(
    ages: ArrayLike, within: ArrayLike, across: ArrayLike, *, xlabel: str = "steps"
) -> Figure:
    """Fraction of edges inside communities, and between them, that outlive each age.

    ages: (T,), positive. within, across: fractions, each (T,).

    >>> len(survival_by_module([1, 10], [1, 0.5], [1, 0.2]).axes[0].lines)
    2
    """
    with drawing():
        figure = new_figure(WIDTH, 3.1)
        axes = panel(figure, left=0.62, bottom=0.5)
        at = np.asarray(ages, float)
        lines = {"inside communities": within, "between communities": across}
        _lines(axes, at, {k: 100 * np.asarray(v, float) for k, v in lines.items()}, steps=True)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(0, 103)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("still there, %")
        axes.legend(frameon=False, labelcolor=MUTED, fontsize=9)
    return figure


def percolation(
    removed: ArrayLike,
    connected: Mapping[str, ArrayLike],
    accuracy: Mapping[str, ArrayLike] | None = None,
) -> Figure:
    """What stays connected while edges are removed, and the accuracy of what is left.

    removed: fractions, (T,). connected: order of removal ("random", "by degree", "by weight") ->
    fraction still connected, (T,). accuracy: the same orders -> accuracy, (T,), dashed, in the
    same colours.

    >>> figure = percolation([0, 1], {"random": [1, 0]}, {"random": [0.9, 0.1]})
    >>> len(figure.axes[0].lines)
    2
    """
    with drawing():
        figure = new_figure(WIDTH, 3.1)
        axes = panel(figure, left=0.62, bottom=0.5, right=0.2)
        at = 100 * np.asarray(removed, float)
        for k, (name, values) in enumerate(connected.items()):
            colour = THEME[COLOURS[k % len(COLOURS)]][0]
            axes.plot(at, 100 * np.asarray(values, float), color=colour, label=name)
            if accuracy is not None and name in accuracy:
                axes.plot(
                    at, 100 * np.asarray(accuracy[name], float), color=colour, linestyle=LINES[1],
                    label=f"{name}: accuracy",
                )  # fmt: skip
        axes.set(xlim=(0, 100), ylim=(0, 103))
        axes.set_xlabel("removed, %")
        axes.set_ylabel("connected, %")
        axes.legend(frameon=False, labelcolor=MUTED, fontsize=9)
    return figure


def _lines(axes, at: np.ndarray, values: Mapping[str, ArrayLike], *, steps: bool = False) -> None:
    style = "steps-post" if steps else "default"
    for k, (name, one) in enumerate(values.items()):
        colour = THEME[COLOURS[k % len(COLOURS)]][0] if len(values) > 1 else POSITIVE
        line = LINES[k // len(COLOURS) % len(LINES)] if not steps else LINES[k % len(LINES)]
        axes.plot(at, np.asarray(one, float), color=colour, linestyle=line, drawstyle=style,
                  label=name)  # fmt: skip

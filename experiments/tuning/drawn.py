"""The figures of a search: the expected best of n trials, and each field against the metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from rewire.pictures.style import THEME, new_figure

from ..metric import Metric
from ..report.axes import log_ticks, panel, thinned
from .expected import expected_best
from .space import OPTIMIZER
from .trials import Trial

if TYPE_CHECKING:
    from rewire.tunable import Tunable

BLUE, GREY, RED = (THEME[name][0] for name in ("blue", "grey", "vermillion"))


def curve(scores: Sequence[float], default: float | None, metric: Metric) -> Figure:
    """Expected best against the number of trials, with its interval; a line for the default."""
    expected = expected_best(scores, lower=metric.lower)
    n = np.arange(1, len(scores) + 1)
    figure, axes = _axes(metric)
    figure.numbers += [
        {"trials": i, "expected_best": best, "low": low, "high": high}
        for i, best, low, high in zip(n, expected.best, expected.low, expected.high, strict=True)
    ]
    axes.fill_between(n, *(metric.factor * np.array(e) for e in (expected.low, expected.high)),
                      color=BLUE, alpha=0.18, linewidth=0)  # fmt: skip
    axes.plot(n, metric.factor * np.array(expected.best), color=BLUE, linewidth=1.8)
    _default(axes, default, metric)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("random trials")
    return figure


def path(scores: Sequence[float], default: float | None, metric: Metric) -> Figure:
    """The best so far of trials that follow from each other."""
    best = np.minimum.accumulate(scores) if metric.lower else np.maximum.accumulate(scores)
    figure, axes = _axes(metric)
    figure.numbers += [{"trials": i + 1, "best": value} for i, value in enumerate(best)]
    axes.step(np.arange(1, len(scores) + 1), metric.factor * best, where="post", color=BLUE)
    _default(axes, default, metric)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("trials")
    return figure


def field(name: str, space: Tunable, trials: Sequence[Trial], best: Trial,
          metric: Metric) -> Figure:  # fmt: skip
    """The metric of every trial against one field; the chosen trial and the default marked."""
    figure, axes = _axes(metric)
    words = [str(choice) for choice in space.choices]
    for trial in trials:
        value = trial.values[name]
        figure.numbers.append({"trial": trial.number, name: value, "score": trial.score})
        at = words.index(str(value)) if words else float(value)
        colour = RED if trial.number == best.number else GREY if trial.number == 0 else BLUE
        axes.plot(at, metric.factor * (trial.score or 0.0), linestyle="none", color=colour,
                  marker="s" if trial.number == 0 else "o", markersize=6, alpha=0.85)  # fmt: skip
    if words:
        axes.set_xticks(range(len(words)), words)
        axes.set_xlim(-0.5, len(words) - 0.5)
    else:
        _scale(axes, space, [float(trial.values[name]) for trial in trials])
    axes.set_xlabel(name.removeprefix(OPTIMIZER))
    return figure


def _scale(axes, space: Tunable, values: Sequence[float]) -> None:  # type: ignore[no-untyped-def]
    """The whole range that is tried, and the default where it lies outside."""
    low, high = min(space.low, *values), max(space.high, *values)
    if space.log:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.15, high * 1.15)
        ticks = thinned(log_ticks(low, high), ratio=8)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        room = 0.04 * (high - low)
        axes.set_xlim(low - room, high + room)


def _axes(metric: Metric):  # type: ignore[no-untyped-def]
    figure = new_figure(3.6, 2.3)
    axes = panel(figure, left=0.68, bottom=0.55)
    axes.set_ylabel(metric.axis("validation", hint=False))
    return figure, axes


def _default(axes, default: float | None, metric: Metric) -> None:  # type: ignore[no-untyped-def]
    if default is not None:
        axes.axhline(metric.factor * default, color=GREY, linewidth=1.2, linestyle=(0, (4, 2)))

"""Ranks, and accuracy against cost, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rewire.experiments.metric import Metric
from rewire.pictures.style import THEME, drawing, new_figure, to_svg

from .ranks import COSTS, frontier, overall

COLOURS = ("blue", "vermillion", "green", "purple", "orange", "brown", "indigo")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
ROW, WIDTH = 0.19, 6.4  # inches

Found = Mapping[str, Any]


def ranks(results: Found) -> str:
    """A row each, best mean rank first: the mean with its interval, and every network's rank."""
    networks = results["networks"]
    rules = overall(networks)["rules"]
    names = [network["name"] for network in networks]
    with drawing(standalone=True):
        figure = new_figure(WIDTH, 1.3 + ROW * len(rules))
        axes = figure.add_subplot()
        rows = range(len(rules))
        for n, name in enumerate(names):
            axes.plot([r["by_network"][name]["rank"] for r in rules], rows, MARKS[n % len(MARKS)],
                      color=THEME[COLOURS[n % len(COLOURS)]][0], markersize=4, alpha=0.8,
                      label=name)  # fmt: skip
        if len(names) > 1:
            low, high = zip(*(r["interval"] for r in rules), strict=True) if rules else ((), ())
            axes.hlines(rows, low, high, color=THEME["ink"][0], linewidth=1.4)
            axes.plot([r["mean"] for r in rules], rows, "|", color=THEME["ink"][0], markersize=9,
                      markeredgewidth=2, label="mean, 95 %")  # fmt: skip
        axes.set_yticks(rows, [r["label"] for r in rules])
        axes.set_ylim(len(rules) - 0.3, -0.7)
        axes.set_xlabel("rank among these rules, 1 is best")
        axes.grid(axis="x", visible=False)
        figure.legend(loc="upper center", ncols=4, frameon=False, bbox_to_anchor=(0.5, 1.0))
        figure.tight_layout(rect=(0, 0, 1, 1 - 0.55 / figure.get_figheight()))
        return to_svg(figure)


def costs(results: Found) -> str:
    """Every rule at every density: the metric against each cost, a row for each network."""
    networks = results["networks"]
    with drawing(standalone=True):
        figure = new_figure(WIDTH + 1.6, 2.3 * len(networks) + 0.6)
        grid = figure.subplots(len(networks), len(COSTS), squeeze=False, sharey="row")
        for axes_of, network in zip(grid, networks, strict=True):
            for axes, cost in zip(axes_of, COSTS, strict=True):
                _costs_of(axes, network, cost)
            metric = Metric(**network["metric"])
            axes_of[0].set_ylabel(f"{network['name']}: {metric.axis('test')}")
        for axes, cost in zip(grid[-1], COSTS, strict=True):
            axes.set_xlabel(f"{cost}, dense = 1")
        for axes_of in grid:
            axes_of[0].legend(fontsize=7, frameon=False, title="density", title_fontsize=7)
        figure.tight_layout()
        return to_svg(figure)


def _costs_of(axes: Axes, network: Found, cost: str) -> None:
    """Costs as parts of the dense network's, where there is one."""
    factor, dense = Metric(**network["metric"]).factor, network["dense"]
    unit = COSTS[cost](dense) if dense else 1.0
    for n, (density, entries) in enumerate(network["densities"].items()):
        axes.plot([COSTS[cost](e) / unit for e in entries],
                  [factor * e["test"]["mean"] for e in entries], MARKS[n % len(MARKS)],
                  color=THEME[COLOURS[n % len(COLOURS)]][0], markersize=3.5, alpha=0.7,
                  label=density)  # fmt: skip
    best = [{**p, "cost": p["cost"] / unit} for p in frontier(network, cost)]
    axes.step([p["cost"] for p in best], [factor * p["test"] for p in best], where="post",
              color=THEME["ink"][0], linewidth=1)  # fmt: skip
    for point in _spread(best):
        axes.annotate(point["label"], (point["cost"], factor * point["test"]), fontsize=7,
                      xytext=(2, 3), textcoords="offset points")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15)


def _spread(points: Sequence[Found]) -> list[Found]:
    """Those of a frontier whose names leave each other room: costs half a decade apart."""
    kept: list[Found] = []
    for point in points:
        if not kept or point["cost"] > 3 * kept[-1]["cost"]:
            kept.append(point)
    return kept

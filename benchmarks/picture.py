"""A result for readers: ``python -m benchmarks.picture RESULT.json PICTURE.svg [PAGE.md]``.

Left: speed-up against density, with the bars that it has to reach. Right: milliseconds of a step
against the number of edges. Numbers are those of ``python -m benchmarks all --json``; a curve whose
suite was not run is left out. With a page, the table of bars between its comments ``bars`` is
written anew as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

from benchmarks import suite  # noqa: E402

Found = Mapping[str, Any]
BEGIN, END = "<!-- bars -->", "<!-- /bars -->"


@dataclass(frozen=True)
class Curve:
    """Numbers of a result over what ``points`` gives: the name of each, and its place."""

    label: str
    colour: str
    points: Mapping[str, float]

    def of(self, found: Found) -> tuple[list[float], list[float]]:
        """Places and numbers that are there."""
        there = {at: found[name] for name, at in self.points.items() if found.get(name) is not None}
        return list(there), list(there.values())

    def bars(self, found: Found) -> tuple[list[float], list[float]]:
        """Places and heights of the bars of those numbers."""
        said = {at: found.get(f"{name}.bar") for name, at in self.points.items()}
        there = {at: float(bar.split()[-1]) for at, bar in said.items() if bar}
        return list(there), list(there.values())


def _over_density(pattern: str, **densities: float) -> dict[str, float]:
    return {pattern.format(label): density for label, density in densities.items()}


LABELS = {"01": 0.01, "05": 0.05, "10": 0.1}
SPEED_UPS = (
    Curve("LeNet-300-100, whole step / masked step", "#1b7837",
          _over_density("sparse.lenet_{}_masked_over_sparse",
                        **{"055": 0.055, "107": 0.107, "21": 0.21})),
    Curve("2,048 x 2,048, batch 128 / dense", "#2166ac",
          _over_density("sparse.layer_2048_{}_dense_over_sparse", **LABELS)),
    Curve("784 x 300, batch 64 / dense", "#92c5de",
          _over_density("sparse.layer_300_{}_dense_over_sparse", **LABELS)),
    Curve("2,048 x 2,048 / SparseProp", "#b2182b",
          _over_density("sparse.layer_2048_{}_sparseprop_over_ours", **LABELS)),
    Curve("ResNet-20, whole step / dense", "#762a83",
          {"sparse_conv.resnet_20_dense_over_ours": 0.05}),
    Curve("LSTM of 1,024, whole step / dense", "#8c510a",
          _over_density("sparse.lstm_1024_{}_dense_over_sparse", **LABELS)),
    Curve("DEEP R, 8,192 wide, whole step / dense", "#e08214",
          {"wide.deep_r_8192_dense_over_sparse": 0.01}),
)  # fmt: skip
STEPS = (
    Curve("fixed edges", "#2166ac",
          {f"wide.step_static_1e{e}_ms": 10.0**e for e in range(4, 8)}),
    Curve("DEEP R, rewiring at every step", "#e08214",
          {f"wide.step_deep_r_1e{e}_ms": 10.0**e for e in range(4, 8)}),
)  # fmt: skip


def draw(found: Found, into: Path) -> None:
    """Write the picture of a result as SVG, the same bytes for the same numbers."""
    plt.rcParams.update({"svg.hashsalt": "rewire", "svg.fonttype": "none", "font.size": 9})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.6), width_ratios=(1.5, 1))
    _speed_ups(left, found)
    _steps(right, found)
    figure.suptitle(
        f"{found['machine']}, one thread, {found['date']}: circles measured, dashes the bars",
        fontsize=9, color="#555555",
    )  # fmt: skip
    figure.tight_layout()
    figure.savefig(into, format="svg", metadata={"Date": None})
    plt.close(figure)


def _speed_ups(axes: Axes, found: Found) -> None:
    for curve in SPEED_UPS:
        x, y = curve.of(found)
        if x:
            axes.plot(x, y, "o-", color=curve.colour, label=curve.label, markersize=4.5)
            axes.plot(*curve.bars(found), "_", color=curve.colour, markersize=15, mew=2)
    axes.axhline(1, color="#999999", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="density", ylabel="times faster")
    axes.set_ylim(0.8, 500)  # room for the legend
    _plain(axes, x=[0.01, 0.02, 0.05, 0.1, 0.2], y=[1, 2, 5, 10, 20, 50, 100, 200])
    axes.legend(frameon=False, fontsize=7.5, loc="upper right")


def _steps(axes: Axes, found: Found) -> None:
    for curve, name in zip(STEPS, ("static", "deep_r"), strict=True):
        x, y = curve.of(found)
        if x:
            slope = found[f"wide.step_slope_{name}"]
            axes.plot(x, y, "o-", color=curve.colour, markersize=4.5,
                      label=f"{curve.label}, slope {slope:.2f}")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="edges", ylabel="ms a step, batch 64")
    if axes.lines:
        axes.legend(frameon=False, fontsize=7.5, loc="upper left")


def _plain(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Ticks as plain numbers, at these places."""
    low, high = axes.get_ylim()
    axes.set_xticks(x, [f"{v:g}" for v in x])
    axes.set_yticks([v for v in y if low <= v <= high], [f"{v:g}" for v in y if low <= v <= high])
    axes.minorticks_off()


def write_bars(found: Found, page: Path) -> None:
    """Put the table of bars between the page's comments."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} has no lines {BEGIN!r} and {END!r} to put the table between.")
    page.write_text(f"{before}{BEGIN}\n{suite.page(found)}\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    parser.add_argument("picture", type=Path, metavar="PICTURE.svg")
    parser.add_argument("page", type=Path, nargs="?", metavar="PAGE.md")
    given = parser.parse_args(arguments)
    found = json.loads(given.result.read_text())
    draw(found, given.picture)
    if given.page is not None:
        write_bars(found, given.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())

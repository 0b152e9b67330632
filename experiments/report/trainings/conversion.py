"""Of an ordinary run with a table ``[spikes]``: each rule's activations and spikes side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ... import compare
from .. import rounding
from ..axes import INK, PANEL, PAPER, density_axis, dots, log_ticks, panel, thinned
from ..run import Loaded
from ..style import Look, figure, inline

ANN, SPIKING = "ann_accuracy", "spiking_accuracy"
COUNTS = {
    "events_per_image": "synaptic events per image",
    "spikes_per_image": "spikes per image",
}
Points = dict[str, list[compare.Point]]


def context(run: Loaded, look: dict[str, Look]) -> dict[str, Any]:
    """What the section shows; empty where no network was run in spikes."""
    labels = {row["cell"]: row["label"] for row in run.rows}
    rows = [row | {"label": labels.get(row["network"], row["label"])} for row in run.spikes]
    found = compare.points(rows)
    found = {label: found[label] for label in run.points if label in found}
    if not found:
        return {}
    dense = next((points[0] for points in found.values() if compare.is_dense(points)), None)
    sparse = {k: v for k, v in found.items() if dense is None or k != dense.label}
    return {
        "said": _said(found),
        "accuracy": list(_accuracy(sparse, dense, look)),
        "costs": [
            Markup(
                inline(
                    _cost_panel(found, column, text, look),
                    f"n{column[0]}",
                    f"{text.capitalize()} against density for {', '.join(found)}.",
                )
            )
            for column, text in COUNTS.items()
        ],
        "table": list(_table(found)),
        "images": max(row["images"] for row in rows),
        "dense": dense.label if dense else None,
        "poisson": dict(run.config.get("spikes") or {}).get("encoding") == "poisson",
    }


def _said(found: Points) -> str:
    """The largest mean loss of all networks, and of which."""
    every = [point for points in found.values() for point in points]
    worst = max(every, key=lambda p: p.mean(ANN) - p.mean(SPIKING))
    loss = worst.mean(ANN) - worst.mean(SPIKING)
    if loss <= 0:
        return "No rule's networks are right less often in spikes than as activations."
    return (
        f"In spikes no rule's networks lose more than {100 * loss:.2f} percentage points in the "
        f"mean ({worst.label} at density {worst.density:.3g}: "
        f"{rounding.percent(worst.mean(ANN), 2)} "
        f"as activations, {rounding.percent(worst.mean(SPIKING), 2)} in spikes)."
    )


def _accuracy(
    sparse: Points, dense: compare.Point | None, look: dict[str, Look]
) -> Iterator[Markup]:
    """A panel for each rule, on one scale."""
    every = [*sparse.values(), *([[dense]] if dense else [])]
    values = [
        100 * v for points in every for p in points for c in (ANN, SPIKING) for v in p.values(c)
    ]
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.5
    for i, (label, points) in enumerate(sparse.items()):
        made = _accuracy_panel(points, dense, look[label], (low - room, high + room))
        told = ", ".join(
            f"at density {p.density:.3g} {rounding.percent(p.mean(ANN))} and "
            f"{rounding.percent(p.mean(SPIKING))}"
            for p in points
        )
        yield Markup(
            inline(made, f"k{i}", f"Accuracy of {label} as activations and in spikes: {told}.")
        )


def _accuracy_panel(
    points: Sequence[compare.Point],
    dense: compare.Point | None,
    look: Look,
    limits: tuple[float, float],
) -> Figure:
    made = figure(*PANEL)
    axes = panel(made, left=0.58, bottom=0.52, top=0.3)
    x = [p.density for p in points]
    for column, line, face in ((ANN, "-", look.hex), (SPIKING, (0, (3, 1.6)), PAPER)):
        if dense is not None:
            axes.axhline(100 * dense.mean(column), color=INK, linewidth=1, linestyle=line)
        axes.plot(
            x, [100 * p.mean(column) for p in points], color=look.hex, linestyle=line,
            marker="o", markersize=6.5, markerfacecolor=face, markeredgecolor=look.hex, zorder=3,
        )  # fmt: skip
        seeds = [(p.density, 100 * v) for p in points for v in p.values(column)]
        dots(axes, seeds, look, 6)
    axes.set_ylim(limits)
    _falling_density(axes, x)
    axes.set_title(points[0].label)
    axes.set_ylabel("accuracy, %")
    return made


def _cost_panel(found: Points, column: str, text: str, look: dict[str, Look]) -> Figure:
    made = figure(4.7, 3.4)
    axes = panel(made, left=0.68, bottom=0.52)
    for label, points in found.items():
        axes.plot(
            [p.density for p in points], [p.mean(column) for p in points],
            color=look[label].hex, linestyle=look[label].line, zorder=3, markersize=6.5,
            marker=look[label].marker if look[label].marker != "_" else "o",
        )  # fmt: skip
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}".replace(",", " ")))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low, high)
    _falling_density(axes, [p.density for points in found.values() for p in points])
    axes.set_ylabel(f"{text}, log scale")
    return made


def _falling_density(axes: Any, densities: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(max(densities) * 1.2, min(densities) / 1.2)
    density_axis(axes, thinned(densities, ratio=1.6))
    axes.set_xlabel("density, log scale  (sparser →)")


def _table(found: Points) -> Iterator[dict[str, Any]]:
    for label, points in found.items():
        for point in points:
            lost = point.values(SPIKING) - point.values(ANN)
            yield {
                "label": label,
                "point": point,
                "n": len(point.rows),
                "lost": float(lost.mean()),
                "lowest": float(lost.min()),
                "highest": float(lost.max()),
            } | {
                column: point.mean(column)
                for column in (ANN, SPIKING, *COUNTS, "images_per_second")
            }

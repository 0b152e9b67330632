"""Trained networks run in spikes (the table ``[spikes]``): accuracy and cost beside activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from rewire.pictures.style import new_figure

from ... import compare
from .. import rounding
from ..axes import INK, PANEL, PAPER, Looks, dots, falling_density, log_ticks, panel
from ..run import RunData
from ..style import Inline, Look, inline
from ..tables import Cell, Row, Table

ANN, SPIKING = "ann_accuracy", "spiking_accuracy"
UNEQUAL = "unequal_spikes"
COUNTS = {
    "events_per_image": "synaptic events per image",
    "spikes_per_image": "spikes per image",
}
Points = dict[str, list[compare.Point]]


def show(run: RunData) -> dict[str, Any] | None:
    """What the section shows; None where no network was run in spikes."""
    points = _points(run, transferred=False)
    if not points:
        return None
    dense = next((ps[0] for ps in points.values() if compare.is_dense(ps)), None)
    sparse = {label: ps for label, ps in points.items() if dense is None or label != dense.label}
    spikes = dict(run.config.get("spikes") or {})
    return {
        "headline": _headline(points),
        "accuracy": list(_accuracy(sparse, dense, run.looks)),
        "costs": [_cost(points, column, run.looks) for column in COUNTS],
        "table": _table(points),
        "images": _examples(points),
        "dense": dense.label if dense else None,
        "poisson": spikes.get("encoding") == "poisson",
    }


def _points(run: RunData, *, transferred: bool) -> Points:
    """Points of the converted networks, or of those run as they are, under the labels of the
    trainings they come from."""
    labels = {row["cell"]: row["label"] for row in run.rows}
    rows = [
        row | {"label": labels.get(row["network"], row["label"])}
        for row in run.spikes
        if (UNEQUAL in row) == transferred
    ]
    points = compare.points(rows)
    return {label: points[label] for label in run.points if label in points}


def _headline(points: Points) -> str:
    """The largest mean loss of all networks, and of which."""
    every = [point for by_density in points.values() for point in by_density]
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


def _accuracy(sparse: Points, dense: compare.Point | None, looks: Looks) -> Iterator[Inline]:
    """A panel for each rule, on one scale."""
    every = [*sparse.values(), *([[dense]] if dense else [])]
    values = [
        100 * v for points in every for p in points for c in (ANN, SPIKING) for v in p.values(c)
    ]
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.5
    for i, (label, points) in enumerate(sparse.items()):
        figure = _accuracy_panel(points, dense, looks[label], (low - room, high + room))
        numbers = ", ".join(
            f"at density {p.density:.3g} {rounding.percent(p.mean(ANN))} and "
            f"{rounding.percent(p.mean(SPIKING))}"
            for p in points
        )
        alt = f"Accuracy of {label} as activations and in spikes: {numbers}."
        yield inline(figure, f"k{i}", alt)


def _accuracy_panel(
    points: Sequence[compare.Point],
    dense: compare.Point | None,
    look: Look,
    limits: tuple[float, float],
) -> Figure:
    figure = new_figure(*PANEL)
    figure.numbers += [
        {"label": point.label, "density": row["density"], "seed": row["seed"], ANN: row[ANN],
         SPIKING: row[SPIKING]}
        for point in (*points, *([dense] if dense is not None else ()))
        for row in point.rows
    ]  # fmt: skip
    axes = panel(figure, left=0.58, bottom=0.52, top=0.3)
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
    falling_density(axes, x)
    axes.set_title(points[0].label)
    axes.set_ylabel("accuracy, %")
    return figure


def _cost(points: Points, column: str, looks: Looks) -> Inline:
    figure = _cost_panel(points, column, looks)
    alt = f"{COUNTS[column].capitalize()} against density for {', '.join(points)}."
    return inline(figure, f"n{column[0]}", alt)


def _cost_panel(points: Points, column: str, looks: Looks) -> Figure:
    figure = new_figure(4.7, 3.4)
    axes = panel(figure, left=0.68, bottom=0.52)
    for label, by_density in points.items():
        look = looks[label]
        figure.numbers += [
            {"label": label, "density": p.density, "of_an_image": column, "mean": p.mean(column)}
            for p in by_density
        ]
        axes.plot(
            [p.density for p in by_density], [p.mean(column) for p in by_density],
            color=look.hex, linestyle=look.line, zorder=3, markersize=6.5,
            marker=look.marker if look.marker != "_" else "o",
        )  # fmt: skip
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}".replace(",", " ")))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low, high)
    falling_density(axes, [p.density for by_density in points.values() for p in by_density])
    axes.set_ylabel(f"{COUNTS[column]}, log scale")
    return figure


def _table(points: Points) -> Table:
    titles = ["rule", "density", "n", "activations", "spikes", "difference", "of the seeds",
              "events / image", "spikes / image", "images / s"]  # fmt: skip
    rows = [
        Row(label, _cells(point), {"network": label, "density": point.density})
        for label, by_density in points.items()
        for point in by_density
    ]
    return Table(titles, rows, "activations and spikes", grouped=True)


def _cells(point: compare.Point) -> list[Cell]:
    losses = point.values(SPIKING) - point.values(ANN)
    ann, spiking, loss = point.mean(ANN), point.mean(SPIKING), float(losses.mean())
    counts = (*COUNTS, "images_per_second")
    lowest, highest = (rounding.points(float(end)) for end in (losses.min(), losses.max()))
    return [
        Cell(f"{point.density:.4g}"),
        Cell(str(len(point.rows))),
        Cell(f"{100 * ann:.2f}", data={"value": ann}),
        Cell(f"{100 * spiking:.2f}", "main", {"value": spiking}),
        Cell(rounding.points(loss), data={"value": loss}),
        Cell(f"{lowest} to {highest}" if len(point.rows) > 1 else "–"),
        *(Cell(rounding.grouped(point.mean(column))) for column in counts),
    ]


def _examples(points: Points) -> int:
    return max(row["images"] for ps in points.values() for p in ps for row in p.rows)


# -- spiking networks, in torch and in Brian2 -----------------------------------------------------


def show_transfers(run: RunData) -> dict[str, Any] | None:
    """Trained spiking networks beside themselves in Brian2; None where none was run there."""
    points = _points(run, transferred=True)
    if not points:
        return None
    rows = [row for ps in points.values() for p in ps for row in p.rows]
    unequal = sum(row[UNEQUAL] for row in rows)
    spikes = round(sum(row["spikes_per_image"] * row["images"] for row in rows))
    nearest = min((row["nearest_to_threshold"] for row in rows), default=None)
    return {
        "equal": unequal == 0,
        "unequal": unequal,
        "spikes": spikes,
        "networks": len(rows),
        "nearest": f"{nearest:.1e}" if nearest is not None else None,
        "examples": _examples(points),
        "table": _transfers(points),
    }


def _transfers(points: Points) -> Table:
    first = next(row for ps in points.values() for p in ps for row in p.rows)
    layers = list(first["spikes_by_layer"])
    titles = ["rule", "density", "n", "torch", "Brian2", *(f"spikes, {name}" for name in layers),
              "SynOps", "spikes that differ", "torch, ex. / s", "Brian2, ex. / s"]  # fmt: skip
    rows = [
        Row(label, _of_transfer(point, layers), {"network": label, "density": point.density})
        for label, by_density in points.items()
        for point in by_density
    ]
    return Table(titles, rows, "spiking networks in torch and in Brian2", grouped=True)


def _of_transfer(point: compare.Point, layers: Sequence[str]) -> list[Cell]:
    n, unequal = len(point.rows), sum(row[UNEQUAL] for row in point.rows)
    by_layer = [sum(row["spikes_by_layer"][name] for row in point.rows) / n for name in layers]
    return [
        Cell(f"{point.density:.4g}"),
        Cell(str(n)),
        Cell(f"{100 * point.mean(ANN):.2f}", data={"value": point.mean(ANN)}),
        Cell(f"{100 * point.mean(SPIKING):.2f}", "main", {"value": point.mean(SPIKING)}),
        *(Cell(f"{spikes:.1f}", data={"value": spikes}) for spikes in by_layer),
        Cell(rounding.grouped(point.mean("events_per_image"))),
        Cell(rounding.grouped(unequal), data={"value": unequal}),
        Cell(rounding.grouped(point.mean("torch_images_per_second"))),
        Cell(f"{point.mean('images_per_second'):.1f}"),
    ]

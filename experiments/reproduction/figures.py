"""The figures of a paper, redrawn from measured rows beside the published points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from textwrap import wrap
from typing import Any

from ..errors import ConfigError
from .paper import Figure, Paper, Protocol, Selector
from .tables import Tables

TITLE, LINE = 52, 0.17  # letters in a line of a title, and its height in inches
Point = tuple[float, float, float, float]  # x, mean, least and largest of the seeds


def curves(paper: Paper, tables: Tables, protocol: Protocol) -> list[dict[str, Any]]:
    """Every figure of a protocol as plain numbers: its lines' points (x, mean, least, largest)."""
    drawn = []
    for figure in paper.figures:
        if protocol not in figure.protocols:
            continue
        try:
            lines = [
                {"label": label(s, figure), "points": list(_points(figure, s, tables))}
                for s in figure.lines
            ]
        except ConfigError as error:
            raise ConfigError(f"{paper.name}, figure {figure.title!r}: {error}") from None
        drawn.append({"title": figure.title, "lines": [line for line in lines if line["points"]]})
    return drawn


def label(s: Selector, figure: Figure) -> str:
    """What tells a line of a figure from the others.

    >>> dense = Selector(experiment="lenet", label="Dense")
    >>> label(dense, Figure(title="a", lines=[dense, Selector(experiment="lenet", label="IMP")]))
    'Dense'
    """
    words, others = _words(s), [_words(line) for line in figure.lines]
    telling = [
        key for key in words if key == "label" or any(o.get(key) != words[key] for o in others)
    ]
    texts = [
        str(words[key]) if key in ("label", "of") else f"{key} {words[key]:g}"
        if isinstance(words[key], float) else f"{key} {words[key]}"
        for key in telling
    ]  # fmt: skip
    return ", ".join(texts) or str(s)


def _words(s: Selector) -> dict[str, Any]:
    density = {"density": s.density} if isinstance(s.density, float) else {}
    return {"of": s.table, **s.columns, **density}


def _points(figure: Figure, s: Selector, tables: Tables) -> Iterator[Point]:
    if figure.x == "step":
        yield from _over_steps(figure, s, tables)
        return
    column = tables.column(s, figure.y)
    groups: dict[float, list[float]] = {}
    for row in tables.at(s):
        x, value = row.get(figure.x), row.get(column)
        if x is not None and value is not None:
            groups.setdefault(float(f"{x:.3g}"), []).append(float(value))
    for x in sorted(groups):
        yield x, fmean(groups[x]), min(groups[x]), max(groups[x])


def _over_steps(figure: Figure, s: Selector, tables: Tables) -> Iterator[Point]:
    """The evaluations of the trainings that a selector means, by step."""
    levels = {(row["cell"], row["level"]) for row in tables.at(s)}
    column = figure.y or tables.metric(s).validation
    groups: dict[float, list[float]] = {}
    for row in tables.evals.get(s.table, ()):
        if (row["cell"], row["level"]) in levels and row.get(column) is not None:
            groups.setdefault(float(row["step"]), []).append(float(row[column]))
    most = max(map(len, groups.values()), default=0)
    for x in sorted(groups):
        if len(groups[x]) == most:  # the steps at which all seeds were evaluated
            yield x, fmean(groups[x]), min(groups[x]), max(groups[x])


def draw(figure: Figure, curve: Mapping[str, Any]) -> Any:
    """A panel of matplotlib: means with the range of the seeds; published points are open."""
    from rewire.pictures.style import new_figure

    from ..report.axes import PANEL, panel
    from ..report.style import looks

    title = wrap(figure.title, TITLE)
    more = LINE * (len(title) - 1)
    picture = new_figure(PANEL[0], PANEL[1] + more)
    axes = panel(picture, left=0.62, bottom=0.52, top=0.3 + more)
    lines: Sequence[Mapping[str, Any]] = curve["lines"]
    published = {line.label: line.points for line in figure.published}
    names = dict.fromkeys([*(line["label"] for line in lines), *published])
    by_label = looks({name: name for name in names})
    scale = 100.0 if _percent(figure, lines) else 1.0
    for line in lines:
        look = by_label[line["label"]]
        x, mean, low, high = (list(values) for values in zip(*line["points"], strict=True))
        picture.numbers += [
            {"line": line["label"], figure.x: point[0], "mean": point[1], "least": point[2],
             "largest": point[3]}
            for point in line["points"]
        ]  # fmt: skip
        y, bottom, top = ([scale * v for v in values] for values in (mean, low, high))
        axes.fill_between(x, bottom, top, color=look.hex, alpha=0.15, linewidth=0)
        axes.plot(x, y, color=look.hex, linestyle=look.line, label=line["label"],
                  **_marked(look, len(x)))  # fmt: skip
    for name, points in published.items():
        look = by_label[name]
        picture.numbers += [
            {"line": name, figure.x: place, "published": value} for place, value in points
        ]
        places, values = zip(*points, strict=True)
        axes.plot(places, [scale * v for v in values], linestyle="none", marker="o", markersize=6,
                  markerfacecolor="none", markeredgecolor=look.hex,
                  label=f"{name}, published")  # fmt: skip
    _axis(figure, axes, lines)
    axes.set_title("\n".join(title))
    axes.set_ylabel(
        figure.ylabel or _named(figure.y or "test metric") + (", %" if scale > 1 else "")
    )
    axes.legend(fontsize=7.5, frameon=False)
    return picture


def _marked(look: Any, n: int) -> dict[str, Any]:
    if n > 30 or look.marker == "_":
        return {}
    return {"marker": look.marker, "markersize": 4.5 * look.size}


def _percent(figure: Figure, lines: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the values are fractions that are read in per cent."""
    name = figure.y or "accuracy"
    return "accuracy" in name or name.endswith(("_frames", "error"))


def _axis(figure: Figure, axes: Any, lines: Sequence[Mapping[str, Any]]) -> None:
    from ..report.axes import falling_density

    places = sorted({point[0] for line in lines for point in line["points"]})
    places += [x for line in figure.published for x, *_ in line.points]
    by_density = figure.x == "density"
    if by_density and places and (figure.log is not False) and min(places) > 0:
        falling_density(axes, places)
    elif figure.log:
        axes.set_xscale("log")
    if figure.xlabel or not by_density:
        axes.set_xlabel(figure.xlabel or _named(figure.x))


def _named(column: str) -> str:
    """A column as the label of an axis.

    >>> _named("test_accuracy")
    'test accuracy'
    """
    return column.replace("_", " ")

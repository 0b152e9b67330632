"""The page of trained networks: its sections, an entry each, and what they show of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from rewire.pictures.style import drawing

from ... import compare
from ...tasks import Metric
from .. import crowd, frame, lives, rounding
from ..run import RunData
from ..sections import Section
from ..style import inline
from ..tables import Cell, Row, Table
from . import (
    chance,
    conversion,
    crowded,
    early,
    figures,
    results,
    rewiring,
    sentences,
    structure,
    tuned,
)
from .ranking import ranked

MOST_DENSITIES = 4  # shown one by one in learning curves, maps and overlaps
FIGURES: tuple[str, ...] = ("accuracy", "cost")  # that `figure` draws


def render(run: RunData) -> str:
    """The whole page."""
    headline, qualifications = sentences.headline(run)
    with drawing():
        return frame.page(
            run, _titled(run), headline=headline, qualifications=qualifications, facts=_facts(run)
        )


def figure(run: RunData, which: str) -> Figure:
    """A figure of `FIGURES`, to be a document of its own."""
    if which == "accuracy":
        return _accuracy_figure(run, wide=True)
    cost = "train_flops_sparse"
    if run.crowded:
        return crowded.metric_against_cost(run, cost, wide=True)
    return figures.metric_against_cost(run, run.looks, cost, legend=True)


def _titled(run: RunData) -> list[Section]:
    """The sections, those about the task's metric named after it."""
    return [
        replace(
            section,
            title=section.title.format(metric=run.metric.heading),
            link=section.link.format(metric=run.metric.title),
        )
        for section in SECTIONS
    ]


def _facts(run: RunData) -> list[tuple[str, str]]:
    return [
        ("model", _name(run.config.get("model", ""))),
        ("data", _name(run.config.get("data", ""))),
        ("sparse weights", _covered(run)),
        ("rules", str(len(run.planned) or len(run.points))),
        ("densities", ", ".join(f"{d:g}" for d in run.densities)),
        ("seeds", str(len(run.seeds))),
        ("cells finished", frame.finished_cells(run)),
    ]


def _name(value: Any) -> str:
    return str(value.get("name", "") if isinstance(value, Mapping) else value)


def _covered(run: RunData) -> str:
    """Weights in sparse parameters, of all weights of the model; nothing where rows do not say."""
    shares = {(row["possible"], row["weights"]) for row in run.rows if row["weights"]}
    return "; ".join(
        f"{rounding.grouped(sparse)} of {rounding.grouped(weights)} ({sparse / weights:.3g})"
        if sparse < weights else f"all {rounding.grouped(weights)}"
        for sparse, weights in sorted(shares)
    )  # fmt: skip


# --- what the sections show ---


def _accuracy(run: RunData) -> dict[str, Any] | None:
    if not run.rows:
        return None
    headline, _ = sentences.headline(run)
    alt = f"Test {run.metric.title} against density for {', '.join(run.points)}. {headline}"
    svgs = {
        name: inline(_accuracy_figure(run, wide=name == "wide"), f"a{name[0]}", alt)
        for name in ("wide", "narrow")
    }
    return svgs | {"lines": [label for label in run.points if figures.label_has_line(run, label)]}


def _accuracy_figure(run: RunData, *, wide: bool) -> Figure:
    """Lines against density, or a row for each rule where those would be too many lines."""
    if run.crowded:
        return ranked(run, wide=wide)
    return figures.metric_against_density(run, run.looks, wide=wide)


def _cost(run: RunData) -> dict[str, Any] | None:
    panels = [
        inline(
            crowded.metric_against_cost(run, column)
            if run.crowded
            else figures.metric_against_cost(run, run.looks, column),
            f"c{i}",
            f"Test {run.metric.title} against {title} for {', '.join(run.points)}.",
        )
        for i, (column, title) in enumerate(figures.COSTS.items())
        if any((p.values(column) > 0).any() for ps in run.points.values() for p in ps)
    ]
    return {"panels": panels} if panels else None


def _curves(run: RunData) -> dict[str, Any] | None:
    if not run.evals:
        return None
    measures = ((run.metric.validation, run.metric.title), ("val_loss", "loss"))
    if run.crowded and run.focus is not None:
        parts = [
            {
                "title": f"validation {name}",
                "name": column.replace("_", "-"),
                "panels": crowd.panels(
                    run.families,
                    partial(_family_curves, run, column),
                    f"l{column[4]}",
                    f"Validation {name} against training step at density {run.focus:g}",
                ),
            }
            for column, name in measures
        ]
        return {"panels": [], "parts": parts}
    panels = [
        inline(
            figures.learning_curves(run, run.looks, density, column),
            f"l{i}{'l' if column == 'val_loss' else 'a'}",
            f"Validation {name} against training step at density {density:g}, every rule.",
        )
        for column, name in measures
        for i, density in enumerate(frame.evenly(run.densities, MOST_DENSITIES))
    ]
    return {"panels": panels, "parts": []} if panels else None


def _family_curves(run: RunData, column: str, title: str, labels: Sequence[str]) -> Figure:
    return figures.learning_curves(run, run.looks, run.focus or 1, column, title, labels)


def _churn(run: RunData) -> dict[str, Any] | None:
    if run.focus is None:
        return None
    rates = {label: figures.churn_of(run, label, run.focus) for label in run.points}
    panels = lives.turnover(rates, run.looks, "step, all levels", _churn_alt,
                            small=run.crowded)  # fmt: skip
    return {"panels": panels} if panels else None


def _churn_alt(label: str, rates: lives.Rates) -> str:
    formed, dropped = (max(seed[i].max() for seed in rates.values()) for i in (1, 2))
    return (
        f"Edges formed and dropped per step by {label}: at most "
        f"{formed:.3g} formed and {dropped:.3g} dropped."
    )


def _survival(run: RunData) -> dict[str, Any] | None:
    """Edges of the start and edges formed later, at the focus density, of rules that rewire."""
    if run.focus is None:
        return None
    by_label = {label: run.lives(label, run.focus) for label in run.points}
    families = run.families if run.crowded else None
    return lives.survival(by_label, run.looks, "edges", "steps", families=families)


def _inputs(run: RunData) -> dict[str, Any] | None:
    maps = structure.input_maps(run, _shown_one_by_one(run))
    return {"maps": maps} if maps else None


def _overlap(run: RunData) -> dict[str, Any] | None:
    densities = _shown_one_by_one(run)
    overlaps = [o for d in densities if (o := structure.overlap(run, d)) is not None]
    if not overlaps:
        return None
    matrices = [structure.overlap_matrix(run, o) for o in overlaps] if run.crowded else []
    return {"overlaps": overlaps, "matrices": matrices, "layers": structure.layers(run)}


def _shown_one_by_one(run: RunData) -> list[float]:
    """The densities that maps and overlaps are shown of: of a crowded run the focus alone."""
    if run.crowded and run.focus is not None:
        return [run.focus]
    return frame.evenly(run.densities, MOST_DENSITIES)


def _measures(run: RunData) -> dict[str, Any] | None:
    """The measures of installed packages against density."""
    panels, measures = [], []
    for i, measure in enumerate(run.measures):
        by_label = figures.measured(run, measure)
        if not by_label:
            continue
        measures.append(measure)
        groups = {measure.title: list(by_label)}
        if run.crowded:
            groups = {f"{measure.title}: {title}": [x for x in labels if x in by_label]
                      for title, labels in run.families.items()}  # fmt: skip
        draw = partial(_measure_panel, run, by_label)
        alt = f"{measure.title} against density"
        panels += crowd.panels({k: v for k, v in groups.items() if v}, draw, f"g{i}-", alt)
    return {"panels": panels, "measures": measures} if panels else None


def _measure_panel(
    run: RunData, by_label: Mapping[str, figures.Values], title: str, labels: Sequence[str]
) -> Figure:
    shown = {label: by_label[label] for label in labels}
    return figures.measure_panel(shown, title, run.looks, [1.0, *run.densities])


def _contrasts(run: RunData) -> dict[str, Any]:
    contrasts = sentences.contrasts(run)
    fewest = min((len(p.rows) for points in run.points.values() for p in points), default=0)
    return {
        "contrasts": _contrast_table(contrasts, run.metric),
        "named": any(c.named for c in contrasts),
        "limits": compare.limits(contrasts, fewest, run.metric),
    }


def _contrast_table(contrasts: list[compare.Contrast], metric: Metric) -> Table:
    return Table(
        ["contrast", "density", "n", "difference", "interval", "g", "interval of g",
         "what may be said"],
        [Row(f"{c.a} − {c.b}", _contrast_cells(c, metric), {"a": c.a, "b": c.b})
         for c in contrasts],
        label="contrasts",
        kind="contrasts",
    )  # fmt: skip


def _contrast_cells(c: compare.Contrast, metric: Metric) -> list[Cell]:
    interval, g, g_interval = "–", "–", "–"
    if c.low is not None and c.high is not None:
        interval = f"{metric.difference(c.low)} to {metric.difference(c.high)}"
    if c.g is not None and c.g_low is not None and c.g_high is not None:
        g = rounding.fixed(c.g, 1)
        g_interval = f"{rounding.fixed(c.g_low, 1)} to {rounding.fixed(c.g_high, 1)}"
    return [
        Cell(f"{c.density:g}"),
        Cell(str(c.n)),
        Cell(metric.difference(c.mean), "main", {"value": c.mean}),
        *map(Cell, (interval, g, g_interval)),
        Cell(c.verdict, "words"),
    ]


SECTIONS = (
    Section(
        "accuracy",
        "{metric} against density",
        _accuracy,
        link="{metric}",
        empty="No level has finished yet.",
        needs=lambda run: not run.crowded,
        template="trainings/accuracy.html",
    ),
    Section(
        "accuracy",
        "Every rule, from best to worst",
        _accuracy,
        link="{metric}",
        needs=lambda run: run.crowded,
        template="trainings/ranking.html",
    ),
    Section(
        "cost",
        "{metric} against training cost",
        _cost,
        link="cost",
        empty="No training cost has been recorded yet.",
        template="trainings/cost.html",
    ),
    Section(
        "spikes",
        "Accuracy with activations and in spikes",
        conversion.show,
        link="in spikes",
        template="trainings/conversion.html",
    ),
    Section(
        "brian2",
        "The same spikes in torch and in Brian2",
        conversion.show_transfers,
        link="in Brian2",
        template="trainings/transfer.html",
    ),
    Section(
        "curves",
        "Learning curves",
        _curves,
        link="learning",
        empty="No evaluation has been recorded at a requested density yet.",
        template="trainings/curves.html",
    ),
    Section(
        "churn",
        "Edges formed and dropped per step",
        _churn,
        link="churn",
        empty="No edge has been formed or dropped.",
        template="trainings/churn.html",
    ),
    Section(
        "survival",
        "Survival of edges",
        _survival,
        link="survival",
        empty="No edge of a finished cell has been dropped, or no log of edits is left.",
        template="trainings/survival.html",
    ),
    Section(
        "inputs",
        "Edges per input",
        _inputs,
        link="inputs",
        empty="No map: the inputs of this network form no picture, or no connectivity has been "
        "saved yet.",
        template="trainings/inputs.html",
    ),
    Section(
        "degrees",
        "Degrees and disconnected units",
        structure.degrees,
        link="degrees",
        empty="No connectivity has been saved at a requested density yet.",
        template="trainings/degrees.html",
    ),
    Section(
        "network",
        "The networks, and how they were rewired",
        rewiring.show,
        link="network",
        template="trainings/rewiring.html",
    ),
    Section(
        "chance",
        "Structure against chance",
        chance.show,
        link="chance",
        template="trainings/chance.html",
    ),
    Section(
        "overlap",
        "Overlap of masks between rules and seeds",
        _overlap,
        link="overlap",
        empty="Fewer than two masks have been saved at a requested density.",
        template="trainings/overlap.html",
    ),
    Section(
        "measures",
        "Measures of the final networks",
        _measures,
        link="measures",
        template="trainings/measures.html",
    ),
    Section(
        "results",
        "All results",
        results.show,
        link="table",
        empty="No level has finished yet.",
        template="trainings/results.html",
    ),
    Section(
        "contrasts",
        "Contrasts and their limits",
        _contrasts,
        link="contrasts",
        template="trainings/contrasts.html",
    ),
    Section(
        "early",
        "Steps of training, compared",
        early.show,
        link="steps",
        template="trainings/early.html",
    ),
    Section(
        "tuned",
        "How the rules were tuned",
        tuned.show,
        link="tuning",
        template="trainings/tuned.html",
    ),
    Section(
        "made",
        "Definitions and provenance",
        frame.provenance,
        link="provenance",
        template="trainings/definitions.html",
    ),
)

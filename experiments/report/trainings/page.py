"""From a loaded run to the page: what each section shows and says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from rewire.analysis import metrics
from rewire.analysis.lifetimes import Lifetimes
from rewire.analysis.overlap import pairwise

from ... import compare
from .. import axes, rounding
from ..frame import evenly, fill, legend, number, provenance
from ..run import Loaded
from ..style import Look, drawing, inline, looks, to_svg
from . import conversion, figures, sentences
from .ranking import accuracy_ranked

MOST_DENSITIES = 4  # shown one by one in maps, curves and overlaps
MOST_PANELS = 6  # of degrees
NAV = (
    ("accuracy", "accuracy"), ("cost", "cost"), ("spikes", "in spikes"), ("curves", "learning"),
    ("churn", "churn"), ("survival", "survival"), ("inputs", "inputs"), ("degrees", "degrees"),
    ("overlap", "overlap"), ("results", "table"), ("contrasts", "contrasts"),
    ("made", "how it was made"),
)  # fmt: skip


def render(run: Loaded) -> str:
    """The whole page."""
    with drawing():
        context = _context(run)
    return fill("template.html", context | {"script_source": ""})


def standalone(run: Loaded, which: str) -> str:
    """A figure of `FIGURES` as a document."""
    look = _looks(run)
    with drawing(standalone=True):
        if which == "accuracy":
            return to_svg(_accuracy(run, look, wide=True))
        made = figures.accuracy_against_cost(run, look, "train_flops_sparse", legend=True)
        return to_svg(made)


def _looks(run: Loaded) -> dict[str, Look]:
    return looks({label: points[0].rule for label, points in run.points.items()})


def _context(run: Loaded) -> dict[str, Any]:
    look = _looks(run)
    title = str(run.experiment.get("title") or run.experiment.get("name") or run.out.name)
    headline, qualified = sentences.headline(run)
    made = sentences.compare_all(run)
    shown = evenly(run.densities, MOST_DENSITIES)
    structure = _structure(run, look)
    context = {
        "run": run,
        "title": title,
        "about": " ".join(str(run.experiment.get("about") or "").split()),
        "headline": headline,
        "qualified": qualified,
        "missing": sentences.missing(run),
        "unfinished": sum(c.status != "finished" for c in run.cells),
        "facts": _facts(run),
        "legend": legend(look, run.points),
        "lines": [label for label in run.points if figures.label_has_line(run, label)],
        "hero": _hero(run, look) if run.rows else None,
        "costs": _costs(run, look) if run.rows else [],
        "curves": _curves(run, look, shown) if run.evals else [],
        "churn": _churn(run, look),
        **_survival(run, look),
        "maps": _maps(run, shown),
        "overlaps": [o for d in shown if (o := _overlap(run, d)) is not None],
        "layers": _layers(run),
        "table": list(_table(run)),
        "dense_cost": run.dense.mean("train_flops_sparse") if run.dense else None,
        "contrasts": made,
        "named": any(c.named for c in made),
        "limits": compare.limits(made, _fewest_seeds(run)),
        "column": compare.ACCURACY,
        "spikes": (spikes := conversion.context(run, look)),
        "nav": [item for item in NAV if item[0] != "spikes" or spikes],
        **structure,
        **provenance(run),
    }
    # graphs are read on the way; what could not be read is known only now
    return context | {"missing": sentences.missing(run)}


def _fewest_seeds(run: Loaded) -> int:
    return min((len(p.rows) for ps in run.points.values() for p in ps), default=0)


def _facts(run: Loaded) -> list[tuple[str, str]]:
    config = run.config

    def name(key: str) -> str:
        value = config.get(key, "")
        return str(value.get("name", "") if isinstance(value, Mapping) else value)

    done = sum(c.status == "finished" for c in run.cells)
    seeds = len(run.seeds)
    facts = [
        ("model", name("model")),
        ("data", name("data")),
        ("rules", str(len(run.planned) or len(run.points))),
        ("densities", ", ".join(f"{d:g}" for d in run.densities)),
        ("seeds", str(seeds)),
        ("cells finished", f"{done} of {len(run.cells)}" if run.cells else ""),
    ]
    return [(what, value) for what, value in facts if value]


# --- figures ---


def _hero(run: Loaded, look: dict[str, Look]) -> dict[str, Markup]:
    best = sentences.headline(run)[0]
    alt = f"Test accuracy against density for {', '.join(run.points)}. {best}"
    return {
        name: Markup(inline(_accuracy(run, look, wide=name == "wide"), f"a{name[0]}", alt))
        for name in ("wide", "narrow")
    }


def _accuracy(run: Loaded, look: dict[str, Look], *, wide: bool) -> Figure:
    """Lines against density, or where those would be too many a row for each rule."""
    if run.crowded:
        return accuracy_ranked(run, wide=wide)
    return figures.accuracy_against_density(run, look, wide=wide)


def _costs(run: Loaded, look: dict[str, Look]) -> list[Markup]:
    return [
        Markup(
            inline(
                figures.accuracy_against_cost(run, look, cost),
                f"c{i}",
                f"Test accuracy against {what} for {', '.join(run.points)}.",
            )
        )
        for i, (cost, what) in enumerate(figures.COSTS.items())
        if any((p.values(cost) > 0).any() for ps in run.points.values() for p in ps)
    ]


def _curves(run: Loaded, look: dict[str, Look], shown: Sequence[float]) -> list[Markup]:
    what = {"val_accuracy": "accuracy", "val_loss": "loss"}
    return [
        Markup(
            inline(
                figures.learning_curves(run, look, density, column),
                f"l{i}{column[4]}",
                f"Validation {name} against training step at density {density:g}, every rule.",
            )
        )
        for column, name in what.items()
        for i, density in enumerate(shown)
    ]


def _churn(run: Loaded, look: dict[str, Look]) -> list[Markup]:
    if run.focus is None:
        return []
    seeds = {label: figures.churn_of(run, label, run.focus) for label in run.points}
    seeds = {k: v for k, v in seeds.items() if any((f + d).any() for _, f, d in v)}
    most = max((max(f.max(), d.max()) for v in seeds.values() for _, f, d in v), default=0)
    return [
        Markup(
            inline(
                axes.churn_panel(v, label, look[label], most),
                f"e{i}",
                f"Edges formed and dropped per step by {label}: at most "
                f"{max(f.max() for _, f, _ in v):.3g} formed and "
                f"{max(d.max() for _, _, d in v):.3g} dropped.",
            )
        )
        for i, (label, v) in enumerate(seeds.items())
    ]


def _survival(run: Loaded, look: dict[str, Look]) -> dict[str, Any]:
    """Edges of the start and edges formed later, at the focus density, of rules that rewire."""
    if run.focus is None:
        return {"survival": [], "survivors": []}
    lives = {label: run.lives(label, run.focus) for label in run.points}
    lives = {k: v for k, v in lives.items() if not all(one.alive.all() for one in v)}
    parts = (("edges of the start", "steps since the start, log scale"),
             ("edges formed later", "steps since it was formed, log scale"))  # fmt: skip
    panels = []
    for i, (title, xlabel) in enumerate(parts):
        part = {k: [one.where((one.born > 0) == bool(i)) for one in v] for k, v in lives.items()}
        part = {k: v for k, v in part.items() if all(len(one.key) for one in v)}
        if part:
            made = axes.survival_panel(part, title, look, xlabel)
            kept = ", ".join(f"{k} {rounding.percent(_kept(v))}" for k, v in part.items())
            alt = f"Survival of {title} over steps; still there at the end: {kept}."
            panels.append(Markup(inline(made, f"s{i}", alt)))
    return {"survival": panels, "survivors": list(lives)}


def _kept(seeds: Sequence[Lifetimes]) -> float:
    """Fraction of the edges that were alive at the end."""
    return float(np.concatenate([one.alive for one in seeds]).mean())


def _maps(run: Loaded, shown: Sequence[float]) -> list[dict[str, Any]]:
    """Where inputs survive: per density, every rule's mean input map on one scale."""
    found = []
    for density in shown:
        pictures = {}
        for label in run.points:
            try:
                maps = [metrics.input_map(g) for g in run.graphs_at(label, density)]
            except ValueError:
                continue  # inputs that are no picture, or several input populations
            if maps and min(maps[0].shape) > 3:
                pictures[label] = np.mean(maps, axis=0), float(np.mean([m == 0 for m in maps]))
        if not pictures:
            continue
        share = {k: m / max(m.mean(), 1e-12) for k, (m, _) in pictures.items()}
        most = float(np.ceil(2 * np.quantile(np.concatenate([*share.values()]), 0.995)) / 2)
        found.append(
            {
                "density": density,
                "most": f"{most:g}",
                "pictures": [
                    {
                        "label": label,
                        "source": axes.heat(share[label], most),
                        "unused": unused,
                        "over": _over(run, label, density),
                        "mean": float(m.mean()),
                    }
                    for label, (m, unused) in pictures.items()
                ],
            }
        )
    return found


def _over(run: Loaded, label: str, density: float) -> float | None:
    """The density achieved, where it is more than was asked for."""
    point = run.point(label, density)
    return point.density if point is not None and point.over_budget else None


def _structure(run: Loaded, look: dict[str, Look]) -> dict[str, Any]:
    """Degree distributions and dead units at the focus density."""
    tails: dict[tuple[str, str], dict[str, list[np.ndarray]]] = {}
    dead = []
    for label in run.points:
        graphs = run.graphs_at(label, run.focus)
        if not graphs:
            continue
        first, last = metrics.ends(graphs[0])
        for graph in graphs:
            for name, degree in metrics.degrees(graph).items():
                ways = (("fan_in", first), ("fan_out", last))
                for way, end in ways:
                    if name not in end:
                        by_label = tails.setdefault((name, way), {})
                        by_label.setdefault(label, []).append(getattr(degree, way))
        dead.append(
            {
                "label": label,
                "over": _over(run, label, run.focus or 1),
                **_dead(graphs, first, last),
            }
        )
    titles = {"fan_in": "incoming", "fan_out": "outgoing"}
    panels = [
        Markup(
            inline(
                figures.degree_panel(
                    {k: metrics.tail(np.concatenate(v)) for k, v in by_label.items()},
                    f"{name}: {titles[way]}",
                    look,
                    f"{titles[way]} edges per unit, at least",
                ),
                f"d{i}",
                f"Distribution of {titles[way]} edges over the units of {name}, every rule.",
            )
        )
        for i, ((name, way), by_label) in enumerate([*tails.items()][:MOST_PANELS])
    ]
    projections = list(dead[0]["densities"]) if dead else []
    return {"degrees": panels, "dead": dead, "projections": projections}


def _dead(graphs: list, first: Sequence[str], last: Sequence[str]) -> dict[str, Any]:
    """Means over seeds of what takes no part."""
    inputs, hidden, effective, densities = [], [], [], []
    for graph in graphs:
        units = metrics.dead_units(graph)
        inputs.append(_share([units[n].no_outgoing for n in first]))
        hidden.append(_share([u.off_path for n, u in units.items() if n not in (*first, *last)]))
        edges = metrics.effective_edges(graph)
        effective.append(1 - edges.mean() if len(edges) else math.nan)
        densities.append(metrics.layer_density(graph))
    return {
        "inputs": np.mean(inputs),
        "hidden": np.mean(hidden),
        "idle": np.mean(effective),
        "densities": {k: np.mean([d[k] for d in densities]) for k in densities[0]},
    }


def _share(flags: list[np.ndarray]) -> float:
    return float(np.concatenate(flags).mean()) if flags else math.nan


# --- overlap ---


def _overlap(run: Loaded, density: float) -> dict[str, Any] | None:
    """Mean ratio to chance for every pair of rules: same seed below, other seeds on and above."""
    found = {(one, s): g for (one, d, s), g in run.graphs.items() if d == density}
    labels = [label for label in run.points if any(one == label for one, _ in found)]
    if len(found) < 2:
        return None
    first = next(iter(found.values()))
    pairs = pairwise([g.keys for g in found.values()], first.projections)
    ratio, jaccard = pairs.against_chance[-1], pairs.jaccard[-1]
    who = np.array([labels.index(one) for one, _ in found])
    seed = np.array([s for _, s in found])
    same = seed[:, None] == seed[None, :]
    most = float(np.nanmax(ratio[~np.eye(len(ratio), dtype=bool)]))
    rows = []
    for i, a in enumerate(labels):
        cells = []
        for j, b in enumerate(labels):
            pick = (who[:, None] == i) & (who[None, :] == j) & (same if j < i else ~same)
            value = float(ratio[pick].mean()) if pick.any() else math.nan
            background, colour = axes.ratio_colour(value, most)
            seeds = "same seed" if j < i else "different seeds"
            known = f"Jaccard {jaccard[pick].mean():.3f}, " if pick.any() else "no pair; "
            cells.append(
                {
                    "value": value,
                    "text": "–" if math.isnan(value) else f"{value:.1f}",
                    "style": f"background:{background};color:{colour}",
                    "title": f"{a} and {b}, {seeds}: {known}{value:.2f} times chance",
                    "kind": "self" if i == j else "same" if j < i else "other",
                }
            )
        rows.append({"label": a, "cells": cells})
    return {"density": density, "labels": labels, "rows": rows, "seeds": len(set(seed))}


def _layers(run: Loaded) -> dict[str, Any] | None:
    """Overlap between the seeds of one rule, layer by layer, at the focus density."""
    rows: list[dict[str, Any]] = []
    names: tuple[str, ...] = ()
    for label in run.points:
        graphs = run.graphs_at(label, run.focus)
        if len(graphs) < 2:
            continue
        pairs = pairwise([g.keys for g in graphs], graphs[0].projections)
        names = pairs.names
        off = ~np.eye(len(graphs), dtype=bool)
        cells = [
            (float(j[off].mean()), float(r[off].mean()))
            for j, r in zip(pairs.jaccard, pairs.against_chance, strict=True)
        ]
        rows.append({"label": label, "cells": cells})
    return {"names": names, "rows": rows} if rows else None


# --- tables ---


def _table(run: Loaded) -> Iterator[dict[str, Any]]:
    """One row for every rule and requested density, Dense at 1."""
    for label, points in run.points.items():
        for point in points:
            if point.requested is None and not compare.is_dense(points):
                continue
            edges = sorted({int(r["edges"]) for r in point.rows})
            yield {
                "label": label,
                "point": point,
                "accuracy": compare.summarise(point.values(compare.ACCURACY)),
                "early": point.mean("test_accuracy_at_early_stop"),
                "edges": number(edges[0]) + (f" to {number(edges[-1])}" if len(edges) > 1 else ""),
                "possible": number(point.rows[0]["possible"]),
                "sparse": point.mean("train_flops_sparse"),
                "dense": point.mean("train_flops_dense"),
                "formed": point.mean("formed"),
                "dropped": point.mean("dropped"),
                "explored": run.explored(point),
                "seconds": point.mean("seconds"),
            }

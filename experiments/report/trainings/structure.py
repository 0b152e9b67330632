"""What the connectivity of trained networks looks like: input maps, degrees, overlap of masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rewire.analysis import metrics
from rewire.analysis.overlap import pairwise

from .. import axes, rounding
from ..run import RunData
from ..style import inline
from ..tables import Cell, Row, Table
from . import crowded, figures
from .ranking import ranking

if TYPE_CHECKING:
    from rewire.graph import Graph

MOST_PANELS = 6  # of degrees


# --- input maps ---


def input_maps(run: RunData, densities: Sequence[float]) -> list[dict[str, Any]]:
    """Edges per input: per density every rule's mean map, all on one scale."""
    maps = []
    for density in densities:
        by_label = {
            label: pair for label in run.points if (pair := _input_map(run, label, density))
        }
        if not by_label:
            continue
        shares = {k: mean / max(mean.mean(), 1e-12) for k, (mean, _) in by_label.items()}
        most = float(np.ceil(2 * np.quantile(np.concatenate([*shares.values()]), 0.995)) / 2)
        pictures = [
            {
                "label": label,
                "source": axes.heat(shares[label], most),
                "unused": unused,
                "over": _excess(run, label, density),
                "mean": float(mean.mean()),
            }
            for label, (mean, unused) in by_label.items()
        ]
        numbers = [
            {"label": label, "density": density, **row}
            for label, (mean, _) in by_label.items()
            for row in axes.picture_rows(mean)
        ]
        maps.append(
            {"density": density, "most": f"{most:g}", "pictures": pictures, "numbers": numbers}
        )
    return maps


def _input_map(run: RunData, label: str, density: float) -> tuple[np.ndarray, float] | None:
    """The mean map of a label's seeds and the fraction of unused inputs; None without a picture."""
    try:
        maps = [metrics.input_map(graph) for graph in run.graphs_at(label, density)]
    except ValueError:
        return None  # inputs that form no picture, or several input populations
    if not maps or min(maps[0].shape) <= 3:
        return None
    return np.mean(maps, axis=0), float(np.mean([m == 0 for m in maps]))


def _excess(run: RunData, label: str, density: float) -> float | None:
    """The density achieved, where it is above the one asked for."""
    point = run.point(label, density)
    return point.density if point is not None and point.over_budget else None


# --- degrees and disconnected units ---


def degrees(run: RunData) -> dict[str, Any] | None:
    """Degree distributions and disconnected units at the focus density."""
    tails: dict[tuple[str, str], dict[str, list[np.ndarray]]] = {}
    shares, apart = {}, ""
    for label in run.points:
        graphs = run.graphs_at(label, run.focus)
        if not graphs:
            continue
        for graph in graphs:
            _sort_degrees(graph, label, tails)
        shares[label] = _disconnected(graphs)
        apart = apart or next((g.network.apart for g in graphs if not metrics.followed(g)), "")
    if not tails:
        return None
    draw = _degree_rows if run.crowded else _degree_panel
    panels = [
        draw(run, name, way, by_label, f"d{i}")
        for i, ((name, way), by_label) in enumerate([*tails.items()][:MOST_PANELS])
    ]
    table = _disconnected_table(run, shares)
    return {"panels": panels, "labels": list(shares), "table": table, "apart": apart}


def _sort_degrees(
    graph: Graph, label: str, tails: dict[tuple[str, str], dict[str, list[np.ndarray]]]
) -> None:
    """Enter a graph's degrees by population and way; of those ways that projections go."""
    gets = {p.target for p in graph.projections}
    sends = {p.source for p in graph.projections}
    for name, degree in metrics.degrees(graph).items():
        for way, names in (("fan_in", gets), ("fan_out", sends)):
            if name in names:
                by_label = tails.setdefault((name, way), {})
                by_label.setdefault(label, []).append(getattr(degree, way))


def _degree_panel(
    run: RunData, name: str, way: str, by_label: dict[str, list[np.ndarray]], prefix: str
) -> Any:
    kind = {"fan_in": "incoming", "fan_out": "outgoing"}[way]
    tails = {label: metrics.tail(np.concatenate(seeds)) for label, seeds in by_label.items()}
    panel = figures.degree_panel(
        tails, f"{name}: {kind}", run.looks, f"{kind} edges per unit, at least"
    )
    return inline(
        panel, prefix, f"Distribution of {kind} edges over the units of {name}, every rule."
    )


def _degree_rows(
    run: RunData, name: str, way: str, by_label: dict[str, list[np.ndarray]], prefix: str
) -> Any:
    kind = {"fan_in": "incoming", "fan_out": "outgoing"}[way]
    degrees = {label: np.concatenate(seeds) for label, seeds in by_label.items()}
    figure = crowded.degree_rows(degrees, f"{name}: {kind}", f"{kind} edges per unit", ranking(run))
    alt = f"Median and spread of {kind} edges over the units of {name}, a row for each rule."
    return inline(figure, prefix, alt)


def _disconnected(graphs: Sequence[Graph]) -> dict[str, Any]:
    """Means over seeds: densities by projection, and fractions of units and edges on no path where
    every network could be followed from end to end."""
    densities = [metrics.layer_density(graph) for graph in graphs]
    shares: dict[str, Any] = {
        "densities": {k: np.mean([d[k] for d in densities]) for k in densities[0]}
    }
    if all(map(metrics.followed, graphs)):
        shares |= {k: np.mean(v) for k, v in _idle(graphs).items()}
    return shares


def _idle(graphs: Sequence[Graph]) -> dict[str, list[float]]:
    """By seed: fractions of unused inputs, and of hidden units and edges on no path."""
    inputs, hidden, edges = [], [], []
    for graph in graphs:
        first, last = metrics.ends(graph)
        units = metrics.dead_units(graph)
        inputs.append(_share([units[n].no_outgoing for n in first if n in units]))
        hidden.append(_share([u.off_path for n, u in units.items() if n not in (*first, *last)]))
        effective = metrics.effective_edges(graph)
        edges.append(1 - effective.mean() if len(effective) else math.nan)
    return {"inputs": inputs, "hidden": hidden, "edges": edges}


def _share(flags: list[np.ndarray]) -> float:
    return float(np.concatenate(flags).mean()) if flags else math.nan


def _disconnected_table(run: RunData, shares: dict[str, dict[str, Any]]) -> Table:
    projections = list(next(iter(shares.values()))["densities"])
    known = all("edges" in share for share in shares.values())
    ways = [("inputs", "inputs unused", 1), ("hidden", "hidden units on no path", 1),
            ("edges", "edges on no path", 2)] if known else []  # fmt: skip
    rows = []
    for label, share in shares.items():
        excess = _excess(run, label, run.focus or 1)
        texts = [
            *(rounding.percent(share[key], digits) for key, _, digits in ways),
            *(f"{share['densities'][name]:.3g}" for name in projections),
        ]
        note = f"at {excess:.2g}" if excess else ""
        rows.append(Row(label, [Cell(text) for text in texts], note=note))
    titles = ["rule", *(title for _, title, _ in ways)]
    titles += [f"density of {name}" for name in projections]
    return Table(titles, rows, "disconnected units")


# --- overlap ---


def overlap(run: RunData, density: float) -> dict[str, Any] | None:
    """Mean ratio to chance for every pair of rules: same seed below, other seeds on and above."""
    graphs = {(label, seed): g for (label, d, seed), g in run.graphs.items() if d == density}
    labels = [label for label in run.points if any(label == one for one, _ in graphs)]
    if len(graphs) < 2:
        return None
    first = next(iter(graphs.values()))
    pairs = pairwise([g.keys for g in graphs.values()], first.projections)
    ratio, jaccard = pairs.against_chance[-1], pairs.jaccard[-1]
    rule = np.array([labels.index(label) for label, _ in graphs])
    seed = np.array([s for _, s in graphs])
    same = seed[:, None] == seed[None, :]
    most = float(np.nanmax(ratio[~np.eye(len(ratio), dtype=bool)]))
    rows, numbers = [], []
    for i, a in enumerate(labels):
        cells = []
        for j, b in enumerate(labels):
            pick = (rule[:, None] == i) & (rule[None, :] == j) & (same if j < i else ~same)
            value = float(ratio[pick].mean()) if pick.any() else math.nan
            background, colour = axes.ratio_colour(value, most)
            seeds = "same seed" if j < i else "different seeds"
            index = f"Jaccard {jaccard[pick].mean():.3f}, " if pick.any() else "no pair; "
            if pick.any():
                numbers.append(
                    {"density": density, "label": a, "with": b, "seeds": seeds.split()[0],
                     "times_chance": value, "jaccard": float(jaccard[pick].mean())}
                )  # fmt: skip
            cells.append(
                {
                    "text": "–" if math.isnan(value) else f"{value:.1f}",
                    "style": f"background:{background};color:{colour}",
                    "title": f"{a} and {b}, {seeds}: {index}{value:.2f} times chance",
                    "kind": "self" if i == j else "same" if j < i else "other",
                }
            )
        rows.append({"label": a, "cells": cells})
    return {
        "density": density,
        "labels": labels,
        "rows": rows,
        "numbers": numbers,
        "seeds": len(set(seed)),
    }


def overlap_matrix(run: RunData, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The overlaps of many rules as one picture, and of each rule the largest."""
    labels, n = shown["labels"], len(shown["labels"])
    ratios = np.full((n, n), np.nan)
    jaccard = np.full((n, n), np.nan)
    for row in shown["numbers"]:
        at = labels.index(row["label"]), labels.index(row["with"])
        ratios[at], jaccard[at] = row["times_chance"], row["jaccard"]
    figure = crowded.overlap_matrix(ratios, labels, run.families, shown["numbers"])
    same = np.tril(ratios, -1) + np.tril(ratios, -1).T
    np.fill_diagonal(same, -np.inf)
    rows = []
    for i, label in enumerate(labels):
        j = int(np.nanargmax(same[i]))
        index = jaccard[max(i, j), min(i, j)]
        rows.append(
            Row(label, [Cell(rounding.fixed(ratios[i, i])), Cell(labels[j], "words"),
                        Cell(rounding.fixed(same[i, j])), Cell(rounding.fixed(index, 3))])
        )  # fmt: skip
    titles = ["rule", "own seeds", "most similar rule", "times chance", "Jaccard"]
    return {
        "svg": inline(figure, "overlap", f"Overlap of masks of {n} rules, each with each."),
        "table": Table(titles, rows, "largest overlaps"),
        "density": shown["density"],
        "most": float(np.nanmax(ratios)),
    }


def layers(run: RunData) -> Table | None:
    """Overlap between the seeds of one rule, layer by layer, at the focus density."""
    rows = []
    names: tuple[str, ...] = ()
    for label in run.points:
        graphs = run.graphs_at(label, run.focus)
        if len(graphs) < 2:
            continue
        pairs = pairwise([g.keys for g in graphs], graphs[0].projections)
        names = pairs.names
        off = ~np.eye(len(graphs), dtype=bool)
        means = [
            (j[off].mean(), r[off].mean())
            for j, r in zip(pairs.jaccard, pairs.against_chance, strict=True)
        ]
        rows.append(Row(label, [Cell(f"{j:.3f}", note=f"({r:.1f})") for j, r in means]))
    return Table(["rule", *names], rows, "overlap between seeds by layer") if rows else None

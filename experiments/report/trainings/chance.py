"""The structure that rules leave, held against random networks of the same degrees."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ... import store
from ...errors import StoreError
from ..frame import PIXELS
from ..run import RunData
from ..style import inline

if TYPE_CHECKING:
    from rewire.graph import Graph

DRAWS = 20
FILE = "chance.json"  # in the run's folder: draws take seconds, and a page is written often
VERSION = 1  # of what the file holds: another number where a measure or null model changes
LARGEST = 60_000  # edges of a network whose draws a page can wait for
LAYERS = 4  # the largest ones, in the network's order
MEASURES = {
    "RobinsAlexander": ("clustering", "Clustering is that of Robins and Alexander (2004): the "
                        "share of paths of three edges that a fourth edge closes."),
    "DegreeAssortativity": ("assortativity", "Assortativity is the correlation between the "
                            "degrees of the two units that an edge joins."),
}  # fmt: skip
Scores: TypeAlias = "dict[str, dict[str, float]]"  # by graph, measure and layer


def show(run: RunData) -> dict[str, Any] | None:
    """What the section shows; None where no network of the focus density can be measured."""
    from rewire import pictures

    graphs = {
        label: seeds[0]
        for label in run.points
        if (seeds := run.graphs_at(label, run.focus)) and 0 < len(seeds[0]) <= LARGEST
    }
    if not graphs:
        return None
    remembered = _remembered(run.out)
    known = dict(remembered)
    z = {label: _scores(graph, known) for label, graph in graphs.items()}
    if known != remembered:
        _remember(run.out, known)
    z = {label: scores for label, scores in z.items() if scores}
    if not z:
        return None
    figure = pictures.measures_by_rule(z)
    first = next(iter(graphs.values()))
    shown = _largest_layers(first)
    far = [
        f"{label}: {name} {value:.0f}"
        for label, scores in z.items()
        for name, value in scores.items()
        if abs(value) >= 5
    ]
    alt = f"z of {', '.join(next(iter(z.values())))} under {', '.join(z)}"
    alt = "; ".join([alt, *far[:12]]) + "."
    return {
        "svg": inline(figure, "z", alt),
        "width": round(PIXELS * figure.get_size_inches()[0]),
        "draws": DRAWS,
        "seed": run.seeds[0] if run.seeds else 0,
        "about": [about for _, about in MEASURES.values()],
        "layers": len(shown),
        "left_out": len(first.projections) - len(shown),
    }


def _scores(graph: Graph, known: Scores) -> dict[str, float]:
    """z of each measure in each of the largest layers; without those that never vary."""
    from rewire.measures import measure

    key = f"{graph.digest()} {DRAWS} {' '.join(MEASURES)}"
    if key not in known:
        table = measure(graph, list(MEASURES), null="degrees", draws=DRAWS)
        known[key] = {
            f"{row.measure} {row.part}": row.z
            for row in table
            if row.z is not None and np.isfinite(row.z)
        }
    return {
        f"{name}, {part}": known[key][f"{measure_name} {part}"]
        for part in _largest_layers(graph)
        for measure_name, (name, _) in MEASURES.items()
        if f"{measure_name} {part}" in known[key]
    }


def _remembered(out: Path) -> Scores:
    """What an earlier report of the run has measured; nothing where its file is not whole."""
    try:
        read = store.read_json(out / FILE)
    except (StoreError, OSError):
        return {}
    if not isinstance(read, dict) or read.get("version") != VERSION:
        return {}
    scores = read.get("scores")
    whole = isinstance(scores, dict) and all(
        isinstance(by_name, dict) and all(isinstance(z, float) for z in by_name.values())
        for by_name in scores.values()
    )
    return dict(scores) if whole and scores else {}


def _remember(out: Path, scores: Scores) -> None:
    with suppress(OSError):  # a folder that may only be read has a page all the same
        store.write_json(out / FILE, {"version": VERSION, "scores": scores})


def _largest_layers(graph: Graph) -> list[str]:
    by_size = sorted(graph.projections, key=lambda p: -p.size)[:LAYERS]
    return [p.name for p in graph.projections if p in by_size]

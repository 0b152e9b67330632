"""The networks that rules leave, layer by layer, and how they were rewired, as an animation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from rewire.analysis import metrics

from ..graphs import read_graph
from ..packing import animation, packed, text, unpacked
from ..run import FOLLOWED, RunData
from ..style import Inline, inline

if TYPE_CHECKING:
    from rewire.analysis.lifetimes import Lifetimes
    from rewire.graph import Graph

MOST_NETWORKS = 12  # that are drawn; of more rules the rest is named
LARGEST = 2_000_000  # edges of a network that is drawn
FRAMES = (21, 13, 7)  # fewer where more would make the page too large
MOST = 400_000  # bytes of the animation's numbers
DOTS = 12  # of a layer, each for consecutive units


def show(run: RunData) -> dict[str, Any] | None:
    """What the section shows; None where no connectivity was saved at the focus density."""
    graphs = _weighted(run)
    replay = _replay(run, graphs)
    if not graphs and not replay:
        return None
    shown = dict(list(graphs.items())[:MOST_NETWORKS])
    return {
        "panels": [_panel(label, graph, i) for i, (label, graph) in enumerate(shown.items())],
        "size": "two" if all(_is_shallow(graph) for graph in shown.values()) else "one",
        "others": [label for label in graphs if label not in shown],
        "joined": all(map(metrics.followed, shown.values())),
        "crowd": _crowd(graphs),
        "seed": run.seeds[0] if run.seeds else 0,
        "frames": replay["frames"] if replay else 0,
        "shown": len(replay["rules"]) if replay else 0,
        "sampled": bool(replay and replay["sampled"]),
        "data": Markup(text(replay)),
        "numbers": _numbers(replay["rules"]) if replay else [],
        "script": animation(__package__, "rewiring.js") if replay else Markup(""),
    }


def _weighted(run: RunData) -> dict[str, Graph]:
    """By label the graph of its first seed at the focus density, with weights."""
    graphs: dict[str, Graph] = {}
    for label in run.points:
        point = run.point(label, run.focus) if run.focus is not None else None
        rows = sorted(point.rows, key=lambda row: row["seed"]) if point else []
        for row in rows[:1]:
            with run.reading(f"the connectivity of {label}, seed {row['seed']}"):
                graph = read_graph(run.out, row, weights=True)
                if graph is not None and 0 < len(graph) <= LARGEST:
                    graphs[label] = graph
    return graphs


def _panel(label: str, graph: Graph, i: int) -> Inline:
    from rewire import pictures

    figure = pictures.network(graph, most=DOTS, title=label)
    return inline(
        figure, f"n{i}", f"The network that {label} leaves: {len(graph)} edges between "
        f"{', '.join(f'{p.size} units of {p.name}' for p in graph.populations)}."
    )  # fmt: skip


def _is_shallow(graph: Graph) -> bool:
    from rewire.pictures.layers import DEEP, Bundles

    return Bundles(graph, most=1).columns <= DEEP


def _crowd(graphs: Mapping[str, Graph]) -> int:
    """How many dots a layer has at most; 0 where each unit has its own."""
    sizes = [p.size for graph in graphs.values() for p in graph.populations]
    return DOTS if max(sizes, default=0) > DOTS else 0


# --- the animation ---


def _replay(run: RunData, graphs: Mapping[str, Graph]) -> dict[str, Any]:
    """What the script is given; empty where no rule formed an edge or no log is left."""
    if run.focus is None:
        return {}
    lives = {label: run.lives(label, run.focus) for label in graphs}
    rewired = {label: seeds[0] for label, seeds in lives.items() if seeds and _formed(seeds[0])}
    if not rewired:
        return {}
    graph = next(graphs[label] for label in rewired)
    if any(graphs[label].description != graph.description for label in rewired):
        return {}
    for frames in FRAMES:
        replay = _frames(run, graph, rewired, frames)
        if len(text(replay)) <= MOST:
            return replay
    return {}


def _formed(lives: Lifetimes) -> bool:
    return bool((lives.born > lives.born.min()).any())


def _frames(
    run: RunData, graph: Graph, rewired: Mapping[str, Lifetimes], frames: int
) -> dict[str, Any]:
    from rewire.pictures.layers import Bundles

    bundles = Bundles(graph, most=DOTS)
    used = np.zeros(len(bundles.ends), bool)
    counted = {}
    for label, lives in rewired.items():
        first, end = lives.born.min(), lives.died.max()
        steps = np.rint(np.linspace(first, end, frames)).astype(int)
        bundle = bundles.of(lives.key)
        counts = np.stack([_counts(bundle, lives, t, len(used)) for t in steps])
        young = np.stack(
            [_counts(bundle, lives, t, len(used), lives.born > first) for t in steps]
        )  # fmt: skip
        used |= counts.any(0)
        counted[label] = steps, counts, young
    right = max(bundles.columns - 1, 1)
    most = max(int(counts.max()) for _, counts, _ in counted.values())
    rules = [
        {
            "label": label,
            "steps": steps.tolist(),
            "counts": packed(np.minimum(counts[:, used], 65535), np.uint16),
            "young": packed(np.minimum(young[:, used], 65535), np.uint16),
        }
        for label, (steps, counts, young) in counted.items()
    ]
    return {
        "frames": frames,
        "most": most,
        "sampled": len(graph) > FOLLOWED,
        "units": np.round(bundles.units / [right, 1], 3).tolist(),
        "bundles": np.round(bundles.ends[used] / [right, 1, right, 1], 3).tolist(),
        "rules": rules,
    }


def _numbers(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each frame the edges, and those of them that were formed since the start."""
    rows = []
    for rule in rules:
        counts, young = (
            unpacked(rule[name], np.uint16).reshape(len(rule["steps"]), -1).sum(1)
            for name in ("counts", "young")
        )
        rows += [
            {"label": rule["label"], "step": step, "edges": edges, "formed_since_start": formed}
            for step, edges, formed in zip(rule["steps"], counts, young, strict=True)
        ]
    return rows


def _counts(
    bundle: np.ndarray, lives: Lifetimes, step: int, size: int, only: np.ndarray | None = None
) -> np.ndarray:
    """Edges alive after a step in each bundle, (bundles,)."""
    alive = (lives.born <= step) & ((lives.died > step) | lives.alive)
    alive = alive if only is None else alive & only
    return np.bincount(bundle[alive], minlength=size)

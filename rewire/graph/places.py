"""Where to draw the nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .graph import Graph
from .space import Space


def layout(
    graph: Graph, view: Literal["units", "layer"] = "units"
) -> dict[Any, tuple[float, float]]:
    """Places to draw the nodes of `to_networkx` at: layers from left to right.

    A population's x is its longest way from the beginning, populations on a cycle together; its
    units stand above each other, populations of one x in turn. Joints have places too.

    >>> from rewire.analysis.examples import two_layers
    >>> places = layout(two_layers())
    >>> places["input", 0], places["hidden", 1], places["output", 1]
    ((0.0, 0.75), (1.0, 0.0), (2.0, -0.5))
    """
    space = graph.space
    wiring = space.wiring
    sizes = {p.name: p.size for p in space.populations}
    sizes |= {j.name: j.size for j in (wiring.joints if wiring else ())}
    labels = {p.name: p.labels for p in space.populations}
    columns: dict[int, list[str]] = {}
    for name, rank in _ranks(space, list(sizes)).items():
        columns.setdefault(rank, []).append(name)
    places: dict[Any, tuple[float, float]] = {}
    for rank, names in columns.items():
        total = sum(sizes[name] for name in names)
        first = 0
        for name in names:
            own = labels.get(name) or [(name, i) for i in range(sizes[name])]
            height = [1 - (2 * (first + i) + 1) / total for i in range(sizes[name])]
            if view == "layer":
                places[name] = (float(rank), float(np.mean(height)) if height else 0.0)
            else:
                places |= {n: (float(rank), h) for n, h in zip(own, height, strict=True)}
            first += sizes[name]
    return places


def _ranks(space: Space, names: Sequence[str]) -> dict[str, int]:
    """The longest way from the beginning to each population or joint, cycles as one place."""
    import networkx as nx

    joins: nx.DiGraph = nx.DiGraph()
    joins.add_nodes_from(names)
    joins.add_edges_from((p.source, p.target) for p in space.projections)
    if space.wiring is not None:
        joins.add_edges_from((k.source, k.target) for k in space.wiring.links)
    whole = nx.condensation(joins)
    ranks: dict[str, int] = {}
    for rank, generation in enumerate(nx.topological_generations(whole)):
        for part in generation:
            ranks |= dict.fromkeys(whole.nodes[part]["members"], rank)
    return {name: ranks[name] for name in names}

"""The connectivity that a cell has saved, as a graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import store

if TYPE_CHECKING:
    from rewire.graph import Graph, Population, Projection, Space


def read_graph(out: Path, row: Mapping[str, Any], *, weights: bool = False) -> Graph | None:
    """The graph at the end of a result row's level; None where the cell saved none.

    weights: with the column "weight". Raises CheckpointError or StoreError for a damaged file.
    """
    cell = store.CellStore(out / "cells" / row["cell"])
    if row["level"] not in cell.levels:
        return None
    tree, meta = cell.read_level(row["level"])
    graph = graph_of(tree["keys"], meta)
    return graph.with_columns({"weight": tree["weight"]}) if weights else graph


def graph_of(keys: Any, meta: Mapping[str, Any]) -> Graph:
    """The graph that `rewire.graph.Graph.description` and its keys describe."""
    from rewire.graph import Graph

    parts = ("populations", "projections", "wiring")
    return Graph(_space(json.dumps({k: meta.get(k) for k in parts}, sort_keys=True)), keys)


@lru_cache(maxsize=4)
def _space(described: str) -> Space:
    """The space of a description: one for all graphs of a run that share it."""
    from rewire.graph import Space
    from rewire.graph.wiring import wiring_from_plain

    meta = json.loads(described)
    populations = [_population(p) for p in meta["populations"]]
    projections = [_projection(p) for p in meta["projections"]]
    space = Space(populations, projections)
    if meta["wiring"] is None:  # of an older run, or of a model that was not followed
        return space
    wiring = partial(wiring_from_plain, space, meta["wiring"])
    return Space(populations, projections, wiring=wiring)


def _population(described: Mapping[str, Any]) -> Population:
    from rewire.graph import Population, square_sheet

    size = described["size"]
    positions = square_sheet(size) if described.get("grid") else None
    return Population(described["name"], size, positions, described.get("slots"))


def _projection(described: Mapping[str, Any]) -> Projection:
    from rewire.graph import Projection

    return Projection(
        described["name"],
        described["source"],
        described["target"],
        described["kind"],
        tuple(described["shape"]),
        described.get("multapses", False),
        described.get("groups", 1),
    )

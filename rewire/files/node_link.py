"""Node-link JSON, as `networkx.node_link_data` and d3 have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_atomic
from ..graph import Graph, Listing
from ..graph.listing import Weight, graph_of, listing
from .errors import GraphFileError
from .graphml import columns
from .names import texts


def write(graph: Graph, path: Path, weight: Weight = "signed", links: bool = True) -> None:
    """Write ``nodes`` and ``edges``. Raises ValueError for NaN and infinity, which JSON has not.

    weight, links: as for GraphML.
    """
    edges = listing(graph.topology, graph.columns, weight, links=links, wiring=True)
    names = texts(edges)
    several = len({*zip(edges.pre.tolist(), edges.post.tolist(), strict=True)}) < len(edges.pre)
    ends = {"source": [names[i] for i in edges.pre], "target": [names[j] for j in edges.post]}
    data = {
        "directed": True,
        "multigraph": several,
        "graph": edges.about,
        "nodes": _rows({"id": names, **edges.units}),
        "edges": _rows({**ends, **edges.values}),
    }
    try:
        text = json.dumps(data, allow_nan=False)
    except ValueError:
        raise ValueError(
            "JSON has no NaN and no infinity, and a column holds one: write GraphML or npz."
        ) from None
    write_atomic(path, text.encode())


def _rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    rows = zip(*table.values(), strict=True)
    return [{n: v for n, v in zip(table, row, strict=True) if v is not None} for row in rows]


def read(path: Path) -> Graph:
    """The graph of ``nodes`` and ``edges`` (or ``links``), each with its attributes."""
    data = json.loads(path.read_bytes(), parse_constant=_refuse)
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise GraphFileError("it has no list of `nodes`.")
    rows = data.get("edges", data.get("links"))
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in [*rows, *data["nodes"]]):
        raise GraphFileError("its `nodes` and `edges` (or `links`) must be lists of objects.")
    nodes = [_hashable(node.pop("id")) for node in data["nodes"]]
    number = {node: i for i, node in enumerate(nodes)}
    if len(number) < len(nodes):
        raise GraphFileError("two of its nodes have the same id.")
    ends = dict[str, np.ndarray]()
    for side in ("source", "target"):
        some = [_hashable(row.pop(side)) for row in rows]
        strange = next((node for node in some if node not in number), None)
        if strange is not None:
            raise GraphFileError(f"an edge joins {strange!r}, which is no node.")
        ends[side] = np.array([number[node] for node in some], np.int64)
    about = data.get("graph") or {}
    return Graph(
        *graph_of(
            Listing(
                nodes, columns(data["nodes"]), ends["source"], ends["target"], columns(rows),
                data.get("directed", True) is not False, dict(about),
            )
        )
    )  # fmt: skip


def _hashable(node: Any) -> Any:
    """A node's name; networkx writes a tuple as a list."""
    if isinstance(node, list):
        return tuple(map(_hashable, node))
    if node is None or isinstance(node, dict) or node != node:
        raise GraphFileError(f"{node!r} is no name of a node.")
    return node


def _refuse(text: str) -> Any:
    raise GraphFileError(f"{text} is no JSON: a column with it cannot come from there.")

"""GraphML, as igraph, Gephi, yEd and networkx read and write it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from ..atomic import replacing
from ..graph import Graph, Listing
from ..graph.listing import Weight, graph_of, listing
from .errors import GraphFileError
from .names import texts
from .xml import kind_of, parse, plain, quoted, value_of

_WORDS = {bool: "boolean", int: "long", float: "double", str: "string"}
_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
)


def write(graph: Graph, path: Path, weight: Weight = "signed", links: bool = True) -> None:
    """Write units as nodes, synapses and links as edges; the space as an attribute of the graph.

    weight: what the attribute ``weight`` is, as for `Graph.to_networkx`. links: whether links are
        edges, which have no weight, and joints nodes; they come back either way.
    """
    edges = listing(graph.topology, graph.columns, weight, links=links, wiring=True)
    tables = {"node": edges.units, "edge": edges.values}
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        put = file.write
        put(_HEAD)
        for name in edges.about:
            put(f'<key id={quoted(f"graph {name}")} for="graph" attr.name={quoted(name)} '
                'attr.type="string"/>\n')  # fmt: skip
        for part, table in tables.items():
            for name, values in table.items():
                put(f'<key id={quoted(f"{part} {name}")} for="{part}" attr.name={quoted(name)} '
                    f'attr.type="{kind_of(values, _WORDS)}"/>\n')  # fmt: skip
        put('<graph edgedefault="directed">\n')
        for name, text in edges.about.items():
            put(f"<data key={quoted(f'graph {name}')}>{escape(plain(text))}</data>\n")
        nodes = [quoted(name) for name in texts(edges)]
        for node, data in zip(nodes, _data("node", edges.units, len(nodes)), strict=True):
            put(f"<node id={node}>{data}</node>\n")
        ends = zip(edges.pre.tolist(), edges.post.tolist(), strict=True)
        for (i, j), data in zip(ends, _data("edge", edges.values, len(edges.pre)), strict=True):
            put(f"<edge source={nodes[i]} target={nodes[j]}>{data}</edge>\n")
        put("</graph>\n</graphml>\n")


def _data(part: str, table: Mapping[str, Any], n: int) -> Any:
    keys = [quoted(f"{part} {name}") for name in table]
    rows = zip(*table.values(), strict=True) if table else ((),) * n
    for row in rows:
        yield "".join(
            f"<data key={key}>{escape(plain(value))}</data>"
            for key, value in zip(keys, row, strict=True)
            if value is not None
        )


def read(path: Path) -> Graph:
    """The graph of any GraphML file: attributes as `Graph.from_networkx` takes them."""
    reader = _Reader()
    parse(path, reader.start, reader.end)
    return Graph(*graph_of(reader.listing()))


class _Reader:
    """Collects nodes, edges and their data as elements come."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, str, str]] = {}  # id -> part, name, type
        self.defaults: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[tuple[str, str, bool, dict[str, Any]]] = []
        self.about: dict[str, Any] = {}
        self.directed: bool | None = None
        self.into: list[tuple[str, dict[str, Any]]] = []  # what data belongs to, inside out
        self.key = ""

    def start(self, tag: str, has: Mapping[str, str]) -> None:
        if tag == "key":
            kind = has.get("attr.type", "string")
            self.keys[has["id"]] = has.get("for", "all"), has.get("attr.name", has["id"]), kind
            self.key = has["id"]
        elif tag == "graph":
            if self.directed is not None:
                raise GraphFileError("it holds several graphs, or one inside a node: write one.")
            self.directed = has.get("edgedefault", "directed") == "directed"
            self.into.append((tag, self.about))
        elif tag == "node":
            if has["id"] in self.numbers:
                raise GraphFileError(f"two nodes have the id {has['id']!r}.")
            self.numbers[has["id"]] = len(self.nodes)
            self.nodes.append({})
            self.into.append((tag, self.nodes[-1]))
        elif tag == "edge":
            values: dict[str, Any] = {}
            directed = has.get("directed", "true" if self.directed else "false") == "true"
            self.edges.append((has["source"], has["target"], directed, values))
            self.into.append((tag, values))
        elif tag == "hyperedge":
            raise GraphFileError("it has hyperedges, which join more than two nodes.")
        elif tag == "data":
            self.key = has["key"]

    def end(self, tag: str, text: str) -> None:
        if tag in ("graph", "node", "edge"):
            self.into.pop()
        elif tag == "default":
            self.defaults[self.key] = value_of(text, self.keys[self.key][2])
        elif tag == "data" and self.into:
            _, name, kind = self.keys[self.key]
            self.into[-1][1][name] = value_of(text, kind)

    def listing(self) -> Listing:
        if self.directed is None:
            raise GraphFileError("it holds no graph.")
        for key, value in self.defaults.items():
            part, name, _ = self.keys[key]
            rows = {"node": self.nodes, "edge": [e[3] for e in self.edges]}.get(part, [])
            for row in rows:
                row.setdefault(name, value)
        return of_rows(self.numbers, self.nodes, self.edges, self.about)


def of_rows(
    numbers: Mapping[str, int],
    nodes: list[dict[str, Any]],
    edges: list[tuple[str, str, bool, dict[str, Any]]],
    about: dict[str, Any],
) -> Listing:
    """The listing of nodes and edges as rows. Raises GraphFileError for ends that are no nodes."""
    ways = {directed for _, _, directed, _ in edges}
    if len(ways) > 1:
        raise GraphFileError("some of its edges are directed and some are not: make all of a kind.")
    for source, target, _, _ in edges:
        if source not in numbers or target not in numbers:
            raise GraphFileError(
                f"an edge joins {source!r} and {target!r}, which are not both nodes."
            )
    return Listing(
        list(numbers),
        columns(nodes),
        np.array([numbers[e[0]] for e in edges], np.int64),
        np.array([numbers[e[1]] for e in edges], np.int64),
        columns([e[3] for e in edges]),
        ways != {False},
        about,
    )


def columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Attribute -> its value in each row, None where it is not there."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}

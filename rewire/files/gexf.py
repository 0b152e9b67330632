"""GEXF 1.2, as Gephi and networkx read and write it; the space lies in the description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ..atomic import replacing
from ..graph import Graph, Listing
from ..graph.listing import ABOUT, Weight, graph_of, listing
from .errors import GraphFileError
from .graphml import of_rows
from .names import texts
from .xml import kind_of, parse, plain, quoted, value_of

_WORDS = {bool: "boolean", int: "long", float: "double", str: "string"}
_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<gexf xmlns="http://www.gexf.net/1.2draft" xmlns:viz="http://www.gexf.net/1.2draft/viz" '
    'version="1.2">\n'
)


def write(graph: Graph, path: Path, weight: Weight = "signed", links: bool = True) -> None:
    """Write units as nodes, at their places where they have any, synapses and links as edges.

    weight: what an edge's weight is, as for `Graph.to_networkx`; Gephi lays out with positive ones.
    links: as for GraphML.
    """
    edges = listing(graph.topology, graph.columns, weight, links=links, wiring=True)
    weights = edges.values.get("weight")
    others = {name: values for name, values in edges.values.items() if name != "weight"}
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        put = file.write
        put(_HEAD)
        put(f"<meta><description>{escape(plain(edges.about[ABOUT]))}</description></meta>\n")
        put('<graph defaultedgetype="directed" mode="static">\n')
        for part, table in (("node", edges.units), ("edge", others)):
            put(f'<attributes class="{part}" mode="static">\n')
            for i, (name, values) in enumerate(table.items()):
                kind = kind_of(values, _WORDS)
                put(f'<attribute id="{i}" title={quoted(name)} type="{kind}"/>\n')
            put("</attributes>\n")
        put("<nodes>\n")
        names = [quoted(name) for name in texts(edges)]
        rows = zip(names, _values(edges.units, len(names)), _places(edges, len(names)), strict=True)
        for name, values, place in rows:
            put(f"<node id={name} label={name}>{values}{place}</node>\n")
        put("</nodes>\n<edges>\n")
        ends = zip(edges.pre.tolist(), edges.post.tolist(), strict=True)
        data = _values(others, len(edges.pre))
        for number, ((i, j), values) in enumerate(zip(ends, data, strict=True)):
            w = weights[number] if weights is not None else None
            heavy = "" if w is None else f' weight="{w}"'
            put(f'<edge id="{number}" source={names[i]} target={names[j]}{heavy}>{values}</edge>\n')
        put("</edges>\n</graph>\n</gexf>\n")


def _values(table: Mapping[str, Sequence[Any]], n: int) -> Iterator[str]:
    for row in zip(*table.values(), strict=True) if table else ((),) * n:
        each = "".join(
            f'<attvalue for="{i}" value={quoted(value)}/>'
            for i, value in enumerate(row)
            if value is not None
        )
        yield f"<attvalues>{each}</attvalues>" if each else ""


def _places(edges: Listing, n: int) -> Iterator[str]:
    none = [None] * n
    for x, y in zip(edges.units.get("x", none), edges.units.get("y", none), strict=True):
        yield "" if x is None else f'<viz:position x="{x}" y="{y}" z="0.0"/>'


def read(path: Path) -> Graph:
    """The graph of any GEXF file: attributes as `Graph.from_networkx` takes them."""
    reader = _Reader()
    parse(path, reader.start, reader.end)
    if reader.directed is None:
        raise GraphFileError("it holds no graph.")
    return Graph(*graph_of(of_rows(reader.numbers, reader.nodes, reader.edges, reader.about)))


class _Reader:
    """Collects nodes, edges and their values as elements come."""

    def __init__(self) -> None:
        self.attributes: dict[tuple[str, str], tuple[str, str]] = {}  # part, id -> name, type
        self.numbers: dict[str, int] = {}
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[tuple[str, str, bool, dict[str, Any]]] = []
        self.about: dict[str, Any] = {}
        self.directed: bool | None = None
        self.part = ""
        self.values: dict[str, Any] = {}

    def start(self, tag: str, has: Mapping[str, str]) -> None:
        if tag == "graph":
            if has.get("mode", "static") != "static":
                raise GraphFileError("it is a dynamic graph: write one moment of it.")
            self.directed = has.get("defaultedgetype", "undirected") == "directed"
        elif tag == "attributes":
            self.part = has["class"]
        elif tag == "attribute":
            self.attributes[self.part, has["id"]] = has["title"], has["type"]
        elif tag == "node":
            if has["id"] in self.numbers:
                raise GraphFileError(f"two nodes have the id {has['id']!r}.")
            self.numbers[has["id"]] = len(self.nodes)
            self.part, self.values = "node", {}
            self.nodes.append(self.values)
        elif tag == "edge":
            self.part, self.values = "edge", {}
            kind = has.get("type", "directed" if self.directed else "undirected")
            if "weight" in has:
                self.values["weight"] = float(has["weight"])
            self.edges.append((has["source"], has["target"], kind == "directed", self.values))
        elif tag == "attvalue":
            identity = has["for"] if "for" in has else has["id"]
            name, kind = self.attributes[self.part, identity]
            self.values[name] = value_of(has["value"], kind)

    def end(self, tag: str, text: str) -> None:
        if tag == "description" and text.lstrip().startswith('{"populations"'):
            self.about[ABOUT] = text

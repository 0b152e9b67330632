"""Pajek's .net files: numbered vertices with places, arcs and edges with a weight."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replacing
from ..graph import Graph, Listing
from ..graph.listing import Weight, graph_of, listing
from .errors import GraphFileError, check_units
from .names import texts

_WORD = re.compile(r'"([^"]*)"|(\S+)')


def write(graph: Graph, path: Path, weight: Weight = "signed") -> None:
    """Write units as vertices and synapses as arcs; parallel synapses are several arcs."""
    edges = listing(graph.topology, graph.columns, weight)
    weights = edges.values.get("weight")
    none = [None] * len(edges.nodes)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(f"*Vertices {len(edges.nodes)}\n")
        places = zip(edges.units.get("x", none), edges.units.get("y", none), strict=True)
        for i, (name, (x, y)) in enumerate(zip(texts(edges), places, strict=True)):
            plain = re.sub(r'["\r\n]', "'", name)
            file.write(f'{i + 1} "{plain}"{"" if x is None else f" {x} {y} 0.5"}\n')
        file.write("*Arcs\n")
        for row, (i, j) in enumerate(zip(edges.pre.tolist(), edges.post.tolist(), strict=True)):
            file.write(f"{i + 1} {j + 1}{'' if weights is None else f' {weights[row]}'}\n")


def read(path: Path) -> Graph:
    """The graph of a network's vertices, arcs and edges (lists too), all one population."""
    section, names, places = "", list[str](), list[tuple[float, float] | None]()
    ends: dict[bool, list[tuple[int, int, float | None]]] = {True: [], False: []}
    for words in _lines(path):
        head = words[0].lower()
        if head.startswith("*"):
            section = head
            if head == "*vertices":
                if names:
                    raise GraphFileError("it has two lists of vertices: write one network a file.")
                size = int(words[1])
                check_units(path, size)
                names, places = [str(i + 1) for i in range(size)], [None] * size
            elif head not in ("*network", "*arcs", "*edges", "*arcslist", "*edgeslist"):
                raise GraphFileError(f"the section {words[0]} is not read.")
        elif section == "*vertices":
            vertex = _vertex(words[0], names)
            names[vertex] = words[1] if len(words) > 1 else names[vertex]
            places[vertex] = _place(words[2:4])
        elif section in ("*arcs", "*edges"):
            w = float(words[2]) if len(words) > 2 else None
            pair = _vertex(words[0], names), _vertex(words[1], names)
            ends[section == "*arcs"].append((*pair, w))
        elif section in ("*arcslist", "*edgeslist"):
            first, *others = (_vertex(word, names) for word in words)
            ends[section == "*arcslist"] += [(first, other, None) for other in others]
    if section == "":
        raise GraphFileError("it has no *Vertices.")
    if len(set(names)) < len(names):
        names = [f"{i + 1} {name}" for i, name in enumerate(names)]
    undirected = ends[False]
    if ends[True]:  # an edge is an arc in each direction
        undirected = []
        back = [(j, i, w) for i, j, w in ends[False] if i != j]
        ends[True] += [*ends[False], *back]
    return Graph(*graph_of(_listing(names, places, ends[True] or undirected, bool(ends[True]))))


def _listing(names: list[str], places: list[Any], ends: list[Any], directed: bool) -> Listing:
    pre, post = (np.array([e[k] for e in ends], np.int64) for k in (0, 1))
    weights = [w for _, _, w in ends]
    units = {
        axis: [None if place is None else place[k] for place in places]
        for k, axis in enumerate("xy")
    }
    values = {"weight": weights} if any(w is not None for w in weights) else {}
    return Listing(names, units, pre, post, values, directed)


def _lines(path: Path) -> Iterator[list[str]]:
    with open(path, encoding="utf-8-sig") as file:
        for line in file:
            words = [a or b for a, b in _WORD.findall(line)]
            if words and not words[0].startswith("%"):
                yield words


def _vertex(word: str, names: list[str]) -> int:
    number = int(word) - 1
    if not 0 <= number < len(names):
        raise GraphFileError(f"there is no vertex {word}; they are 1 to {len(names)}.")
    return number


def _place(words: list[str]) -> tuple[float, float] | None:
    try:
        return float(words[0]), float(words[1])
    except (ValueError, IndexError):
        return None

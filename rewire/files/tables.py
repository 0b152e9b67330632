"""Tables of edges: csv and tsv, one edge a row, under a head that names the columns."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replacing
from ..graph import Graph, Listing
from ..graph.listing import Weight, graph_of, listing
from .errors import GraphFileError
from .matrices import Rows, of_matrix
from .names import texts

SOURCES = ("source", "pre", "from", "i", "u")
TARGETS = ("target", "post", "to", "j", "v")


def write(graph: Graph, path: Path, weight: Weight = "signed") -> None:
    """Write source, target and what each edge carries; isolated units are in no row."""
    edges = listing(graph.topology, graph.columns, weight)
    names = texts(edges)
    table: dict[str, Any] = {
        "source": [names[i] for i in edges.pre],
        "target": [names[j] for j in edges.post],
        **edges.values,
    }
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter=_delimiter(path), lineterminator="\n")
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))


def read(
    path: Path, matrix: bool | None = None, rows: Rows = "pre", bipartite: bool | None = None
) -> Graph:
    """The graph of a table of edges, or of an adjacency matrix.

    A head whose first two names are source and target (or pre and post, from and to, i and j, u and
    v) makes it a table of edges, whose other columns of numbers are the graph's. Numbers
    alone are an adjacency matrix (rows, bipartite: as for "matrix"); where they have two or three
    columns, which may be edges too, matrix=True or False says which.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = [row for row in csv.reader(file, delimiter=_delimiter(path)) if row]
    if not lines:
        raise GraphFileError("it is empty.")
    head = [word.strip().lower() for word in lines[0]]
    if len(head) > 1 and head[0] in SOURCES and head[1] in TARGETS:
        return _edges([word.strip() for word in lines[0]], lines[1:])
    if matrix is None and len(head) in (2, 3):
        raise GraphFileError(
            f"its {len(lines)} rows of {len(head)} have no head: give it one (source, target), or "
            "say matrix=True or matrix=False."
        )
    if matrix is False:
        return _edges(["source", "target", "weight", *head][: len(head)], lines)
    if len({len(row) for row in lines}) > 1:
        raise GraphFileError(
            "its rows are not equally long, and have no head of source and target."
        )
    return of_matrix(np.array([[float(word) for word in row] for row in lines]), rows, bipartite)


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _edges(head: list[str], rows: list[list[str]]) -> Graph:
    for number, row in enumerate(rows):
        if len(row) != len(head):
            raise GraphFileError(f"edge {number + 1} has {len(row)} fields, the head {len(head)}.")
        if not all(word.strip() and word.strip().lower() != "nan" for word in row[:2]):
            raise GraphFileError(f"edge {number + 1} lacks an end: {row[:2]}.")
    numbers: dict[str, int] = {}
    pre, post = (
        np.array([numbers.setdefault(row[k].strip(), len(numbers)) for row in rows], np.int64)
        for k in (0, 1)
    )
    values = {}
    for k, name in enumerate(head[2:], 2):
        column = _numbers([row[k] for row in rows])
        if column is not None:
            values[name] = column
        elif name == "weight":
            raise GraphFileError("its column weight holds what is no number.")
    return Graph(*graph_of(Listing(list(numbers), {}, pre, post, values)))


def _numbers(words: list[str]) -> list[Any] | None:
    """The values of a column; None where one is neither a number nor True or False."""
    truth = {"True": True, "False": False}
    if words and all(word in truth for word in words):
        return [truth[word] for word in words]
    for kind in (int, float):
        try:
            return [kind(word) for word in words]
        except ValueError:
            continue
    return None

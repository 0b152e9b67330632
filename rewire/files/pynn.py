"""Connection lists of PyNN: text, one synapse a row, as `pyNN.FromFileConnector` reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..atomic import replacing
from ..graph import Graph, Population, Projection, Space
from .errors import GraphFileError, check_units

COLUMNS = ("i", "j", "weight", "delay")


def write(graph: Graph, path: Path, projection: str | None = None, delay: float = 1.0) -> None:
    """Write one projection: i (pre), j (post), weight, delay in ms.

    Delays are the column ``delay``, or ``delay`` for all; a graph without weights has ones.
    """
    if projection is None and len(graph.projections) != 1:
        names = ", ".join(repr(p.name) for p in graph.projections)
        raise ValueError(f"a connection list is of one projection: projection= one of {names}.")
    number = 0 if projection is None else graph.space.index(projection)
    p, rows = graph.projections[number], graph.rows(number)
    _, pre, post = (x[rows].tolist() for x in graph.locate())
    ones = np.ones(len(pre))
    columns = graph.columns
    weights = graph.numbers("weight")[rows].tolist() if "weight" in columns else ones.tolist()
    delays = graph.numbers("delay")[rows] if "delay" in columns else ones * delay
    sizes = [graph.space.population[end].size for end in (p.source, p.target)]
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(f"# columns = {json.dumps(COLUMNS)}\n# sizes = {sizes}\n")
        file.writelines(
            f"{i}\t{j}\t{w}\t{d}\n"
            for i, j, w, d in zip(pre, post, weights, delays.tolist(), strict=True)
        )


def read(path: Path, sizes: tuple[int, int] | None = None) -> Graph:
    """The graph of one projection, its other columns of numbers too.

    sizes: units of the two populations; by default as a line ``# sizes = [n_pre, n_post]`` says,
        or just enough for the numbers that there are.
    """
    about: dict[str, Any] = {}
    with open(path, encoding="utf-8-sig") as file:
        lines = [line.strip() for line in file]
    for line in lines:
        name, equals, value = line.removeprefix("#").partition("=")
        if line.startswith("#") and equals and name.strip() in ("columns", "sizes"):
            about[name.strip()] = json.loads(value.replace("'", '"'))
    names = list(about.get("columns", COLUMNS))
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    if not rows and "columns" not in about:
        raise GraphFileError("it holds no connection.")
    if {len(row) for row in rows} - {len(names)} or names[:2] != ["i", "j"]:
        raise GraphFileError(f"its rows must have the columns {', '.join(names)}, i and j first.")
    pre, post = (np.array([_unit(row[k]) for row in rows], np.int64) for k in (0, 1))
    least = [int(x.max()) + 1 if len(x) else 0 for x in (pre, post)]
    size = [int(n) for n in (sizes or about.get("sizes") or least)]
    if len(size) != 2 or any(n < m for n, m in zip(size, least, strict=True)):
        raise GraphFileError(f"its units run to {least}, and the populations have {size}.")
    check_units(path, *size)
    keys = post * size[0] + pre
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    several = bool((keys[1:] == keys[:-1]).any())
    space = Space(
        [Population("pre", size[0]), Population("post", size[1])],
        [Projection("connections", "pre", "post", "linear", (size[1], size[0]), several)],
    )
    columns = {
        name: torch.tensor([float(rows[row][k]) for row in order.tolist()], dtype=torch.float64)
        for k, name in enumerate(names[2:], 2)
    }
    return Graph(space, torch.from_numpy(keys), columns)


def _unit(word: str) -> int:
    number = float(word)  # PyNN's own files write them so
    if not number.is_integer() or not 0 <= number < 2**53:
        raise GraphFileError(f"{word} is no number of a unit.")
    return int(number)

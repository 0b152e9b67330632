"""npz: keys, columns and the space as arrays; beside them one matrix that scipy reads.

A file of ours is read by `scipy.sparse.load_npz` as the adjacency matrix of all units, numbered as
`graph.network` numbers them: row i holds the edges out of unit i, parallel ones added up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..atomic import replacing
from ..graph import Graph
from ..graph.described import description, space_of
from . import zips
from .errors import GraphFileError, check_units
from .matrices import Rows, of_matrix, of_named

OURS = "rewire."


def write(graph: Graph, path: Path) -> None:
    """Write all of a graph, but for births and limits."""
    parts = parts_of(graph)
    weights = graph.numbers("weight").astype(np.float64) if "weight" in graph.columns else None
    whole = graph.network.adjacency(weights, links=False)
    parts |= {
        "format": np.array(b"csr"), "shape": np.array(whole.shape), "data": whole.data,
        "indices": whole.indices, "indptr": whole.indptr,
    }  # fmt: skip
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **parts)


def parts_of(graph: Graph) -> dict[str, Any]:
    """All of a graph, but for births and limits, as arrays by name."""
    about = description(graph.space)
    parts: dict[str, Any] = {f"{OURS}keys": graph.array}
    columns = {}
    for name, column in graph.columns.items():
        columns[name] = str(column.dtype).removeprefix("torch.")
        exact = column.float() if column.dtype is torch.bfloat16 else column
        parts[f"{OURS}column.{len(columns) - 1}"] = exact.numpy()
    for p, described in zip(graph.populations, about["populations"], strict=True):
        if p.positions is not None:
            parts[f"{OURS}positions.{graph.populations.index(p)}"] = p.positions.numpy()
        described["labels"] = None if p.labels is None else [_plain(name) for name in p.labels]
    if graph.space.wiring is not None:
        about["wiring"] = graph.space.wiring.plain()
    about["columns"] = columns
    parts[OURS + "space"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    return parts


def _plain(label: Any) -> Any:
    return label if isinstance(label, str | int) else str(label)


def read(
    path: Path,
    rows: Rows = "pre",
    bipartite: bool | None = None,
    chain: bool = False,
    groups: Mapping[str, int] | None = None,
) -> Graph:
    """Ours; a matrix of `scipy.sparse.save_npz` (rows, bipartite: as for "matrix"); or arrays by
    name.

    Arrays of `numpy.savez` are weights or masks (n_post, n_pre, ...), zeros absent; chain, groups:
    as for "state".
    """
    parts = zips.arrays(path)
    if f"{OURS}space" in parts:
        return ours(path, parts)
    if "format" in parts and "shape" in parts:
        return of_matrix(_scipy(path, parts), rows, bipartite)
    return of_named(parts, chain, groups)


def _scipy(path: Path, parts: dict[str, np.ndarray]) -> Any:
    import scipy.sparse as sp

    form = parts["format"].item()
    form = form.decode() if isinstance(form, bytes) else form
    shape = tuple(map(int, parts["shape"]))
    check_units(path, *shape)
    if form in ("csr", "csc"):
        build = sp.csr_array if form == "csr" else sp.csc_array
        matrix: Any = build((parts["data"], parts["indices"], parts["indptr"]), shape=shape)
        matrix.check_format(full_check=True)
        return matrix
    if form == "coo":
        ends = parts["coords"] if "coords" in parts else (parts["row"], parts["col"])
        return sp.coo_array((parts["data"], tuple(ends)), shape=shape)
    raise GraphFileError(f"a sparse matrix of the form {form!r} is not read: write csr or coo.")


def ours(path: Path, parts: dict[str, np.ndarray]) -> Graph:
    """The graph of the arrays of `parts_of`, each checked."""
    about = json.loads(parts[f"{OURS}space"].tobytes())
    for i, p in enumerate(about["populations"]):
        places = parts.get(f"{OURS}positions.{i}")
        if places is not None:
            if places.shape != (p["size"], 2):
                raise GraphFileError(f"positions of {p['name']!r} have the shape {places.shape}.")
            p["positions"] = torch.from_numpy(places)
        if p.get("labels") is not None and len(p["labels"]) != p["size"]:
            raise GraphFileError(f"{p['name']!r} has {len(p['labels'])} labels, {p['size']} units.")
    space = space_of(about)
    check_units(path, *(p.size for p in space.populations))
    keys = parts[f"{OURS}keys"]
    if keys.dtype != np.int64 or keys.ndim != 1 or (len(keys) and keys[0] < 0):
        raise GraphFileError("its keys are no list of whole numbers from 0 on.")
    if len(keys) and (keys[-1] >= space.possible or (np.diff(keys) < 0).any()):
        raise GraphFileError("its keys do not rise, or are out of the space.")
    again = keys[1:][keys[1:] == keys[:-1]]
    which = space.which(torch.from_numpy(again)).tolist()
    if not all(space.parallel[w] for w in which):
        raise GraphFileError("it has a key twice where no pair may hold several synapses.")
    columns = {}
    for i, (name, dtype) in enumerate(about["columns"].items()):
        values = torch.from_numpy(parts[f"{OURS}column.{i}"])
        columns[name] = values.bfloat16() if dtype == "bfloat16" else values
        if len(values) != len(keys):
            raise GraphFileError(f"the column {name!r} has {len(values)} values, {len(keys)} keys.")
    return Graph(space, torch.from_numpy(keys), columns)

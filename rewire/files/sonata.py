"""SONATA: populations of nodes and edges in HDF5, as libsonata, BMTK and NEST read them.

Both lie in one file: give it as nodes file and as edges file. Beside them stand the arrays of our
npz format, from which all of a graph comes back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from ..atomic import replacing
from ..graph import Graph, Population, Projection, Space
from .arrays import OURS, ours, parts_of
from .errors import GraphFileError, check_units
from .hdf5 import check, numbers

MAGIC, VERSION = 0x0A7A, (0, 1)
OWN = "rewire"  # the group of our arrays
WEIGHT = "syn_weight"  # SONATA's word for it
_IDS = ("source_node_id", "target_node_id")


def write(graph: Graph, path: Path) -> None:
    """Write populations as nodes, with ``x`` and ``y``, and projections as edges.

    The column ``weight`` is ``syn_weight``, others keep their names. A slash in a name is ``|``.
    """
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["magic"] = np.uint32(MAGIC)
        file.attrs["version"] = np.array(VERSION, np.uint32)
        for p in graph.populations:
            group = _group(file, "nodes", p.name, "node", p.size)
            for axis, name in enumerate("xy" if p.positions is not None else ""):
                group.create_dataset(name, data=p.positions[:, axis].numpy())  # type: ignore[index]
        _, pre, post = (x.numpy() for x in graph.locate())
        for i, q in enumerate(graph.projections):
            rows = graph.rows(i)
            group = _group(file, "edges", q.name, "edge", rows.stop - rows.start)
            ends = zip(_IDS, (pre, post), (q.source, q.target), strict=True)
            for name, units, population in ends:
                ids = group.parent.create_dataset(name, data=units[rows].astype(np.uint64))
                ids.attrs["node_population"] = _plain(population)
            for name, column in graph.columns.items():
                values = column[rows]
                values = values.to(torch.int8) if values.dtype is torch.bool else values
                values = values.float() if values.dtype is torch.bfloat16 else values
                group.create_dataset(WEIGHT if name == "weight" else _plain(name), data=values)
        for name, values in parts_of(graph).items():
            file.create_dataset(f"{OWN}/{name.removeprefix(OURS)}", data=values)


def _group(file: Any, part: str, name: str, kind: str, n: int) -> Any:
    """A population of nodes or edges, all of one type, with one group of attributes."""
    population = file.create_group(f"{part}/{_plain(name)}")
    population.create_dataset(f"{kind}_type_id", data=np.full(n, 100, np.int64))
    population.create_dataset(f"{kind}_group_id", data=np.zeros(n, np.uint64))
    population.create_dataset(f"{kind}_group_index", data=np.arange(n, dtype=np.uint64))
    return population.create_group("0")


def _plain(name: str) -> str:
    return name.replace("/", "|")


def read(path: Path) -> Graph:
    """The graph of a file with edges, and nodes where it has them; attributes become columns."""
    with h5py.File(path, "r") as file:
        check(path, file)
        if OWN in file:
            return ours(path, {f"{OURS}{name}": file[OWN][name][...] for name in file[OWN]})
        if "edges" not in file:
            raise GraphFileError("it has no group `edges`: give the edges file of a circuit.")
        return _foreign(path, file)


def _foreign(path: Path, file: Any) -> Graph:
    sizes = {name: int(nodes["node_type_id"].size) for name, nodes in file.get("nodes", {}).items()}
    parts = []
    for name, edges in file["edges"].items():
        ids = [numbers(edges, end) for end in _IDS]
        ends = [_text(edges[end].attrs.get("node_population", end[:6])) for end in _IDS]
        if any(x.dtype.kind not in "iu" for x in ids) or len(ids[0]) != len(ids[1]):
            raise GraphFileError(f"ends of {name!r} are no whole numbers, or not equally many.")
        pre, post = (x.astype(np.int64) for x in ids)
        for population, units in zip(ends, (pre, post), strict=True):
            if len(units) and units.min() < 0:
                raise GraphFileError(f"{name!r} joins a node below 0.")
            least = int(units.max()) + 1 if len(units) else 0
            if population in file.get("nodes", {}) and least > sizes[population]:
                raise GraphFileError(f"{name!r} joins node {least - 1}, which is not there.")
            sizes[population] = max(sizes.get(population, 0), least)
        group = edges.get("0", {})
        values = {
            "weight" if n == WEIGHT else n: numbers(group, n)
            for n, v in group.items()
            if isinstance(v, h5py.Dataset) and v.dtype.kind in "biuf" and v.shape == pre.shape
        }
        parts.append((name, ends, pre, post, values))
    check_units(path, *sizes.values())
    return _graph(sizes, parts)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _graph(sizes: dict[str, int], parts: list[Any]) -> Graph:
    projections, keys, columns, offset = [], [], [], 0
    shared = set.intersection(*(set(values) for *_, values in parts)) if parts else set()
    for name, (source, target), pre, post, values in parts:
        local = post * sizes[source] + pre
        order = np.argsort(local, kind="stable")
        local = local[order]
        several = bool((local[1:] == local[:-1]).any())
        shape = (sizes[target], sizes[source])
        projections.append(Projection(name, source, target, "linear", shape, several))
        keys.append(local + offset)
        columns.append({n: values[n][order] for n in shared})
        offset += shape[0] * shape[1]
    space = Space([Population(name, size) for name, size in sizes.items()], projections)
    merged = {n: torch.from_numpy(np.concatenate([c[n] for c in columns])) for n in sorted(shared)}
    none = [np.empty(0, np.int64)]
    return Graph(space, torch.from_numpy(np.concatenate(none + keys)), merged)

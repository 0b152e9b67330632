"""NIR, the exchange format of neuromorphic frameworks: weights as nodes, neurons between them."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import torch

from ..atomic import replacing
from ..graph import Graph, Link, Population, Projection, Space, Wiring
from .errors import GraphFileError
from .hdf5 import check

WEIGHTS = (nir.Linear, nir.Affine, nir.Conv1d, nir.Conv2d)


def write(graph: Graph, path: Path, like: str | Path | nir.NIRGraph | None = None) -> None:
    """Write what computes; absent synapses are 0.

    like: a NIR graph, or its file, whose neurons, biases and geometry are written, with this
        graph's weights in its nodes of the same names: what a framework exported comes back
        rewired. Without it every projection becomes a Linear node, without neurons; convolutions
        need it, for a graph knows no strides.
    """
    if "weight" not in graph.columns:
        raise ValueError("NIR holds weights, and this graph has none.")
    graph = graph.effective()
    whole = _plain_nodes(graph) if like is None else _as(graph, like)
    with replacing(path) as temporary:
        nir.write(temporary, whole)


def _plain_nodes(graph: Graph) -> nir.NIRGraph:
    others = [p.name for p in graph.projections if p.kind not in ("linear", "spiking")]
    if others:
        raise ValueError(
            f"{', '.join(others)}: NIR needs strides, padding or gates, which a graph does not "
            "know: give like= the NIR graph that a framework exported of the model."
        )
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    sources = {p.source for p in graph.projections if p.source != p.target}
    targets = {p.target for p in graph.projections if p.source != p.target}
    for i, p in enumerate(graph.projections):
        nodes[p.name] = nir.Linear(weight=graph.dense(i).numpy())
    for population in graph.populations:
        feeds = [p.name for p in graph.projections if p.source == population.name]
        fed = [p.name for p in graph.projections if p.target == population.name]
        if population.name in sources - targets or (feeds and not sources):
            nodes[f"input {population.name}"] = nir.Input({"input": np.array([population.size])})
            fed.append(f"input {population.name}")
        if population.name in targets - sources or (fed and not targets):
            out = f"output {population.name}"
            nodes[out] = nir.Output({"output": np.array([population.size])})
            feeds.append(out)
        edges += [(a, b) for a in fed for b in feeds]
    return nir.NIRGraph(nodes, edges)


def _as(graph: Graph, like: Any) -> nir.NIRGraph:
    whole = deepcopy(like) if isinstance(like, nir.NIRGraph) else _read(Path(like))
    named = dict(_nodes(whole, ""))
    for i, p in enumerate(graph.projections):
        node = named.get(p.name)
        if not isinstance(node, WEIGHTS) or node.weight.shape != p.shape:
            shape = None if not isinstance(node, WEIGHTS) else node.weight.shape
            raise ValueError(f"{p.name!r} has the shape {p.shape}, and in like= it is {shape}.")
        node.weight = graph.dense(i).numpy().astype(np.asarray(node.weight).dtype)
    return whole


def _nodes(whole: nir.NIRGraph, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every node by name, those of graphs inside too."""
    for name, node in whole.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from _nodes(node, f"{prefix}{name}.")
        else:
            yield prefix + name, node


def _read(path: Path) -> nir.NIRGraph:
    with h5py.File(path, "r") as file:
        check(path, file)
    whole = nir.read(path, type_check=False)
    if not isinstance(whole, nir.NIRGraph):
        raise GraphFileError(f"it holds a {type(whole).__name__}, not a graph.")
    return whole


def read(path: Path) -> Graph:
    """The graph of a NIR file's weights that are not 0; neurons say what joins them."""
    return of_nir(_read(path))


def of_nir(whole: nir.NIRGraph) -> Graph:
    """The graph of a NIR graph, as `snntorch.export_nir.export_to_nir` gives one.

    Parameters of neurons, biases and delays are left out. Raises GraphFileError for a sum of nodes
    that go elsewhere too, which no population is.
    """
    nodes = dict(_nodes(whole, ""))
    edges = list(dict.fromkeys(_edges(whole, "")))
    joined = _Joined(nodes, edges)
    projections, masks, weights = [], {}, []
    for name, node in nodes.items():
        if not isinstance(node, WEIGHTS):
            continue
        values = torch.as_tensor(np.asarray(node.weight))
        groups = int(getattr(node, "groups", 1))
        kind = "linear" if isinstance(node, nir.Linear | nir.Affine) else "conv"
        if kind == "linear" and values.dim() != 2:
            raise GraphFileError(f"{name!r} has a weight of {values.dim()} axes: two are read.")
        if bool(values.isnan().any()):
            raise GraphFileError(f"{name!r} holds NaN.")
        shape = tuple(values.shape)
        source, target = joined.population(f"{name}<"), joined.population(f"{name}>")
        joined.sized(source, shape[1] * groups)
        joined.sized(target, shape[0])
        projections.append(Projection(name, source, target, kind, shape, groups=groups))
        masks[name] = values != 0
        weights.append(values[masks[name]])
    if not projections:
        raise GraphFileError("it holds no Linear, Affine, Conv1d or Conv2d.")
    populations = [Population(name, size) for name, size in joined.sizes.items()]
    space = Space(populations, projections, wiring=joined.wiring())
    return Graph.from_masks(space, masks).with_columns({"weight": torch.cat(weights)})


def _edges(whole: nir.NIRGraph, prefix: str) -> Iterator[tuple[str, str]]:
    """Edges between nodes by name; a graph inside is entered at its inputs, left at its outputs."""
    inside = {n: node for n, node in whole.nodes.items() if isinstance(node, nir.NIRGraph)}
    doors: dict[tuple[str, type], list[str]] = {
        (name, kind): [f"{prefix}{name}.{n}" for n, x in node.nodes.items() if isinstance(x, kind)]
        for name, node in inside.items()
        for kind in (nir.Input, nir.Output)
    }
    for a, b in whole.edges:
        for out in doors.get((a, nir.Output), [prefix + a]):
            for into in doors.get((b, nir.Input), [prefix + b]):
                yield out, into
    for name, node in inside.items():
        yield from _edges(node, f"{prefix}{name}.")


class _Joined:
    """Which sides of weights, and which neurons, are the same units."""

    def __init__(self, nodes: dict[str, Any], edges: list[tuple[str, str]]):
        self.parent: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.names: dict[str, str] = {}
        self.flat: list[tuple[str, str]] = []
        after = {a: [y for x, y in edges if x == a] for a, _ in edges}
        for a, b in edges:
            before = [x for x, y in edges if y == b]
            if any(set(after[x]) != set(after[a]) for x in before):
                raise GraphFileError(
                    f"{a!r} and others are added in {b!r}, and not wherever they go: such a sum is "
                    "not read. Make the graph of the model (Graph.of)."
                )
        for name, node in nodes.items():
            if isinstance(node, nir.Flatten):
                feeds = [x for x, y in edges if y == name]
                if any(self._has_channels(x, nodes, edges) for x in feeds):
                    self.flat.append((f"{name}<", f"{name}>"))
                    continue
            if not isinstance(node, WEIGHTS):
                self.join(f"{name}<", f"{name}>")
        for a, b in edges:
            self.join(f"{a}>", f"{b}<")
        for name, node in nodes.items():  # the neurons name them
            for side in "<>":
                if not isinstance(node, (*WEIGHTS, nir.Flatten)):
                    self.names.setdefault(self.root(name + side), name)

    def _has_channels(self, name: str, nodes: dict[str, Any], edges: Any, depth: int = 0) -> bool:
        """Whether what a node gives out are a convolution's channels."""
        node = nodes[name]
        if isinstance(node, nir.Conv1d | nir.Conv2d):
            return True
        if isinstance(node, (*WEIGHTS, nir.Input)) or depth > len(nodes):
            return False
        return any(self._has_channels(x, nodes, edges, depth + 1) for x, y in edges if y == name)

    def root(self, side: str) -> str:
        while self.parent.setdefault(side, side) != side:
            side = self.parent[side]
        return side

    def join(self, a: str, b: str) -> None:
        self.parent[self.root(a)] = self.root(b)

    def population(self, side: str) -> str:
        root = self.root(side)
        return self.names.setdefault(root, side.replace("<", ".in").replace(">", ""))

    def sized(self, population: str, size: int) -> None:
        if self.sizes.setdefault(population, size) != size:
            raise GraphFileError(
                f"weights around {population!r} have {self.sizes[population]} and {size} units."
            )

    def wiring(self) -> Wiring | None:
        """Links from each channel to its block of flattened units."""
        links = []
        for before, after in self.flat:
            source, target = self.population(before), self.population(after)
            if source not in self.sizes or target not in self.sizes:
                continue
            block, rest = divmod(self.sizes[target], self.sizes[source])
            if rest:
                raise GraphFileError(f"{target!r} is no flattening of {source!r}.")
            channels = np.repeat(np.arange(self.sizes[source]), block)
            links.append(Link(source, target, channels, np.arange(self.sizes[target])))
        return Wiring(links=links) if links else None

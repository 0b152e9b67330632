"""What one torch world saved, as the other loads it: the numbers of edges, laid out anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...graph import Graph
from ..torch_model.base import TorchWorld
from ..torch_model.layers import clean
from . import saving

Index = dict[int, int]  # number of a parameter in the optimizer -> number of its projection


def crossed(world: TorchWorld, saved: Mapping[str, Any], keys: Tensor, origin: str) -> Any:
    """A snapshot of the world called ``origin`` as one of this world, of the edges ``keys``.

    Raises ValueError for worlds that are not the two of this library.
    """
    if {origin, world.name} != {"masked", "sparse"}:
        raise ValueError(
            f"a file of the {origin} world cannot be loaded in the {world.name} one: those of the "
            "masked and the sparse world can."
        )
    graph = Graph(world.space, keys)
    order = [p for group in world.optimizer.param_groups for p in group["params"]]
    projection = {id(p): i for i, p in enumerate(world.sparse_parameters())}
    index = {k: projection[id(p)] for k, p in enumerate(order) if id(p) in projection}
    if world.name == "sparse":
        return _to_edges(graph, saved, index)
    return _to_dense(world, graph, saved, index)


def _to_edges(graph: Graph, saved: Mapping[str, Any], index: Index) -> dict[str, Any]:
    numbers = {p.name: i for i, p in enumerate(graph.projections)}
    sparse = {numbers[clean(n)]: v for n, v in saved["model"].items() if clean(n) in numbers}
    rest = {n: v for n, v in saved["model"].items() if clean(n) not in numbers}
    edges, scalars = dict[str, list[Tensor]](), dict[str, Any]()
    for k, i in index.items():
        scalars[graph.projections[i].name] = {}
        for name, v in saved["optimiser"]["state"].get(k, {}).items():
            if isinstance(v, Tensor) and tuple(v.shape) == graph.projections[i].shape:
                none = [torch.zeros(n, dtype=v.dtype) for n in graph.counts().tolist()]
                edges.setdefault(name, none)[i] = v.reshape(-1)[graph.local(i)]
            else:
                scalars[graph.projections[i].name][name] = v
    state, groups = saved["optimiser"]["state"], saved["optimiser"]["param_groups"]
    return {
        "model": {
            **rest,
            saving.KEYS: graph.keys,
            saving.WEIGHT: torch.cat([
                sparse[i].reshape(-1)[graph.local(i)] for i in range(len(graph.projections))
            ]),
        },
        "optimiser": {
            "state": {str(k): v for k, v in state.items() if k not in index},
            "groups": [{n: v for n, v in g.items() if n != "params"} for g in groups],
            "edges": {name: torch.cat(parts) for name, parts in edges.items()},
            "scalars": scalars,
        },
    }  # fmt: skip


def _to_dense(
    world: TorchWorld, graph: Graph, saved: Mapping[str, Any], index: Index
) -> dict[str, Any]:
    numbers = {p.name: i for i, p in enumerate(graph.projections)}
    weights = graph.with_columns({"weight": saved["model"][saving.WEIGHT]})
    model = {
        name: weights.dense(numbers[clean(name)])
        if clean(name) in numbers
        else saved["model"][name]
        for name in world.model.state_dict()
    }
    optimiser = saved["optimiser"]
    state = {int(k): v for k, v in optimiser["state"].items()}
    moments = graph.with_columns(optimiser["edges"])
    for k, i in index.items():
        scalars = optimiser["scalars"].get(graph.projections[i].name, {})
        dense = {name: moments.dense(i, name) for name in optimiser["edges"]}
        if scalars or dense:
            state[k] = {**scalars, **dense}
    groups, first = [], 0
    for options, group in zip(optimiser["groups"], world.optimizer.param_groups, strict=True):
        size = len(group["params"])
        groups.append({**options, "params": list(range(first, first + size))})
        first += size
    return {"model": model, "optimiser": {"state": state, "param_groups": groups}}

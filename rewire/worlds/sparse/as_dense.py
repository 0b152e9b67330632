"""A sparse model lent with dense weights, to passes under another graph."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ...graph import Graph
from .edge_layers import unwire
from .weights import Weight


def dense_copy(
    model: nn.Module, optimizer: torch.optim.Optimizer, weights: Sequence[Weight], graph: Graph
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Model and optimiser with a dense weight, the graph's, in the place of each list of edges.

    All other parameters and buffers are shared.
    """
    listed = [i for i, w in enumerate(weights) if w.parameter.shape != w.shape]
    if not listed:
        return model, optimizer
    memo: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    for i in listed:
        w, rows = weights[i], graph.rows(i)
        dense = torch.zeros(w.shape.numel(), dtype=w.parameter.dtype)
        dense[graph.local(i)] = graph["weight"][rows]
        memo[id(w.parameter)] = nn.Parameter(dense.view(w.shape))
        if w.wires is not None:
            lists: Any = w.module.wires
            memo.setdefault(id(lists), dict(lists))
    dense_model = copy.deepcopy(model, memo)
    for i in listed:
        unwire(memo[id(weights[i].module)], weights[i].attribute)
    groups = [{**g, "params": [memo.get(id(p), p) for p in g["params"]]}
              for g in optimizer.param_groups]  # fmt: skip
    kind: Any = type(optimizer)
    return dense_model, kind(groups)

"""States of a sparse model and its optimiser, saved and loaded."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .edge_state import SUFFIX
from .moments import Moments, matched
from .weights import Held, Weight

KEYS = "rewire.keys"  # in a saved model: which edges its weights are of
WEIGHT = "rewire.weight"  # their weights, (E,)


def model_state(model: nn.Module, weights: Sequence[Weight], held: Held) -> dict[str, Tensor]:
    """Everything of the model, copied: keys and weights of edges for its sparse parameters."""
    lists = {name for w in weights for name in (w.name, w.name + SUFFIX)}
    rest = {k: v.detach().clone() for k, v in model.state_dict().items() if k not in lists}
    return {**rest, KEYS: held.keys, WEIGHT: held.flat.clone()}


def load_rest(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Write what is not of edges into the model."""
    own = model.state_dict()
    for name, value in state.items():
        if name in own and not name.startswith("rewire."):
            own[name].copy_(value)


def optimizer_state(
    optimizer: torch.optim.Optimizer, weights: Sequence[Weight], edges: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Everything of the optimiser, copied. edges: its moments of edges, name -> (E,)."""
    lists = {id(w.parameter) for w in weights}
    order = [p for g in optimizer.param_groups for p in g["params"]]
    saved = optimizer.state_dict()
    rest = {k: copy.deepcopy(v) for k, v in saved["state"].items() if id(order[k]) not in lists}
    scalars = {
        w.name: {
            k: copy.deepcopy(v)
            for k, v in optimizer.state.get(w.parameter, {}).items()
            if not (isinstance(v, Tensor) and v.dim())
        }
        for w in weights
    }
    groups = [{k: v for k, v in g.items() if k != "params"} for g in saved["param_groups"]]
    return {
        "state": {str(k): v for k, v in rest.items()},
        "groups": copy.deepcopy(groups),
        "edges": edges,
        "scalars": scalars,
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer,
    weights: Sequence[Weight],
    moments: Moments,
    saved: Mapping[str, Any],
    keys: Tensor,
    held: Held,
) -> None:
    """Bring back a saved state, which is of the edges ``keys``, for those that are held."""
    order = [p for g in optimizer.param_groups for p in g["params"]]
    for group, options in zip(optimizer.param_groups, saved["groups"], strict=True):
        group.update(copy.deepcopy(options))
    optimizer.state.clear()
    for k, v in saved["state"].items():
        optimizer.state[order[int(k)]] = copy.deepcopy(v)
    for w in weights:
        scalars = saved["scalars"].get(w.name, {})
        if scalars or saved["edges"]:
            optimizer.state[w.parameter] = copy.deepcopy(scalars)
            for name in saved["edges"]:
                optimizer.state[w.parameter][name] = torch.empty(0)
    for name, flat in saved["edges"].items():
        moments.write(held, name, matched(keys, flat, held.keys, 0.0))

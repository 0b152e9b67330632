"""The signs of synapses in rules that fix them: the same at every waking."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...graph import Graph


def first_signs(graph: Graph) -> tuple[Tensor, Tensor]:
    """The sign of each edge, (E,) int8, and the keys whose sign is not that of the hash, ascending.

    A synapse that exists keeps its sign, so that a trained network keeps its function.
    """
    weight = graph["weight"]
    # a weight of 0 says nothing: the hash does
    sign = torch.where(weight != 0, weight.sign(), graph["sign"]).to(torch.int8)
    return sign, graph.keys[sign != graph["sign"]]


def waking_signs(graph: Graph, keys: np.ndarray, turned: Tensor) -> np.ndarray:
    """The sign of each of these synapses, (k,): that of the hash, the other for ``turned`` ones."""
    birth = graph.births["sign"]
    if not callable(birth):  # the world has one sign for all
        return np.full(len(keys), birth, np.int8)
    return birth(torch.from_numpy(keys), turned=turned).numpy()  # type: ignore[call-arg]

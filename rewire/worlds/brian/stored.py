"""Brian2's stored state as nested tables of tensors, numbers and strings, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def to_tree(value: Any) -> Any:
    """Brian2's stored state with tensors for arrays and for the spikes in flight."""
    if isinstance(value, Mapping):
        return {k: to_tree(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if isinstance(value, list):  # a queue: the synapses that spike in each coming time step
        return [torch.tensor(events, dtype=torch.int32) for events in value]
    if isinstance(value, tuple):
        return tuple(to_tree(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value


def from_tree(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: from_tree(v) for k, v in value.items()}
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, list):
        return [events.tolist() for events in value]
    return tuple(map(from_tree, value)) if isinstance(value, tuple) else value

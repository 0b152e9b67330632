"""The optimiser's moments, one number an edge."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...kernels.keys import spliced


def _matched(keys: Tensor, values: Tensor, wanted: Tensor, other: float) -> Tensor:
    """The values, (E,) at ``keys``, of other keys; ``other`` where there was none."""
    if torch.equal(keys, wanted):
        return values.clone()
    at = keys.numpy().searchsorted(wanted.numpy())
    at = np.minimum(at, max(len(keys) - 1, 0))
    out = torch.full((len(wanted),), other, dtype=values.dtype)
    if len(keys):
        there = torch.from_numpy(keys.numpy()[at] == wanted.numpy())
        out[there] = values[torch.from_numpy(at)][there]
    return out


def _spliced(values: Tensor, drop: np.ndarray, born: np.ndarray, birth: float) -> Tensor:
    """A column after an edit: without the rows dropped, with ``birth`` at the rows born."""
    return torch.from_numpy(spliced(values.numpy(), drop, born, birth))

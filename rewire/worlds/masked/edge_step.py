"""The optimiser's step on the edges alone, where they are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .memory import Addresses

SCARCE = 12  # where fewer than 1 / SCARCE of the synapses exist, gathering them beats a mask


@dataclass(frozen=True, eq=False)
class Row:
    """The weights of the edges and their gradients in a row, (E,) and zeros up to a full vector.

    So that torch steps all edges by the same instructions. weight, slope: what ``parameter`` and
    its ``gradient`` hold; held: the weights without the zeros; replaces: ids of the parameters that
    the row stands for.
    """

    size: int
    type: torch.dtype
    parameter: nn.Parameter
    gradient: Tensor
    weight: np.ndarray
    slope: np.ndarray
    held: np.ndarray
    replaces: frozenset[int]

    @classmethod
    def of(cls, size: int, like: Addresses, parameters: Sequence[Tensor]) -> Row:
        """A row for ``size`` edges of the type of these tensors, not yet filled."""
        parameter = nn.Parameter(torch.zeros(-(-size // 16) * 16, dtype=like.type))
        parameter.grad = gradient = torch.zeros_like(parameter)
        weight, slope = parameter.detach().numpy(), gradient.numpy()
        replaces = frozenset(map(id, parameters))
        return cls(size, like.type, parameter, gradient, weight, slope, weight[:size], replaces)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of the world makes its own."""

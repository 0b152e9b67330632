"""The optimiser's step on the edges alone, where they are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...graph import Graph
from ..torch_model.optimizers import unwatched
from .memory import PLAIN, Addresses, layout
from .weights import MaskedWeights


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


class EdgeStep:
    """Steps one parameter of the edges' weights in the place of all sparse ones.

    Absent synapses are at 0, and stay there, whatever their gradients are. Only for plain SGD,
    which remembers nothing.

    group: the optimiser's group of all sparse parameters; None where they are in several.
    keys: the keys of the row, if the last step was on it. waits: whether the step's weights are
    in the row and not yet in the model.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, weights: MaskedWeights, group: int | None):
        self.optimizer, self._weights, self._group = optimizer, weights, group
        self._row: Row | None = None
        self.keys: np.ndarray | None = None
        self.waits = False
        self.hooks: frozenset[int] = frozenset()  # the session's own on the optimiser

    def forgets(self) -> bool:
        """Whether no gradient outlives the step: clearing weights after it then does as well."""
        if type(self.optimizer) is not torch.optim.SGD:
            return False
        for group in self.optimizer.param_groups:
            if group["momentum"]:
                return False
        return True

    def slopes(self, graph: Graph) -> list[int] | None:
        """Where the gradients lie, if the optimiser may step a list of the edges; else None.

        Where few synapses exist and the kernels reach weights and gradients.
        """
        if self._group is None or not self._weights.scarce(len(graph.array)):
            return None
        fast = self._weights.addresses() if self.forgets() else None
        if fast is None:
            return None
        places = []
        for p, lies in zip(self._weights.parameters, fast.layouts, strict=True):
            slope = p.grad
            if slope is None or slope.dtype is not fast.type:
                return None
            if not (slope.is_contiguous() if lies == PLAIN else layout(slope) == lies):
                return None
            places.append(slope.data_ptr())
        return places

    def step(self, graph: Graph, slopes: list[int], *, quick: bool) -> None:
        """The optimiser's own step. quick: by fewer calls, where nobody can tell."""
        fast, keys, row = self._weights.addresses(known=True), graph.array, self._row
        assert fast is not None and self._group is not None
        if row is None or row.size != len(keys) or row.type is not fast.type:
            row = self._row = Row.of(len(keys), fast, self._weights.parameters)
        ends = self._weights.ends
        fast.verbs.gather_pair(fast.tensors, slopes, fast.turned, ends, keys, row.weight, row.slope)
        if not (quick and unwatched(self.optimizer, self.hooks) and self._descend(row)):
            group = self.optimizer.param_groups[self._group]
            whole = group["params"]
            others = [p for p in whole if id(p) not in row.replaces]
            group["params"] = [row.parameter, *others]
            try:
                self.optimizer.step()
            finally:
                group["params"] = whole
        self.keys = keys

    def _descend(self, row: Row) -> bool:
        """What ``optimizer.step()`` of plain SGD does, with the row for the sparse weights.

        The same operations on the same numbers, by fewer calls: a step on few edges is mostly
        those. False, and nothing done, for settings that are left to the optimiser.
        """
        groups = self.optimizer.param_groups
        group = groups[0]
        rate, decay, fused = group["lr"], group["weight_decay"], group["fused"]
        plain = fused or (type(rate) is float and not decay)
        if not plain or len(groups) > 1 or group["maximize"]:
            return False
        weights, slopes = [row.parameter.detach()], [row.gradient]
        for p in group["params"]:
            if id(p) not in row.replaces and (slope := p.grad) is not None:
                weights.append(p.detach())
                slopes.append(slope)
        if fused:
            torch._fused_sgd_(
                weights, slopes, [], weight_decay=decay, momentum=0.0, lr=rate, dampening=0.0,
                nesterov=False, maximize=False, is_first_step=False,
            )  # fmt: skip
        else:
            torch._foreach_add_(weights, slopes, alpha=-rate)
        return True

    def lay_down(self) -> None:
        """Write what was stepped in the row to the weights."""
        fast, row, keys = self._weights.addresses(known=True), self._row, self.keys
        assert fast is not None and row is not None and keys is not None
        self.waits = False
        fast.verbs.scatter(fast.tensors, fast.turned, self._weights.ends, keys, row.weight)

    def weights_of(self, graph: Graph) -> np.ndarray | None:
        """The edges' weights, where they wait in the row: its own memory, good until the next
        step."""
        return self._row.held if self._row is not None and self.keys is graph.array else None

    def fast(self, graph: Graph) -> Addresses | None:
        """The weights for the kernels; a step on this graph's edges has just looked for them."""
        stepped = self._row is not None and self.keys is graph.array
        return self._weights.addresses(known=stepped)

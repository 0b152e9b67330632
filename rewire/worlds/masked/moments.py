"""The optimiser's moments of dense weights: one number for each weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .memory import layout
from .weights import MaskedWeights


class Moments:
    """What an optimiser remembers of each weight, kept clean where synapses come and go.

    births: values of new ones where those are not 0, by name, as functions of the parameter's
    group. groups: number of the optimiser's group of each projection.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        weights: MaskedWeights,
        births: Mapping[str, Callable[[dict[str, Any]], float]],
        groups: Sequence[int],
    ):
        self.optimizer, self._weights = optimizer, weights
        self.births, self._groups = births, groups
        self.checked = False  # whether the optimiser's state was looked at since it is there

    def tensors(self) -> dict[str, list[Tensor | None]]:
        """name -> one tensor, or None, for each projection."""
        parameters = self._weights.parameters
        stacks: dict[str, list[Tensor | None]] = {}
        for i, p in enumerate(parameters):
            for name, v in self.optimizer.state.get(p, {}).items():
                if isinstance(v, Tensor) and v.shape == p.shape:
                    stacks.setdefault(name, [None] * len(parameters))[i] = v
        return stacks

    def lay(self) -> None:
        """Let the optimiser's state lie as the weights do: torch's fused steps do not look, and a
        file gives it back contiguous."""
        for p, state in self.optimizer.state.items():
            for name, v in state.items():
                if isinstance(v, Tensor) and v.shape == p.shape and layout(v) != layout(p):
                    state[name] = torch.empty_like(p, dtype=v.dtype).copy_(v)

    def forget(self, gone: np.ndarray, born: np.ndarray) -> None:
        """Bring the moments at these keys to where they start."""
        changed = np.sort(np.concatenate([gone, born]))
        for name, moments in self.tensors().items():
            birth = self.births.get(name)
            if birth is None:
                self._weights.put(moments, changed, 0.0)
                continue
            for i, moment in enumerate(moments):
                only = [moment if j == i else None for j in range(len(moments))]
                group = self.optimizer.param_groups[self._groups[i]]
                self._weights.put(only, changed, birth(group))

    def check(self, names: Sequence[str]) -> None:
        """Refuse state that is not one number for each weight. names: of the projections."""
        self.checked = True
        for name_of_weight, p in zip(names, self._weights.parameters, strict=True):
            for name, v in self.optimizer.state.get(p, {}).items():
                if isinstance(v, Tensor) and v.numel() > 1 and v.shape != p.shape:
                    raise ValueError(
                        f"{type(self.optimizer).__name__} keeps {name!r} of shape {tuple(v.shape)} "
                        f"for {name_of_weight!r} of shape {tuple(p.shape)}: state that is not one "
                        "number for each weight cannot be kept clean. Use another optimizer."
                    )

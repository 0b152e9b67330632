"""The optimiser's moments of dense weights: one number for each weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..torch_model.optimizers import chain
from .memory import layout
from .weights import MaskedWeights


class Moments:
    """What an optimiser remembers of each weight, kept clean where synapses come and go.

    births: values of new ones where those are not 0, by name, as functions of the parameter's
    group. groups: number of the optimiser's group of each projection. mixed: names of state in
    another basis, whose numbers are not those of single weights: it stays as it is.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        weights: MaskedWeights,
        births: Mapping[str, Callable[[dict[str, Any]], float]],
        groups: Sequence[int],
        mixed: frozenset[str] = frozenset(),
    ):
        self.optimizer, self._weights = optimizer, weights
        self._leaves: Sequence[Tensor] = weights.parameters  # what the optimiser steps
        self.births, self._groups, self._mixed = births, groups, mixed
        self._inside = chain(optimizer)[1:]
        self.checked = False  # whether the optimiser's state was looked at since it is there

    def tensors(self) -> dict[str, list[Tensor | None]]:
        """name -> one tensor, or None, for each projection."""
        parameters = self._leaves
        stacks: dict[str, list[Tensor | None]] = {}
        for number, states in enumerate(self._states()):
            for i, p in enumerate(parameters):
                for name, v in states.get(p, {}).items():
                    if not isinstance(v, Tensor) or v.shape != p.shape or name in self._mixed:
                        continue
                    stack = stacks.setdefault(name, [None] * len(parameters))
                    if stack[i] is not None:  # of the optimiser around this one
                        stack = stacks.setdefault(f"{name}, {number}", [None] * len(parameters))
                    stack[i] = v
        return stacks

    def __bool__(self) -> bool:
        """Whether the optimiser remembers anything."""
        return any(self._states())

    def _states(self) -> list[Mapping[Tensor, dict[str, Any]]]:
        """The state of the optimiser, and of those that it wraps."""
        states: list[Mapping[Tensor, dict[str, Any]]] = [self.optimizer.state]
        for link in self._inside:
            if all(link.state is not other for other in states):
                states.append(link.state)
        return states

    def lay(self) -> None:
        """Let the optimiser's state lie as the weights do: torch's fused steps do not look, and a
        file gives it back contiguous."""
        for states in self._states():
            for p, state in states.items():
                if not isinstance(p, Tensor):  # what some keep of all weights together
                    continue
                for name, v in state.items():
                    if isinstance(v, Tensor) and v.shape == p.shape and layout(v) != layout(p):
                        state[name] = torch.empty_like(p, dtype=v.dtype).copy_(v)

    def forget(self, gone: np.ndarray, born: np.ndarray) -> None:
        """Bring the moments of synapses that go to 0, and of new ones to where they start."""
        gone, born = np.sort(gone), np.sort(born)
        for name, moments in self.tensors().items():
            self._weights.put(moments, gone, 0.0)
            birth = self.births.get(name)
            if birth is None:
                self._weights.put(moments, born, 0.0)
                continue
            for i, moment in enumerate(moments):
                only = [moment if j == i else None for j in range(len(moments))]
                group = self.optimizer.param_groups[self._groups[i]]
                self._weights.put(only, born, birth(group))

    def check(self, names: Sequence[str]) -> None:
        """Refuse state that is not one number for each weight. names: of the projections."""
        self.checked = True
        for name_of_weight, p in zip(names, self._leaves, strict=True):
            for name, v in self._of(p):
                if isinstance(v, Tensor) and v.numel() > 1 and v.shape != p.shape:
                    raise ValueError(
                        f"{type(self.optimizer).__name__} keeps {name!r} of shape {tuple(v.shape)} "
                        f"for {name_of_weight!r} of shape {tuple(p.shape)}: state that is not one "
                        "number for each weight cannot be kept clean. Use another optimizer."
                    )

    def _of(self, p: Tensor) -> list[tuple[str, Any]]:
        return [item for states in self._states() for item in states.get(p, {}).items()]

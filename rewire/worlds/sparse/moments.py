"""The optimiser's moments, one number an edge, laid out as the graph's keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...kernels.keys import spliced
from ..masked.memory import clear_absent
from .weights import Held, Weight


class Moments:
    """What an optimiser remembers of each edge, however its weight is held.

    births: values of new ones where those are not 0, by name, as functions of the parameter's
    group. groups: number of the optimiser's group of each projection.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        weights: Sequence[Weight],
        births: Mapping[str, Callable[[dict[str, Any]], float]],
        groups: Sequence[int],
    ):
        self._optimizer, self._weights = optimizer, weights
        self._births, self._groups = births, groups

    def read(self, held: Held) -> dict[str, Tensor]:
        """The numbers of each edge now: name -> (E,)."""
        parts: dict[str, list[Tensor]] = {}
        for i, w in enumerate(self._weights):
            for name, v in self._optimizer.state.get(w.parameter, {}).items():
                if isinstance(v, Tensor) and v.shape == w.parameter.shape and v.dim():
                    parts.setdefault(name, [torch.empty(0)] * len(self._weights))[i] = v
        return {name: torch.cat(self._flat(values, held)) for name, values in parts.items()}

    def _flat(self, values: Sequence[Tensor], held: Held) -> list[Tensor]:
        flat = []
        for i, (w, part) in enumerate(zip(self._weights, values, strict=True)):
            rows = held.rows(i)
            if w.wires is None and len(part):
                part = part.reshape(-1)[held.local(i)]
            flat.append(part if len(part) else torch.zeros(rows.stop - rows.start))
        return flat

    def write(self, held: Held, name: str, flat: Tensor) -> None:
        """Let the optimiser remember these numbers of the edges, where it remembers any."""
        for i, w in enumerate(self._weights):
            state = self._optimizer.state.get(w.parameter)
            if not state or name not in state:
                continue
            part = flat[held.rows(i)]
            if w.form == "edges":
                state[name] = part.contiguous()
            else:
                dense = torch.zeros(w.shape.numel(), dtype=part.dtype)
                dense[held.local(i)] = part
                state[name] = dense.view(w.shape)

    def edited(
        self, name: str, flat: Tensor, drop: np.ndarray, born: np.ndarray, born_in: np.ndarray
    ) -> Tensor:
        """The numbers after an edit; born_in: the projection of each newborn."""
        birth, after = self._births.get(name), _spliced(flat, drop, born, 0.0)
        if birth is not None and len(born):
            groups = self._optimizer.param_groups
            each = torch.tensor([birth(groups[g]) for g in self._groups], dtype=flat.dtype)
            after[torch.from_numpy(born)] = each[torch.from_numpy(born_in)]
        return after

    def edit_in_place(self, i: int, drop: np.ndarray, born: np.ndarray) -> None:
        """After an edit that leaves a list as long as before: rows of projection i."""
        parameter, group = self._weights[i].parameter, self._optimizer.param_groups[self._groups[i]]
        for name, v in self._optimizer.state.get(parameter, {}).items():
            if isinstance(v, Tensor) and v.dim() and v.shape == parameter.shape:
                birth = self._births.get(name)
                v.copy_(_spliced(v, drop, born, 0.0 if birth is None else birth(group)))

    def shrink(self, w: Weight, local: Tensor) -> None:
        """A dense weight becomes a list: keep the moments of its edges."""
        for name, v in self._optimizer.state.get(w.parameter, {}).items():
            if isinstance(v, Tensor) and v.shape == w.shape:
                self._optimizer.state[w.parameter][name] = v.reshape(-1)[local].clone()

    def of_absent(self, w: Weight) -> dict[str, Tensor]:
        """Those of a dense weight that are 0 at absent synapses, by name."""
        state = self._optimizer.state.get(w.parameter, {})
        return {
            name: v for name, v in state.items()
            if isinstance(v, Tensor) and v.shape == w.shape and name not in self._births
        }  # fmt: skip

    def odd(self, w: Weight) -> list[str]:
        """Those of a list of edges that are not one number for each edge, in words."""
        p = w.parameter
        return [
            f"{name!r} of {w.name!r} has shape {tuple(v.shape)} in the optimizer's state, and "
            f"there are {p.numel():,} edges."
            for name, v in self._optimizer.state.get(p, {}).items()
            if isinstance(v, Tensor) and v.dim() and v.shape != p.shape
        ]

    def mask(self, w: Weight) -> None:
        """Clear those of a dense weight's absent synapses."""
        assert w.mask is not None
        for v in self._optimizer.state.get(w.parameter, {}).values():
            if isinstance(v, Tensor) and v.shape == w.shape:
                clear_absent([v], [w.mask])


def matched(keys: Tensor, values: Tensor, wanted: Tensor, other: float) -> Tensor:
    """The values, (E,) at ``keys``, of other keys; ``other`` where there was none.

    >>> matched(torch.tensor([2, 5, 7]), torch.tensor([0.2, 0.5, 0.7]), torch.tensor([5, 6]), 0.0)
    tensor([0.5000, 0.0000])
    """
    if torch.equal(keys, wanted):
        return values.clone()
    at = keys.numpy().searchsorted(wanted.numpy())
    at = np.minimum(at, max(len(keys) - 1, 0))
    out = torch.full((len(wanted),), other, dtype=values.dtype)
    if len(keys):
        exists = torch.from_numpy(keys.numpy()[at] == wanted.numpy())
        out[exists] = values[torch.from_numpy(at)][exists]
    return out


def _spliced(values: Tensor, drop: np.ndarray, born: np.ndarray, birth: float) -> Tensor:
    """A column after an edit: without the rows dropped, with ``birth`` at the rows born."""
    return torch.from_numpy(spliced(values.numpy(), drop, born, birth))

"""Edits: the only thing that a rule emits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import Tensor

from .space import NONE

Birth = float | Callable[[Tensor], Tensor]  # the value of a newborn edge, or keys (k,) -> (k,)
PARTS = frozenset({"model", "optimiser", "schedule", "data", "rules"})
EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Rewind:
    """Go back to training step ``step``, restoring the parts named.

    ``restore`` is a subset of {"model", "optimiser", "schedule", "data", "rules"}: all five
    for rewinding, {"schedule"} for learning-rate rewinding, none for fine-tuning. ``again`` trains
    on from that step, in another round; else the parts go back and the clock does not.
    ``optimiser``: the kept step whose optimiser is restored, where it is another than ``step``.

    >>> Rewind(500, frozenset({"schedule"})).again  # learning-rate rewinding
    True
    """

    step: int
    restore: frozenset[str] = PARTS
    again: bool = True
    optimiser: int | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(self.restore - PARTS):
            raise ValueError(f"cannot restore {unknown}; the parts are {sorted(PARTS)}.")


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Edit:
    """The only thing that a rule emits; fields apply in this order.

    rewind: a saved state to go back to first, or None.
    set:    new values of columns, aligned with the graph the rule was shown, shape (E,).
    drop:   rows of that graph to remove, shape (d,).
    add:    keys of synapses to create, shape (a,); a dropped key may be added again: it is reborn.
    birth:  column values of ``add`` where they differ from the column's own birth value: a number,
            or one for each key, shape (a,).
    stop:   end the run after this edit.

    All hold numpy arrays. Tensors are taken as well, as the arrays of their memory: nothing is
    copied, so neither may change afterwards.

    >>> import torch
    >>> edit = Edit(drop=torch.tensor([3]), add=torch.tensor([17]), birth={"weight": 0.1})
    >>> edit
    Edit(drop=1 row, add=1 key, birth=['weight'])
    >>> edit.drop, edit.add
    (array([3]), array([17]))
    """

    rewind: Rewind | None
    set: Mapping[str, np.ndarray]
    drop: np.ndarray
    add: np.ndarray
    birth: Mapping[str, np.ndarray | float]
    stop: bool

    # By hand, and past the frozen `__setattr__`: some rules make an edit at every step. What is an
    # array already, as theirs are, is known by its type, the quickest question.
    def __init__(
        self,
        rewind: Rewind | None = None,
        set: Mapping[str, Tensor | np.ndarray] = EMPTY,
        drop: Tensor | np.ndarray | None = NONE,
        add: Tensor | np.ndarray | None = NONE,
        birth: Mapping[str, Tensor | np.ndarray | float] = EMPTY,
        stop: bool = False,
    ):
        fields = self.__dict__
        fields["rewind"], fields["stop"] = rewind, stop
        fields["set"] = _as_arrays(set) if set else {}
        fields["drop"] = drop if type(drop) is np.ndarray else as_array(drop)
        fields["add"] = add if type(add) is np.ndarray else as_array(add)
        fields["birth"] = _as_arrays(birth) if birth else {}

    @property
    def n_drop(self) -> int:
        """How many synapses it removes."""
        return len(self.drop)

    @property
    def n_add(self) -> int:
        """How many synapses it creates."""
        return len(self.add)

    def __repr__(self) -> str:
        parts = {
            "rewind": self.rewind,
            "set": sorted(self.set),
            "drop": self.n_drop and f"{self.n_drop:,} row{'s' * (self.n_drop > 1)}",
            "add": self.n_add and f"{self.n_add:,} key{'s' * (self.n_add > 1)}",
            "birth": sorted(self.birth),
            "stop": self.stop,
        }
        return f"Edit({', '.join(f'{name}={value}' for name, value in parts.items() if value)})"


def as_array(values: Tensor | np.ndarray | None) -> np.ndarray:
    """The values as a numpy array of the same memory; None: no values."""
    if values is None:
        return NONE
    return values if isinstance(values, np.ndarray) else values.numpy()


def _as_arrays(columns: Mapping[str, Any]) -> Mapping[str, Any]:
    """The columns with arrays instead of tensors; numbers stay."""
    for values in columns.values():
        if type(values) is not np.ndarray and isinstance(values, Tensor):
            return {n: v.numpy() if isinstance(v, Tensor) else v for n, v in columns.items()}
    return columns


NOTHING = Edit()  # what most ticks of most rules come to

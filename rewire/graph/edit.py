"""Edits: the only thing that a rule emits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .space import NONE

Birth = float | Callable[[Tensor], Tensor]  # the value of a newborn edge, or keys (k,) -> (k,)
PARTS = frozenset({"model", "optimiser", "schedule", "data", "rules"})


@dataclass(frozen=True)
class Rewind:
    """Go back to training step ``step``, restoring the parts named.

    ``restore`` is a subset of {"model", "optimiser", "schedule", "data", "rules"}: all five
    for rewinding, {"schedule"} for learning-rate rewinding, none for fine-tuning. ``again`` trains
    on from that step, in another round; else the parts go back and the clock does not.
    """

    step: int
    restore: frozenset[str] = PARTS
    again: bool = True

    def __post_init__(self) -> None:
        if unknown := sorted(self.restore - PARTS):
            raise ValueError(f"cannot restore {unknown}; the parts are {sorted(PARTS)}.")


@dataclass(frozen=True, eq=False)
class Edit:
    """The only thing that a rule emits; fields apply in this order.

    rewind: a saved state to go back to first, or None.
    set:    new values of columns, aligned with the graph the rule was shown, shape (E,).
    drop:   rows of that graph to remove, shape (d,).
    add:    keys of synapses to create, shape (a,); a dropped key may be added again: it is reborn.
    birth:  column values of ``add`` where they differ from the column's own birth value.
    stop:   end the run after this edit.
    """

    rewind: Rewind | None = None
    set: Mapping[str, Tensor] = field(default_factory=dict)
    drop: Tensor | None = None
    add: Tensor | None = None
    birth: Mapping[str, Tensor | float] = field(default_factory=dict)
    stop: bool = False

    @cached_property
    def dropped(self) -> np.ndarray:
        """``drop`` as a numpy array, (d,) int64."""
        return NONE if self.drop is None else self.drop.numpy()

    @cached_property
    def added(self) -> np.ndarray:
        """``add`` as a numpy array, (a,) int64."""
        return NONE if self.add is None else self.add.numpy()

    @property
    def n_drop(self) -> int:
        return len(self.dropped)

    @property
    def n_add(self) -> int:
        return len(self.added)

    @property
    def given(self) -> Mapping[str, Tensor | np.ndarray]:
        """``set`` as the rule gave it: arrays stay arrays."""
        return self.set

    @property
    def births(self) -> Mapping[str, Tensor | np.ndarray | float]:
        """``birth`` as the rule gave it: arrays stay arrays."""
        return self.birth

    @classmethod
    def of_arrays(
        cls,
        set: Mapping[str, np.ndarray],
        drop: np.ndarray = NONE,
        add: np.ndarray = NONE,
        birth: Mapping[str, np.ndarray | float] | None = None,
    ) -> Edit:
        """An edit of numpy arrays, for rules that act at every step.

        Its tensors, of the same memory, are made when they are asked for.
        """
        edit = _Arrays.__new__(_Arrays)
        held = edit.__dict__
        held["given"], held["dropped"], held["added"] = set, drop, add
        held["births"] = {} if birth is None else birth
        return edit


class _Arrays(Edit):
    """What :meth:`Edit.of_arrays` makes."""

    given: Any = None  # no properties here: each edit holds its own
    births: Any = None

    @cached_property
    def set(self) -> Mapping[str, Tensor]:  # type: ignore[override]
        return {name: torch.from_numpy(values) for name, values in self.given.items()}

    @cached_property
    def drop(self) -> Tensor:  # type: ignore[override]
        return torch.from_numpy(self.dropped)

    @cached_property
    def add(self) -> Tensor:  # type: ignore[override]
        return torch.from_numpy(self.added)

    @cached_property
    def birth(self) -> Mapping[str, Tensor | float]:  # type: ignore[override]
        return {name: torch.from_numpy(born) if isinstance(born, np.ndarray) else born
                for name, born in self.births.items()}  # fmt: skip


NOTHING = Edit()  # what most ticks of most rules come to

"""What a graph is made of, checked where a user makes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..names import did_you_mean, short
from .space import Space


def checked_keys(space: Space, keys: Any) -> Tensor:
    """The keys of a space's synapses as a graph holds them, (E,) int64, ascending.

    >>> from rewire.graph import Population, Projection
    >>> space = Space([Population("a", 2)], [Projection("p", "a", "a", "linear", (2, 2))])
    >>> checked_keys(space, torch.tensor([2, 0]))
    Traceback (most recent call last):
    ...
    ValueError: keys of a graph ascend, and key 0 follows key 2: sort them (keys.sort().values).

    Raises TypeError for what is no tensor of whole numbers, ValueError for other keys.
    """
    if not isinstance(space, Space):
        raise TypeError(
            f"a graph is one of a rewire.Space, got {short(space)}: write Graph(space, keys), with "
            "space = rewire.Space(populations, projections)."
        )
    if not isinstance(keys, Tensor) or keys.dtype != torch.int64 or keys.dim() != 1:
        raise TypeError(
            f"keys of a graph are a tensor (E,) of torch.int64, got {_described(keys)}: write "
            "torch.tensor([0, 5, 7]); a mask for each projection is for Graph.from_masks."
        )
    if not len(keys):
        return keys
    if int(keys[0]) < 0 or int(keys.max()) >= space.possible:
        wrong = int(keys[0]) if int(keys[0]) < 0 else int(keys.max())
        raise ValueError(f"there is no key {wrong}: keys run from 0 to {space.possible - 1}.")
    steps = keys.diff()
    if len(steps) and int(steps.min()) < 0:
        at = int(steps.argmin())
        raise ValueError(
            f"keys of a graph ascend, and key {int(keys[at + 1])} follows key {int(keys[at])}: "
            "sort them (keys.sort().values)."
        )
    if not space.multapses and len(steps) and int(steps.min()) == 0:
        twice = int(keys[int(steps.argmin())])
        raise ValueError(
            f"key {twice} is given twice, and a pair holds one synapse: leave one out, or make "
            "the projection with multapses=True."
        )
    return keys


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    return short(value)


def check_columns(columns: Any, edges: int) -> None:
    """Raise TypeError for columns that are no tensors by name, ValueError for another length."""
    if columns is None:
        return
    if not isinstance(columns, Mapping):
        raise TypeError(
            f"columns of a graph are tensors by name, got {_described(columns)}: write "
            '{"weight": weights}.'
        )
    for name, column in columns.items():
        if not isinstance(column, Tensor):
            raise TypeError(
                f"column {name!r} is {_described(column)}: give a tensor of {edges} values, one "
                "for each edge."
            )


def by_projection(space: Space, values: Any, what: str) -> Mapping[str, Any]:
    """Values by the names of all projections. Raises TypeError for no mapping, ValueError else."""
    names = [p.name for p in space.projections]
    if not isinstance(values, Mapping):
        raise TypeError(
            f"give one {what} for each projection by its name, as "
            f"{{{names[0] if names else 'name'!r}: ...}}, got {_described(values)}."
        )
    for name in values:
        if name not in names:
            hint = did_you_mean(name, names)
            raise ValueError(
                f"there is no projection {name!r}{hint}; there are {', '.join(names)}."
            )
    if missing := [name for name in names if name not in values]:
        raise ValueError(
            f"there is no {what} for {', '.join(missing)}: give one for each projection."
        )
    return values

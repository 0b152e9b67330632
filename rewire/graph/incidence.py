"""Projections as 0/1 matrices, for whatever exchanges edges between units."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from .space import Projection


@dataclass(frozen=True)
class Incidence:
    """A projection as a 0/1 matrix with a row for each postsynaptic unit.

    A column is a presynaptic unit and one of its parallel synapses (kernel position, gate). Groups
    of a convolution and parts of a stack are blocks: matrices of one shape below each other, each
    with columns of its own. A *cell* numbers the entries of all blocks, row by row.

    blocks: number of matrices. rows, width: shape of each.
    dims:   shape that the parameter is read in. axes: its axes in the order block, row, column.

    >>> p = Projection("conv", "a", "b", "conv", (4, 1, 2, 2), groups=2)
    >>> incidence = Incidence.of(p)
    >>> incidence.blocks, incidence.rows, incidence.width
    (2, 2, 4)
    >>> table = Incidence.of(Projection("embedding", "a", "b", "embedding", (3, 2)))
    >>> table.cells(np.arange(6)).tolist()  # stored (n_pre, n_post)
    [0, 3, 1, 4, 2, 5]
    >>> table.local(table.cells(np.arange(6))).tolist()
    [0, 1, 2, 3, 4, 5]
    """

    blocks: int
    rows: int
    width: int
    dims: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def of(cls, p: Projection) -> Incidence:
        """The matrix of a projection of any kind."""
        shape, groups = p.shape, p.groups
        if p.kind in ("embedding", "transposed"):
            return cls(1, shape[1], shape[0], shape, (1, 0))
        if p.kind == "conv":
            rows, width = shape[0] // groups, prod(shape[1:])
            return cls(groups, rows, width, (groups * rows, width), (0, 1))
        if p.kind == "conv_transpose":
            dims = (groups, shape[0] // groups, shape[1], prod(shape[2:]))
            return cls(groups, shape[1], dims[1] * dims[3], dims, (0, 2, 1, 3))
        if p.kind in ("rnn", "attention"):
            units = shape[0] // groups
            return cls(1, units, shape[1] * groups, (groups, units, shape[1]), (1, 2, 0))
        if p.kind == "stacked":
            return cls(shape[0], shape[1], shape[2], (shape[0] * shape[1], shape[2]), (0, 1))
        if p.kind == "stacked_transposed":
            return cls(shape[0], shape[2], shape[1], shape, (0, 2, 1))
        return cls(1, shape[0], shape[1], shape, (0, 1))

    @property
    def stored_by_row(self) -> bool:
        """Whether cells are the flat indices themselves."""
        return self.axes == tuple(range(len(self.axes)))

    def cells(self, local: np.ndarray) -> np.ndarray:
        """Cell of each flat index, (k,)."""
        return local if self.stored_by_row else _moved(local, self.dims, self.axes)

    def local(self, cells: np.ndarray) -> np.ndarray:
        """Flat index of each cell, (k,): the inverse of :meth:`cells`."""
        if self.stored_by_row:
            return cells
        dims = tuple(self.dims[a] for a in self.axes)
        back = tuple(self.axes.index(i) for i in range(len(self.axes)))
        return _moved(cells, dims, back)


def _moved(index: np.ndarray, dims: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """Flat indices into an array of shape ``dims`` after its axes are put in this order."""
    if not prod(dims):
        return index
    places = np.unravel_index(index, dims)
    order = tuple(dims[a] for a in axes)
    return np.ravel_multi_index(tuple(places[a] for a in axes), order).astype(np.int64)

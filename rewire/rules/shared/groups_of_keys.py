"""Blocks and diagonals: keys of a projection that are there, or not there, together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...graph import Projection
from ...graph.incidence import Incidence


class GroupsOfKeys(NamedTuple):
    """A projection's possible synapses in groups.

    number: of the group of each flat index, (size,) int64. lengths: of each group, (groups,).
    """

    number: np.ndarray
    lengths: np.ndarray


def diagonals_of(p: Projection) -> GroupsOfKeys:
    """The diagonals of a projection's matrix, which wrap around its longer side.

    >>> wide = Projection("w", "a", "b", "linear", (2, 3))
    >>> diagonals_of(wide).number.reshape(2, 3).tolist()
    [[0, 1, 2], [2, 0, 1]]
    """
    incidence, block, row, column = _places(p)
    shift = row - column if incidence.rows >= incidence.width else column - row
    long, short = max(incidence.rows, incidence.width), min(incidence.rows, incidence.width)
    lengths = np.full(incidence.blocks * long, short)
    return GroupsOfKeys(block * long + shift % long, lengths)


def blocks_of(p: Projection, rows: int, columns: int) -> GroupsOfKeys:
    """The blocks of ``rows`` x ``columns`` of a projection's matrix, smaller ones at its edges.

    >>> matrix = Projection("w", "a", "b", "linear", (3, 4))
    >>> number, lengths = blocks_of(matrix, 2, 2)
    >>> number.reshape(3, 4).tolist(), lengths.tolist()
    ([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]], [4, 4, 2, 2])
    """
    incidence, block, row, column = _places(p)
    down, across = -(-incidence.rows // rows), -(-incidence.width // columns)
    number = (block * down + row // rows) * across + column // columns
    return GroupsOfKeys(number, np.bincount(number, minlength=incidence.blocks * down * across))


def _places(p: Projection) -> tuple[Incidence, np.ndarray, np.ndarray, np.ndarray]:
    """A projection's matrix, and block, row and column of each flat index."""
    incidence = Incidence.of(p)
    cells = incidence.cells(np.arange(p.size))
    row, column = cells // incidence.width, cells % incidence.width
    return incidence, row // incidence.rows, row % incidence.rows, column

"""A projection's parameter as a matrix: a row for each sum that weights enter, a column for each
number that they multiply.

Of a linear layer that is the parameter itself; of a convolution the rows are output channels, the
columns the places of its patches, channel by channel; of a recurrent layer each unit has a row for
each gate.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ..graph import Graph, Projection


class Matrix(NamedTuple):
    """The shape of a projection's matrix. parts: of the rows, equally many in each and one after
    another, that multiply inputs of their own: groups of a convolution, attention's three."""

    rows: int
    columns: int
    parts: int = 1


def matrix_of(p: Projection) -> Matrix:
    """The shape of a projection's matrix.

    >>> matrix_of(Projection("conv", "a", "b", "conv", (6, 2, 3, 3), groups=2))
    Matrix(rows=6, columns=18, parts=2)
    """
    if p.kind in ("transposed", "embedding"):
        return Matrix(p.shape[1], p.shape[0])
    if p.kind == "conv_transpose":
        columns = p.shape[0] // p.groups * prod(p.shape[2:])
        return Matrix(p.shape[1] * p.groups, columns, p.groups)
    if p.kind == "stacked":
        return Matrix(p.groups * p.shape[1], p.shape[2], p.groups)
    if p.kind == "stacked_transposed":
        return Matrix(p.groups * p.shape[2], p.shape[1], p.groups)
    parts = p.groups if p.kind in ("conv", "attention") else 1
    return Matrix(p.shape[0], prod(p.shape[1:]), parts)


def place_of(p: Projection, local: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each flat index of a projection, each (k,).

    >>> [x.tolist() for x in place_of(Projection("conv1d", "a", "b", "transposed", (3, 2)),
    ...                               torch.tensor([0, 1, 5]))]
    [[0, 1, 1], [0, 0, 2]]
    """
    rows, columns, parts = matrix_of(p)
    if p.kind in ("transposed", "embedding"):
        return local % rows, local // rows
    if p.kind == "stacked_transposed":
        out = p.shape[2]
        pre = local // out
        return pre // columns * out + local % out, pre % columns
    if p.kind != "conv_transpose":
        return local // columns, local % columns
    taps, out = prod(p.shape[2:]), p.shape[1]
    pre, within = local // (out * taps), p.shape[0] // parts
    row = pre // within * out + local // taps % out
    return row, pre % within * taps + local % taps


def local_of(p: Projection, row: Tensor, column: Tensor) -> Tensor:
    """The flat index of each place, the inverse of :func:`place_of`."""
    rows, columns, parts = matrix_of(p)
    if p.kind in ("transposed", "embedding"):
        return column * rows + row
    if p.kind == "stacked_transposed":
        out = p.shape[2]
        return (row // out * columns + column) * out + row % out
    if p.kind != "conv_transpose":
        return row * columns + column
    taps, out = prod(p.shape[2:]), p.shape[1]
    pre = row // out * (p.shape[0] // parts) + column // taps
    return (pre * out + row % out) * taps + column % taps


def row_numbers(graph: Graph) -> tuple[Tensor, list[int]]:
    """Which row of which matrix each edge lies in, numbered over all projections, (E,); and the
    first number of each projection, one past the last at the end.

    >>> from rewire.graph import Population, Space
    >>> space = Space([Population("a", 2), Population("b", 3)],
    ...               [Projection("ab", "a", "b", "linear", (3, 2)),
    ...                Projection("bb", "b", "b", "linear", (3, 3))])
    >>> numbers, firsts = row_numbers(Graph(space, torch.tensor([1, 2, 3, 8])))
    >>> numbers.tolist(), firsts
    ([0, 1, 1, 3], [0, 3, 6])
    """
    numbers, firsts = [torch.empty(0, dtype=torch.int64)], [0]
    for i, p in enumerate(graph.projections):
        numbers.append(place_of(p, graph.local(i))[0] + firsts[-1])
        firsts.append(firsts[-1] + matrix_of(p).rows)
    return torch.cat(numbers), firsts

"""How each kind of parameter stores its synapses: which flat index joins which units.

Stored shapes, with what ``groups`` counts: linear, spiking (n_post, n_pre); embedding, transposed
(n_pre, n_post); conv (out, in / groups, *kernel); conv_transpose (in, out / groups, *kernel); rnn
(gates x n_post, n_pre) and attention (3 x n_post, n_pre), whose ``groups`` is the number of gates,
or 3; stacked (parts, n_post, n_pre) and stacked_transposed (parts, n_pre, n_post), layers beside
each other (experts) with units of their own, part by part, whose ``groups`` is their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """How the flat indices of a stored parameter map to units, and back.

    locate:     (flat indices, shape, groups) -> presynaptic and postsynaptic unit of each.
    index:      (pre, post, tap, shape, groups) -> flat index, -1 where no synapse joins the pair.
    taps:       (shape, groups) -> parallel synapses of a pair: kernel positions, gates, or 1.
    by_unit:    whether a postsynaptic unit's possible synapses lie together, one from each
                presynaptic unit, in order.
    input_axis: the axis of the parameter along which a unit's inputs lie.
    """

    locate: Callable[[Tensor, Shape, int], tuple[Tensor, Tensor]]
    index: Callable[[int, int, int, Shape, int], int]
    taps: Callable[[Shape, int], int]
    by_unit: bool = False
    input_axis: int = 1


def _locate_matrix(local: Tensor, shape: Shape, groups: int) -> tuple[Tensor, Tensor]:
    post = local // shape[1]
    return local - post * shape[1], post


def _index_matrix(pre: int, post: int, tap: int, shape: Shape, groups: int) -> int:
    return post * shape[1] + pre


def _locate_table(local: Tensor, shape: Shape, groups: int) -> tuple[Tensor, Tensor]:
    pre = local // shape[1]
    return pre, local - pre * shape[1]


def _index_table(pre: int, post: int, tap: int, shape: Shape, groups: int) -> int:
    return pre * shape[1] + post


def _one(shape: Shape, groups: int) -> int:
    return 1


# A grouped convolution splits both sides into blocks: the channel that a row counts ("row") meets
# those of its own block on the other side ("column").


def _locate_blocks(local: Tensor, shape: Shape, groups: int) -> tuple[Tensor, Tensor]:
    positions = prod(shape[2:])
    row, column = local // (shape[1] * positions), local // positions % shape[1]
    return row, column + row // (shape[0] // groups) * shape[1]


def _index_blocks(row: int, column: int, tap: int, shape: Shape, groups: int) -> int:
    place = column - row // (shape[0] // groups) * shape[1]  # within the row's block
    if not 0 <= place < shape[1]:
        return -1
    return (row * shape[1] + place) * prod(shape[2:]) + tap


def _locate_convolution(local: Tensor, shape: Shape, groups: int) -> tuple[Tensor, Tensor]:
    post, pre = _locate_blocks(local, shape, groups)
    return pre, post


def _index_convolution(pre: int, post: int, tap: int, shape: Shape, groups: int) -> int:
    return _index_blocks(post, pre, tap, shape, groups)


def _positions(shape: Shape, groups: int) -> int:
    return prod(shape[2:])


def _locate_gates(local: Tensor, shape: Shape, groups: int) -> tuple[Tensor, Tensor]:
    row = local // shape[1]
    return local - row * shape[1], row % (shape[0] // groups)


def _index_gates(pre: int, post: int, tap: int, shape: Shape, groups: int) -> int:
    return (tap * (shape[0] // groups) + post) * shape[1] + pre


def _gates(shape: Shape, groups: int) -> int:
    return groups


# Stacked layers: part by part, each between units of its own, which are counted through.


def _locate_stacked(local: Tensor, shape: Shape, groups: int) -> tuple[Tensor, Tensor]:
    post = local // shape[2]
    return local - post * shape[2] + post // shape[1] * shape[2], post


def _index_stacked(pre: int, post: int, tap: int, shape: Shape, groups: int) -> int:
    if pre // shape[2] != post // shape[1]:
        return -1
    return post * shape[2] + pre % shape[2]


def _locate_stacked_table(local: Tensor, shape: Shape, groups: int) -> tuple[Tensor, Tensor]:
    pre = local // shape[2]
    return pre, local - pre * shape[2] + pre // shape[1] * shape[2]


def _index_stacked_table(pre: int, post: int, tap: int, shape: Shape, groups: int) -> int:
    if pre // shape[1] != post // shape[2]:
        return -1
    return pre * shape[2] + post % shape[2]


_MATRIX = Kind(_locate_matrix, _index_matrix, _one, by_unit=True)
_GATES = Kind(_locate_gates, _index_gates, _gates)

KINDS: Mapping[str, Kind] = {
    "linear": _MATRIX,
    "spiking": _MATRIX,
    "embedding": Kind(_locate_table, _index_table, _one, input_axis=0),
    "transposed": Kind(_locate_table, _index_table, _one, input_axis=0),
    "conv": Kind(_locate_convolution, _index_convolution, _positions),
    "conv_transpose": Kind(_locate_blocks, _index_blocks, _positions, input_axis=0),
    "rnn": _GATES,
    "attention": _GATES,
    "stacked": Kind(_locate_stacked, _index_stacked, _one, input_axis=2),
    "stacked_transposed": Kind(_locate_stacked_table, _index_stacked_table, _one, input_axis=1),
}

"""Equal degrees on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..kernels.curveball import trade_rows
from ..streams import Stream
from .start import Block, StartingTopology, shares

ROUNDS = 20  # of trades between all rows: each halves what is left of the order they begin with


@dataclass(frozen=True)
class Regular(StartingTopology):
    """A random graph of equal fan-in and equal fan-out, as far as counts allow.

    Fan-ins differ by one at most, and so do fan-outs; which units have one more is random. Edges
    are dealt out in turn and then traded between rows until nothing of that order is left
    (curveball, Strona et al. 2014, doi:10.1038/ncomms5114), which keeps all degrees. Of a
    convolution each kernel position of an input channel has its equal share too.
    """

    kind: ClassVar[str] = "equal degrees"
    source: ClassVar[str] = "control: degrees without variance"

    def cells(self, block: Block, count: int, rng: Stream) -> tuple[np.ndarray, np.ndarray]:
        return regular_cells(block, count, rng)


def regular_cells(block: Block, count: int, rng: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of ``count`` cells, as many in each row and each column as can be."""
    fan_in = shares(count, block.rows, rng)
    starts = np.concatenate([[0], fan_in.cumsum()])
    rows = np.repeat(np.arange(block.rows), fan_in)
    columns = _in_turn(block, rng)[np.arange(count) % max(block.columns, 1)]
    columns = columns[np.lexsort((columns, rows))]  # no row takes a column twice: it has too few
    half = block.rows // 2
    if half:
        every = np.tile(np.arange(block.rows), (ROUNDS, 1))
        order = rng.numpy.permuted(every, axis=1)
        first, second = order[:, :half].ravel(), order[:, half : 2 * half].ravel()
        columns = trade_rows(starts, columns, first, second, rng.sequence())
    return rows, columns


def _in_turn(block: Block, rng: Stream) -> np.ndarray:
    """All columns, in an order in which those of one presynaptic unit are far apart."""
    turns = [rng.numpy.permutation(block.pres) * block.taps + t for t in range(block.taps)]
    return np.concatenate([np.empty(0, np.int64), *turns])

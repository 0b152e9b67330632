"""Bipartite preferential attachment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..streams import Stream
from .start import Block, StartingTopology, shares


@dataclass(frozen=True)
class ScaleFree(StartingTopology):
    """Units arrive one by one, and join those of the other side that have many edges already.

    Barabasi & Albert 1999 (doi:10.1126/science.286.5439.509) between two sides (the bipartite
    scale-free network that Zhang et al. 2025, arXiv:2501.19107, start from): units of both layers
    arrive in random order, each with an equal share of the edges, and choose partners among the
    units of the other layer that are there, without replacement, in proportion to 1 + their edges
    (a unit that has none yet can be found). What a unit finds no partner for, as the first ones do,
    is placed at the end, in proportion to the product of both degrees. Of a convolution each kernel
    position of an input channel is a unit of its own.
    """

    kind: ClassVar[str] = "scale-free"
    source: ClassVar[str] = "Barabasi & Albert 1999, doi:10.1126/science.286.5439.509"

    def cells(self, block: Block, count: int, rng: Stream) -> tuple[np.ndarray, np.ndarray]:
        sizes = block.rows, block.columns
        brought = shares(count, sum(sizes), rng)
        degrees = np.zeros(sizes[0]), np.zeros(sizes[1])
        present = np.zeros(sizes[0], bool), np.zeros(sizes[1], bool)
        joined = np.zeros(sizes, bool)
        left = 0
        for unit in rng.numpy.permutation(sum(sizes)).tolist():
            side, at = (0, unit) if unit < sizes[0] else (1, unit - sizes[0])
            others = np.flatnonzero(present[1 - side])
            most = min(int(brought[unit]), len(others))
            chosen = others[_first(1 + degrees[1 - side][others], most, rng)]
            joined[(at, chosen) if side == 0 else (chosen, at)] = True
            degrees[side][at] += most
            degrees[1 - side][chosen] += 1
            present[side][at] = True
            left += int(brought[unit]) - most
        free_rows, free_columns = np.nonzero(~joined)
        product = (1 + degrees[0][free_rows]) * (1 + degrees[1][free_columns])
        late = _first(product, left, rng)
        joined[free_rows[late], free_columns[late]] = True
        rows, columns = np.nonzero(joined)
        return rows, columns


def _first(weights: np.ndarray, k: int, rng: Stream) -> np.ndarray:
    """``k`` places drawn without replacement, one after the other in proportion to weights."""
    if not k:
        return np.empty(0, np.int64)
    waiting = rng.numpy.standard_exponential(len(weights)) / weights
    return np.argpartition(waiting, k - 1)[:k]

"""Bipartite small worlds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..streams import Stream
from .start import Block, StartingTopology


@dataclass(frozen=True)
class SmallWorld(StartingTopology):
    """A ring lattice between two layers, some of whose edges are moved at random.

    Watts & Strogatz 1998 (doi:10.1038/30918) between two sides (the bipartite small world that
    Zhang et al. 2025, arXiv:2501.19107, start from): both layers lie on one ring in the order of
    their units; each postsynaptic unit takes the presynaptic ones nearest to it, equally many as
    far as counts allow; each edge's presynaptic end then moves, with probability ``beta``, to one
    that the unit is not joined to. Fan-ins stay equal; beta = 0 is the lattice, beta = 1 is random
    at equal fan-in. Kernel positions of an input channel lie side by side on the ring.

    beta: probability that an edge moves.
    """

    kind: ClassVar[str] = "small world"
    source: ClassVar[str] = "Watts & Strogatz 1998, doi:10.1038/30918"

    beta: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise ValueError(f"SmallWorld.beta is a probability, got {self.beta}.")

    def cells(self, block: Block, count: int, rng: Stream) -> tuple[np.ndarray, np.ndarray]:
        width = block.columns
        upto = np.arange(block.rows + 1) * count // max(block.rows, 1)
        fan_in = np.diff(upto)  # the larger ones evenly along the ring
        rows = np.repeat(np.arange(block.rows), fan_in)
        centre = (2 * np.arange(block.rows) + 1) * width // max(2 * block.rows, 1)
        place = np.arange(count) - np.repeat(upto[:-1], fan_in)
        columns = (np.repeat(centre - fan_in // 2, fan_in) + place) % max(width, 1)
        moves = rng.doubles(count) < self.beta
        for row in np.unique(rows[moves]).tolist():
            edges = slice(upto[row], upto[row + 1])
            columns[edges] = _moved(columns[edges], moves[edges], width, rng)
        return rows, columns


def _moved(columns: np.ndarray, moves: np.ndarray, width: int, rng: Stream) -> np.ndarray:
    """The columns of a row after those that move took others, which the row did not have."""
    absent = np.ones(width, bool)
    absent[columns] = False
    free = np.flatnonzero(absent)
    moving = np.flatnonzero(moves)[: len(free)]
    out = columns.copy()
    out[moving] = rng.numpy.choice(free, len(moving), replace=False)
    return out

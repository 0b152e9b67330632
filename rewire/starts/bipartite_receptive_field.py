"""Receptive fields between two layers of any sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ..fields import Share
from ..streams import Stream
from .start import Block, StartingTopology, shares

CHUNK = 2**22  # distances that are in memory at a time
PAPER = """
@inproceedings{zhang2025brain,
  title = {Brain network science modelling of sparse neural networks enables Transformers and
    {LLM}s to perform as fully connected},
  author = {Zhang, Yingtao and Cerretti, Diego and Zhao, Jialin and Wu, Wenjing and Liao, Ziheng
    and Michieli, Umberto and Cannistraci, Carlo Vittorio},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2501.19107},
  archiveprefix = {arXiv},
  year = {2025},
}
"""


@dataclass(frozen=True)
class BipartiteReceptiveField(StartingTopology):
    """The bipartite receptive field, BRF (Zhang et al. 2025, arXiv:2501.19107).

    Each unit of the smaller side is joined to units of the larger side, drawn without replacement
    in proportion to (1 + d)^(-(1 - r) / r), d the distance on a ring of the larger side's units
    from the place that is its own, unit i of n at i / n of the ring. Columns of a projection
    (kernel positions, gates) are units.

    r: from 0, the nearest ones, to 1, any; .3 in the authors' example.
    degrees: "even", as far as counts allow, or "random": one edge each, the others dealt out to
        units at random (the authors' "uniform").

    Deviation: places are spread over the whole ring; in the authors' code one follows another at
    the whole part of the ratio of the sizes, which leaves an end of the larger side without any.

    >>> from rewire.graph import Population, Projection, Space
    >>> space = Space([Population("a", 6), Population("b", 3)],
    ...               [Projection("w", "a", "b", "linear", (3, 6))])
    >>> BipartiteReceptiveField(r=0.0).graph(space, [9], seed=0).mask(0).int().tolist()
    [[1, 1, 0, 0, 0, 1], [0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]]
    """

    kind: ClassVar[str] = "local"
    source: ClassVar[str] = "Zhang et al. 2025, arXiv:2501.19107"
    bibtex: ClassVar[str] = PAPER

    r: Share = 0.3
    degrees: Literal["even", "random"] = "even"

    def cells(self, block: Block, count: int, rng: Stream) -> tuple[np.ndarray, np.ndarray]:
        small, large = sorted((block.rows, block.columns))
        degrees = self._degrees(small, large, count, rng)
        ends = [np.empty(0, np.int64)]
        step = max(1, CHUNK // max(large, 1))
        for first in range(0, small, step):
            places = np.arange(first, min(first + step, small))[:, None] * large // max(small, 1)
            apart = np.abs(np.arange(large) - places)
            apart = np.minimum(apart, large - apart)
            if self.r:  # the largest of log p + Gumbel noise are a draw in proportion to p
                scores = -(1 - self.r) / self.r * np.log1p(apart)
                scores += rng.numpy.gumbel(size=scores.shape)
            else:
                scores = -apart
            order = np.argsort(-scores, axis=1, kind="stable")
            ends += [order[k, :n] for k, n in enumerate(degrees[first : first + step])]
        one, other = np.repeat(np.arange(small), degrees), np.concatenate(ends)
        return (one, other) if block.rows <= block.columns else (other, one)

    def _degrees(self, units: int, most: int, count: int, rng: Stream) -> np.ndarray:
        """Edges of each unit, ``count`` in all, (units,)."""
        if self.degrees == "even" or count <= units:
            return shares(count, units, rng)
        degrees = np.ones(units, np.int64)
        while (extra := count - int(degrees.sum())) > 0:
            room = np.flatnonzero(degrees < most)
            np.add.at(degrees, room[rng.numpy.integers(len(room), size=extra)], 1)
            degrees = np.minimum(degrees, most)
        return degrees

"""How many synapses lie between inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .measure import Measure
from .shared.reach import input_output_pairs

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{watts1998collective,
  title = {Collective Dynamics of `Small-World' Networks},
  author = {Watts, Duncan J. and Strogatz, Steven H.},
  journal = {Nature},
  volume = {393},
  pages = {440--442},
  year = {1998},
  doi = {10.1038/30918},
}
"""


@dataclass(frozen=True)
class PathLength(Measure):
    """Mean number of synapses on the shortest paths from inputs to outputs.

        L = mean of d(i, o) over the pairs of an input i and an output o that a path joins

    Links (sums, concatenations, flattenings) have the length 0. NaN where no pair is joined. The
    characteristic path length (Watts & Strogatz 1998, doi:10.1038/30918) between a network's ends.

    >>> from rewire.analysis.examples import two_layers
    >>> PathLength().of(two_layers())
    {'': 2.0}
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Watts & Strogatz 1998, doi:10.1038/30918"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined", "ends"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        pairs = input_output_pairs(graph.network)
        total = pairs.sum()
        return {"": float(pairs @ np.arange(len(pairs)) / total) if total else float("nan")}

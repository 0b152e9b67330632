"""How many edges must go to cut the outputs off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .measure import Measure
from .shared.cut import least_cut

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{ford1956maximal,
  title = {Maximal Flow Through a Network},
  author = {Ford, L. R. and Fulkerson, D. R.},
  journal = {Canadian Journal of Mathematics},
  volume = {8},
  pages = {399--404},
  year = {1956},
  doi = {10.4153/CJM-1956-045-5},
}
"""


@dataclass(frozen=True)
class MinCut(Measure):
    """The least number of edges whose removal parts all inputs from all outputs.

    Equal to the largest number of paths that share no edge (Ford & Fulkerson 1956,
    doi:10.4153/CJM-1956-045-5). Parallel
    synapses count each; links cannot be cut: inf where links alone lead from an input to an output.

    >>> from rewire.analysis.examples import two_layers
    >>> MinCut().of(two_layers())
    {'': 3.0}
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Ford & Fulkerson 1956, doi:10.4153/CJM-1956-045-5"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined", "ends"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        return {"": least_cut(graph.network, np.ones(len(graph)), whole=True)}

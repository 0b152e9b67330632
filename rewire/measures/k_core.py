"""How deep a network's densest part lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .measure import Measure
from .shared.simple import core_numbers, neighbours

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{seidman1983network,
  title = {Network Structure and Minimum Degree},
  author = {Seidman, Stephen B.},
  journal = {Social Networks},
  volume = {5},
  pages = {269--287},
  year = {1983},
  doi = {10.1016/0378-8733(83)90028-X},
}
"""


@dataclass(frozen=True)
class KCore(Measure):
    """The largest core number, and the mean one of each population's units.

    A unit's core number is the largest k for which it belongs to the k-core: the largest part of
    the network in which every unit has k neighbours or more (Seidman 1983,
    doi:10.1016/0378-8733(83)90028-X). Directions, weights, parallel edges and links are ignored.

    >>> from rewire.analysis.examples import two_layers
    >>> KCore().of(two_layers())["output"]
    1.5
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Seidman 1983, doi:10.1016/0378-8733(83)90028-X"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        network = graph.network
        core = core_numbers(neighbours(network))
        means = {p.name: core[network.units([p.name])].mean() for p in graph.populations if p.size}
        return {"": core.max(initial=0), **means}

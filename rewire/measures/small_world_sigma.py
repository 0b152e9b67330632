"""Whether layers are clustered more than chance, at distances as short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .shared.small_world import SmallWorld

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{humphries2008network,
  title = {Network `Small-World-Ness': A Quantitative Method for Determining Canonical Network
    Equivalence},
  author = {Humphries, Mark D. and Gurney, Kevin},
  journal = {PLoS ONE},
  volume = {3},
  number = {4},
  pages = {e0002051},
  year = {2008},
  doi = {10.1371/journal.pone.0002051},
}
"""


@dataclass(frozen=True)
class SmallWorldSigma(SmallWorld):
    """Bipartite small-world sigma of each projection: (C / C0) / (L / L0).

    Humphries & Gurney 2008 (doi:10.1371/journal.pone.0002051), in the terms of two-mode graphs, as
    Robins & Alexander 2004 compare them: C is :class:`RobinsAlexander`, L the mean distance between
    units of the projection's undirected bipartite graph, over pairs that a path joins. C0 and L0
    are means over graphs with the same degrees on both sides (:class:`rewire.nulls.Degrees`), so
    that 1 is chance; above 1 is a small world. nan where C0 is 0, or no path leads anywhere.

    draws, seed: graphs drawn of each projection. sources: units from which distances are measured,
    chosen at random where there are more.

    >>> from rewire.analysis.examples import sheets
    >>> round(SmallWorldSigma(draws=4).of(sheets())["ff"], 1)  # rings: no four-cycle
    0.0
    """

    source: ClassVar[str] = "Humphries & Gurney 2008, doi:10.1371/journal.pone.0002051"
    bibtex: ClassVar[str] = PAPER
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    def values(self, graph: Graph) -> Mapping[str, float]:
        out = {}
        for name, joined, clustering, distance in self.of_layers(graph):
            clustering0, distance0 = self.chance(joined)
            out[name] = (
                clustering / clustering0 / (distance / distance0) if clustering0 else float("nan")
            )
        return out

"""Where layers lie between a lattice and chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .robins_alexander import clustering as clustering_of
from .shared.small_world import SmallWorld, lattice

if TYPE_CHECKING:
    from ..graph import Graph

PAPER = r"""
@article{telesford2011ubiquity,
  title = {The Ubiquity of Small-World Networks},
  author = {Telesford, Qawi K. and Joyce, Karen E. and Hayasaka, Satoru and Burdette, Jonathan H.
    and Laurienti, Paul J.},
  journal = {Brain Connectivity},
  volume = {1},
  number = {5},
  pages = {367--375},
  year = {2011},
  doi = {10.1089/brain.2011.0038},
}
"""


@dataclass(frozen=True)
class SmallWorldOmega(SmallWorld):
    """Bipartite small-world omega of each projection: L0 / L - C / C1.

    Telesford et al. 2011 (doi:10.1089/brain.2011.0038), in the terms of two-mode graphs: C, L and
    L0 as in :class:`SmallWorldSigma`; C1 is the clustering of a lattice. Near 0 is a small world,
    below it is like the lattice, above it like chance; nan where C1 is 0, or no path leads
    anywhere.

    Deviation: the lattice is no rewired copy. It is the ring on which each postsynaptic unit, in
    the order of their degrees, is fed by as many presynaptic units as it has, those nearest to it:
    degrees of the presynaptic side are not kept.

    draws, seed, sources: as for :class:`SmallWorldSigma`.

    >>> import torch
    >>> from rewire.graph import Graph, Population, Projection, Space
    >>> space = Space([Population("a", 30), Population("b", 30)],
    ...               [Projection("p", "a", "b", "linear", (30, 30))])
    >>> near = (torch.arange(30)[:, None] - torch.arange(30)) % 30 < 4
    >>> SmallWorldOmega().of(Graph.from_masks(space, {"p": near}))["p"] < -0.4  # a lattice
    True
    """

    source: ClassVar[str] = "Telesford et al. 2011, doi:10.1089/brain.2011.0038"
    bibtex: ClassVar[str] = PAPER

    def values(self, graph: Graph) -> Mapping[str, float]:
        out = {}
        for name, joined, clustering, distance in self.of_layers(graph):
            regular = clustering_of(lattice(joined))
            _, distance0 = self.chance(joined)
            out[name] = distance0 / distance - clustering / regular if regular else float("nan")
        return out

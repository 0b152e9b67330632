"""How close outputs are to inputs over strong synapses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..fields import Count
from ..streams import rng_for
from .measure import Measure, Weights

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

PAPER = r"""
@article{rubinov2010complex,
  title = {Complex Network Measures of Brain Connectivity: Uses and Interpretations},
  author = {Rubinov, Mikail and Sporns, Olaf},
  journal = {NeuroImage},
  volume = {52},
  pages = {1059--1069},
  year = {2010},
  doi = {10.1016/j.neuroimage.2009.10.003},
}
"""


@dataclass(frozen=True)
class WeightedEfficiency(Measure):
    """Mean inverse distance from inputs to outputs, a synapse being 1 / |w| long (Rubinov & Sporns
    2010, doi:10.1016/j.neuroimage.2009.10.003).

        E_w = mean of 1 / d_w(i, o) over pairs of an input i and an output o, 0 where no path is

    Links have the length 0; pairs that links alone join are left out. A synapse of weight 0 joins
    nothing. With more than ``most`` inputs and outputs, that many of the fewer are drawn by
    ``seed``. E_w grows with the weights: compare it with that of weights shuffled.

    >>> from rewire.analysis.examples import sheets
    >>> round(WeightedEfficiency().of(sheets())[""], 4)  # (.75 + .25) / 16 outputs
    0.0625
    """

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Rubinov & Sporns 2010, doi:10.1016/j.neuroimage.2009.10.003"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined", "ends", "weight"})
    weights: ClassVar[Weights] = "absolute"
    bounds: ClassVar[tuple[float | None, float | None]] = (0, None)

    most: Count = 256
    seed: int = 0

    def values(self, graph: Graph) -> Mapping[str, float]:
        from scipy.sparse.csgraph import dijkstra

        lengths = _lengths(graph)
        starts, ends = graph.network.inputs, graph.network.outputs
        if len(ends) < len(starts):
            lengths, starts, ends = lengths.T.tocsr(), ends, starts
        if len(starts) > self.most:
            order = rng_for(self.seed, "measure/WeightedEfficiency").permutation(len(starts))
            starts = starts[order[: self.most].numpy()]
        total, possible = 0.0, 0
        for start in starts:
            distance = dijkstra(lengths, indices=start)[ends]
            apart = distance > 0
            total += float((1 / distance[apart]).sum())
            possible += int(apart.sum())
        return {"": total / possible if possible else 0.0}


def _lengths(graph: Graph) -> sp.csr_array:
    """Length of the shortest of parallel edges and links, (N, N), pre -> post."""
    import scipy.sparse as sp

    network = graph.network
    weight = np.abs(graph.numbers("weight").astype(np.float64))
    joins = weight > 0
    length = np.concatenate([1 / weight[joins], np.zeros(len(network.link_pre))])
    pre = np.concatenate([network.pre[joins], network.link_pre])
    post = np.concatenate([network.post[joins], network.link_post])
    order = np.argsort(length, kind="stable")
    pairs, first = np.unique(pre[order] * network.size + post[order], return_index=True)
    shape = (network.size, network.size)
    ends = pairs // network.size, pairs % network.size
    return sp.csr_array((length[order][first], ends), shape=shape)  # keeps explicit zeros

"""PHEW: paths with higher edge weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from ..graph import NOTHING, Edit, Graph
from ..graph.network import Network
from ..select.choose import ranked_numbers
from ..signals import Signals
from ..streams import Stream
from .shared.prune_at_start import PruneAtStart

PAPER = """
@inproceedings{patil2021phew,
  title = {{PHEW}: Constructing Sparse Networks that Learn Fast and Generalize Well without Training
    Data},
  author = {Patil, Shreyas Malakarjun and Dovrolis, Constantine},
  booktitle = {International Conference on Machine Learning},
  eprint = {2010.11354},
  archiveprefix = {arXiv},
  year = {2021},
}
"""
WALKS = 2**14  # made at a time, at most
HOPS = 1000  # of a walk, at most: recurrent networks have cycles
PATIENCE = 20  # walks for each synapse to be kept


@dataclass(frozen=True, kw_only=True)
class PHEW(PruneAtStart):
    """Keep the synapses that random walks over the initial weights traverse, without any data
    (Patil & Dovrolis 2021, arXiv:2010.11354).

    Walks begin in turn at an input, going forwards, and at an output, going backwards; inputs and
    outputs take turns too. From a unit the next synapse is drawn in proportion to |w| among all
    that leave it (that reach it, on the way back), and a walk ends at an output (an input).
    Traversed synapses are kept, until there are as many as the density asks for. So whole paths are
    kept, and no layer is empty.

    Of a convolution |w| counts at each position of the kernels. If several projections leave a
    unit, or a sum and a layer, one of them is drawn first, with equal probabilities, as in the
    authors' code at shortcuts; so is one of the units into which a flattening divides a channel.

    It walks along ``graph.network``: a model other than an nn.Sequential of linear layers has to be
    traced, by ``example=`` or ``probe=`` of `attach`.

    Deviations:
    - The number of synapses is exact, and the last path may end in the middle.
    - If 20 walks for each synapse to be kept do not find enough (at densities near 1), the largest
      |w| of the others are taken.

    >>> import torch, rewire
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> net = rewire.attach(model, optimizer, rewire.PHEW(), density=0.1)
    >>> net.edges, min(net.counts) > 0  # no data, and no layer is lost
    (23, True)
    """

    source: ClassVar[str] = "Patil & Dovrolis 2021, arXiv:2010.11354"
    bibtex: ClassVar[str] = PAPER

    scope: Literal["global"] = "global"  # type: ignore[assignment]

    def check(self, graph: Graph, signals: Signals) -> None:
        super().check(graph, signals)
        self._joined(graph)

    def cut(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        (count,) = self.counts(graph)
        network = self._joined(graph)
        size = np.abs(graph["weight"].double().numpy())
        ranked_numbers(size, "PHEW's |weight|")
        if count == len(graph):
            return NOTHING
        rows = _passed(network, size, count, rng)
        stays = np.zeros(len(graph), bool)
        stays[rows] = True
        others = np.flatnonzero(~stays)
        largest_first = others[np.argsort(-size[others], kind="stable")]
        stays[largest_first[: count - len(rows)]] = True
        return Edit(drop=torch.from_numpy(np.flatnonzero(~stays)))

    def _joined(self, graph: Graph) -> Network:
        network = graph.network
        if not network.joined:
            raise ValueError(
                f"PHEW walks from inputs to outputs, and {network.apart} Pass example= or probe= "
                "to attach, or leave layers out with exclude=."
            )
        return network


def _passed(network: Network, size: np.ndarray, count: int, rng: Stream) -> np.ndarray:
    """Rows of the first ``count`` synapses that walks pass, or of fewer where they find no more."""
    ahead, back = _Arcs(network, size, forwards=True), _Arcs(network, size, forwards=False)
    inputs, outputs = network.inputs, network.outputs
    rows, seen, walks = np.empty(0, np.int64), np.zeros(len(size), bool), 0
    while len(rows) < count and walks < PATIENCE * count:
        n = min(WALKS, 2 * max(1, count - len(rows)))
        turn = (walks + np.arange(0, n, 2)) // 2
        one = ahead.walk(inputs[turn % len(inputs)], outputs, rng)
        other = back.walk(outputs[turn[: n // 2] % len(outputs)], inputs, rng)
        hops = max(one.shape[1], other.shape[1])
        passed = np.full((n, hops), -1)
        passed[0::2, : one.shape[1]], passed[1::2, : other.shape[1]] = one, other
        new = passed[passed >= 0]  # walk by walk, hop by hop
        new = new[~seen[new]]
        distinct, first = np.unique(new, return_index=True)
        rows = np.concatenate([rows, distinct[first.argsort()]])[:count]
        seen[rows] = True
        walks += n
    return rows


class _Arcs:
    """What leads from each unit to the next, and the chance of each, in one direction."""

    def __init__(self, network: Network, size: np.ndarray, forwards: bool):
        tail = np.concatenate([network.pre, network.link_pre])
        head = np.concatenate([network.post, network.link_post])
        tail, head = (tail, head) if forwards else (head, tail)
        row = np.concatenate([np.arange(len(size)), np.full(len(network.link_pre), -1)])
        # what is drawn first: a projection, or the population that a link leads to
        starts = np.unique(list(network.starts.values()))
        where = starts.searchsorted(head[len(size) :], "right") + int(network.which.max(initial=0))
        group = np.concatenate([network.which, where])
        order = np.lexsort((group, tail))
        self.head, self.row, tail, group = head[order], row[order], tail[order], group[order]
        weight = np.concatenate([size, np.ones(len(network.link_pre))])[order]
        # chances within a group add up to 1; where all weights are 0, they are even
        new = np.ones(len(tail), bool)
        new[1:] = (tail[1:] != tail[:-1]) | (group[1:] != group[:-1])
        of = new.cumsum() - 1
        total = np.bincount(of, weight)
        weight = np.where(total[of] > 0, weight, 1.0)
        self.upto = np.cumsum(weight / np.bincount(of, weight)[of])
        self.first = tail.searchsorted(np.arange(network.size + 1))
        self.groups = np.bincount(tail[new], minlength=network.size)

    def walk(self, units: np.ndarray, ends: np.ndarray, rng: Stream) -> np.ndarray:
        """The rows that walks from these units pass, -1 where a hop passes none, (walks, hops)."""
        last = np.zeros(len(self.groups), bool)
        last[ends] = True
        at, going, hops = units.copy(), np.arange(len(units)), list[np.ndarray]()
        while len(going) and len(hops) < HOPS:
            lo, hi = self.first[at[going]], self.first[at[going] + 1]
            open_ = hi > lo
            going, lo, hi = going[open_], lo[open_], hi[open_]
            base = np.where(lo > 0, self.upto[lo - 1], 0.0)
            drawn = base + rng.doubles(len(going)) * self.groups[at[going]]
            arc = np.clip(self.upto.searchsorted(drawn, "right"), lo, hi - 1)
            hop = np.full(len(units), -1)
            hop[going] = self.row[arc]
            hops.append(hop)
            at[going] = self.head[arc]
            going = going[~last[at[going]]]
        return np.stack(hops, 1) if hops else np.empty((len(units), 0), np.int64)

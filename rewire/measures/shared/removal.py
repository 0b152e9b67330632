"""How a network falls apart when its edges or units are removed one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from ..measure import Measure
from .reach import input_output_pairs

if TYPE_CHECKING:
    from ...graph import Graph
    from ...graph.network import Network

PAPER = r"""
@article{schneider2011mitigation,
  title = {Mitigation of Malicious Attacks on Networks},
  author = {Schneider, Christian M. and Moreira, Andr{\'e} A. and Andrade, Jos{\'e} S. and
            Havlin, Shlomo and Herrmann, Hans J.},
  journal = {Proceedings of the National Academy of Sciences},
  volume = {108},
  pages = {3838--3841},
  year = {2011},
  doi = {10.1073/pnas.1009440108},
}
"""


@dataclass(frozen=True)
class Removal(Measure):
    """What the three orders of removal share."""

    kind: ClassVar[str] = "network"
    source: ClassVar[str] = "Schneider et al. 2011, doi:10.1073/pnas.1009440108"
    bibtex: ClassVar[str] = PAPER
    needs: ClassVar[frozenset[str]] = frozenset({"joined"})
    bounds: ClassVar[tuple[float | None, float | None]] = (0, 1)
    numbered: ClassVar[bool] = True

    remove: Literal["units", "edges"] = "edges"

    def values(self, graph: Graph) -> Mapping[str, float]:
        giant = self.giant(graph)
        return {"": float(giant[1:].mean()) if len(giant) > 1 else 0.0}

    def giant(self, graph: Graph) -> np.ndarray:
        """Share of units in the largest component after 0, 1, ... removals, (removals + 1,)."""
        network, units = graph.network, _units(graph)
        rank = self._ranks(graph, units)
        if self.remove == "edges":
            cost = np.concatenate([len(rank) - rank + 2, np.ones(len(network.link_pre), np.int64)])
        else:
            last = np.full(network.size, len(units) + 1)  # joints are never removed
            last[units] = rank
            pre = np.concatenate([network.pre, network.link_pre])
            post = np.concatenate([network.post, network.link_post])
            cost = len(units) - np.minimum(last[pre], last[post]) + 2
        return _largest(network, units, cost, len(rank), self.remove == "units")

    def pairs(self, graph: Graph, removed: np.ndarray) -> np.ndarray:
        """Share of pairs (input, output) that a path joins after some shares of the removals.

        removed: (k,) in [0, 1]. The curve of shape (k,) beside :meth:`giant`'s.
        """
        network, units = graph.network, _units(graph)
        rank = self._ranks(graph, units)
        last = np.full(network.size, len(units) + 1)
        last[units] = rank if self.remove == "units" else len(units) + 1
        edge = rank if self.remove == "edges" else np.minimum(last[network.pre], last[network.post])
        possible = max(len(network.inputs) * len(network.outputs), 1)
        gone = np.round(np.asarray(removed) * len(rank))
        return np.array([input_output_pairs(network, edge > g).sum() / possible for g in gone])

    def _ranks(self, graph: Graph, units: np.ndarray) -> np.ndarray:
        """When each edge, or each of the units, is removed: 1, 2, ..."""
        score = self._scores(graph, units)
        rank = np.empty(len(score), np.int64)
        rank[np.argsort(-score, kind="stable")] = np.arange(1, len(score) + 1)
        return rank

    def _scores(self, graph: Graph, units: np.ndarray) -> np.ndarray:
        """Large for what is removed first; ties go by key, or number."""
        raise NotImplementedError


def _units(graph: Graph) -> np.ndarray:
    """Numbers of the units of all populations, each once; joints are no units."""
    return np.unique(graph.network.units([p.name for p in graph.populations]))


def _largest(
    network: Network, units: np.ndarray, cost: np.ndarray, removals: int, nothing_left: bool
) -> np.ndarray:
    """Share of ``units`` in the largest component after 0 .. ``removals`` removals.

    cost: of each edge and link, removals - r + 2 where it goes at the r-th removal, 1 where it
    never goes. A spanning forest of least cost joins what edges of any cost and less do, so that
    the components need only be merged along it, from the last removal to the first.
    """
    tree_pre, tree_post, merged_at = _spanning_forest(network, cost)
    weight = np.zeros(network.size, np.int64)
    weight[units] = 1
    parent, weights = list(range(network.size)), weight.tolist()
    largest = 1 if len(units) else 0
    sizes = [largest]
    for a, b in zip(tree_pre.tolist(), tree_post.tolist(), strict=True):
        a, b = _root(parent, a), _root(parent, b)
        parent[b] = a
        weights[a] += weights[b]
        largest = max(largest, weights[a])
        sizes.append(largest)
    present = removals - np.arange(removals + 1) + 1  # costs up to this after Q removals
    out = np.array(sizes)[merged_at.searchsorted(present, "right")] / max(len(units), 1)
    if nothing_left and removals:
        out[-1] = 0.0
    return out


def _root(parent: list[int], unit: int) -> int:
    while parent[unit] != unit:
        parent[unit] = parent[parent[unit]]
        unit = parent[unit]
    return unit


def _spanning_forest(
    network: Network, cost: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends and cost of the edges of a spanning forest of least cost, by rising cost."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import minimum_spanning_tree

    pre = np.concatenate([network.pre, network.link_pre])
    post = np.concatenate([network.post, network.link_post])
    order = np.argsort(cost, kind="stable")
    low, high = np.minimum(pre, post)[order], np.maximum(pre, post)[order]
    pairs, first = np.unique(low * network.size + high, return_index=True)
    shape = (network.size, network.size)
    ends = pairs // network.size, pairs % network.size
    joins = sp.csr_array((cost[order][first].astype(np.float64), ends), shape=shape)
    forest = minimum_spanning_tree(joins).tocoo()
    rising = np.argsort(forest.data, kind="stable")
    return forest.row[rising], forest.col[rising], forest.data[rising]

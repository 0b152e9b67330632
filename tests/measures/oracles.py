"""What each measure is held against: other people's programs, or the formula by brute force.

An oracle computes the measure's numbers from a graph's dense matrices, without the measure's code:
``oracle(measure, graph) -> {part: number}``. It is registered with the values of the measure that
it is tried with (default: the one that the class makes without arguments).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from rewire import measures
from rewire.graph import Graph
from rewire.measures import Measure


@dataclass(frozen=True)
class Oracle:
    """of: (measure, graph) -> numbers by part. tried: measures. graphs: None: what fits its needs.

    rtol: how far apart relatively, where the oracle itself is no more exact than that.
    """

    of: Callable[[Any, Graph], Mapping[str, float]]
    tried: tuple[Measure, ...]
    graphs: st.SearchStrategy[Graph] | None = None
    rtol: float = 1e-9


ORACLES: dict[type[Measure], Oracle] = {}


def oracle(cls: type[Measure], *tried: Measure, **settings: Any) -> Callable[[Any], Any]:
    """Registers the function below as what ``cls`` is held against."""

    def register(of: Callable[[Any, Graph], Mapping[str, float]]) -> Any:
        ORACLES[cls] = Oracle(of, tried or (cls(),), **settings)
        return of

    return register


# -- what oracles share ---------------------------------------------------------------------------


def pairs(graph: Graph, i: int) -> np.ndarray:
    """Whether each pair of units is joined by projection ``i``, (n_post, n_pre) bool."""
    return strengths(graph, i, np.ones(len(graph))) > 0


def strengths(graph: Graph, i: int, values: np.ndarray) -> np.ndarray:
    """Sums of an edge's value over the parallel edges of each pair, (n_post, n_pre)."""
    p = graph.projections[i]
    dense = np.zeros((graph.space.population[p.target].size, graph.space.population[p.source].size))
    which, pre, post = (x.numpy() for x in graph.locate())
    for row in np.flatnonzero(which == i):
        dense[post[row], pre[row]] += values[row]
    return dense


def by_projection(graph: Graph) -> list[tuple[str, np.ndarray]]:
    """Name and joined pairs of each projection."""
    return [(p.name, pairs(graph, i)) for i, p in enumerate(graph.projections)]


def bipartite(joined: np.ndarray) -> Any:
    """As an undirected networkx graph: ("pre", j) and ("post", i)."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(("post", i) for i in range(joined.shape[0]))
    graph.add_nodes_from(("pre", j) for j in range(joined.shape[1]))
    graph.add_edges_from((("pre", j), ("post", i)) for i, j in zip(*joined.nonzero(), strict=True))
    return graph


# -- layers ---------------------------------------------------------------------------------------


@oracle(measures.LayerDensity)
def layer_density(measure: Measure, graph: Graph) -> dict[str, float]:
    shares = {p.name: float(graph.mask(i).double().mean()) for i, p in enumerate(graph.projections)}
    # edges, not pairs: multapses of a pair count each
    for i, p in enumerate(graph.projections):
        if p.multapses:
            shares[p.name] = len(graph.local(i)) / p.size
    return {"": len(graph) / sum(p.size for p in graph.projections), **shares}

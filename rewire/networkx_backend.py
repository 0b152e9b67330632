"""A backend of networkx for functions that sparse matrices compute faster, to the same numbers.

``nx.transitivity(G, backend="rewire")``, or ``nx.config.backend_priority = ["rewire"]`` for all
calls. Graphs are converted once; networkx keeps the arrays with the graph. What a function cannot
do here (weights, some nodes alone, self-loops, multigraphs) networkx does itself where it may
(``nx.config.fallback_to_nx = True``), and is refused otherwise.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import networkx as nx
    import scipy.sparse as sp

ROWS = 512  # sources of shortest paths at once


@dataclass(frozen=True, eq=False)
class Arrays:
    """A simple graph as a matrix of ones, row i the edges out of node i; undirected: symmetric."""

    nodes: Sequence[Hashable]
    matrix: sp.csr_array
    directed: bool

    __networkx_backend__ = "rewire"

    def is_directed(self) -> bool:
        return self.directed

    def is_multigraph(self) -> bool:
        return False

    def __len__(self) -> int:
        return len(self.nodes)


def convert_from_nx(graph: nx.Graph, **_: Any) -> Arrays:
    """Only who is joined to whom."""
    import networkx as nx

    nodes = list(graph)
    if not nodes:
        import scipy.sparse as sp

        return Arrays(nodes, sp.csr_array((0, 0), dtype=np.int64), graph.is_directed())
    matrix = nx.to_scipy_sparse_array.orig_func(graph, nodes, np.int64, weight=None)
    return Arrays(nodes, matrix, graph.is_directed())


def convert_to_nx(result: Any, **_: Any) -> Any:
    """Results are plain numbers and dictionaries."""
    return result


# -- what each function can do here --------------------------------------------------------------

_UNDIRECTED = {
    "clustering", "average_clustering", "transitivity",
    "robins_alexander_clustering", "global_efficiency",
}  # fmt: skip
_DIRECTED = {"overall_reciprocity"}
_DEFAULTS = {"nodes": None, "weight": None, "count_zeros": True, "method": None}


def can_run(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool | str:
    """True, or why networkx itself has to."""
    import networkx as nx

    others = {k: v for k, v in kwargs.items() if k != "G" and v != _DEFAULTS.get(k, v is None)}
    if len(args) > 1 or others:
        return "only the graph as a whole, without weights, is done with arrays"
    graph: Any = args[0] if args else kwargs.get("G")
    if isinstance(graph, Arrays):
        return True
    if type(graph) not in (nx.Graph, nx.DiGraph):
        return "only simple graphs are done with arrays"
    if graph.is_directed() and name in _UNDIRECTED or not graph.is_directed() and name in _DIRECTED:
        return "only the other kind of direction is done with arrays"
    if name != "overall_reciprocity" and any(node in nbrs for node, nbrs in graph.adj.items()):
        return "self-loops are not done with arrays"
    return True


def should_run(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool | str:
    """Whether arrays are worth their conversion: not below some hundred edges."""
    graph = args[0] if args else kwargs.get("G")
    small = not isinstance(graph, Arrays) and graph is not None and graph.number_of_edges() < 500
    return "the graph is small" if small else True


# -- triangles -----------------------------------------------------------------------------------


def _triangles(G: Arrays) -> np.ndarray:
    """Twice the triangles at each node."""
    a = G.matrix
    return np.asarray((a @ a).multiply(a).sum(1)).reshape(-1)


def _degrees(G: Arrays) -> np.ndarray:
    return np.diff(G.matrix.indptr).astype(np.int64)


def transitivity(G: Arrays) -> float:
    degrees = _degrees(G)
    closed, all_ = int(_triangles(G).sum()), int((degrees * (degrees - 1)).sum())
    return closed / all_ if closed else 0


def _clustering(G: Arrays) -> np.ndarray:
    degrees, closed = _degrees(G), _triangles(G)
    return closed / np.maximum(degrees * (degrees - 1), 1)


def clustering(G: Arrays, nodes: None = None, weight: None = None) -> dict[Hashable, float]:
    return dict(zip(G.nodes, _clustering(G).tolist(), strict=True))


def average_clustering(
    G: Arrays, nodes: None = None, weight: None = None, count_zeros: bool = True
) -> float:
    return sum(_clustering(G).tolist()) / len(G)


# -- others --------------------------------------------------------------------------------------


def robins_alexander_clustering(G: Arrays) -> float:
    """Four-cycles against paths of three edges."""
    a, degrees = G.matrix, _degrees(G)
    if len(G) < 4 or a.nnz // 2 < 3:
        return 0
    common = (a @ a).tocoo()
    apart = common.row != common.col
    c = common.data[apart].astype(np.int64)
    row = np.repeat(np.arange(len(G)), degrees)
    ends = (degrees[row] - 1) * (degrees[a.indices] - 1)
    paths = (int(ends.sum()) - int(_triangles(G).sum())) / 2
    return (int((c * (c - 1)).sum()) / 2) / paths if paths else 0


def overall_reciprocity(G: Arrays) -> float:
    import networkx as nx

    a = G.matrix
    if not a.nnz:
        raise nx.NetworkXError("Not defined for empty graphs")
    loops = int(np.count_nonzero(a.diagonal()))
    return (int(a.multiply(a.T).sum()) - loops) / a.nnz


def _distances(G: Arrays) -> Iterator[np.ndarray]:
    """Edges from some nodes to all on the shortest way, inf where there is none."""
    from scipy.sparse.csgraph import shortest_path

    for first in range(0, len(G), ROWS):
        some = np.arange(first, min(first + ROWS, len(G)))
        yield shortest_path(G.matrix, method="D", unweighted=True, indices=some)


def global_efficiency(G: Arrays) -> float:
    pairs = len(G) * (len(G) - 1)
    if not pairs:
        return 0
    total = 0.0
    for distances in _distances(G):
        total += float((1 / distances[distances > 0]).sum())
    return total / pairs


def average_shortest_path_length(G: Arrays, weight: None = None, method: None = None) -> float:
    import networkx as nx

    if not len(G):
        raise nx.NetworkXPointlessConcept(
            "the null graph has no paths, thus there is no average shortest path length"
        )
    if len(G) == 1:
        return 0
    total = 0.0
    for distances in _distances(G):
        if np.isinf(distances).any():
            how = "strongly connected" if G.directed else "connected"
            raise nx.NetworkXError(f"Graph is not {how}.")
        total += float(distances.sum())
    return total / (len(G) * (len(G) - 1))


FUNCTIONS = (
    "average_clustering", "average_shortest_path_length", "clustering", "global_efficiency",
    "overall_reciprocity", "robins_alexander_clustering", "transitivity",
)  # fmt: skip


def get_info() -> dict[str, Any]:
    """What networkx lists of this backend."""
    return {
        "backend_name": "rewire",
        "project": "neurorewire",
        "package": "rewire.networkx_backend",
        "short_summary": "Clustering, paths and reciprocity by sparse matrices.",
        "functions": {name: {} for name in FUNCTIONS},
    }

"""Measures and null models of a layered graph, beside networkx: ``python -m benchmarks.graph``.

The graph has four layers of edges, 32 into each unit on average, uniform; widths grow with the
number of edges, so that a measure that grows as the edges do has a slope of 1.

================================ ============================================================ =====
``ten_measures_1e6_s``           CPU seconds of ten measures of 10^6 edges, one thread          10
``ten_measures_1e6_mb``          most memory of the process by then, 10^6 bytes                500
``hundred_nulls_1e6_s``          CPU seconds of 100 degree-preserving draws of 10^6 edges and  180
                                 of one measure (RobinsAlexander) of each
``ten_measures_slope``           of log seconds over log edges, 10^4 to 10^6                    1.1
``null_slope``                   the same of one draw                                          1.1
``NAME_1eE_ms``                  CPU milliseconds of a measure, and of a draw (``null``)
``NAME_1eE_networkx_over_ours``  networkx's seconds over ours, without making its graph, for
                                 sizes that it does in minutes; their values are compared
================================ ============================================================ =====
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isclose
from typing import Any

import numpy as np
import torch

from benchmarks.suite import Bars, Result, at_most, command
from benchmarks.timing import quiet
from benchmarks.wide import resident_gb
from rewire import measures
from rewire.budget import random_graph
from rewire.graph import Graph, Population, Projection, Space
from rewire.nulls import Degrees
from rewire.streams import rng_for

MEASURES = (
    "Butterflies", "DeadUnits", "DegreeAssortativity", "DegreeGini", "EdgesOnPath", "KCore",
    "Latapy", "NODF", "RobinsAlexander", "StrengthAssortativity",
)  # fmt: skip
HELD = "RobinsAlexander"  # the measure that is held against draws
LAYERS, DEGREE = 4, 32
BARS: Bars = {
    "ten_measures_1e6_s": at_most(10),
    "ten_measures_1e6_mb": at_most(500),
    "hundred_nulls_1e6_s": at_most(180),
    "ten_measures_slope": at_most(1.1),
    "null_slope": at_most(1.1),
}


def layered(edges: int, degree: int) -> Graph:
    """A graph of about that many edges, with weights."""
    width = round(edges / LAYERS / degree)
    populations = [Population(f"p{k}", width) for k in range(LAYERS + 1)]
    projections = [
        Projection(f"w{k}", f"p{k}", f"p{k + 1}", "linear", (width, width)) for k in range(LAYERS)
    ]
    space = Space(populations, projections)
    graph = random_graph(space, [degree * width] * LAYERS, rng_for(0, "benchmark graph"))
    weight = torch.randn(len(graph), generator=torch.Generator().manual_seed(0))
    return graph.with_columns({"weight": weight})


def seconds(call: Callable[[], object], repetitions: int) -> float:
    """The median of the CPU seconds of a call."""
    times = []
    with quiet():
        for _ in range(repetitions):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
            gc.collect()
    return float(np.median(times))


def _fresh(graph: Graph) -> Graph:
    """The same graph without what measures have derived from it and kept."""
    return Graph(graph.space, graph.keys, graph.columns)


def of_ten(graph: Graph, repetitions: int) -> dict[str, float]:
    """CPU seconds of each of the ten, each on a graph of which nothing is derived yet."""
    classes = measures.known()
    return {
        name: seconds(lambda name=name: classes[name]().of(_fresh(graph)), repetitions)  # type: ignore[misc]
        for name in MEASURES
    }


# -- networkx ------------------------------------------------------------------------------------


def _directed(graph: Graph) -> Any:
    import networkx as nx

    network = graph.network
    out = nx.DiGraph()
    out.add_nodes_from(range(network.size))
    out.add_edges_from(zip(network.pre.tolist(), network.post.tolist(), strict=True))
    return out


def _layer(graph: Graph) -> Any:
    """The first projection as networkx's bipartite graph: postsynaptic units have numbers < 0."""
    import networkx as nx

    _, pre, post = (x[graph.rows(0)].tolist() for x in graph.locate())
    p, size = graph.projections[0], {q.name: q.size for q in graph.populations}
    out = nx.Graph()
    out.add_nodes_from(range(size[p.source]), bipartite=0)
    out.add_nodes_from((-1 - u for u in range(size[p.target])), bipartite=1)
    out.add_edges_from((a, -1 - b) for a, b in zip(pre, post, strict=True))
    return out


def _core(graph: Any) -> float:
    import networkx as nx

    return float(max(nx.core_number(graph).values()))


def _assortativity(graph: Any) -> float:
    import networkx as nx

    return float(nx.degree_pearson_correlation_coefficient(nx.DiGraph(
        (u, v) for u, v in graph.edges if u >= 0), x="out", y="in"))  # fmt: skip


def _on_path(graph: Any) -> float:
    """Descendants of a node before all inputs, and ancestors of one after all outputs."""
    import networkx as nx

    width = graph.number_of_nodes() // (LAYERS + 1)
    ends = graph.copy()
    ends.add_edges_from(("first", u) for u in range(width))
    ends.add_edges_from((u, "last") for u in range(LAYERS * width, (LAYERS + 1) * width))
    fed, useful = nx.descendants(ends, "first"), nx.ancestors(ends, "last")
    return sum(u in fed and v in useful for u, v in graph.edges) / graph.number_of_edges()


def _robins_alexander(graph: Any) -> float:
    from networkx.algorithms import bipartite

    return float(bipartite.robins_alexander_clustering(graph))


def _latapy(graph: Any) -> float:
    from networkx.algorithms import bipartite

    return float(bipartite.average_clustering(graph, [u for u in graph if u < 0], mode="dot"))


# measure -> its part that networkx gives, of the whole network or of the first layer; the function;
# the most edges that it does in minutes
PEERS: Mapping[str, tuple[str, Callable[[Graph], Any], Callable[[Any], float], int]] = {
    "KCore": ("", _directed, _core, 10**6),
    "EdgesOnPath": ("", _directed, _on_path, 10**6),
    "DegreeAssortativity": ("w0", _layer, _assortativity, 10**6),
    "RobinsAlexander": ("w0", _layer, _robins_alexander, 10**4),
    "Latapy": ("w0: post", _layer, _latapy, 10**4),
}


def beside_networkx(graph: Graph, edges: int) -> Result:
    """networkx's seconds over ours for what it does at this size; stops where values differ."""
    out: Result = {}
    classes = measures.known()
    for name, (part, view, function, most) in PEERS.items():
        if edges > most:
            continue
        measure, layer = classes[name](), _first(graph) if view is _layer else graph
        values: list[float] = []
        function(view(layered(300, 4)))  # imports what networkx imports when it is first called
        theirs = seconds(partial(_append, values, function, view(graph)), 1)
        ours = seconds(lambda m=measure, g=layer: m.of(_fresh(g)), 3)  # type: ignore[misc]
        own = measure.of(layer)[part]
        if not isclose(own, values[0], rel_tol=1e-6, abs_tol=1e-9):
            raise AssertionError(f"{name} is {own}, and networkx says {values[0]}.")
        out[f"{name}_{_exponent(edges)}_networkx_over_ours"] = theirs / ours
    return out


def _append(values: list[float], function: Callable[[Any], float], graph: Any) -> None:
    values.append(function(graph))


def _first(graph: Graph) -> Graph:
    """The first projection alone, as its own graph."""
    p = graph.projections[0]
    space = Space([q for q in graph.populations if q.name in (p.source, p.target)], [p])
    rows = graph.rows(0)
    return Graph(space, graph.keys[rows], {"weight": graph["weight"][rows]})


# -- all of it -----------------------------------------------------------------------------------


def measure(quick: bool = False) -> Result:
    """Every number; memory first, since its peak stays.

    quick: seconds instead of minutes, on small graphs: shows that it runs, measures nothing.
    """
    gc.freeze()  # what was there before is not looked through after every call
    try:
        return _measured(quick)
    finally:
        gc.unfreeze()


def _measured(quick: bool) -> Result:
    sizes = [300, 1000, 3000] if quick else [10**4, 10**5, 10**6]
    degree = 4 if quick else DEGREE
    largest = layered(sizes[-1], degree)
    out: Result = {"edges": len(largest)}
    ten = {sizes[-1]: of_ten(largest, 1)}
    out["ten_measures_1e6_mb"] = resident_gb() * 1e3
    out["ten_measures_1e6_s"] = sum(ten[sizes[-1]].values())
    draws = 2 if quick else 100
    held = seconds(lambda: measures.measure(largest, HELD, null="degrees", draws=draws), 1)
    out["hundred_nulls_1e6_s"] = held
    graphs = {n: layered(n, degree) for n in sizes[:-1]} | {sizes[-1]: largest}
    null: dict[int, float] = {}
    for n, graph in graphs.items():
        repetitions = 1 if quick else max(3, min(20, 10**6 // n))
        ten.setdefault(n, of_ten(graph, repetitions))
        rng = np.random.default_rng(0)
        null[n] = seconds(lambda g=graph, r=rng: Degrees().draw(_fresh(g), r), repetitions)  # type: ignore[misc]
        exponent = _exponent(n)
        out |= {f"{name}_{exponent}_ms": t * 1e3 for name, t in ten[n].items()}
        out[f"null_{exponent}_ms"] = null[n] * 1e3
    out["ten_measures_slope"] = _slope({n: sum(ten[n].values()) for n in sizes})
    out["null_slope"] = _slope({n: null[n] for n in sizes})
    for n, graph in graphs.items():
        out |= beside_networkx(graph, n)
    return out


def _exponent(edges: int) -> str:
    return f"1e{np.log10(edges):.2g}"


def _slope(cost: Mapping[int, float]) -> float:
    """Of the logarithms of seconds over those of edges."""
    return float(np.polyfit(np.log(list(cost)), np.log(list(cost.values())), 1)[0])


def main(arguments: Sequence[str] | None = None) -> int:
    return command("graph", __doc__, measure, BARS, arguments)


if __name__ == "__main__":
    sys.exit(main())

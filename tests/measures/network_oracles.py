"""What measures of whole networks, spectra, communities and directed graphs are held against."""

from __future__ import annotations

from itertools import product
from math import inf, log10, nan
from typing import Any

import networkx as nx
import numpy as np
from oracles import oracle
from random_graphs import layered, recurrent, wired, with_ends

from rewire import measures
from rewire.graph import Graph


def units(graph: Graph) -> nx.MultiDiGraph:
    """Every unit, synapse (length 1, its |weight|) and link (length 0) of a graph's network."""
    network = graph.network
    out = nx.MultiDiGraph()
    out.add_nodes_from(range(network.size))
    weight = np.abs(graph.numbers("weight")) if "weight" in graph.columns else np.ones(len(graph))
    for row, (a, b) in enumerate(zip(network.pre.tolist(), network.post.tolist(), strict=True)):
        out.add_edge(a, b, row, length=1, weight=float(weight[row]), row=row)
    links = zip(network.link_pre.tolist(), network.link_post.tolist(), strict=True)
    for k, (a, b) in enumerate(links):
        out.add_edge(a, b, len(graph) + k, length=0, weight=inf, row=None)
    return out


def ends(graph: Graph) -> tuple[list[int], list[int]]:
    return graph.network.inputs.tolist(), graph.network.outputs.tolist()


def distances(graph: Graph, weighted: bool = False) -> dict[int, dict[int, float]]:
    def length(a: int, b: int, parallel: dict[int, dict[str, Any]]) -> float:
        each = [1 / d["weight"] if weighted else d["length"] for d in parallel.values()]
        return min(each)

    return dict(nx.all_pairs_dijkstra_path_length(units(graph), weight=length))


def input_output_distances(graph: Graph, weighted: bool = False) -> list[float]:
    apart = distances(graph, weighted)
    return [apart[i].get(o, inf) for i, o in product(*ends(graph))]


# -- paths ----------------------------------------------------------------------------------------


@oracle(measures.PathCount, graphs=layered(pieces=False) | wired())
def path_count(measure: Any, graph: Graph) -> dict[str, float]:
    network = units(graph)
    inputs, outputs = ends(graph)
    paths = {v: int(v in inputs) for v in network}
    for v in nx.topological_sort(network):
        for _, b in network.out_edges(v):
            paths[b] += paths[v]
    return {"": log10(1 + sum(paths[o] for o in outputs))}


@oracle(measures.PathLength, graphs=with_ends())
def path_length(measure: Any, graph: Graph) -> dict[str, float]:
    joined = [d for d in input_output_distances(graph) if d < inf]
    return {"": sum(joined) / len(joined) if joined else nan}


@oracle(measures.Reachability, graphs=with_ends())
def reachability(measure: Any, graph: Graph) -> dict[str, float]:
    apart = input_output_distances(graph)
    return {"": sum(d < inf for d in apart) / len(apart)}


@oracle(measures.Efficiency, graphs=layered(pieces=False) | wired() | recurrent())
def efficiency(measure: Any, graph: Graph) -> dict[str, float]:
    network, apart = graph.network, distances(graph)
    senders = {int(u) for p in graph.projections for u in network.units([p.source])}
    receivers = {int(u) for p in graph.projections for u in network.units([p.target])}
    pairs = [apart[i].get(j, inf) for i, j in product(senders, receivers)]
    inverse = [1 / d for d in pairs if d > 0]
    return {"": sum(inverse) / len(inverse) if inverse else 0.0}


@oracle(measures.WeightedEfficiency, graphs=with_ends())
def weighted_efficiency(measure: Any, graph: Graph) -> dict[str, float]:
    inverse = [1 / d for d in input_output_distances(graph, weighted=True) if d > 0]
    return {"": sum(inverse) / len(inverse) if inverse else 0.0}


# -- robustness -----------------------------------------------------------------------------------


def largest_flow(graph: Graph, capacity: np.ndarray) -> float:
    flows = nx.DiGraph()
    flows.add_nodes_from(["source", "sink", *range(graph.network.size)])
    for a, b, data in units(graph).edges(data=True):
        if data["row"] is None:
            flows.add_edge(a, b)
        elif flows.has_edge(a, b):
            if "capacity" in flows[a][b]:
                flows[a][b]["capacity"] += capacity[data["row"]]
        else:
            flows.add_edge(a, b, capacity=capacity[data["row"]])
    inputs, outputs = ends(graph)
    flows.add_edges_from(("source", i) for i in inputs)
    flows.add_edges_from((o, "sink") for o in outputs)
    try:
        return float(nx.maximum_flow_value(flows, "source", "sink"))
    except nx.NetworkXUnbounded:
        return inf


@oracle(measures.MinCut, graphs=with_ends())
def min_cut(measure: Any, graph: Graph) -> dict[str, float]:
    return {"": largest_flow(graph, np.ones(len(graph), int))}


@oracle(measures.WeightedMinCut, graphs=with_ends(), rtol=1e-7)
def weighted_min_cut(measure: Any, graph: Graph) -> dict[str, float]:
    return {"": largest_flow(graph, np.abs(graph.numbers("weight")))}


def robustness(measure: Any, graph: Graph) -> dict[str, float]:
    """The giant component found anew after each removal, in the order of the measure's scores."""
    counted = np.unique(graph.network.units([p.name for p in graph.populations]))
    order = np.argsort(-removed_first(measure, graph, counted), kind="stable")
    remaining = units(graph)
    shares = []
    for k in order.tolist():
        if measure.remove == "units":
            remaining.remove_node(int(counted[k]))
        else:
            a, b = int(graph.network.pre[k]), int(graph.network.post[k])
            remaining.remove_edge(a, b, k)
        parts = nx.weakly_connected_components(remaining)
        shares.append(max((len(part & {*counted.tolist()}) for part in parts), default=0))
    return {"": float(np.mean(shares)) / len(counted) if shares else 0.0}


def removed_first(measure: Any, graph: Graph, counted: np.ndarray) -> np.ndarray:
    network = graph.network
    if isinstance(measure, measures.Percolation):
        return measure._scores(graph, counted)  # a draw
    weight = np.abs(graph.numbers("weight"))
    ends_of = list(zip(network.pre.tolist(), network.post.tolist(), strict=True))
    if isinstance(measure, measures.PercolationByWeight):
        score = np.array([*weight, 0.0])[:-1]
        if measure.remove == "units":
            score = np.array(
                [
                    sum(
                        w * ((a == u) + (b == u)) for w, (a, b) in zip(weight, ends_of, strict=True)
                    )
                    for u in counted.tolist()
                ]
            )
        return score if measure.first == "strongest" else -score
    simple = simple_graph(graph)
    if measure.remove == "units":
        return np.array([simple.degree[u] for u in counted.tolist()])
    return np.array([simple.degree[a] * simple.degree[b] for a, b in ends_of], float)


both_ways = layered(pieces=False) | wired() | recurrent()
for cls, tried in {
    measures.Percolation: ({}, {"remove": "units", "seed": 1}),
    measures.PercolationByDegree: ({}, {"remove": "edges"}),
    measures.PercolationByWeight: ({}, {"remove": "units"}, {"first": "strongest"}),
}.items():
    oracle(cls, *(cls(**fields) for fields in tried), graphs=both_ways)(robustness)


# -- cores ----------------------------------------------------------------------------------------


def simple_graph(graph: Graph) -> nx.Graph:
    network = graph.network
    out = nx.Graph()
    out.add_nodes_from(range(network.size))
    out.add_edges_from(zip(network.pre.tolist(), network.post.tolist(), strict=True))
    out.remove_edges_from(list(nx.selfloop_edges(out)))
    return out


@oracle(measures.KCore, graphs=both_ways)
def k_core(measure: Any, graph: Graph) -> dict[str, float]:
    core = nx.core_number(simple_graph(graph))
    means = {
        p.name: float(np.mean([core[u] for u in graph.network.units([p.name]).tolist()]))
        for p in graph.populations
    }
    return {"": max(core.values()), **means}


@oracle(measures.RichClub, measures.RichClub(), measures.RichClub(share=0.6), graphs=both_ways)
def rich_club(measure: Any, graph: Graph) -> dict[str, float]:
    simple = simple_graph(graph)
    degree = [d for _, d in simple.degree if d > 0]
    k = 0
    while sum(d > k for d in degree) > measure.share * len(degree):
        k += 1
    size = sum(d > k for d in degree)
    phi = nx.rich_club_coefficient(simple, normalized=False) if degree else {}
    return {"": phi.get(k, nan) if size > 1 else nan, ": k": k, ": units": size}

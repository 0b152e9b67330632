"""What measures of whole networks, spectra, communities and directed graphs are held against."""

from __future__ import annotations

from itertools import product
from math import inf, log10, nan
from typing import Any

import networkx as nx
import numpy as np
from hypothesis import strategies as st
from oracles import by_projection, oracle, pairs, strengths
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


# -- communities ----------------------------------------------------------------------------------


def quality(graph: Graph, labels: np.ndarray, names: list[str], values: np.ndarray | None) -> float:
    """The formula of modularity, pair by pair, over the projections of these names."""
    inside, total = 0.0, 0.0
    for i, p in enumerate(graph.projections):
        if p.name not in names:
            continue
        w = pairs(graph, i).astype(float) if values is None else strengths(graph, i, values)
        total += w.sum()
        post, pre = (labels[graph.network.units([end])] for end in (p.target, p.source))
        for a, b in product(range(len(post)), range(len(pre))):
            if post[a] == pre[b] and w.sum():
                inside += w[a, b] - w[a].sum() * w[:, b].sum() / w.sum()
    return inside / total if total else 0.0


def of_found(measure: Any, graph: Graph) -> dict[str, float]:
    values = None if measure.weights == "none" else np.abs(graph.numbers("weight"))
    parts = {p.name: p.name for p in graph.projections}
    if graph.network.joined:
        parts[""] = None
    out = {}
    for part, name in parts.items():
        labels = measures.communities(graph, 0, measure.weights, measure.tries, name)
        out[part] = quality(graph, labels, [name] if name else [*parts], values)
    return out


anything = layered() | wired() | recurrent()
oracle(measures.BarberModularity, graphs=anything)(of_found)
oracle(measures.WeightedModularity, measures.WeightedModularity(tries=1), graphs=anything)(of_found)


# -- spectra --------------------------------------------------------------------------------------


def singular_values(matrix: np.ndarray, k: int) -> np.ndarray:
    values = np.linalg.svd(matrix, compute_uv=False)
    return np.concatenate([values, np.zeros(k)])[:k]


def normalised(matrix: np.ndarray) -> np.ndarray:
    rows, columns = (np.sqrt(np.maximum(matrix.sum(axis=a), 1e-300)) for a in (1, 0))
    return matrix / rows[:, None] / columns


def gap(matrix: np.ndarray) -> float:
    return 1 - singular_values(normalised(matrix), 2)[1] if matrix.any() else nan


@oracle(measures.SpectralGap)
def spectral_gap(measure: Any, graph: Graph) -> dict[str, float]:
    return {name: gap(joined.astype(float)) for name, joined in by_projection(graph)}


@oracle(measures.WeightedSpectralGap)
def weighted_spectral_gap(measure: Any, graph: Graph) -> dict[str, float]:
    weight = np.abs(graph.numbers("weight"))
    return {p.name: gap(strengths(graph, i, weight)) for i, p in enumerate(graph.projections)}


@oracle(measures.SingularValues)
def leading_values(measure: Any, graph: Graph) -> dict[str, float]:
    return {
        f"{name}: {k + 1}": value
        for name, joined in by_projection(graph)
        for k, value in enumerate(singular_values(normalised(joined.astype(float)), 5))
    }


@oracle(measures.WeightSingularValues, measures.WeightSingularValues(count=2))
def weight_singular_values(measure: Any, graph: Graph) -> dict[str, float]:
    out = {}
    for i, p in enumerate(graph.projections):
        dense = strengths(graph, i, graph.numbers("weight"))
        values = singular_values(dense, 2)
        out |= {f"{p.name}: {k + 1}": value for k, value in enumerate(values)}
        rank = (np.linalg.norm(dense) / np.linalg.norm(dense, 2)) ** 2 if dense.any() else nan
        out[f"{p.name}: stable rank"] = rank
    return out


def difference_of_bound(joined: np.ndarray) -> float:
    """By the eigenvalues of the whole bipartite graph, which come in pairs of both signs."""
    if not joined.any():
        return nan
    degrees = [joined.sum(axis=a)[joined.any(axis=a)].mean() for a in (0, 1)]
    rows, columns = joined.shape
    square = np.zeros((rows + columns,) * 2)
    square[:rows, rows:], square[rows:, :rows] = joined, joined.T
    eigenvalues = np.sort(np.abs(np.linalg.eigvalsh(square)))[::-1]
    second = eigenvalues[2] if len(eigenvalues) > 2 else 0.0
    return sum(np.sqrt(d - 1) for d in degrees) - second


@oracle(measures.RamanujanBound, rtol=1e-7)
def ramanujan_bound(measure: Any, graph: Graph) -> dict[str, float]:
    return {name: difference_of_bound(joined) for name, joined in by_projection(graph)}


@oracle(measures.IMDB, graphs=layered(units=st.integers(4, 12)), rtol=1e-7)
def imdb(measure: Any, graph: Graph) -> dict[str, float]:
    out = {}
    for name, joined in by_projection(graph):
        parts = [joined[:, joined.sum(axis=0) == d] for d in range(3, len(joined) + 1)]
        parts = [part for part in parts if part.shape[1] >= 3]
        parts = [part for part in parts if part.sum() / part.any(axis=1).sum() >= 3]
        out[name] = np.mean([difference_of_bound(part) for part in parts]) if parts else nan
    return out


@oracle(measures.LCPCorrelation)
def lcp_correlation(measure: Any, graph: Graph) -> dict[str, float]:
    return {name: local_communities(joined) for name, joined in by_projection(graph)}


def local_communities(joined: np.ndarray) -> float:
    """Pearson's r by the paths of three edges that replace each edge, listed one by one."""
    pairs = []
    for v, u in zip(*joined.nonzero(), strict=True):
        others = [a for a in np.flatnonzero(joined[:, u]) if a != v]
        ends = [b for b in np.flatnonzero(joined[v]) if b != u]
        links = [(a, b) for a, b in product(others, ends) if joined[a, b]]
        pairs.append((len({a for a, _ in links}) + len({b for _, b in links}), len(links)))
    kept = np.array([pair for pair in pairs if pair[0]], float).reshape(-1, 2)
    if len(kept) < 2 or (np.ptp(kept, axis=0) == 0).any():
        return 0.0
    return np.corrcoef(kept.T)[0, 1]


# -- directed graphs of one population ------------------------------------------------------------


def directed(graph: Graph) -> dict[str, nx.DiGraph]:
    """Each population that projects to itself, without loops; weights: sums of |weight|."""
    weight = np.abs(graph.numbers("weight"))
    out: dict[str, nx.DiGraph] = {}
    for i, p in enumerate(graph.projections):
        if p.source == p.target:
            units = out.setdefault(p.source, nx.DiGraph())
            units.add_nodes_from(range(p.shape[0]))
            dense = strengths(graph, i, weight)
            for post, pre in zip(*dense.nonzero(), strict=True):
                if pre != post:
                    before = units.get_edge_data(pre, post, {"weight": 0.0})["weight"]
                    units.add_edge(int(pre), int(post), weight=before + dense[post, pre])
    return out


@oracle(measures.Reciprocity)
def reciprocity(measure: Any, graph: Graph) -> dict[str, float]:
    return {
        name: nx.overall_reciprocity(units) if units.size() else nan
        for name, units in directed(graph).items()
    }


@oracle(measures.Motifs)
def motifs(measure: Any, graph: Graph) -> dict[str, float]:
    out = {}
    for name, units in directed(graph).items():
        census = nx.triadic_census(units)
        for absent in ("003", "012", "102"):  # not connected
            del census[absent]
        out |= {f"{name}: {motif}": number for motif, number in census.items()}
    return out


@oracle(measures.DirectedClustering)
def directed_clustering(measure: Any, graph: Graph) -> dict[str, float]:
    return {name: nx.average_clustering(units) for name, units in directed(graph).items()}


@oracle(measures.WeightedDirectedClustering)
def weighted_directed_clustering(measure: Any, graph: Graph) -> dict[str, float]:
    return {
        name: nx.average_clustering(units, weight="weight")
        for name, units in directed(graph).items()
    }


@oracle(measures.DistanceDependence, rtol=1e-6)  # positions are single precision
def distance_dependence(measure: Any, graph: Graph) -> dict[str, float]:
    out = {}
    for i, (name, joined) in enumerate(by_projection(graph)):
        p = graph.projections[i]
        places = [graph.space.population[end].positions for end in (p.source, p.target)]
        if None in places:
            continue
        pairs = [
            (float(joined[post, pre]), np.hypot(*np.minimum(apart, 1 - apart)))
            for post, pre in product(range(joined.shape[0]), range(joined.shape[1]))
            for apart in [np.abs((places[0][pre].double() - places[1][post].double()).numpy())]
        ]
        yes, distance = np.array(pairs).T
        varies = np.ptp(yes) > 0 and np.ptp(distance) > 1e-6
        out[name] = np.corrcoef(yes, distance)[0, 1] if varies else nan
        mean = distance.mean()
        out[f"{name}: length"] = distance[yes > 0].mean() / mean if yes.any() and mean else nan
    return out

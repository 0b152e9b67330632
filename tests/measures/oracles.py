"""What each measure is held against: other people's programs, or the formula by brute force.

An oracle computes the measure's numbers from a graph's dense matrices, without the measure's code:
``oracle(measure, graph) -> {part: number}``. It is registered with the values of the measure that
it is tried with (default: the one that the class makes without arguments).
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.special import zeta

from rewire import measures, nulls
from rewire.graph import Graph, Population, Projection, Space
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


SIDES = (("pre", 0), ("post", 1))


def of_sides(name: str, matrix: np.ndarray, numbers: Callable[..., Any]) -> dict[str, float]:
    """Numbers of the sums of a matrix over each side's units, under the parts' names."""
    return {
        f"{name}: {side} {what}".rstrip(): number
        for side, axis in SIDES
        for what, number in numbers(matrix.sum(axis).tolist()).items()
    }


def absolute(graph: Graph, i: int) -> np.ndarray:
    return strengths(graph, i, np.abs(graph.numbers("weight")))


def spread(values: list[float]) -> dict[str, float]:
    return {
        "mean": statistics.fmean(values),
        "max": max(values),
        "variance": statistics.pvariance(values),
    }


def gini(values: list[float]) -> dict[str, float]:
    differences = sum(abs(a - b) for a in values for b in values)
    return {"": differences / (2 * len(values) * sum(values)) if sum(values) else np.nan}


@oracle(measures.Degrees)
def degrees(measure: Measure, graph: Graph) -> dict[str, float]:
    out = {}
    for name, joined in by_projection(graph):
        degree = dict(bipartite(joined).degree)
        for side in ("pre", "post"):
            numbers = spread([k for (where, _), k in degree.items() if where == side])
            out |= {f"{name}: {side} {what}": number for what, number in numbers.items()}
    return out


@oracle(measures.DegreeGini)
def degree_gini(measure: Measure, graph: Graph) -> dict[str, float]:
    return {k: v for name, m in by_projection(graph) for k, v in of_sides(name, m, gini).items()}


@oracle(measures.Strengths)
def strengths_of_sides(measure: Measure, graph: Graph) -> dict[str, float]:
    out: dict[str, float] = {}
    for i, p in enumerate(graph.projections):
        out |= of_sides(p.name, absolute(graph, i), spread)
    return out


@oracle(measures.StrengthGini)
def strength_gini(measure: Measure, graph: Graph) -> dict[str, float]:
    out: dict[str, float] = {}
    for i, p in enumerate(graph.projections):
        out |= of_sides(p.name, absolute(graph, i), gini)
    return out


@oracle(measures.PowerLaw, rtol=1e-3)  # of the search for the exponent in `powerlaw`
def power_law(measure: Measure, graph: Graph) -> dict[str, float]:
    return {
        k: v for name, m in by_projection(graph) for k, v in of_sides(name, m, tail_fit).items()
    }


def tail_fit(degrees: list[int]) -> dict[str, float]:
    """By the likelihood on a grid that is refined around its best point, and its definition."""
    fits = []
    for xmin in sorted({k for k in degrees if k > 0})[:-1]:
        tail = np.array([k for k in degrees if k >= xmin])
        low, high = 1.0001, 30.0
        for _ in range(12):
            grid = np.linspace(low, high, 41)
            likelihood = -len(tail) * np.log(zeta(grid, xmin)) - grid * np.log(tail).sum()
            best = int(np.argmax(likelihood))
            low, high = grid[max(best - 1, 0)], grid[min(best + 1, 40)]
        alpha = (low + high) / 2
        distance = max(
            abs((tail <= k).mean() - sum(j**-alpha for j in range(xmin, k + 1)) / zeta(alpha, xmin))
            for k in set(tail.tolist())
        )
        fits.append((distance, xmin, alpha, len(tail) / len(degrees)))
    if not fits:
        return dict.fromkeys(("alpha", "xmin", "ks", "share"), np.nan)
    ks, xmin, alpha, share = min(fits)
    return {"alpha": alpha, "xmin": xmin, "ks": ks, "share": share}


@oracle(measures.RobinsAlexander)
def robins_alexander(measure: Measure, graph: Graph) -> dict[str, float]:
    from networkx.algorithms.bipartite import robins_alexander_clustering as clustering

    return {name: clustering(bipartite(joined)) for name, joined in by_projection(graph)}


@oracle(measures.Latapy, *(measures.Latapy(mode) for mode in ("dot", "max", "min")))
def latapy(measure: measures.Latapy, graph: Graph) -> dict[str, float]:
    from networkx.algorithms.bipartite import average_clustering

    out = {}
    for name, joined in by_projection(graph):
        units = bipartite(joined)
        for side in ("pre", "post"):
            nodes = [node for node in units if node[0] == side]
            out[f"{name}: {side}"] = average_clustering(units, nodes, mode=measure.mode)
    return out


@oracle(measures.Butterflies)
def butterflies(measure: Measure, graph: Graph) -> dict[str, float]:
    numbers = {}
    for name, joined in by_projection(graph):
        n_post, n_pre = joined.shape
        numbers[name] = sum(
            joined[np.ix_(rows, columns)].all()
            for rows in combinations(range(n_post), 2)
            for columns in combinations(range(n_pre), 2)
        )
    return {"": sum(numbers.values()), **numbers}


@oracle(measures.Diamonds)
def diamonds(measure: Measure, graph: Graph) -> dict[str, float]:
    numbers = {}
    matrices = by_projection(graph)
    for (one, a), first in zip(matrices, graph.projections, strict=True):
        for (two, b), second in zip(matrices, graph.projections, strict=True):
            populations = {first.source, first.target, second.target}
            if first.target == second.source and len(populations) == 3:
                numbers[f"{one}, {two}"] = sum(
                    a[u, x] and a[v, x] and b[y, u] and b[y, v]
                    for x, y in product(range(a.shape[1]), range(b.shape[0]))
                    for u, v in combinations(range(a.shape[0]), 2)
                )
    return {"": sum(numbers.values()), **numbers}


def newman(weights: np.ndarray) -> float:
    """networkx's r over the edges of a directed graph from one side to the other."""
    import networkx as nx

    directed = nx.DiGraph()
    for i, j in zip(*weights.nonzero(), strict=True):
        directed.add_edge(("pre", j), ("post", i), weight=weights[i, j])
    if len(directed.edges) < 2:
        return np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant degrees, for which it gives nan
        return nx.degree_pearson_correlation_coefficient(directed, x="out", y="in", weight="weight")


@oracle(measures.DegreeAssortativity)
def degree_assortativity(measure: Measure, graph: Graph) -> dict[str, float]:
    return {name: newman(joined.astype(float)) for name, joined in by_projection(graph)}


@oracle(measures.StrengthAssortativity)
def strength_assortativity(measure: Measure, graph: Graph) -> dict[str, float]:
    return {p.name: newman(absolute(graph, i)) for i, p in enumerate(graph.projections)}


@oracle(measures.NODF)
def nodf(measure: Measure, graph: Graph) -> dict[str, float]:
    def scores(rows: np.ndarray) -> list[float]:
        sets = [set(np.flatnonzero(row)) for row in rows if row.any()]
        return [
            0.0 if len(a) == len(b) else 100 * len(a & b) / min(len(a), len(b))
            for a, b in combinations(sets, 2)
        ]

    def mean(values: list[float]) -> float:
        return statistics.fmean(values) if values else np.nan

    out = {}
    for name, joined in by_projection(graph):
        pre, post = scores(joined.T), scores(joined)
        out |= {name: mean(pre + post), f"{name}: pre": mean(pre), f"{name}: post": mean(post)}
    return out


@oracle(measures.SpectralNestedness, rtol=1e-7)  # of an eigenvalue near 0
def spectral_nestedness(measure: Measure, graph: Graph) -> dict[str, float]:
    import networkx as nx

    return {
        name: max(nx.adjacency_spectrum(bipartite(joined)).real)
        for name, joined in by_projection(graph)
    }


# -- weights --------------------------------------------------------------------------------------


def by_part(graph: Graph, whole: str) -> dict[str, list[float]]:
    """The weights of all edges, and of each projection's."""
    which, weight = graph.locate()[0].numpy(), graph["weight"].tolist()
    parts = {whole: weight}
    for i, p in enumerate(graph.projections):
        parts[p.name] = [w for w, place in zip(weight, which, strict=True) if place == i]
    return parts


@oracle(measures.NegativeWeights)
def negative_weights(measure: Measure, graph: Graph) -> dict[str, float]:
    return {
        part: sum(w < 0 for w in weights) / len(weights) if weights else np.nan
        for part, weights in by_part(graph, "").items()
    }


@oracle(measures.SignBalance)
def sign_balance(measure: Measure, graph: Graph) -> dict[str, float]:
    weight = graph.numbers("weight")
    out = {}
    for i, p in enumerate(graph.projections):
        excitation = strengths(graph, i, np.maximum(weight, 0))
        inhibition = strengths(graph, i, np.maximum(-weight, 0))
        for side, axis in SIDES:
            sums = zip(excitation.sum(axis).tolist(), inhibition.sum(axis).tolist(), strict=True)
            units = [(e - h) / (e + h) for e, h in sums if e + h]
            out[f"{p.name}: {side}"] = statistics.fmean(units) if units else np.nan
    return out


@oracle(measures.WeightMoments)
def weight_moments(measure: Measure, graph: Graph) -> dict[str, float]:
    from scipy import stats

    out = {}
    for part, weights in by_part(graph, "").items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights that are all equal, for which it gives nan
            some = bool(weights)
            out[f"{part}: mean"] = statistics.fmean(weights) if some else np.nan
            out[f"{part}: sd"] = statistics.pstdev(weights) if some else np.nan
            out[f"{part}: skewness"] = stats.skew(weights) if some else np.nan
            out[f"{part}: kurtosis"] = stats.kurtosis(weights) if some else np.nan
    return out


# -- units ----------------------------------------------------------------------------------------


@oracle(measures.CapacityUsed)
def capacity_used(measure: Measure, graph: Graph) -> dict[str, float]:
    out = {}
    for population in graph.populations:
        for side, end in (("fan-in", "target"), ("fan-out", "source")):
            edges, possible = [0] * population.size, [0] * population.size
            for i, p in enumerate(graph.projections):
                if getattr(p, end) == population.name:
                    for local in range(p.size):
                        pre, post = (int(x) for x in p.locate(torch.tensor([local])))
                        unit = post if end == "target" else pre
                        possible[unit] += 1
                        edges[unit] += graph.local(i).tolist().count(local)
            if sum(possible):
                out[f"{population.name}: {side}"] = sum(edges) / sum(possible)
                quotients = [e / p for e, p in zip(edges, possible, strict=True) if p]
                out[f"{population.name}: {side} max"] = max(quotients)
    return out


def network(graph: Graph) -> tuple[Any, set[Any], set[Any]]:
    """A chain of layers as networkx's directed graph, its units on paths forward and backward."""
    import networkx as nx

    units = nx.DiGraph()
    for p, (_, joined) in zip(graph.projections, by_projection(graph), strict=True):
        units.add_nodes_from((p.source, j) for j in range(joined.shape[1]))
        units.add_nodes_from((p.target, i) for i in range(joined.shape[0]))
        units.add_edges_from(
            ((p.source, j), (p.target, i)) for i, j in zip(*joined.nonzero(), strict=True)
        )
    first, last = graph.projections[0].source, graph.projections[-1].target
    inputs = [u for u in units if u[0] == first]
    outputs = [u for u in units if u[0] == last]
    fed = set(inputs).union(*(nx.descendants(units, u) for u in inputs))
    useful = set(outputs).union(*(nx.ancestors(units, u) for u in outputs))
    return units, fed, useful


@oracle(measures.DeadUnits)
def dead_units(measure: Measure, graph: Graph) -> dict[str, float]:
    units, fed, useful = network(graph)
    first, last = graph.projections[0].source, graph.projections[-1].target
    out = {}
    for p in graph.populations:
        nodes = [(p.name, i) for i in range(p.size)]
        dead = {
            "no incoming": [p.name != first and not units.in_degree(u) for u in nodes],
            "no outgoing": [p.name != last and not units.out_degree(u) for u in nodes],
            "off path": [u not in fed & useful for u in nodes],
        }
        out |= {f"{p.name}: {what}": sum(which) / p.size for what, which in dead.items()}
    return out


def on_path(graph: Graph) -> dict[str, list[bool]]:
    """Whether each edge is on a path, of each projection."""
    _, fed, useful = network(graph)
    which, pre, post = (x.tolist() for x in graph.locate())
    out: dict[str, list[bool]] = {p.name: [] for p in graph.projections}
    for i, j, k in zip(which, pre, post, strict=True):
        p = graph.projections[i]
        out[p.name].append((p.source, j) in fed and (p.target, k) in useful)
    return out


@oracle(measures.EdgesOnPath)
def edges_on_path(measure: Measure, graph: Graph) -> dict[str, float]:
    edges = on_path(graph)
    parts = {"": [e for each in edges.values() for e in each], **edges}
    return {part: statistics.fmean(e) if e else np.nan for part, e in parts.items()}


@oracle(measures.LayerCollapse)
def layer_collapse(measure: Measure, graph: Graph) -> dict[str, float]:
    collapsed = {name: float(not any(edges)) for name, edges in on_path(graph).items()}
    return {"": sum(collapsed.values()), **collapsed}


# -- small worlds: the same draws, measured by networkx -------------------------------------------


def distances(joined: np.ndarray) -> float:
    """Mean shortest path over pairs of different units that a path joins."""
    import networkx as nx

    lengths = [
        length
        for unit, reached in nx.all_pairs_shortest_path_length(bipartite(joined))
        for other, length in reached.items()
        if other != unit
    ]
    return statistics.fmean(lengths) if lengths else np.nan


def drawn(measure: Any, joined: np.ndarray) -> list[np.ndarray]:
    n_post, n_pre = joined.shape
    space = Space(
        [Population("a", n_pre), Population("b", n_post)],
        [Projection("p", "a", "b", "linear", (n_post, n_pre))],
    )
    graph = Graph.from_masks(space, {"p": torch.from_numpy(joined)})
    return [pairs(one, 0) for one in nulls.Degrees().sample(graph, measure.draws, measure.seed)]


@oracle(measures.SmallWorldSigma, measures.SmallWorldSigma(draws=2, seed=1))
def small_world_sigma(measure: measures.SmallWorldSigma, graph: Graph) -> dict[str, float]:
    from networkx.algorithms.bipartite import robins_alexander_clustering as clustering

    out = {}
    for name, joined in by_projection(graph):
        chance = drawn(measure, joined)
        c0 = statistics.fmean(clustering(bipartite(one)) for one in chance)
        l0 = statistics.fmean(distances(one) for one in chance)
        c, length = clustering(bipartite(joined)), distances(joined)
        out[name] = c / c0 * l0 / length if c0 else np.nan
    return out


@oracle(measures.SmallWorldOmega, measures.SmallWorldOmega(draws=2, seed=1))
def small_world_omega(measure: measures.SmallWorldOmega, graph: Graph) -> dict[str, float]:
    from networkx.algorithms.bipartite import robins_alexander_clustering as clustering

    out = {}
    for name, joined in by_projection(graph):
        n_post, n_pre = joined.shape
        ring = np.zeros_like(joined)
        for i, k in enumerate(sorted(joined.sum(axis=1).tolist(), reverse=True)):
            first = math.floor((i + 0.5) / n_post * n_pre - k / 2 + 0.5)
            for j in range(first, first + k):
                ring[i, j % n_pre] = True
        c1, l0 = clustering(bipartite(ring)), [distances(one) for one in drawn(measure, joined)]
        ratio = statistics.fmean(l0) / distances(joined)
        out[name] = ratio - clustering(bipartite(joined)) / c1 if c1 else np.nan
    return out

"""A graph in networkx: four views, and what becomes a graph of ours again."""

from __future__ import annotations

import gc
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from ..names import short
from .listing import Listing, Weight, listing
from .space import Space
from .topology import Topology

if TYPE_CHECKING:
    import networkx as nx

View = Literal["units", "channels", "bipartite", "layer"]
VIEWS = ("units", "channels", "bipartite", "layer")
WEIGHTS = ("signed", "abs", None)


def to_networkx(
    topology: Topology,
    columns: Mapping[str, Tensor],
    view: View = "units",
    weight: Weight = None,
    *,
    projection: str | None = None,
    links: bool = False,
) -> nx.Graph:
    """A graph of networkx, for its algorithms, writers and drawings.

    view: "units": every synapse is an edge with every column; a DiGraph, where a pair of units
        has several (kernel positions, multapses) a MultiDiGraph. "channels": one edge for each
        pair of units, its values summed, ``synapses`` counted. "bipartite": the same of one
        ``projection``, undirected, the side of each node in ``bipartite`` (0: pre, 1: post).
        "layer": populations as nodes, with ``units``; edges with ``synapses``, ``possible`` and
        ``density``.
    weight: most algorithms of networkx read the attribute ``weight`` when it is there, and few
        mean something for negative ones. None: no edge has it, the signed weight is ``value``.
        "abs": ``weight`` is the absolute one, beside ``value`` and ``sign``. "signed": ``weight``
        is signed.
    links: with the weightless links (sums, flattenings) as edges with ``link`` True, and joints
        as nodes with ``joint`` True; in all views but "bipartite".

    Nodes are (population, index), or the labels that a population has, and carry ``population``,
    ``index`` and, where units have places, ``x`` and ``y``; isolated units stay. All attributes
    are strings and plain numbers, which every writer of networkx takes, and `Graph.from_networkx`
    reads "units" back exactly (with ``links`` the wiring too).

    >>> from rewire.analysis.examples import two_layers
    >>> two_layers().to_networkx().edges[("input", 1), ("hidden", 0)]
    {'projection': 'fc1', 'synapse_key': 1}
    >>> net = two_layers().to_networkx("layer")
    >>> net.edges["input", "hidden"]["synapses"], net.edges["hidden", "output"]["density"]
    (4, 0.5)
    """
    if view not in VIEWS or weight not in WEIGHTS:
        raise ValueError(
            f"view is one of {', '.join(VIEWS)} and weight 'signed', 'abs' or None, got "
            f"view={view!r}, weight={weight!r}."
        )
    if projection is not None and view != "bipartite":
        raise ValueError(f"projection= is of view='bipartite'; this one is {view!r}.")
    if view == "layer":
        return _layers(topology, columns, weight, links)
    if view == "bipartite":
        if links:
            raise ValueError("links join populations of several projections: take view='channels'.")
        return _bipartite(topology, columns, weight, _only(topology.space, projection))
    with _no_collection():
        if view == "channels":
            return _channels(topology, columns, weight, links)
        return built(listing(topology, columns, weight, links=links))


def _only(space: Space, projection: str | None) -> int:
    if projection is not None:
        return space.index(projection)
    if len(space.projections) == 1:
        return 0
    raise ValueError(
        "view='bipartite' is of one projection: name it with projection=, one of "
        f"{', '.join(repr(p.name) for p in space.projections)}."
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector, which would walk a growing graph many times over."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def built(edges: Listing) -> nx.DiGraph:
    """The graph of networkx of a listing: simple where no two edges join one pair."""
    import networkx as nx

    pairs = edges.pre * len(edges.nodes) + edges.post
    several = len(np.unique(pairs)) < len(pairs)
    net: nx.DiGraph = nx.MultiDiGraph() if several else nx.DiGraph()
    net.graph.update(edges.about)
    net.add_nodes_from(zip(edges.nodes, _attributes(edges.units, len(edges.nodes)), strict=True))
    carried = _attributes(edges.values, len(pairs))
    (_add_parallel if several else _add_simple)(net, edges, carried)
    return net


# Edges go into the dictionaries that networkx keeps, a third of the time of `add_edges_from` and
# without a copy of what each carries; the graph is empty of edges before.


def _add_simple(net: nx.DiGraph, edges: Listing, carried: Iterator[dict[str, Any]]) -> None:
    nodes = edges.nodes
    after, before = [net._succ[n] for n in nodes], [net._pred[n] for n in nodes]
    for i, j, values in zip(edges.pre.tolist(), edges.post.tolist(), carried, strict=True):
        after[i][nodes[j]] = before[j][nodes[i]] = values


def _add_parallel(net: nx.DiGraph, edges: Listing, carried: Iterator[dict[str, Any]]) -> None:
    nodes = edges.nodes
    after, before = [net._succ[n] for n in nodes], [net._pred[n] for n in nodes]
    for i, j, values in zip(edges.pre.tolist(), edges.post.tolist(), carried, strict=True):
        several = after[i].get(nodes[j])
        if several is None:
            after[i][nodes[j]] = before[j][nodes[i]] = {0: values}
        else:
            several[len(several)] = values


def _attributes(values: Mapping[str, Sequence[Any]], n: int) -> Iterator[dict[str, Any]]:
    """What each one carries, without what it lacks."""
    if not values:
        return ({} for _ in range(n))
    names = tuple(values)
    rows = zip(*values.values(), strict=True)
    if all(None not in column for column in values.values()):
        return (dict(zip(names, row)) for row in rows)  # noqa: B905  # as long as each other
    return ({n: v for n, v in zip(names, row, strict=True) if v is not None} for row in rows)


# -- one edge for each pair ----------------------------------------------------------------------


def _merged(
    edges: Listing, columns: Mapping[str, Tensor], weight: Weight, rows: slice
) -> tuple[np.ndarray, np.ndarray, dict[str, Sequence[Any]]]:
    """The pairs that some rows of a listing join, and what their edges carry."""
    pre, post = edges.pre[rows], edges.post[rows]
    size = max(len(edges.nodes), 1)
    pairs, place, counts = np.unique(pre * size + post, return_inverse=True, return_counts=True)
    names = edges.values["projection"][rows]
    merged: dict[str, Sequence[Any]] = {"projection": _joined(names, place, len(pairs))}
    merged["synapses"] = counts.tolist()
    if "weight" in columns:
        signed = columns["weight"].double().numpy()[rows]
        total = np.bincount(place, signed, len(pairs))
        absolute = np.bincount(place, np.abs(signed), len(pairs))
        if weight == "signed":
            merged["weight"] = total.tolist()
        else:
            merged["value"] = total.tolist()
        if weight == "abs":
            merged["weight"] = absolute.tolist()
            merged["sign"] = np.sign(total).tolist()
    return pairs // size, pairs % size, merged


def _joined(names: Sequence[str], place: np.ndarray, n: int) -> list[str]:
    """The projection of each pair; where several join it, their names with a plus between."""
    kinds = list(dict.fromkeys(names))
    if len(kinds) == 1:
        return kinds * n
    number = {name: i for i, name in enumerate(kinds)}
    of = np.array([number[name] for name in names], np.int64)
    several: list[list[str]] = [[] for _ in range(n)]
    for pair in np.unique(place * len(kinds) + of).tolist():
        several[pair // len(kinds)].append(kinds[pair % len(kinds)])
    return [" + ".join(each) for each in several]


def _channels(
    topology: Topology, columns: Mapping[str, Tensor], weight: Weight, links: bool
) -> nx.DiGraph:
    edges = listing(topology, {}, None, links=links)
    pre, post, values = _merged(edges, columns, weight, slice(0, len(topology)))
    at = slice(len(topology), None)
    if links:  # a link beside a synapse of the same pair marks that edge
        size = max(len(edges.nodes), 1)
        linked = np.unique(edges.pre[at] * size + edges.post[at])
        alone = np.setdiff1d(linked, pre * size + post)
        marks = np.isin(pre * size + post, linked)
        none = [None] * len(alone)
        values = {name: [*column, *none] for name, column in values.items()}
        values["link"] = [True if m else None for m in marks.tolist()] + [True] * len(alone)
        pre, post = np.r_[pre, alone // size], np.r_[post, alone % size]
    return built(Listing(edges.nodes, edges.units, pre, post, values))


def _bipartite(
    topology: Topology, columns: Mapping[str, Tensor], weight: Weight, i: int
) -> nx.Graph:
    import networkx as nx

    p = topology.space.projections[i]
    edges = listing(topology, {}, None)
    pre, post, values = _merged(edges, columns, weight, topology.rows(i))
    names, net = edges.units["population"], nx.Graph()
    within = p.source == p.target  # its units stand on both sides, as different nodes
    sides: list[dict[int, Hashable]] = []
    for side, population in enumerate((p.source, p.target)):
        units = [n for n, name in enumerate(names) if name == population]
        part = ("pre", "post")[side]
        nodes = {n: (part, edges.nodes[n]) if within else edges.nodes[n] for n in units}
        attributes = _attributes(
            {k: [v[n] for n in units] for k, v in edges.units.items()}, len(units)
        )
        for node, carried in zip(nodes.values(), attributes, strict=True):
            net.add_node(node, bipartite=side, **carried)
        sides.append(nodes)
    net.add_edges_from(
        (sides[0][a], sides[1][b], carried)
        for a, b, carried in zip(
            pre.tolist(), post.tolist(), _attributes(values, len(pre)), strict=True
        )
    )
    return net


def _layers(
    topology: Topology, columns: Mapping[str, Tensor], weight: Weight, links: bool
) -> nx.DiGraph:
    import networkx as nx

    space, net = topology.space, nx.DiGraph()
    for population in space.populations:
        net.add_node(population.name, units=population.size)
    for i, p in enumerate(space.projections):
        old = net.get_edge_data(p.source, p.target) or {}
        count = topology.bounds[i + 1] - topology.bounds[i]
        carried: dict[str, Any] = {
            "projection": " + ".join([*filter(None, [old.get("projection")]), p.name]),
            "synapses": old.get("synapses", 0) + count,
            "possible": old.get("possible", 0) + p.size,
        }
        carried["density"] = (
            carried["synapses"] / carried["possible"] if carried["possible"] else 0.0
        )
        if "weight" in columns:
            w = columns["weight"][topology.rows(i)].double()
            name = "weight" if weight == "signed" else "value"
            carried[name] = old.get(name, 0.0) + w.sum().item()
            if weight == "abs":
                carried["weight"] = old.get("weight", 0.0) + w.abs().sum().item()
                carried["sign"] = float(np.sign(carried["value"]))
        net.add_edge(p.source, p.target, **carried)
    if links and space.wiring is not None:
        for joint in space.wiring.joints:
            net.add_node(joint.name, units=joint.size, joint=True)
        net.add_edges_from(((k.source, k.target) for k in space.wiring.links), link=True)
    return net


# -- coming back ---------------------------------------------------------------------------------


def from_networkx(net: nx.Graph) -> Listing:
    """Nodes and edges of any graph of networkx, as `listing.graph_of` takes them."""
    if not hasattr(net, "edges") or not hasattr(net, "nodes"):
        raise TypeError(f"{short(net)} is no graph of networkx: give one, as networkx.DiGraph().")
    nodes = list(net)
    number = {node: i for i, node in enumerate(nodes)}
    ends = [(number[u], number[v], values) for u, v, values in net.edges(data=True)]
    pre, post = (np.array([e[k] for e in ends], np.int64) for k in (0, 1))
    return Listing(
        nodes,
        _columns_of([net.nodes[node] for node in nodes]),
        pre,
        post,
        _columns_of([values for _, _, values in ends]),
        net.is_directed(),
        dict(net.graph),
    )


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}

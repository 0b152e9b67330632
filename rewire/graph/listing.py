"""A graph as two lists, of nodes and of edges: what networkx and files of graphs hold."""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .described import MOST, NotAGraph, description, size_of, space_of
from .space import NONE, Population, Projection, Space
from .topology import Topology
from .wiring import Joint, Wiring

Weight = Literal["signed", "abs"] | None

ABOUT = "rewire"  # attribute of the whole graph: its space, as JSON
KEY = "synapse_key"  # attribute of an edge; `key` is a word of networkx's own

# What edges carry beside columns; a column of such a name gets a "_" at its end.
_OF_EDGES = frozenset({
    "projection", KEY, "link", "value", "key", "id", "source", "target", "synapses", "label",
    "type",
})  # fmt: skip


@dataclass
class Listing:
    """Nodes and edges by number, with what each carries.

    nodes:     the nodes' names.
    units:     attribute -> its value at each node; None where a node lacks it.
    pre, post: (E,) int64, numbers of the nodes that each edge joins.
    values:    attribute -> its value at each edge; None where an edge lacks it.
    about:     what is said of the graph as a whole.
    """

    nodes: Sequence[Hashable]
    units: Mapping[str, Sequence[Any]]
    pre: np.ndarray
    post: np.ndarray
    values: Mapping[str, Sequence[Any]]
    directed: bool = True
    about: dict[str, Any] = field(default_factory=dict)


# -- going out -----------------------------------------------------------------------------------


def listing(
    topology: Topology,
    columns: Mapping[str, Tensor],
    weight: Weight = "signed",
    *,
    links: bool = False,
    wiring: bool = False,
) -> Listing:
    """All units and edges of a graph.

    links: with joints as nodes and links as edges of their own. wiring: described, as with links.

    weight: "signed": the column is the attribute ``weight``. "abs": ``weight`` is its absolute
    value, ``sign`` -1.0, 0.0 or 1.0 (or the column of that name), ``value`` the column. None: the
    column is ``value``, and there is no ``weight``.

    >>> from rewire.analysis.examples import two_layers
    >>> graph = two_layers()
    >>> edges = listing(graph.topology, {"weight": torch.tensor([1., -2, 3, 4, 5, 6])}, "abs")
    >>> edges.nodes[4], edges.pre[:2], edges.post[:2]
    (('hidden', 0), array([0, 1]), array([4, 4]))
    >>> edges.values["weight"][1], edges.values["value"][1], edges.values["sign"][1]
    (2.0, -2.0, -1.0)
    """
    space = topology.space
    joins = space.wiring if links and space.wiring is not None else Wiring()
    groups: list[Population | Joint] = [*space.populations, *joins.joints]
    starts, nodes, units = _units(groups)
    which, pre, post = (x.numpy() for x in topology.located)
    source = np.array([starts[p.source] for p in space.projections], np.int64)
    target = np.array([starts[p.target] for p in space.projections], np.int64)
    names = [p.name for p in space.projections]
    values: dict[str, Sequence[Any]] = {
        "projection": [names[w] for w in which.tolist()],
        KEY: topology.array.tolist(),
    }
    attributes = {name: _attribute(name, weight) for name in columns}
    for name, column in columns.items():
        values[attributes[name]] = column.tolist()
    if weight == "abs" and "weight" in columns:
        values["weight"] = columns["weight"].abs().tolist()
        values.setdefault("sign", columns["weight"].sign().double().tolist())
    pre, post = pre + source[which], post + target[which]
    if joins.links:
        pre = np.concatenate([pre, *(k.pre + starts[k.source] for k in joins.links)])
        post = np.concatenate([post, *(k.post + starts[k.target] for k in joins.links)])
        n_links = len(pre) - len(which)
        values = {name: [*column, *[None] * n_links] for name, column in values.items()}
        values["link"] = [None] * len(which) + [True] * n_links
    about = description(space) | {
        "columns": {
            name: [attributes[name], str(column.dtype).removeprefix("torch.")]
            for name, column in columns.items()
        },
    }
    if (links or wiring) and space.wiring is not None:
        about["wiring"] = space.wiring.plain()
    return Listing(nodes, units, pre, post, values, about={ABOUT: json.dumps(about)})


def _attribute(column: str, weight: Weight) -> str:
    if column == "weight":
        return "weight" if weight == "signed" else "value"
    return f"{column}_" if column in _OF_EDGES else column


def _units(
    groups: Sequence[Population | Joint],
) -> tuple[dict[str, int], list[Hashable], dict[str, Sequence[Any]]]:
    """Number of each group's first unit, the nodes' names, and their attributes."""
    starts: dict[str, int] = {}
    nodes: list[Hashable] = []
    units: dict[str, list[Any]] = {"population": [], "index": [], "x": [], "y": [], "joint": []}
    for group in groups:
        joint = isinstance(group, Joint)
        labels = None if isinstance(group, Joint) else group.labels
        places = None if isinstance(group, Joint) else group.positions
        starts[group.name] = len(nodes)
        nodes += [(group.name, i) for i in range(group.size)] if labels is None else labels
        units["population"] += [group.name] * group.size
        units["index"] += range(group.size)
        units["joint"] += [True if joint else None] * group.size
        for axis, name in enumerate("xy"):
            units[name] += [None] * group.size if places is None else places[:, axis].tolist()
    return starts, nodes, {n: v for n, v in units.items() if any(x is not None for x in v)}


# -- coming in -----------------------------------------------------------------------------------


def graph_of(edges: Listing) -> tuple[Space, Tensor, dict[str, Tensor]]:
    """Space, keys and columns of what :func:`listing` wrote, or of anybody's nodes and edges.

    Of others' a node attribute ``population``, ``layer`` or ``bipartite`` (0 or 1) that all nodes
    have names their populations; without one all are one recurrent population. An undirected edge
    is one in each direction, or from side 0 to side 1. Numeric attributes that all edges have are
    columns; an edge without a ``weight`` has 1, where others have one.

    >>> two = Listing(["a", "b"], {}, np.array([0]), np.array([1]), {"weight": [0.5]})
    >>> space, keys, columns = graph_of(two)
    >>> space, keys.tolist(), columns["weight"].tolist()  # 1 x 2 + 0: b from a
    (Space(4 possible synapses: edges 2x2), [2], [0.5])
    """
    if ABOUT in edges.about:
        if _has_keys(edges):
            return _ours(edges)
        warnings.warn(
            f"some edges have no {KEY}: they were added elsewhere, and the graph is read as "
            "anybody's, without the projections and kinds that it describes.",
            stacklevel=3,
        )
    return _foreign(edges)


def aligned(edges: Listing, space: Space) -> tuple[Tensor, dict[str, Tensor]]:
    """Keys and columns of edges that carry their keys, for a space that is known."""
    links = edges.values.get("link") or [None] * len(edges.pre)
    rows = np.flatnonzero([not link for link in links])
    name = KEY if KEY in edges.values else "key"
    if len(rows) and name not in edges.values:
        raise NotAGraph(
            f"its edges have no {KEY}, which says where they lie in the space: leave the space out."
        )
    keys = _whole(edges.values.get(name, []), rows, f"edges' {name}")
    if len(keys) and not 0 <= keys.min() <= keys.max() < space.possible:
        raise NotAGraph(f"keys of this space run from 0 to {space.possible - 1}.")
    rows, keys = rows[order := np.argsort(keys, kind="stable")], keys[order]
    if ABOUT in edges.about:
        described = json.loads(edges.about[ABOUT])["columns"]
        columns = {n: _column(n, edges.values.get(a), rows, t) for n, (a, t) in described.items()}
    else:
        columns = _columns(edges, rows)
    return torch.from_numpy(keys), columns


def _has_keys(edges: Listing) -> bool:
    keys, links = edges.values.get(KEY), edges.values.get("link")
    if keys is None:
        return not len(edges.pre) or (links is not None and all(links))
    return all(k is not None or (links is not None and links[i]) for i, k in enumerate(keys))


def _ours(edges: Listing) -> tuple[Space, Tensor, dict[str, Tensor]]:
    try:
        about = json.loads(edges.about[ABOUT])
        columns: dict[str, list[str]] = dict(about["columns"])
        sizes = {str(p["name"]): size_of(p["size"]) for p in about["populations"]}
    except NotAGraph:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAGraph(f"its attribute {ABOUT!r} is damaged: {error}.") from error
    at, group = _places(edges, sizes)
    for p in about["populations"]:
        p["positions"], p["labels"] = _of_units(edges, at[p["name"]], bool(p.get("labels")))
    space = space_of(about)
    link = edges.values.get("link")
    rows = np.flatnonzero([not x for x in link] if link else np.ones(len(edges.pre), bool))
    keys = _whole(edges.values.get(KEY, []), rows, f"edges' {KEY}")
    if len(keys) and not 0 <= keys.min() <= keys.max() < space.possible:
        raise NotAGraph(
            f"an edge has the {KEY} {keys.max() if keys.min() >= 0 else keys.min()}; here they "
            f"run from 0 to {space.possible - 1}."
        )
    rows, keys = rows[order := np.argsort(keys, kind="stable")], keys[order]
    _check_ends(edges, space, group, rows, keys)
    return (
        space,
        torch.from_numpy(keys),
        {
            name: _column(name, edges.values.get(attribute), rows, dtype)
            for name, (attribute, dtype) in columns.items()
        },
    )


def _places(
    edges: Listing, sizes: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], list[tuple[str, int]]]:
    """Number of the node of each unit by population, and population and index of each node."""
    names, index = edges.units.get("population"), edges.units.get("index")
    joint = edges.units.get("joint")
    nodes = np.flatnonzero([not x for x in joint] if joint else np.ones(len(edges.nodes), bool))
    total = sum(sizes.values())
    if total != len(nodes) or (total and (names is None or index is None)):
        raise NotAGraph(
            f"it describes populations of {total} units in all, and has {len(nodes)} nodes "
            "with `population` and `index`: nodes were added or taken away."
        )
    at = {name: np.full(size, -1, np.int64) for name, size in sizes.items()}
    group: list[tuple[str, int]] = [("", -1)] * len(edges.nodes)
    numbers = _whole(index or [], nodes, "nodes' index").tolist()
    for node, number in zip(nodes.tolist(), numbers, strict=True):
        name = names[node] if names is not None else ""
        if name not in at or not 0 <= number < sizes[name] or at[name][number] >= 0:
            raise NotAGraph(f"the node {edges.nodes[node]!r} is none of those described, or twice.")
        at[name][number] = node
        group[node] = name, number
    return at, group


def _of_units(
    edges: Listing, nodes: np.ndarray, labelled: bool
) -> tuple[Tensor | None, list[Hashable] | None]:
    """Positions and labels of a population whose units are these nodes."""
    axes = [edges.units.get(axis) for axis in "xy"]
    places = None
    if len(nodes) and all(x is not None and all(x[n] is not None for n in nodes) for x in axes):
        places = torch.tensor([[float(x[n]) for x in axes if x is not None] for n in nodes])
    return places, [edges.nodes[n] for n in nodes] if labelled else None


def _check_ends(
    edges: Listing, space: Space, group: list[tuple[str, int]], rows: np.ndarray, keys: np.ndarray
) -> None:
    """Raise NotAGraph where an edge's key is of another pair than its two nodes."""
    which, pre, post = (x.tolist() for x in space.locate(torch.from_numpy(keys)))
    for row, w, i, j in zip(rows.tolist(), which, pre, post, strict=True):
        p = space.projections[w]
        ends = group[edges.pre[row]], group[edges.post[row]]
        if ends != ((p.source, i), (p.target, j)):
            raise NotAGraph(
                f"the edge {edges.nodes[edges.pre[row]]!r} to {edges.nodes[edges.post[row]]!r} "
                f"has the {KEY} of another pair of units: take `{KEY}` off edges that were moved."
            )
    if len(keys):
        again = np.flatnonzero(keys[1:] == keys[:-1])
        if len(again) and not all(space.parallel[which[r]] for r in again.tolist()):
            raise NotAGraph("two edges have one synapse_key where no pair may hold several.")


def _whole(numbers: Sequence[Any], rows: np.ndarray, what: str) -> np.ndarray:
    """Some rows as int64. Raises NotAGraph for what is no whole number."""
    try:
        some = [numbers[row] for row in rows.tolist()]
        whole = [int(n) for n in some]
        if any(isinstance(n, float) and n != int(n) for n in some):
            raise ValueError("a fraction")
        return np.array(whole, np.int64)
    except (ValueError, TypeError, OverflowError, IndexError) as error:
        raise NotAGraph(f"{what} must be whole numbers: {error}.") from error


_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool,
                  torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
}  # fmt: skip


def _column(name: str, values: Sequence[Any] | None, rows: np.ndarray, dtype: str) -> Tensor:
    if values is None and not len(rows):
        return torch.empty(0, dtype=_DTYPES.get(dtype, torch.float32))
    if values is None or dtype not in _DTYPES:
        raise NotAGraph(f"its edges lack the column {name!r}, or its type {dtype!r} is unknown.")
    try:
        numbers = [values[row] for row in rows.tolist()]
        return torch.tensor(numbers, dtype=_DTYPES[dtype])
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise NotAGraph(f"the column {name!r} holds what is no {dtype}: {error}.") from error


# -- others' nodes and edges ---------------------------------------------------------------------

_SIDES = {0: "top", 1: "bottom"}  # of a bipartite graph, as networkx calls them


def _foreign(edges: Listing) -> tuple[Space, Tensor, dict[str, Tensor]]:
    names, places = _grouped(edges)
    populations = [
        Population(
            name, len(nodes), _positions(edges, nodes), labels=[edges.nodes[n] for n in nodes]
        )
        for name, nodes in places.items()
    ]
    index = np.zeros(len(edges.nodes), np.int64)
    for nodes in places.values():
        index[nodes] = np.arange(len(nodes))
    numbers = {name: i for i, name in enumerate(places)}
    of = np.array([numbers[name] for name in names], np.int64)
    pre, post, rows = _oriented(edges, of)
    pairs = of[pre] * len(populations) + of[post]
    projections, parts, offset = [], [NONE], 0
    order = [NONE]
    for pair in np.unique(pairs).tolist():
        a, b = (populations[i] for i in divmod(pair, len(populations)))
        inside = np.flatnonzero(pairs == pair)
        local = index[post[inside]] * a.size + index[pre[inside]]
        at = np.argsort(local, kind="stable")
        local = local[at]
        several = bool((local[1:] == local[:-1]).any())
        name = "edges" if len(populations) == 1 else f"{a.name} to {b.name}"
        projections.append(Projection(name, a.name, b.name, "linear", (b.size, a.size), several))
        parts.append(local + offset)
        order.append(inside[at])
        offset += a.size * b.size
    space = Space(populations, projections)
    rows = rows[np.concatenate(order)]
    return space, torch.from_numpy(np.concatenate(parts)), _columns(edges, rows)


def _grouped(edges: Listing) -> tuple[list[str], dict[str, np.ndarray]]:
    """The population of each node, and the nodes of each population."""
    names = ["units"] * len(edges.nodes)
    for attribute in ("population", "layer", "bipartite"):
        values = edges.units.get(attribute)
        if values is not None and all(v is not None for v in values):
            sides = _SIDES if attribute == "bipartite" else {}
            names = [sides.get(v, str(v)) for v in values]
            break
    nodes: dict[str, list[int]] = {}
    for node, name in enumerate(names):
        nodes.setdefault(name, []).append(node)
    return names, {name: np.array(some, np.int64) for name, some in nodes.items()}


def _positions(edges: Listing, nodes: np.ndarray) -> Tensor | None:
    return _of_units(edges, nodes, False)[0]


def _oriented(edges: Listing, of: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends and row of each directed edge: an undirected one is two, or goes from side 0 to 1."""
    pre, post, rows = edges.pre, edges.post, np.arange(len(edges.pre))
    if edges.directed:
        return pre, post, rows
    sides = edges.units.get("bipartite")
    if sides is not None and all(s in (0, 1) for s in sides):
        side = np.array([int(s) for s in sides], np.int64)
        within = np.flatnonzero(side[pre] == side[post])
        if len(within):
            ends = [edges.nodes[x[within[0]]] for x in (pre, post)]
            raise NotAGraph(
                f"the edge {ends[0]!r} to {ends[1]!r} joins two nodes of one side of `bipartite`: "
                "take the attribute off for one recurrent population."
            )
        back = side[pre] == 1
        return np.where(back, post, pre), np.where(back, pre, post), rows
    both = pre != post
    return (
        np.concatenate([pre, post[both]]),
        np.concatenate([post, pre[both]]),
        np.concatenate([rows, rows[both]]),
    )


def _columns(edges: Listing, rows: np.ndarray) -> dict[str, Tensor]:
    """Numeric attributes of edges as columns; those that some edges lack are left out."""
    columns = {}
    for name, values in edges.values.items():
        if name in (KEY, "projection", "link", "key", "id"):
            continue
        some = [values[row] for row in rows.tolist()]
        if name == "weight":
            some = [1.0 if v is None else v for v in some]
        kind = _kind(some, name == "weight")
        if kind is not None:
            columns[name] = torch.from_numpy(np.array(some, kind))
        elif name == "weight":
            raise NotAGraph("an edge's `weight` is no number.")
    return columns


def _kind(values: Sequence[Any], weight: bool) -> type | None:
    """The type of a column of these values; None where they are no numbers."""
    kinds = set(map(type, values))
    if kinds <= {bool, np.bool_} and kinds:
        return bool
    if not all(issubclass(k, int | float | np.number) for k in kinds - {bool}) or bool in kinds:
        return None
    whole = all(issubclass(k, int | np.integer) for k in kinds) and not weight
    return np.int64 if whole and all(-MOST < v < MOST for v in values) else float

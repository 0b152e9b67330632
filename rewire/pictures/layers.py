"""The network as layers from left to right, its edges in bundles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path
from torch import Tensor

from ..analysis.metrics import effective_edges, followed
from .panels import GREY, INK, MUTED, NEGATIVE, POSITIVE, WIDTH, bins
from .style import drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..graph import Graph, Network

BUNDLES = 24  # of consecutive units, drawn of each group of units at most
THICKEST = 3.5  # points, of the bundle with the largest sum of |weight|
WIDTHS = 8  # that are told apart
DEEP = 8  # columns; of more the names are turned


@dataclass(frozen=True, eq=False)
class _Group:
    """A population or joint as it is drawn: its column, and where its bundles stand."""

    name: str
    column: int
    bundle: np.ndarray  # of each unit, (size,)
    height: np.ndarray  # of each bundle, (bundles,), from 0 to 1
    alive: np.ndarray  # whether a unit of the bundle is on a path, (bundles,)


def network(graph: Graph, *, most: int = BUNDLES, title: str = "") -> Figure:
    """The units as columns of dots, layer by layer, and bundles of edges between them.

    Consecutive units share a dot where a layer has more than ``most``. A bundle's width is the sum
    of its |weights|, on one scale; blue where they add up to a positive number, vermillion where to
    a negative one; without the column ``weight`` each edge counts 1. Dots and bundles on no path
    from the network's inputs to its outputs are grey. Sums, concatenations and flattenings are thin
    grey lines. A projection of a layer onto itself is drawn as arcs on its right.

    What is on a path is what `rewire.analysis.effective_edges` says; nothing is grey where it
    cannot tell.

    >>> from rewire.analysis.examples import two_layers
    >>> figure = network(two_layers())
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['input\\n4', 'hidden\\n3', 'output\\n2']
    """
    net = graph.network
    told = followed(graph)
    alive = effective_edges(graph) if told else np.ones(len(graph), bool)
    bundles = Bundles(graph, most, _units_on_path(graph, alive) if told else None)
    groups, columns = bundles.groups, bundles.columns
    deep = columns > DEEP
    with drawing():
        figure = new_figure(max(WIDTH, (0.3 if deep else 0.95) * columns), 3.9 if deep else 3.6)
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.9))
        axes.axis("off")
        axes.set(xlim=(-0.45, columns - 0.55), ylim=(-0.6 if deep else -0.13, 1.06))
        if title:
            axes.set_title(title, color=INK)
        _draw_links(axes, net, groups)
        figure.numbers += _draw_bundles(axes, graph, bundles, alive, title)
        for group in groups.values():
            x = np.full(len(group.height), float(group.column))
            colours = np.where(group.alive, INK, GREY)
            axes.scatter(x, group.height, s=9, c=colours, zorder=3, linewidths=0)
            name, size = group.name, len(group.bundle)
            axes.text(
                group.column, group.height.min(initial=0.5) - 0.04,
                f"{name}, {size}" if deep else f"{name}\n{size}",
                ha="center", va="top", fontsize=7 if deep else 9.5, color=MUTED,
                rotation=90 if deep else 0,
            )  # fmt: skip
    return figure


def _units_on_path(graph: Graph, alive: np.ndarray) -> np.ndarray:
    """Units of which an edge is on a path, and all joints, (N,) bool."""
    net = graph.network
    populations = [p.name for p in graph.populations]
    on_path = np.ones(net.size, bool)
    on_path[net.units(populations)] = False
    on_path[net.pre[alive]] = on_path[net.post[alive]] = True
    return on_path


class Bundles:
    """Where the units of a graph's layers stand, and which bundle each possible edge belongs to.

    most: dots of a layer. ends: (K, 4), of each bundle the column and height where it begins, and
    where it ends; columns are numbered from 0, heights go from 0 to 1. units: (U, 2), column and
    height of each dot.

    >>> from rewire.analysis.examples import two_layers
    >>> bundles = Bundles(two_layers())
    >>> bundles.of(two_layers().keys).tolist(), len(bundles.ends), bundles.columns
    ([0, 3, 4, 8, 12, 13, 15], 18, 3)
    """

    def __init__(self, graph: Graph, most: int = BUNDLES, on_path: np.ndarray | None = None):
        net = graph.network
        self.space = graph.space
        flags = np.ones(net.size, bool) if on_path is None else on_path
        self.groups = _groups(net, flags, most)
        self.columns = max((g.column for g in self.groups.values()), default=0) + 1
        self.units = np.array(
            [(g.column, height) for g in self.groups.values() for height in g.height]
        ).reshape(-1, 2)
        self._sides = [
            (self.groups[net.starts[p.source]], self.groups[net.starts[p.target]])
            for p in graph.projections
        ]
        ends = []
        for source, target in self._sides:
            for low in source.height:
                for high in target.height:
                    ends.append((source.column, low, target.column, high))
        self.ends = np.array(ends, float).reshape(-1, 4)
        sizes = [len(s.height) * len(t.height) for s, t in self._sides]
        self._first = np.cumsum([0, *sizes])[:-1]

    def dots(self) -> Iterator[tuple[str, int, int]]:
        """Of each bundle the projection, and the dot it begins and the one it ends at."""
        for projection, (source, target) in zip(self.space.projections, self._sides, strict=True):
            for begin in range(len(source.height)):
                for end in range(len(target.height)):
                    yield projection.name, begin, end

    def of(self, keys: Tensor | np.ndarray) -> np.ndarray:
        """The bundle of each key, (k,) int64."""
        which, pre, post = (x.numpy() for x in self.space.locate(torch.as_tensor(keys)))
        bundle = np.empty(len(which), np.int64)
        for i, (source, target) in enumerate(self._sides):
            rows = which == i
            begin, end = source.bundle[pre[rows]], target.bundle[post[rows]]
            bundle[rows] = self._first[i] + begin * len(target.height) + end
        return bundle


def _groups(net: Network, on_path: np.ndarray, most: int) -> dict[int, _Group]:
    """What is drawn, by number of its first unit; repetitions of a population are drawn once."""
    names: dict[int, str] = {}
    for name in net.sizes:
        names.setdefault(net.starts[name], name)
    column = _columns(net, names)
    crowd: dict[int, list[int]] = {}
    for start in names:
        crowd.setdefault(column[start], []).append(start)
    groups = {}
    for at, starts in crowd.items():
        room = 1 / len(starts)
        for k, start in enumerate(starts):
            size = net.sizes[names[start]]
            bundle = bins(size, max(most // len(starts), 3))
            flags = np.zeros(int(bundle.max(initial=-1)) + 1, bool)
            np.logical_or.at(flags, bundle, on_path[start : start + size])
            low = 1 - (k + 1) * room + 0.16 * (len(starts) > 1)
            height = _heights(len(flags), low, 1 - k * room)
            groups[start] = _Group(names[start], at, bundle, height, flags)
    return groups


def _heights(count: int, low: float, high: float) -> np.ndarray:
    """Of ``count`` dots around the middle of a range, the first on top, (count,)."""
    step = min((high - low) / max(count - 1, 1), 0.12)
    return (high + low) / 2 + step * ((count - 1) / 2 - np.arange(count))


def _columns(net: Network, names: Mapping[int, str]) -> dict[int, int]:
    """The column of each group: the longest way to it from where the network begins."""
    import networkx as nx

    order = nx.DiGraph()
    order.add_nodes_from(names)
    first = np.array(sorted(names), np.int64)
    for pre, post in ((net.pre, net.post), (net.link_pre, net.link_post)):
        start, end = (first[first.searchsorted(x, "right") - 1] for x in (pre, post))
        order.add_edges_from(np.unique(np.stack([start, end], 1), axis=0).tolist())
    # what a model joins without an edge being left still has its place
    for p in net.topology.space.projections:
        order.add_edge(net.starts[p.source], net.starts[p.target])
    order.remove_edges_from(list(nx.selfloop_edges(order)))
    whole = nx.condensation(order)
    depth: dict[int, int] = {}
    for node in nx.topological_sort(whole):
        depth[node] = max((depth[p] + 1 for p in whole.predecessors(node)), default=0)
    return {member: depth[whole.graph["mapping"][member]] for member in names}


def _draw_bundles(
    axes: Axes, graph: Graph, bundles: Bundles, alive: np.ndarray, title: str
) -> list[dict[str, Any]]:
    """Draw the bundles, and return the numbers of each: dots are counted from 1, from above."""
    weight = np.ones(len(graph))
    if "weight" in graph.columns:
        weight = graph.numbers("weight").astype(np.float64)
    bundle = bundles.of(graph.keys)
    sums, sizes, live = (
        np.bincount(bundle, values, len(bundles.ends)) for values in (weight, np.abs(weight), alive)
    )
    thickness = np.ceil(WIDTHS * sizes / max(sizes.max(initial=0), 1e-300))
    colour = np.where(live == 0, 0, np.where(sums >= 0, 1, 2))
    # bundles of one colour and width are one path: a page holds many such pictures
    drawn = [
        (width, hue)
        for width in range(1, WIDTHS + 1)  # the thickest on top
        for hue in range(3)
        if ((thickness == width) & (colour == hue)).any()
    ]
    axes.add_collection(
        PathCollection(
            [
                Path.make_compound_path(
                    *(_curve(*end) for end in bundles.ends[(thickness == w) & (colour == h)])
                )
                for w, h in drawn
            ],
            facecolors="none",
            edgecolors=[(GREY, POSITIVE, NEGATIVE)[hue] for _, hue in drawn],
            linewidths=[max(THICKEST * (width - 0.5) / WIDTHS, 0.2) for width, _ in drawn],
            alpha=0.55,
            zorder=2,
        )
    )
    edges = np.bincount(bundle, minlength=len(bundles.ends))
    return [
        {"label": title, "projection": name, "from_dot": begin + 1, "to_dot": end + 1,
         "edges": edges[k], "on_path": live[k], "weight_sum": sums[k], "absolute_sum": sizes[k]}
        for k, (name, begin, end) in enumerate(bundles.dots())
        if edges[k]
    ]  # fmt: skip


def _curve(x0: float, y0: float, x1: float, y1: float) -> Path:
    """From left to right as an S; within a layer or back as an arc on the right of the first."""
    if x1 > x0:
        bend = (x1 - x0) / 2
        middle = [(x0 + bend, y0), (x1 - bend, y1)]
    else:
        middle = [(x0 + 0.35, y0), (x1 + 0.35, y1)]
    return Path([(x0, y0), *middle, (x1, y1)], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])


def _draw_links(axes: Axes, net: Network, groups: Mapping[int, _Group]) -> None:
    first = np.array(sorted(groups), np.int64)
    lines = set()
    for pre, post in zip(net.link_pre.tolist(), net.link_post.tolist(), strict=True):
        start, end = (int(first[first.searchsorted(x, "right") - 1]) for x in (pre, post))
        a, b = groups[start], groups[end]
        lines.add(
            ((a.column, float(a.height[a.bundle[pre - start]])),
             (b.column, float(b.height[b.bundle[post - end]])))
        )  # fmt: skip
    axes.add_collection(LineCollection(sorted(lines), colors=GREY, linewidths=0.5, zorder=1))

"""A projection as a matrix, its units sorted by community."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from .panels import GREY, INK, WIDTH, bins, signed_colours
from .style import drawing, new_figure

if TYPE_CHECKING:
    from ..graph import Graph

MOST = 200  # cells along a side; more units share them


def sorted_adjacency(
    graphs: Graph | Sequence[Graph],
    projection: str,
    *,
    post: np.ndarray | None = None,
    pre: np.ndarray | None = None,
    titles: Sequence[str] = (),
) -> Figure:
    """One projection of one graph or several (before and after), units sorted by community.

    post, pre: community of each postsynaptic and presynaptic unit, (n_post,) and (n_pre,); None:
    the units' own order. Communities are set apart by lines. Where the graphs have weights, blue
    is positive and vermillion negative, else dark is an edge; where units share a cell, their
    weights (or edges) are averaged. All graphs have one scale.

    Raises KeyError for a projection that is not there, ValueError for labels of another length.

    >>> from rewire.analysis.examples import two_layers
    >>> figure = sorted_adjacency(two_layers(), "fc1", post=np.array([0, 1, 0]))
    >>> len(figure.axes)
    1
    """
    shown = [graphs] if not isinstance(graphs, Sequence) else list(graphs)
    matrices = [_cells(g, projection, post, pre) for g in shown]
    most = max((float(np.abs(m).max(initial=0)) for m in matrices), default=1.0)
    side = WIDTH / max(len(shown), 1)
    with drawing():
        figure = new_figure(WIDTH, min(side, 3.6) + 0.6)
        for k, cells in enumerate(matrices):
            width = 1 / len(shown)
            axes = figure.add_axes((k * width + 0.11 * width + 0.02, 0.13, 0.8 * width, 0.74))
            axes.grid(False)
            axes.imshow(
                signed_colours(cells, most),
                aspect="auto",
                interpolation="nearest",
            )
            for labels, line in ((post, axes.axhline), (pre, axes.axvline)):
                for place in _borders(labels):
                    line(place - 0.5, color=GREY, linewidth=0.6)
            axes.set(xticks=[], yticks=[])
            axes.set_title(titles[k] if k < len(titles) else projection, color=INK)
            axes.set_xlabel("presynaptic units")
            axes.set_ylabel("postsynaptic units" if k == 0 else "")
    return figure


def _cells(
    graph: Graph, projection: str, post: np.ndarray | None, pre: np.ndarray | None
) -> np.ndarray:
    """Mean weight (or number of edges) of each cell, rows post."""
    i = graph.space.index(projection)
    rows = graph.rows(i)
    _, source, target = (x[rows].numpy() for x in graph.locate())
    value = graph.numbers("weight")[rows] if "weight" in graph.columns else np.ones(len(source))
    p = graph.projections[i]
    n_post, n_pre = (graph.space.population[n].size for n in (p.target, p.source))
    row, column = _places(post, n_post, "post"), _places(pre, n_pre, "pre")
    row_bin, column_bin = bins(n_post, MOST), bins(n_pre, MOST)
    shape = row_bin.max(initial=-1) + 1, column_bin.max(initial=-1) + 1
    cells = np.zeros(shape)
    np.add.at(cells, (row_bin[row[target]], column_bin[column[source]]), value)
    units = np.outer(np.bincount(row_bin), np.bincount(column_bin))
    return cells / np.maximum(units, 1)


def _places(labels: np.ndarray | None, size: int, side: str) -> np.ndarray:
    """Where each unit stands when units are sorted by community, (size,)."""
    if labels is None:
        return np.arange(size)
    if len(labels) != size:
        raise ValueError(
            f"{side} gives the communities of {len(labels)} units; the projection has {size}."
        )
    place = np.empty(size, np.int64)
    place[np.argsort(labels, kind="stable")] = np.arange(size)
    return place


def _borders(labels: np.ndarray | None) -> list[float]:
    """Where one community ends and the next begins, in cells."""
    if labels is None or not len(labels):
        return []
    ends = np.cumsum(np.unique(labels, return_counts=True)[1])[:-1]
    scale = (bins(len(labels), MOST)[-1] + 1) / len(labels)
    return [float(end * scale) for end in ends]

"""Singular values of a projection against the Ramanujan bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from .panels import INK, MUTED, POSITIVE, WIDTH, panel
from .style import THEME, drawing, new_figure

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..graph import Graph

COLOURS = ("blue", "vermillion", "green", "purple", "orange", "indigo")


def singular_values(
    graphs: Graph | Mapping[str, Graph], projection: str, *, most: int = 64
) -> Figure:
    """The largest singular values of a projection's 0/1 matrix, and the Ramanujan bound.

    The bound is sqrt(d_post - 1) + sqrt(d_pre - 1) with the mean degrees d of the units that have
    an edge: the second singular value of a biregular Ramanujan graph is at most that (Marcus,
    Spielman & Srivastava 2013, arXiv:1304.4132). Values below it expand as well as such graphs do.

    graphs: one, or several by name (their bounds are dashed in their colours). most: how many
    values, the first included.

    >>> from rewire.analysis.examples import two_layers
    >>> len(singular_values(two_layers(), "fc1").axes)
    1
    """
    named = graphs if isinstance(graphs, Mapping) else {projection: graphs}
    with drawing():
        figure = new_figure(WIDTH, 3.2)
        axes = panel(figure, left=0.62, bottom=0.5)
        for k, (name, graph) in enumerate(named.items()):
            matrix = (graph.adjacency(graph.space.index(projection)) > 0).astype(float)
            values, bound = _values(matrix, most), _bound(matrix)
            colour = THEME[COLOURS[k % len(COLOURS)]][0] if len(named) > 1 else POSITIVE
            rank = np.arange(1, len(values) + 1)
            axes.plot(rank, values, "o-", color=colour, markersize=3, linewidth=1, label=name)
            axes.axhline(bound, color=colour, linestyle=(0, (4, 1.6)), linewidth=1)
        axes.set_xlabel("rank")
        axes.set_ylabel("singular value")
        axes.set_title(f"{projection}, dashed: Ramanujan bound", color=INK)
        axes.set_ylim(bottom=0)
        if len(named) > 1:
            axes.legend(frameon=False, labelcolor=MUTED, fontsize=9)
    return figure


def _values(matrix: sp.csr_array, most: int) -> np.ndarray:
    """The ``most`` largest singular values, descending."""
    from scipy.sparse.linalg import svds

    k = min(matrix.shape)
    if k <= 400:
        return np.linalg.svd(matrix.toarray(), compute_uv=False)[:most]
    start = np.ones(k) / np.sqrt(k)
    values = svds(matrix, k=min(most, k - 1), v0=start, return_singular_vectors=False)
    return np.sort(values)[::-1]


def _bound(matrix: sp.csr_array) -> float:
    degrees = [np.asarray(matrix.sum(axis)).ravel() for axis in (0, 1)]
    means = [d[d > 0].mean() if (d > 0).any() else 1.0 for d in degrees]
    return float(sum(np.sqrt(max(mean - 1, 0)) for mean in means))

"""Singular values of a projection against the Ramanujan bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ..measures import matrix
from ..measures.ramanujan_bound import mean_degrees
from ..measures.shared.spectra import leading
from .panels import INK, MUTED, POSITIVE, WIDTH, panel
from .style import THEME, drawing, new_figure

if TYPE_CHECKING:
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
            joined = matrix(graph, graph.space.index(projection))
            values = leading(joined, min(most, *joined.shape))
            bound = sum(np.sqrt(max(degree - 1, 0)) for degree in mean_degrees(joined))
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

"""Which inputs each unit listens to, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from .panels import GRID, INK, WIDTH, signed_colours
from .style import drawing, new_figure

if TYPE_CHECKING:
    from ..graph import Graph


def receptive_fields(
    graph: Graph,
    projection: str,
    units: Sequence[int] | None = None,
    *,
    shape: tuple[int, int] | None = None,
    most: int = 24,
) -> Figure:
    """The incoming weights of some postsynaptic units, laid out as the sheet that feeds them.

    units: which; None: the ``most`` with the most edges, ties by number. shape: (height, width) of
    the presynaptic units; None: the population's grid, or a square, or three squares (colours,
    stored plane by plane, which are summed). Blue is positive, vermillion negative, all panels on
    one scale; without the column ``weight``, edges are blue.

    Raises ValueError where the presynaptic units fill no picture.

    >>> from rewire.analysis.examples import two_layers
    >>> len(receptive_fields(two_layers(), "fc1").axes)
    3
    """
    i = graph.space.index(projection)
    p = graph.projections[i]
    source, size = graph.space.population[p.source], graph.space.population[p.target].size
    planes, height, width = _picture(source.size, shape, source.grid, p.source)
    _, pre, post = (x[graph.rows(i)].numpy() for x in graph.locate())
    weights = "weight" in graph.columns
    value = graph.numbers("weight")[graph.rows(i)] if weights else np.ones(len(pre))
    degree = np.bincount(post, minlength=size)
    if units is None:
        order = np.lexsort((np.arange(size), -degree))
        units = np.sort(order[: min(most, size)]).tolist()
    fields = np.zeros((len(units), planes * height * width))
    for k, unit in enumerate(units):
        mine = post == unit
        np.add.at(fields[k], pre[mine], value[mine])
    pictures = fields.reshape(len(units), planes, height, width).sum(1)
    scale = float(np.abs(pictures).max(initial=0)) or 1.0
    columns = min(len(units), 6) or 1
    rows = -(-len(units) // columns)
    side = WIDTH / columns
    with drawing():
        figure = new_figure(WIDTH, rows * (side + 0.12))
        for k, unit in enumerate(units):
            row, column = divmod(k, columns)
            axes = figure.add_axes(
                (column / columns + 0.004, 1 - (row + 1) / rows + 0.01, 1 / columns - 0.008,
                 0.82 / rows)
            )  # fmt: skip
            axes.imshow(signed_colours(pictures[k], scale), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            for spine in axes.spines.values():
                spine.set(visible=True, color=GRID)
            axes.set_title(f"{unit}: {degree[unit]}", fontsize=9, color=INK, pad=2)
    return figure


def _picture(
    size: int, asked: tuple[int, int] | None, grid: tuple[int, int] | None, name: str
) -> tuple[int, int, int]:
    """Planes, height and width of a picture of ``size`` units."""
    shape = asked or grid
    if shape is not None:
        planes, rest = divmod(size, shape[0] * shape[1])
        if planes and not rest:
            return planes, *shape
    for planes in (1, 3) if asked is None else ():
        side = round((size / planes) ** 0.5)
        if planes * side * side == size:
            return planes, side, side
    raise ValueError(
        f"the {size} units of {name!r} fill no picture"
        + (f" of the shape {asked}" if asked else "")
        + ": give shape=(height, width) whose product divides them."
    )

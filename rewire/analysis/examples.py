"""Two small networks that the examples of this package measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..graph import Graph


def two_layers() -> Graph:
    """Four inputs, three hidden units, two outputs; input 3 and hidden unit 2 lead nowhere.

    >>> two_layers()
    Graph(7 of 18 synapses, density 0.3889, columns [])
    """
    from ..graph import Graph, Population, Projection, Space

    populations = [Population("input", 4), Population("hidden", 3), Population("output", 2)]
    projections = [
        Projection("fc1", "input", "hidden", "linear", (3, 4)),
        Projection("fc2", "hidden", "output", "linear", (2, 3)),
    ]
    masks = {
        "fc1": torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
        "fc2": torch.tensor([[1, 0, 0], [1, 1, 0]]),
    }
    return Graph.from_masks(Space(populations, projections), masks)


def sheets(side: int = 4) -> Graph:
    """Two square sheets, each target unit fed by the unit at its own place and the one beside it.

    >>> sheets()["weight"].tolist()[:4]
    [0.75, 0.25, 0.75, 0.25]
    """
    from ..graph import Graph, Population, Projection, Space, square_sheet

    size = side**2
    populations = [Population(name, size, square_sheet(size)) for name in ("source", "target")]
    space = Space(populations, [Projection("ff", "source", "target", "linear", (size, size))])
    unit = torch.arange(size)
    right = unit // side * side + (unit + 1) % side
    keys = torch.cat([unit * size + unit, unit * size + right])
    weight = torch.tensor([0.75, 0.25]).repeat_interleave(size)
    order = keys.argsort()
    return Graph(space, keys[order]).with_columns({"weight": weight[order]})

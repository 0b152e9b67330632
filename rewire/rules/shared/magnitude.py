"""Cuts by magnitude: within layers, over all, or by the LAMP score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...graph import Graph
from ...select.choose import groups, smallest


def weakest(graph: Graph, k: Sequence[int], scope: str, rule: str = "GMP") -> Tensor:
    """Rows of the ``k`` smallest |w|, per projection ("layer") or over all ("global"); "lamp": of
    the ``k`` smallest LAMP scores, over all."""
    if scope == "lamp":
        return smallest(lamp_of(graph), k[0], what=f"{rule}'s LAMP score")
    return smallest(
        graph["weight"], k, groups(graph, scope), magnitude=True, what=f"{rule}'s |weight|"
    )


def lamp_of(graph: Graph) -> Tensor:
    """The LAMP score of each edge, (E,) float64."""
    weight = graph["weight"]
    return torch.cat([lamp_scores(weight[lo:hi]) for lo, hi in groups(graph, "layer")])


def lamp_scores(weight: Tensor) -> Tensor:
    """w^2 / the sum of the squares of a layer's weights that rank at or above it, (E,) float64.

    >>> lamp_scores(torch.tensor([3.0, -1.0, 2.0])).tolist()  # of 9, 1, 4
    [1.0, 0.07142857142857142, 0.3076923076923077]
    """
    squares = weight.double().square()
    order = squares.argsort(stable=True, descending=True)
    scores = torch.zeros_like(squares)
    scores[order] = (squares[order] / squares[order].cumsum(0)).nan_to_num(0.0)
    return scores.where(squares.isfinite(), torch.nan)

"""What weights become in the bits of a target: levels, and how far rounding moves them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from ..graph import Graph
from .targets import Target


@dataclass(frozen=True)
class WeightRounding:
    """The weights of one projection, rounded to the nearest level.

    distinct: values before. levels: values after. largest, mean: relative error, |rounded - w| /
    |w|, over the weights other than 0. to_zero: weights other than 0 that become 0.
    """

    distinct: int
    levels: int
    largest: float
    mean: float
    to_zero: int


def rounding_of(graph: Graph, target: Target) -> list[WeightRounding | None]:
    """For each projection; None where the graph has no weights, or the projection no synapse.

    Raises ValueError where a weight is not finite.
    """
    if "weight" not in graph.columns:
        return [None] * len(graph.projections)
    weights = graph.numbers("weight").astype(np.float64)
    if not np.isfinite(weights).all():
        raise ValueError(
            f"{int((~np.isfinite(weights)).sum())} of {len(weights)} weights are NaN or infinite: "
            "no bits of a target hold them."
        )
    rounded = np.zeros_like(weights)
    for into in graph.space.into.values():
        if not into:
            continue
        rows = np.concatenate([np.arange(len(weights))[graph.rows(i)] for i in into])
        for part in _sharing_a_step(weights[rows], target):
            rounded[rows[part]] = _rounded(weights[rows[part]], target)
    return [_compared(weights[rows], rounded[rows]) for rows in map(graph.rows, _numbers(graph))]


def _numbers(graph: Graph) -> range:
    return range(len(graph.projections))


def _sharing_a_step(weights: np.ndarray, target: Target) -> list[np.ndarray]:
    """Masks of the weights that have one step between levels."""
    if target.sign_bit:
        return [np.ones(len(weights), bool)]
    return [weights > 0, weights < 0]


def _rounded(weights: np.ndarray, target: Target) -> np.ndarray:
    highest = 2 ** (target.weight_bits - target.sign_bit) - 1
    most = float(np.abs(weights).max(initial=0.0))
    if most == 0:
        return weights
    step = most / highest
    if target.power_of_two:
        step = 2.0 ** ceil(log2(step))
    return np.rint(weights / step) * step


def _compared(weights: np.ndarray, rounded: np.ndarray) -> WeightRounding | None:
    if not len(weights):
        return None
    present = weights != 0
    errors = np.abs(rounded[present] - weights[present]) / np.abs(weights[present])
    return WeightRounding(
        distinct=len(np.unique(weights)),
        levels=len(np.unique(rounded)),
        largest=float(errors.max(initial=0.0)),
        mean=float(errors.mean()) if len(errors) else 0.0,
        to_zero=int((rounded[present] == 0).sum()),
    )

"""N of every M consecutive inputs of a unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...graph import Graph
from ...rule_budget import AtStart, Budget, R
from ...select.choose import ranked_numbers


def check(name: str, n: int, m: int) -> None:
    """Raise ValueError where n of m is no pattern."""
    if not 1 <= n <= m:
        raise ValueError(f"{name} keeps n of every m weights, 1 <= n <= m; got n={n}, m={m}.")


def suits(name: str, n: int, m: int, densities: Sequence[float]) -> None:
    """Raise ValueError for a density that n of m is not."""
    for density in densities:
        if abs(density - n / m) > 1e-3 * n / m:
            raise ValueError(
                f"{name} keeps {n} of every {m} weights, density {n / m:.4g}, and was asked for "
                f"{density:g}: ask for {n / m:.4g}, or set n and m."
            )


@dataclass(frozen=True)
class PatternAtStart(AtStart):
    """Cuts to n of every m before step 0, whatever the counts asked for."""

    def aimed(self, rule: R, counts: Sequence[int]) -> R:
        return rule

    def towards(self, rule: R, densities: Sequence[float]) -> R:
        return suited(rule, densities)


@dataclass(frozen=True)
class LivePattern(Budget):
    """Keeps n of every m edges live of all that there are."""

    def starts_at(self, density: float) -> float:
        return 1.0

    def towards(self, rule: R, densities: Sequence[float]) -> R:
        return suited(rule, densities)


@dataclass(frozen=True)
class CountsOrPattern(AtStart):
    """Cuts before step 0 to n of every m, where the rule names an n, else to the counts."""

    def aimed(self, rule: R, counts: Sequence[int]) -> R:
        named: Any = rule
        return rule if named.n is not None else super().aimed(rule, counts)

    def towards(self, rule: R, densities: Sequence[float]) -> R:
        named: Any = rule
        return rule if named.n is None else suited(rule, densities)


def suited(rule: Any, densities: Sequence[float]) -> Any:
    """The rule, whose n and m say the density; ValueError for another."""
    suits(rule.name, rule.n, rule.m, densities)
    return rule


def chosen(graph: Graph, n: int, m: int, what: str) -> Tensor:
    """Whether each edge is among the n largest |w| of its group of m, (E,) bool.

    Raises ValueError for NaN, naming ``what``.
    """
    size = graph["weight"].abs()
    parts = [
        largest_of_m(graph, i, size[graph.rows(i)], n, m, what)
        for i in range(len(graph.projections))
    ]
    return torch.cat(parts)


def largest_of_m(graph: Graph, i: int, size: Tensor, n: int, m: int, what: str) -> Tensor:
    """Whether each edge of projection i is among the n of largest ``size`` (at least 0) of its
    group of m, bool. Raises ValueError for NaN, naming ``what``."""
    if graph.space.multapses:
        raise ValueError("n of m counts weights of pairs, and a projection here allows multapses.")
    ranked_numbers(size.numpy(), what)
    p, local = graph.projections[i], graph.local(i)
    scores = size.new_full((p.size,), -1.0)  # below every magnitude: absent
    scores[local] = size
    axis = p.input_axis
    scores = scores.view(p.shape).movedim(axis, -1)
    # inputs last, padded to whole groups of m by places that nothing there is as weak as
    short = -scores.shape[-1] % m
    padded = torch.nn.functional.pad(scores, (0, short), value=-1.0)
    rows = padded.reshape(-1, m)
    best = first_largest(rows, n)
    best = best.view(padded.shape)[..., : scores.shape[-1]].movedim(-1, axis)
    return best.reshape(-1)[local]


def first_largest(rows: Tensor, n: int) -> Tensor:
    """The n largest of each row, the first among equals, as booleans of its shape."""
    cut = rows.topk(n, dim=1).values[:, -1:]
    best = rows >= cut
    # rows with more than n at the cut: of the equals, the first
    tied = (best.sum(1) > n).nonzero().squeeze(1)
    equal, above = rows[tied] == cut[tied], rows[tied] > cut[tied]
    best[tied] = above | equal & (equal.cumsum(1) <= n - above.sum(1, keepdim=True))
    return best

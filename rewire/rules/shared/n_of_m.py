"""N of every M consecutive inputs of a unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ...graph import Graph
from ...rule_budget import AtStart, Budget, R
from ...select.choose import ranked_numbers


def check(name: str, n: int, m: int) -> None:
    """Raise ValueError where n of m is no pattern."""
    if not 1 <= n <= m:
        raise ValueError(f"{name} keeps n of every m weights, 1 <= n <= m; got n={n}, m={m}.")


Undivided = Literal["refused", "dense"]


def undivided(rule: Any, graph: Graph) -> list[int]:
    """The projections whose inputs are no whole number of groups of the rule's m, by position.

    A group left over would hold another share than n of m. Raises ValueError, by name, where the
    rule does not leave such projections dense.
    """
    odd = [i for i, p in enumerate(graph.projections) if p.shape[p.input_axis] % rule.m]
    if odd and rule.undivided == "refused":
        parts = [graph.projections[i] for i in odd]
        listed = ", ".join(f"{p.name!r} has {p.shape[p.input_axis]}" for p in parts)
        raise ValueError(
            f"{rule.name} keeps {rule.n} of every {rule.m} inputs of a unit (of a convolution: of "
            f"its group, at one place of the kernel), and {listed}, no multiple of {rule.m}: "
            f"undivided='dense' leaves such layers dense, exclude={[p.name for p in parts]} out."
        )
    return odd


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


def chosen(rule: Any, graph: Graph) -> Tensor:
    """Whether each edge is among the rule's n largest |w| of its group of m, (E,) bool; all are
    that belong to projections which are left dense.

    Raises ValueError for NaN, and for such projections where the rule refuses them.
    """
    size, whole = graph["weight"].abs(), undivided(rule, graph)
    what, parts = f"{rule.name}'s |weight|", list[Tensor]()
    for i in range(len(graph.projections)):
        of_part = size[graph.rows(i)]
        parts.append(
            torch.ones(len(of_part), dtype=torch.bool)
            if i in whole
            else largest_of_m(graph, i, of_part, rule.n, rule.m, what)
        )
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
    scores = scores.view(p.shape).movedim(axis, -1)  # inputs last
    best = first_largest(scores.reshape(-1, m), n).view(scores.shape)
    return best.movedim(-1, axis).reshape(-1)[local]


def first_largest(rows: Tensor, n: int) -> Tensor:
    """The n largest of each row, the first among equals, as booleans of its shape."""
    cut = rows.topk(n, dim=1).values[:, -1:]
    best = rows >= cut
    # rows with more than n at the cut: of the equals, the first
    tied = (best.sum(1) > n).nonzero().squeeze(1)
    equal, above = rows[tied] == cut[tied], rows[tied] > cut[tied]
    best[tied] = above | equal & (equal.cumsum(1) <= n - above.sum(1, keepdim=True))
    return best

"""What the rules that prune before the first step share: a budget, a ranking, rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...budget import counts_for
from ...graph import Edit, Graph
from ...rule import Budget, Rule, State
from ...rule_budget import AtStart
from ...select.choose import groups, smallest
from ...when import When, never


@dataclass(frozen=True, kw_only=True)
class PruneAtStart(Rule):
    """Base: drops the synapses of smallest score before step 0; from then on nothing changes.

    Where another rule acts beside it (``rule=[SNIP(), RigL()]``), that one goes on from what is
    left.

    scope: "global" ranks all projections together, and only the total is given; "layer" ranks
        within each projection, to the counts that ``distribution`` gives it.
    to: where no ``density`` is given to ``attach``: the density to end at (under "layer" spread as
        "erk"), or the edges of each projection.
    """

    budget: ClassVar[Budget] = AtStart()
    kind: ClassVar[str] = "at initialisation"

    scope: Literal["global", "layer"] = "global"
    to: float | tuple[int, ...] | None = None
    when: When = never

    def __post_init__(self) -> None:
        if isinstance(self.to, int | float) and not 0 < self.to <= 1:
            raise ValueError(f"{self.name} cuts to a density in (0, 1], got to={self.to}.")

    def prune(
        self, graph: Graph, score: Callable[[Graph], Tensor], rounds: int = 1
    ) -> tuple[Edit, State]:
        """The edit that drops what scores least, in rounds that shrink the graph alike.

        score: (E,) of the edges of a graph; each round's is computed in what the one before left.
        """
        # round i of n leaves first^(1 - i/n) last^(i/n) edges, ranked in what is left before it
        first, last = _sizes(graph, self.scope), self._budget(graph)
        smaller, left = graph, torch.arange(len(graph))
        for i in range(1, rounds + 1):
            have = _sizes(smaller, self.scope)
            keep = [_after(*n, i / rounds) for n in zip(first, last, have, strict=True)]
            drop = [n - k for n, k in zip(have, keep, strict=True)]
            if any(drop):
                rows = smallest(score(smaller), drop, groups(smaller, self.scope), what=self._what)
                stays = torch.ones(len(smaller), dtype=torch.bool)
                stays[rows] = False
                left, smaller = left[stays], smaller.apply(Edit(drop=rows))
        dropped = torch.ones(len(graph), dtype=torch.bool)
        dropped[left] = False
        return Edit(drop=dropped.nonzero().squeeze(1)), {}

    @property
    def _what(self) -> str:
        return f"{self.name}'s score"

    def _budget(self, graph: Graph) -> list[int]:
        """Edges to end at: one number under scope "global", else one for each projection."""
        have, possible = _sizes(graph, self.scope), graph.possible
        if self.to is None:
            raise ValueError(
                f"{self.name} cuts to a density, and none was given: pass density= to attach, or "
                f"{self.name}(to=0.05)."
            )
        if isinstance(self.to, tuple):  # counts, such as ``aimed`` gives
            if len(self.to) != len(graph.projections):
                raise ValueError(
                    f"{self.name} was given the counts {list(self.to)} for "
                    f"{len(graph.projections)} projections; give one for each."
                )
            counts = list(self.to)
        elif self.scope == "global":
            counts = [round(self.to * possible)]
        else:
            counts = counts_for(graph.space, self.to, "erk")
        if self.scope == "global":  # one ranking over all: only the total is kept
            counts = [sum(counts)]
        if sum(counts) < 1 or any(k > n for k, n in zip(counts, have, strict=True)):
            raise ValueError(
                f"{self.name} cannot cut {have} edges to {counts} (scope {self.scope!r}, "
                f"{possible:,} possible): it keeps at least one, and adds none. Ask for another "
                "density."
            )
        return counts


def _sizes(graph: Graph, scope: str) -> list[int]:
    return [hi - lo for lo, hi in groups(graph, scope)]


def _after(first: int, last: int, have: int, part: float) -> int:
    """Edges after a ``part`` of the rounds: every round keeps the same fraction."""
    if part == 1:  # exact at the end, whatever rounding did before
        return last
    return max(last, min(have, round(max(first, 1) ** (1 - part) * max(last, 1) ** part)))

"""What rules share that prune a trained model block by block, by what reaches its weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...graph import Edit, Graph
from ...rule import State
from ...rule_budget import Budget, R
from ...signals import Signals
from ...streams import Stream
from .blocks import blocks_of
from .layer_budget import Layered
from .n_of_m import CountsOrPattern, Undivided, check, suited, undivided
from .prune_at_start import AtTheEnd


@dataclass(frozen=True)
class DensityOrPattern(AtTheEnd):
    """Ends at n of every m, where the rule names an n, else at the density in its field ``to``."""

    def towards(self, rule: R, densities: Sequence[float]) -> R:
        named: Any = rule
        return super().towards(rule, densities) if named.n is None else suited(rule, densities)


@dataclass(frozen=True, kw_only=True)
class ByInputs(Layered):
    """Base: block after block, the inputs of a block seen through those pruned before it.

    sequential: False: all inputs are those of the whole model.
    n, m: keep n of every m weights of a row instead, in the order of its inputs; the density is
        n / m, and no other.
    undivided: what becomes of layers whose inputs are no multiple of m, as in :class:`NM`.
    """

    at_once: ClassVar[Budget] = CountsOrPattern()
    in_the_end: ClassVar[Budget] = DensityOrPattern("cap")
    spread: ClassVar[str] = "uniform"
    kind: ClassVar[str] = "after training"

    n: int | None = None
    m: int | None = None
    undivided: Undivided = "refused"
    sequential: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scope == "global":
            raise ValueError(
                f"{self.name} compares weights within a layer or a row: choose scope='layer' or "
                "'row', not 'global'."
            )
        if (self.n is None) != (self.m is None):
            raise ValueError(f"{self.name} keeps n of every m: give both, or neither.")
        if self.n is not None and self.m is not None:
            check(self.name, self.n, self.m)
            if self.layers is not None or self.to is not None:
                raise ValueError(
                    f"{self.name} keeps {self.n} of every {self.m} weights everywhere: leave out "
                    "layers= and to=."
                )

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if self.n is not None and self.m is not None:
            undivided(self, graph)
        return super().start(graph, signals, rng)

    def cut(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        counts = None if self.n is not None else self.shared_out(graph, signals)
        left, of_left = graph, signals
        whole = undivided(self, graph) if self.m is not None else []
        blocks = [[i for i in part if i not in whole] for part in blocks_of(graph.space)]
        for block in filter(None, blocks if self.sequential else [sum(blocks, [])]):
            left = left.apply(self.pruned(left, of_left, block, counts))
            of_left = signals.at(left)
        row, stays = left.find(graph.keys)
        weight = graph["weight"].clone()
        weight[stays] = left["weight"][row[stays]]
        moved = {} if torch.equal(weight, graph["weight"]) else {"weight": weight}
        return Edit(set=moved, drop=(~stays).nonzero().squeeze(1))

    @abstractmethod
    def pruned(
        self, graph: Graph, signals: Signals, block: Sequence[int], counts: Sequence[int] | None
    ) -> Edit:
        """The edit that prunes the projections of a block to their counts, or to n of m."""


def edges_in(graph: Graph, projections: Sequence[int]) -> Tensor:
    """Rows of the edges of these projections, in their order."""
    spans = [torch.arange(graph.bounds[i], graph.bounds[i + 1]) for i in projections]
    return torch.cat(spans) if spans else torch.empty(0, dtype=torch.int64)

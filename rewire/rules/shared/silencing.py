"""What the rules share that keep every edge and let all but a budget of them fall silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...graph import Graph
from ...rule import Budget, Rule
from ...rule_budget import Falling
from ...select.choose import groups, largest
from ...signals import Signals
from ...tunable import Scoped
from .gradual import level

FAINTEST = 2.0**-24  # the gain of a live edge at its threshold: not 0, which would be silent


@dataclass(frozen=True, kw_only=True)
class Silencing(Rule):
    """Base: exactly ``round(to x possible)`` edges are live, the others silent.

    to:    the density of live edges; filled in by ``density`` of ``attach`` and ``train``, and by
           an experiment's densities.
    scope: "layer" gives every projection the same density; "global" ranks all together.
    """

    columns: ClassVar[Mapping[str, Any]] = {"gain": 1.0}
    budget: ClassVar[Budget] = Falling("exact")

    to: float | None = None
    scope: Scoped = "layer"

    def __post_init__(self) -> None:
        if self.to is not None and not 0 < self.to <= 1:
            raise ValueError(f"{self.name} goes to a density in (0, 1], got {self.to}.")

    def budget_of(self, graph: Graph, density: float | None) -> list[int]:
        """Edges to be live at this density: of each projection, or one number under "global".

        Raises ValueError for no density, and for one that a graph of these edges does not allow.
        """
        if density is None:
            raise ValueError(
                f"{self.name} needs the density of live edges: pass density=, or set to=."
            )
        # exact: one count over all, shared out so that every projection keeps an edge
        keep, counts = round(density * graph.possible), graph.counts().tolist()
        least = sum(map(bool, counts)) if self.scope == "layer" else 1
        if not least <= keep <= len(graph):
            raise ValueError(
                f"{self.name} cannot have {keep:,} live edges (density {density:g} of "
                f"{graph.possible:,} possible): the graph has {len(graph):,}, and "
                + ("each projection keeps one." if self.scope == "layer" else "one is kept.")
            )
        return level(counts, keep, counts) if self.scope == "layer" else [keep]


def rate_of(rule: Rule, signals: Signals, keys: Tensor) -> float | Tensor:
    """The learning rate of these edges. Raises ValueError where the world has none."""
    rate = signals.lr(keys)
    if rate is None:
        raise ValueError(f"{rule.name} needs a learning rate, and this world has none.")
    return rate


def foremost(graph: Graph, scores: Tensor, keep: Sequence[int], scope: str, what: str) -> Tensor:
    """1 at the ``keep`` largest scores of each group of the scope, else 0; (E,) float32.

    The smaller key first among equals. Raises ValueError for NaN, naming ``what``.
    """
    out = torch.zeros(len(graph))
    out[largest(scores, keep, groups(graph, scope), what=what)] = 1.0
    return out


def soft_gain(weight: Tensor, threshold: Tensor | float, live: Tensor) -> Tensor:
    """The gain that makes w times it sign(w) (|w| - threshold), 0 where not live; (E,) float32.

    live: 1 or 0, (E,). A live edge at or below its threshold keeps the faintest gain: it counts as
    live.
    """
    # w gain = w - sign(w) threshold; 0 / 0 of a weight of 0 without threshold is no change
    gain = 1 - torch.as_tensor(threshold).clamp(min=0) / weight.abs()
    return (gain.nan_to_num_(nan=1.0).clamp_(min=FAINTEST) * live).float()

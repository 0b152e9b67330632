"""Who decides how many edges each layer keeps, for rules that prune within layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ...graph import Graph
from ...signals import Signals
from ...strategy import Strategy
from .prune_at_start import PruneAtStart, Scope


@dataclass(frozen=True)
class LayerBudget(Strategy):
    """Base: shares a total out over the projections by looking at their weights.

    needs: names of the signals that it asks for. source, bibtex: its paper.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    source: ClassVar[str] = ""
    bibtex: ClassVar[str] = ""

    def counts(self, graph: Graph, signals: Signals, total: int) -> list[int]:
        """Edges to keep of each projection of a graph, ``total`` in all."""
        raise NotImplementedError(f"{type(self).__name__} does not say its counts().")

    def assure(self, graph: Graph, total: int) -> None:
        """Raise ValueError where counts() might refuse this total for other weights."""
        return


@dataclass(frozen=True, kw_only=True)
class Layered(PruneAtStart):
    """Base: rules whose counts of layers a `LayerBudget` may share out anew.

    layers: None, the counts that ``density`` and ``distribution`` give; or `LAMP` or `OWL`, which
        keep their total.
    """

    scope: Scope = "layer"
    layers: LayerBudget | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers is not None and self.wide:
            raise ValueError(
                f"{self.name} ranks all layers together under scope={self.scope!r}, and "
                f"{type(self.layers).__name__} shares its edges out over them: choose "
                "scope='layer' or 'row'."
            )

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset() if self.layers is None else self.layers.needs

    def check(self, graph: Graph, signals: Signals) -> None:
        if getattr(self, "n", None) is None:
            total = sum(self.counts(graph))
            if self.layers is not None:
                self.layers.assure(graph, total)
        first = torch.tensor(graph.space.bounds[:-1])  # a key of each projection
        for name in sorted(self.needs):
            signals.at(graph).pair(name, first)

    def shared_out(self, graph: Graph, signals: Signals) -> Sequence[int]:
        """The counts to end at, as the budget of the layers shares them out."""
        counts = self.counts(graph)
        return counts if self.layers is None else self.layers.counts(graph, signals, sum(counts))

"""A rule's own starting graphs in the place of chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..graph import Graph
from .null import Null

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, eq=False, repr=False)
class Start(Null):
    """Graphs that are given, each as likely as another: those that a rule started from.

    One graph has no spread, so that a measure held against it has no z: give the starting graphs of
    several seeds. They keep their own weights.

    >>> from rewire.analysis.examples import two_layers
    >>> null = Start([two_layers(), two_layers()])
    >>> len(list(null.sample(two_layers(), draws=100)))  # each once
    2
    """

    kind: ClassVar[str] = "start"
    source: ClassVar[str] = "control: what the rule itself has changed"

    graphs: Sequence[Graph] | Graph = ()

    def __post_init__(self) -> None:
        graphs = (self.graphs,) if isinstance(self.graphs, Graph) else tuple(self.graphs)
        if not graphs:
            raise ValueError(
                "Start needs the graphs that the rule started from: Start(graph) or "
                "Start([graph, ...])."
            )
        object.__setattr__(self, "graphs", graphs)

    def __repr__(self) -> str:
        return f"Start({len(self._all)} graphs)"

    @property
    def _all(self) -> Sequence[Graph]:
        assert not isinstance(self.graphs, Graph)
        return self.graphs

    def check(self, graph: Graph) -> None:
        for start in self._all:
            joins, has = ([(p.name, p.shape) for p in g.projections] for g in (start, graph))
            if joins != has:
                raise ValueError(
                    f"Start holds a graph that joins {joins}, and the graph that is measured joins "
                    f"{has}: give starting graphs of the same model."
                )

    def draw(self, graph: Graph, rng: np.random.Generator) -> Graph:
        self.check(graph)
        return self._all[int(rng.integers(len(self._all)))]

    def sample(self, graph: Graph, draws: int = 100, seed: int = 0) -> Iterator[Graph]:
        """The graphs that were given, each once, whatever ``draws`` and ``seed``."""
        self.check(graph)
        yield from self._all

"""What chance is: a null model draws graphs that keep some properties of one, else at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..graph.space import NONE
from ..strategy import Plain
from ..streams import rng_for

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class Null(Plain):
    """A distribution of graphs of one space, given a graph.

    A subclass is a frozen dataclass, one file, whose docstring says what is kept and gives the
    source; it defines :meth:`projection`, or :meth:`keys` of all of them together. Columns: the
    weights of each projection are dealt out anew, at random, to the edges drawn; other columns are
    left out.
    """

    def draw(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """One graph of the distribution.

        Raises ValueError where the null means nothing for the graph.
        """
        from ..graph import Graph

        self.check(graph)
        keys = self.keys(graph, rng)
        drawn = Graph(graph.space, torch.from_numpy(keys))
        if graph.space.capped:
            drawn.check_limits()
        if "weight" not in graph.columns:
            return drawn
        return drawn.with_columns({"weight": self.weights(graph, drawn, rng)})

    def sample(self, graph: Graph, draws: int = 100, seed: int = 0) -> Iterator[Graph]:
        """Some graphs of the distribution, one after the other, each a function of seed and number.

        >>> from rewire.analysis.examples import two_layers
        >>> from rewire.nulls import Counts
        >>> [len(graph) for graph in Counts().sample(two_layers(), draws=3)]
        [7, 7, 7]
        """
        for k in range(draws):
            yield self.draw(graph, rng_for(seed, f"null/{self.name}", k).numpy)

    def check(self, graph: Graph) -> None:
        """Raise ValueError where the null means nothing for the graph."""
        refuse_multapses(self, graph)

    def keys(self, graph: Graph, rng: np.random.Generator) -> np.ndarray:
        """The keys of one graph of the distribution, ascending, (E,) int64."""
        return np.concatenate([NONE, *(self.projection(graph, i, rng) for i in _numbers(graph))])

    def projection(self, graph: Graph, i: int, rng: np.random.Generator) -> np.ndarray:
        """Those of projection ``i``, where each is drawn by itself, ascending, (E_i,) int64."""
        raise NotImplementedError

    def weights(self, graph: Graph, drawn: Graph, rng: np.random.Generator) -> np.ndarray:
        """Weights of the edges drawn, (E,): those of each projection in random order."""
        weight = graph.numbers("weight")
        return np.concatenate(
            [weight[:0], *(rng.permutation(weight[graph.rows(i)]) for i in _numbers(graph))]
        )


def _numbers(graph: Graph) -> range:
    return range(len(graph.projections))


def refuse_multapses(null: Null, graph: Graph) -> None:
    """Raise ValueError where a projection may join a pair several times."""
    several = [p.name for p in graph.projections if p.multapses]
    if several:
        raise ValueError(
            f"{null.name} draws graphs that join each pair once at most, and {several[0]!r} allows "
            "multapses: use another null, or measure a graph without them."
        )


def refuse_caps(null: Null, graph: Graph) -> None:
    """Raise ValueError where units hold a limited number of edges, which chance would exceed."""
    space = graph.space
    capped = [p.name for p in space.receiving if p.most is not None]
    if capped or space.caps:
        where = f"units of {capped[0]!r}" if capped else "units"
        raise ValueError(
            f"{null.name} places edges without regard to limits, and {where} may hold a limited "
            f"number here ({', '.join(map(repr, space.limits)) or 'slots'}): use Degrees, which "
            "keeps the edges of every unit."
        )

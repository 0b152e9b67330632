"""What chance is: a null model draws graphs that keep some properties of one, else at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..strategy import Plain

if TYPE_CHECKING:
    import numpy as np

    from ..graph import Graph


@dataclass(frozen=True)
class Null(Plain):
    """A distribution of graphs of one space, given a graph.

    A subclass is a frozen dataclass, one file, whose docstring says what is kept and gives the
    source; it defines :meth:`draw`. Columns: the weights of each projection are dealt out anew, at
    random, to the edges drawn; other columns are left out.
    """

    def draw(self, graph: Graph, rng: np.random.Generator) -> Graph:
        """One graph of the distribution.

        Raises ValueError where the null means nothing for the graph.
        """
        raise NotImplementedError

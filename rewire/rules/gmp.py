"""Gradual magnitude pruning: from dense to a density while training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..graph import Edit, Graph
from ..signals import Signals
from ..tunable import AnyScope
from .shared.gradual import Ranked
from .shared.magnitude import weakest

PAPER = """
@misc{zhu2017prune,
  title = {To prune, or not to prune: exploring the efficacy of pruning for model compression},
  author = {Zhu, Michael and Gupta, Suyog},
  eprint = {1710.01878},
  archiveprefix = {arXiv},
  year = {2017},
}
"""


@dataclass(frozen=True, kw_only=True)
class GMP(Ranked):
    """Gradual magnitude pruning (Zhu & Gupta 2017, arXiv:1710.01878, eq. 1).

    Training starts dense. At each tick, after the optimiser's step, the weights of smallest |w| are
    dropped until the number of the cubic schedule is left; the last tick leaves exactly the density
    asked for.

    scope: "layer", the paper's way, gives every projection the same density; "global" ranks all
           weights together; "lamp" does so by their LAMP score (`LAMP`).
    when:  the paper's Delta t is 100 to 1,000 steps, and t_0 the tick before the first.

    Deviations:
    - Dropped weights are 0 and do not return (the paper's masked weights keep their values and may
      return if the remaining ones have become smaller).
    - Counts are rounded once, over all projections, each of which keeps at least one synapse under
      "layer".

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.GMP(when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=8)
    >>> edges = []
    >>> for _ in range(8):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges  # from 200 to 20 along the cubic
    [200, 73, 73, 27, 27, 20, 20, 20]
    """

    source: ClassVar[str] = "Zhu & Gupta 2017, arXiv:1710.01878"
    bibtex: ClassVar[str] = PAPER

    scope: AnyScope = "layer"  # type: ignore[assignment]

    def prune(self, graph: Graph, signals: Signals, k: Sequence[int]) -> Edit:
        return Edit(drop=weakest(graph, k, self.scope))

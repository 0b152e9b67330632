"""Top-KAST: always sparse training by two nested sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch

from ..graph import Edit, Graph
from ..rule import State
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Clock
from .shared.silencing import Silencing, foremost, rate_of

PAPER = """
@inproceedings{jayakumar2020topkast,
  title = {{Top-KAST}: Top-{K} Always Sparse Training},
  author = {Jayakumar, Siddhant M. and Pascanu, Razvan and Rae, Jack W. and Osindero, Simon and
    Elsen, Erich},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2106.03517},
  archiveprefix = {arXiv},
  year = {2020},
}
"""


@dataclass(frozen=True, kw_only=True)
class TopKAST(Silencing):
    """Top-K always sparse training (Jayakumar et al. 2020, arXiv:2106.03517).

    The largest |w| of each layer, exactly ``to`` of its edges, are live (the set A). The step
    changes these and the next ``more`` largest (B contains A), which are silent and train by the
    gradient that they would have. All others keep their value until they are among the largest.

    more:    density of the edges that train in addition to the live ones, M of the paper's D + M.
    decay:   lambda of the exploration loss (eq. 3): after the step, w <- w - lr lambda w in A and w
             <- w - lr lambda / D w in B without A, with D the density ``to``: edges that are not
             live have to grow fast to become live. The model's optimiser should have no decay.
    refresh: steps from one choice of A and B to the next; 1 and 100 gave the same in the paper.

    Deviations:
    - The penalty is applied after the step, not through its momentum.
    - Weights that do not train keep their moments as they are; the paper's optimiser gives them a
      gradient of 0.
    - By default all layers have the same density, as in the paper; ``scope="global"`` ranks all
      together.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.TopKAST(more=0.2)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=3)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> len(net.graph), net.edges  # all edges, and those that are live
    (200, 20)
    """

    columns: ClassVar[Mapping[str, Any]] = {"gain": 1.0, "trained": 1.0}
    trains: ClassVar[str] = "trained"
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Jayakumar et al. 2020, arXiv:2106.03517"
    bibtex: ClassVar[str] = PAPER

    more: Annotated[float, Tunable(0.01, 0.5, log=True)] = 0.1
    decay: Annotated[float, Tunable(1e-6, 1e-2, log=True)] = 1e-4
    refresh: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.more < 1 or self.refresh < 1 or self.decay < 0:
            raise ValueError(
                "TopKAST trains a density of 0 or more beyond the live edges, under a decay of 0 "
                f"or more, and chooses every 1 or more steps; got more={self.more}, "
                f"decay={self.decay}, refresh={self.refresh}."
            )

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        live = self.budget_of(graph, self.to)
        wide = min(self.to + self.more, len(graph) / graph.possible)  # type: ignore[operator]
        state = {"live": live, "trained": self.budget_of(graph, wide)}
        return Edit(set=self._sets(graph, state)), state

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        edit = {}
        # eq. 3: decay lambda in A, lambda / D in B without A, none elsewhere
        if self.decay:
            rate, live = rate_of(self, signals, graph.keys), graph["gain"]
            strength = (live + (1 - live) / self.to) * graph["trained"]  # type: ignore[operator]
            weight = graph["weight"]
            edit["weight"] = weight - (rate * self.decay * strength * weight).to(weight)
            graph = graph.with_columns(edit)
        # A and B anew
        if clock.step % self.refresh == 0:
            edit |= self._sets(graph, state)
        return Edit(set=edit), state

    def _sets(self, graph: Graph, state: State) -> dict[str, torch.Tensor]:
        size, what = graph["weight"].abs(), "TopKAST's |weight|"
        return {
            "gain": foremost(graph, size, state["live"], self.scope, what),
            "trained": foremost(graph, size, state["trained"], self.scope, what),
        }

"""Shrinkage by the l1 norm, and a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from ..graph import NOTHING, Edit, Graph
from ..rule import State
from ..signals import Signals
from ..streams import Stream
from ..tunable import AnyScope, Tunable
from ..when import Bound, Clock, Every, When
from .shared.gradual import Ranked
from .shared.magnitude import weakest
from .shared.silencing import rate_of

PAPER = """
@misc{collins2014memory,
  title = {Memory Bounded Deep Convolutional Networks},
  author = {Collins, Maxwell D. and Kohli, Pushmeet},
  eprint = {1412.1442},
  archiveprefix = {arXiv},
  year = {2014},
}
"""


@dataclass(frozen=True, kw_only=True)
class L1Shrinkage(Ranked):
    """Training under an l1 norm, then one pruning (Collins & Kohli 2014, arXiv:1412.1442): the
    baseline "l1-shrinkage" of Bellec et al. 2017 (arXiv:1711.05136, section 3).

    Training starts dense. After each step of the optimiser every weight is shrunk,

        w <- sign(w) max(|w| - lr l1, 0),

    the proximal step of l1 |w|: it moves weights to 0 but not across it, and a weight at 0 stays
    there unless its gradient exceeds l1. At the last tick not after ``until`` the synapses of
    smallest |w| are dropped, down to the density; the others are trained further without shrinkage.

    l1:    strength. It has to be found by trying: with a small one the rule is plain magnitude
           pruning, with a large one most weights are 0 before the pruning.
    scope: "global" ranks all projections together, so that the norm decides how many synapses
           each layer keeps; "layer" gives every one the same density; "lamp" ranks all by their
           LAMP score (`LAMP`).

    Turn weight decay off.

    Deviations:
    - In the papers the number of synapses follows from the strength and a threshold; here it is
      exact, so that rules can be compared at equal numbers of edges.
    - Under other optimisers than SGD the shrinkage bypasses momentum and scaling.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.L1Shrinkage(l1=0.01)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=8)
    >>> edges = []
    >>> for _ in range(8):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges
    [200, 200, 200, 200, 200, 20, 20, 20]
    """

    _writes_weights: ClassVar[bool] = True
    source: ClassVar[str] = "Collins & Kohli 2014, arXiv:1412.1442"
    bibtex: ClassVar[str] = PAPER

    scope: AnyScope = "global"  # type: ignore[assignment]
    l1: Annotated[float, Tunable(1e-6, 1e-2, log=True)] = 1e-4
    when: When = Every(1)
    until: Bound | None = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.l1 >= 0:
            raise ValueError(f"L1Shrinkage's l1 is 0 or more, got {self.l1}.")

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        rate_of(self, signals, graph.keys)  # refused before the first step where there is none
        return super().start(graph, signals, rng)

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        assert isinstance(self.when, Every)
        if clock.step > self.when.last(clock.span, self.until):
            return NOTHING, state
        # w <- sign(w) max(|w| - lr l1, 0), for each of the steps that the tick stands for
        weight = graph["weight"]
        amount = torch.as_tensor(self.when.n * self.l1 * rate_of(self, signals, graph.keys))
        shrunk = weight - weight.clamp(-amount, amount)
        edit, state = super().update(
            graph.with_columns({"weight": shrunk}), signals, state, rng, clock
        )
        return Edit(set={"weight": shrunk}, drop=edit.drop), state

    def edges(self, clock: Clock, state: State) -> int:
        """All until the cut, then the density's."""
        assert isinstance(self.when, Every)
        due = clock.step >= self.when.last(clock.span, self.until)
        return state["end"] if due else sum(state["start"])

    def prune(self, graph: Graph, signals: Signals, k: Sequence[int]) -> Edit:
        return Edit(drop=weakest(graph, k, self.scope, self.name))

"""Movement pruning: weights that move away from zero stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ..fields import NonNegative
from ..graph import Edit, Graph
from ..rule import State
from ..signals import Signals
from ..streams import Stream
from ..tunable import Scoped, Tunable
from ..when import Bound, Clock, Every, When
from .shared.gradual import Gradual
from .shared.silencing import foremost

PAPER = """
@inproceedings{sanh2020movement,
  title = {Movement Pruning: Adaptive Sparsity by Fine-Tuning},
  author = {Sanh, Victor and Wolf, Thomas and Rush, Alexander M.},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2005.07683},
  archiveprefix = {arXiv},
  year = {2020},
}
"""


@dataclass(frozen=True, kw_only=True)
class MovementPruning(Gradual):
    """Keep the weights that training moves away from zero (Sanh et al. 2020, arXiv:2005.07683).

    Every edge has a score, S <- S - rate dL/dw w, with w the edge's weight and dL/dw the gradient
    of what it carries, taken for silent edges as well (straight through; eq. 7). After each step
    the largest scores are live, as many as Zhu & Gupta's cubic says. The step changes live weights
    only (the gradient of w under the mask); the score of a silent edge is still updated, so it may
    return.

    Made for fine-tuning a trained model: the direction of the movement decides, not the size of the
    weight.

    rate:  of the scores, alpha_S. Scores have no decay and are only compared with each other, so
           its size does not matter.
    scope: "global", or "layer", which gives every projection the same density.
    until: the number of live edges falls until here; scores are updated until the end of training.

    Deviations:
    - w is read after the step and its gradient before (a difference of order lr).
    - The scope is by default "global"; the authors' code ranks the scores within each matrix, which
      is ``scope="layer"``.
    - The authors train S by AdamW, with warm-up and cool-down around the cubic.
    - Silent weights and their moments do not change; under a mask the authors' optimiser still
      changes them by momentum and decay.
    - The authors' soft movement pruning, a threshold on the score, is not implemented.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.MovementPruning(until=None)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=4)
    >>> edges = []
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges
    [96, 42, 23, 20]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"grad"})
    columns: ClassVar[Mapping[str, Any]] = {"gain": 1.0, "score": 0.0}
    trains: ClassVar[str] = "live"
    kind: ClassVar[str] = "during training, falling budget"
    source: ClassVar[str] = "Sanh et al. 2020, arXiv:2005.07683"
    bibtex: ClassVar[str] = PAPER

    scope: Scoped = "global"
    rate: Annotated[NonNegative, Tunable(1e-3, 1.0, log=True)] = 0.01
    when: When = Every(1)
    until: Bound | None = 0.75

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # eq. 7: S <- S - alpha_S dL/dw w, of silent edges too
        moved = signals.pair("grad", graph.keys) * graph["weight"].float()
        score = graph["score"] - self.rate * moved
        # Top_v: the largest scores are live, as many as the cubic says
        sizes = self.live_counts(graph, state, clock, self.scope)
        gain = foremost(graph, score, sizes, self.scope, "MovementPruning's score")
        return Edit(set={"score": score, "gain": gain}), state

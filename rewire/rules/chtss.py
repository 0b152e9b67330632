"""Cannistraci-Hebb training with a soft rule and a density that decays as a sigmoid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, tanh
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..fields import Positive
from ..graph import Edit, Graph
from ..graph.incidence import Incidence
from ..rule import Budget, State
from ..rule_budget import Scheduled
from ..select.choose import groups, smallest
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Tunable
from ..when import Bound, Clock, Every
from .chts import CHTs
from .shared.gradual import Gradual, level


@dataclass(frozen=True, kw_only=True)
class CHTss(CHTs, Gradual):
    """CHTs with sigmoid gradual density decay (Zhang et al. 2025, arXiv:2501.19107).

    At each tick, after the optimiser's step: (a) in each projection the synapses of smallest
    relative importance are pruned,

        |w_ij| / (eps + sum over i of |w|) + |w_ij| / (eps + sum over j of |w|),  eps = 1e-5,

    until the number of the sigmoid is left; (b) the remaining synapses are rewired as by `CHTs`.
    With K_i synapses at the start and K_f at the end, after a part x of the prunings there are
    round(K_i + (K_f - K_i) s(x)), s(x) = 1/2 + (1 / (1 + exp(-k (2 x - 1))) - 1/2) / tanh(k / 2),
    which goes from 0 to 1.

    begins:    density at the start, the authors' .5, spread as ``distribution`` says; each
        projection keeps the same fraction of what it began with (the authors' "uniform", with
        ``distribution="uniform"``). If the density asked for is larger, the run starts and stays at
        that density.
    steepness: k, the authors' 6.
    until:     pruning ends here; None: at the last tick of ``when``. Their script prunes up to .8.

    The other fields are those of `CHTs`.

    Deviations:
    - Those of `CHTs`.
    - A synapse that is pruned and grown in one tick keeps its value and moments (in the authors'
      code it becomes 0).

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.CHTss(when=rewire.every(2, stop=1.0))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=12)
    >>> edges = []
    >>> for _ in range(12):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges[1::2]  # from 100 to 20 along the sigmoid
    [99, 91, 60, 29, 21, 20]
    """

    kind: ClassVar[str] = "during training, falling budget"

    begins: Annotated[float, Tunable(0.3, 0.9)] = 0.5
    steepness: Positive = 6.0
    when: Period = Every(100, stop=0.75)
    until: Bound | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.begins <= 1:
            raise ValueError(f"CHTss begins at a density in (0, 1], got {self.begins}.")

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        return Scheduled("cap", begins=self.begins)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        CHTs.start(self, graph, signals, rng)
        return Gradual.start(self, graph, signals, rng)

    def remaining(self, left: float) -> float:
        """What of the way is to go where a part ``left`` of the prunings is: the sigmoid."""
        return 0.5 - (1 / (1 + exp(-self.steepness * (1 - 2 * left))) - 0.5) / tanh(
            self.steepness / 2
        )

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # (a) the least important of each projection, until the sigmoid's count is left
        counts = graph.counts().tolist()
        keep = level(state["start"], min(self.edges(clock, state), len(graph)), counts)
        pruned = self._least(graph, [n - k for n, k in zip(counts, keep, strict=True)])
        stays = torch.ones(len(graph), dtype=torch.bool)
        stays[pruned] = False
        # (b) what is left is rewired
        return self.rewired(graph, stays.nonzero().squeeze(1), rng, clock), state

    def _least(self, graph: Graph, k: Sequence[int]) -> Tensor:
        """Rows of the ``k[i]`` edges of least relative importance of each projection i."""
        importance = [_relative_importance(graph, i) for i in range(len(k))]
        scores, what = torch.from_numpy(np.concatenate(importance)), "CHTss's relative importance"
        return smallest(scores, k, groups(graph, "layer"), what=what)


def _relative_importance(graph: Graph, i: int) -> np.ndarray:
    """|w| over the sum of its row and over that of its column, added, (E_i,) float64."""
    incidence = Incidence.of(graph.projections[i])
    cells = incidence.cells(graph.local(i).numpy())
    row = cells // incidence.width
    column = cells % incidence.width + row // incidence.rows * incidence.width
    size = graph["weight"][graph.rows(i)].double().abs().numpy()
    in_row, in_column = np.bincount(row, size)[row], np.bincount(column, size)[column]
    return size / (1e-5 + in_row) + size / (1e-5 + in_column)

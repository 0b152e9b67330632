"""Dynamic sparse reparameterisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from ..budget import allot
from ..graph import NOTHING, Edit, Graph
from ..rule import Rule, State
from ..select.choose import counts_by, groups, largest, smallest
from ..select.grow import sample_absent
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Tunable
from ..when import Clock, Every

PAPER = """
@inproceedings{mostafa2019parameter,
  title = {Parameter Efficient Training of Deep Convolutional Neural Networks by Dynamic Sparse
    Reparameterization},
  author = {Mostafa, Hesham and Wang, Xin},
  booktitle = {International Conference on Machine Learning},
  eprint = {1902.05967},
  archiveprefix = {arXiv},
  year = {2019},
}
"""


@dataclass(frozen=True, kw_only=True)
class DSR(Rule):
    """Dynamic sparse reparameterisation (Mostafa & Wang 2019, arXiv:1902.05967, Algorithm 1).

    At each tick, after the optimiser's step, every weight with |w| < H is dropped, in all
    projections alike. H doubles if fewer than (1 - tolerance) ``aim`` weights were below it, and
    halves if more than (1 + tolerance) ``aim`` were. As many as were dropped are grown at random,
    in each projection in proportion to its remaining synapses; new weights are 0. Synapses that
    were just dropped are not grown. The count is exact over all projections.

    aim:       weights to be dropped in a tick, N_p: a whole number is a count (the authors: 20,000
               of WRN-28-2, 600 for MNIST), a fraction is of all synapses.
    threshold: H at the start.
    tolerance: the authors' 10 %.
    when:      the authors' period rises from 100 to 800 steps over the training.

    Deviations:
    - Each projection keeps its largest weight, and at most as many are dropped as can be grown
      elsewhere (the smallest first), so that the count is exact in nearly dense networks too.
    - If a projection has fewer absent positions than its share, the others grow the rest in
      proportion.
    - The period is constant; the authors' rises from 100 to 800 steps over the training.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.DSR(when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2, steps=8)
    >>> for _ in range(8):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges
    40
    """

    version: ClassVar[int] = 2
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Mostafa & Wang 2019, arXiv:1902.05967"
    bibtex: ClassVar[str] = PAPER
    scope: ClassVar[str] = "global"
    lives_under: ClassVar[frozenset[str]] = frozenset()  # layers gain what others lose
    keeps_slots: ClassVar[bool] = False

    aim: int | float = 0.1
    threshold: Annotated[float, Tunable(1e-4, 1e-2, log=True)] = 1e-3
    tolerance: float = 0.1
    when: Period = Every(100)

    def __post_init__(self) -> None:
        if self.aim <= 0 or (isinstance(self.aim, float) and self.aim >= 1):
            raise ValueError(f"DSR's aim is a count or a fraction in (0, 1), got {self.aim}.")
        if self.threshold <= 0 or self.tolerance < 0:
            raise ValueError("DSR needs a threshold above 0 and a tolerance that is not negative.")

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        return Edit(), {"threshold": self.threshold}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # drop what is below the threshold H
        threshold = state["threshold"]
        drop = self._below(graph, threshold)
        # more than N_p of them: halve H for the next tick; fewer: double it
        aim = self.aim if isinstance(self.aim, int) else self.aim * len(graph)
        state = {**state, "threshold": threshold * self._factor(len(drop), aim)}
        sizes, counts = graph.space.sizes, graph.counts().tolist()
        room = [size - n for size, n in zip(sizes, counts, strict=True)]
        if len(drop) > sum(room):  # no more than can grow at absent positions
            drop = drop[smallest(graph["weight"][drop], sum(room), magnitude=True)]
        if not len(drop):
            return NOTHING, state
        # grow as many in all, each layer's share in proportion to its survivors
        dropped = counts_by(drop, groups(graph, "layer"))
        survivors = [n - d for n, d in zip(counts, dropped, strict=True)]
        add = sample_absent(graph, allot(len(drop), survivors, room), rng)
        return Edit(drop=drop, add=add), state

    @staticmethod
    def _below(graph: Graph, threshold: float) -> Tensor:
        """Rows with |w| < threshold, but for the largest |w| of each projection."""
        weight, ranges = graph["weight"], groups(graph, "layer")
        below = weight.abs() < threshold
        one = [min(hi - lo, 1) for lo, hi in ranges]
        below[largest(weight, one, ranges, magnitude=True, what="DSR's |weight|")] = False
        return below.nonzero().squeeze(1)

    def _factor(self, dropped: int, aim: float) -> float:
        if dropped > (1 + self.tolerance) * aim:
            return 0.5
        return 2.0 if dropped < (1 - self.tolerance) * aim else 1.0

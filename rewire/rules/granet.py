"""GraNet: gradual pruning with neuroregeneration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch

from ..graph import Edit, Graph
from ..rule import Budget, State
from ..rule_budget import Scheduled
from ..select.choose import smallest
from ..select.exchange import exchange
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Tunable
from ..when import Bound, Clock, Cosine, Every, Fraction, value
from .shared.gradual import Gradual

PAPER = """
@inproceedings{liu2021sparse,
  title = {Sparse Training via Boosting Pruning Plasticity with Neuroregeneration},
  author = {Liu, Shiwei and Chen, Tianlong and Chen, Xiaohan and Atashgahi, Zahra and Yin, Lu
    and Kou, Huanyu and Shen, Li and Pechenizkiy, Mykola and Wang, Zhangyang and Mocanu, Decebal
    Constantin},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2106.10404},
  archiveprefix = {arXiv},
  year = {2021},
}
"""


@dataclass(frozen=True, kw_only=True)
class GraNet(Gradual):
    """Gradual pruning with zero-cost neuroregeneration (Liu et al. 2021, arXiv:2106.10404).

    At each tick, after the optimiser's step: (1) the smallest |w| over all projections are dropped
    until the number of the cubic schedule is left; (2) in each projection ``fraction`` of the
    remaining synapses of smallest |w| is dropped, and as many are grown where |dL/dw| is largest
    among all absent ones, including those just dropped, which keep their values and moments.

    begins:   density at the start, spread as ``distribution`` says: the paper's 0.5 (sparse to
              sparse), 1 is its dense to sparse. If the density asked for is larger, the run starts
              and stays at that density.
    fraction: the authors' prune-rate, 0.5 with a cosine decay over the training.
    when:     regeneration continues to the end of training; the authors' period is 1,000 steps
              (CIFAR) or 4,000 (ImageNet).
    until:    pruning ends here (the authors' ``final_prune_epoch``: 30 of 100 on ImageNet).

    The gradient is that of the step just made (as in the authors' code), which is not skipped.

    Deviations:
    - A synapse that (1) prunes and (2) grows again keeps its value and moments. In the authors'
      code it becomes 0, because weights and momentum are masked between (1) and (2); a synapse that
      (2) itself drops and grows keeps its value there too.
    - The cosine falls to 0, theirs to 0.005.
    - Counts are exact: int(fraction n) are exchanged (theirs: rounded up), and weights equal to the
      threshold are not all dropped.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.GraNet(begins=0.5, when=rewire.every(2), until=None)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=8)
    >>> edges = []
    >>> for _ in range(8):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges
    [100, 44, 44, 23, 23, 20, 20, 20]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"growth"})
    kind: ClassVar[str] = "during training, falling budget"
    source: ClassVar[str] = "Liu et al. 2021, arXiv:2106.10404"
    bibtex: ClassVar[str] = PAPER

    begins: Annotated[float, Tunable(0.3, 0.9)] = 0.5
    fraction: Annotated[Fraction, Tunable(0.05, 0.7)] = Cosine(0.5)
    when: Period = Every(100)
    until: Bound | None = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.begins <= 1:
            raise ValueError(f"GraNet begins at a density in (0, 1], got {self.begins}.")

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        return Scheduled("cap", begins=self.begins)

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # (1) prune to the cubic's count, over all layers
        weight, what = graph["weight"], "GraNet's |weight|"
        excess = max(len(graph) - self.edges(clock, state), 0)
        pruned = smallest(weight, excess, magnitude=True, what=what)
        # (2) of what is left in each layer, drop the weakest and regrow as many by gradient
        alive = np.delete(np.arange(len(graph)), pruned.numpy())
        ends = alive.searchsorted(graph.bounds).tolist()
        ranges = list(zip(ends[:-1], ends[1:], strict=True))
        fraction = value(self.fraction, clock)
        k = [int(fraction * (hi - lo)) for lo, hi in ranges]
        weak = smallest(weight[alive], k, ranges, magnitude=True, what=what)
        drop = torch.cat([pruned, torch.from_numpy(alive)[weak]]).sort().values
        return exchange(graph, drop, signals.largest("growth", k, without=drop)), state

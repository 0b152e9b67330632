"""NDSNN: drop and grow with ever fewer synapses, after the dynamics of neurogenesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ..budget import apportion, counts_for
from ..fields import Share
from ..graph import Edit, Graph
from ..rule import Budget, State
from ..rule_budget import Scheduled
from ..select.choose import groups, smallest
from ..select.exchange import exchange
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Tunable
from ..when import Bound, Clock, Cosine, Every, Fraction, value
from .shared.gradual import Gradual

PAPER = """
@inproceedings{huang2023neurogenesis,
  title = {Neurogenesis Dynamics-inspired Spiking Neural Network Training Acceleration},
  author = {Huang, Shaoyi and Fang, Haowen and Mahmood, Kaleel and Lei, Bowen and Xu, Nuo and Lei,
    Bin and Sun, Yue and Xu, Dongkuan and Wen, Wujie and Ding, Caiwen},
  booktitle = {Design Automation Conference},
  eprint = {2304.12214},
  archiveprefix = {arXiv},
  year = {2023},
}
"""


@dataclass(frozen=True, kw_only=True)
class NDSNN(Gradual):
    """Drop and grow with a falling number of synapses, made for spiking networks (Huang et al.
    2023, arXiv:2304.12214).

    At each tick, after the optimiser's step, in each projection: ``fraction`` of its synapses, the
    smallest |w|, are dropped; then synapses are grown where |dL/dw| is largest, up to the current
    number of the schedule. That number falls along Zhu & Gupta's cubic from the projection's
    initial number to its final one, whose distribution is ``erk``, so that more are dropped than
    grown. After ``until`` the exchange continues at a constant number.

    begins:   density at the start. If the density asked for is larger, the run starts and stays at
        that density.
    fraction: death ratio; falls as a cosine.
    when:     synapses are exchanged to the end of training.

    Deviations:
    - A dropped synapse is not grown in the same tick, so that a nearly full projection exchanges at
      most as many as it has absent positions.
    - The cosine falls to 0.
    - The defaults are not those of the paper, which trains VGG-16 and ResNet-19 of spiking neurons
      for 300 epochs.
    - The rule was written from memory and not checked against the paper's text or its authors'
      code.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.NDSNN(fraction=0.6, when=rewire.every(2), until=None)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=8)
    >>> edges = []
    >>> for _ in range(8):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges, net.history.formed > 0
    ([100, 44, 44, 23, 23, 20, 20, 20], True)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"growth"})
    kind: ClassVar[str] = "neuromorphic"
    source: ClassVar[str] = "Huang et al. 2023, arXiv:2304.12214"
    bibtex: ClassVar[str] = PAPER

    begins: Annotated[Share, Tunable(0.3, 0.9)] = 0.5
    fraction: Annotated[Fraction, Tunable(0.05, 0.7)] = Cosine(0.5)
    when: Period = Every(100)
    until: Bound | None = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.begins > 0:
            raise ValueError(f"NDSNN begins at a density in (0, 1], got begins={self.begins}.")

    @property
    def budget(self) -> Budget:  # type: ignore[override]
        return Scheduled("cap", begins=self.begins, starting=True)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        edit, state = super().start(graph, signals, rng)
        counts = graph.counts().tolist()
        some = [i for i, n in enumerate(counts) if n]
        shares = counts_for(graph.space, self.to, "erk")
        room, total = [counts[i] for i in some], min(state["end"], len(graph))
        ends = apportion([shares[i] for i in some], total, room)
        by_projection = dict(zip(some, ends, strict=True))
        return edit, {**state, "ends": [by_projection.get(i, 0) for i in range(len(counts))]}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        fraction, left = value(self.fraction, clock), self.to_go(clock)
        drop, grow = [], []
        parts = zip(groups(graph, "layer"), graph.space.sizes, state["start"], state["ends"],
                    strict=True)  # fmt: skip
        for (lo, hi), size, first, last in parts:
            have, number = hi - lo, round(last + (first - last) * left)
            fewer = max(have - number, 0)  # another rule may have dropped more already
            births = min(max(int(fraction * have) - fewer, 0), size - have)
            drop.append(fewer + births)
            grow.append(births)
        weakest = smallest(
            graph["weight"], drop, groups(graph, "layer"), magnitude=True, what="NDSNN's |weight|"
        )
        # what goes is not absent yet, but where its slots are needed
        room = weakest if graph.space.capped else None
        return exchange(graph, weakest, signals.largest("growth", grow, without=room)), state

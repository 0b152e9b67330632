"""Sparse momentum: sparse networks from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..budget import allot
from ..graph import NOTHING, Edit, Graph
from ..rule import Rule, State
from ..select.choose import groups, smallest
from ..select.exchange import exchange
from ..signals import Signals, top_absent
from ..streams import Stream
from ..tunable import Period, Tunable
from ..when import Clock, Cosine, Every, Fraction, When, value

PAPER = """
@misc{dettmers2019sparse,
  title = {Sparse Networks from Scratch: Faster Training without Losing Performance},
  author = {Dettmers, Tim and Zettlemoyer, Luke},
  eprint = {1907.04840},
  archiveprefix = {arXiv},
  year = {2019},
}
"""


@dataclass(frozen=True, kw_only=True)
class SNFS(Rule):
    """Sparse networks from scratch, sparse momentum (Dettmers & Zettlemoyer 2019,
    arXiv:1907.04840, Algorithm 1).

    The rule keeps a momentum M of every possible synapse, M <- momentum M + (1 - momentum) dL/dw,
    from the dense gradient of every step. When it rewires, after the optimiser's step, the
    ``fraction`` of smallest |w| of each projection is dropped; as many in all are grown where |M|
    is largest among absent synapses, divided among projections in proportion to the mean |M| of
    their synapses before the dropping. A synapse that is dropped and grown in one tick keeps its
    value. The count is exact over all projections.

    momentum: decay of M, the paper's alpha.
    fraction: the paper's p, 0.5 with a cosine decay over the training.
    rewires:  when to rewire; the authors do so once an epoch.
    when:     when M is updated: every step.

    Cost: M is as large as the dense network and every step needs the dense gradient, so that time
    and memory are those of a dense layer, in the sparse world too.

    Deviations:
    - M is the rule's own, the same under any optimiser (the authors read the optimiser's buffer,
      which for SGD is M times a constant, and for Adam is divided by the second moment).
    - A projection grows at most as many as it has absent positions, not 99 % of these, and the
      others grow the rest in proportion.
    - Counts are exact: in the authors' code growth may choose positions that are active, and the
      number of synapses drifts.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.SNFS(rewires=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2, steps=4)
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges, net.history.formed > 0
    (40, True)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"grad"})
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Dettmers & Zettlemoyer 2019, arXiv:1907.04840"
    bibtex: ClassVar[str] = PAPER
    scope: ClassVar[str] = "global"
    _paced_by: ClassVar[str] = "rewires"
    lives_under: ClassVar[frozenset[str]] = frozenset()  # layers gain what others lose

    momentum: Annotated[float, Tunable(0.5, 0.99)] = 0.9
    fraction: Annotated[Fraction, Tunable(0.05, 0.7)] = Cosine(0.5)
    rewires: Period = Every(100)
    when: When = Every(1)

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"SNFS's momentum decays by a factor in [0, 1), got {self.momentum}.")

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        return Edit(), {"momentum": torch.zeros(graph.possible, dtype=graph["weight"].dtype)}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # M <- alpha M + (1 - alpha) dL/dw, of absent synapses too
        gradient = signals.whole("grad")
        momentum = torch.lerp(gradient.to(state["momentum"]), state["momentum"], self.momentum)
        state = {**state, "momentum": momentum}
        if not self.rewires(clock):
            return NOTHING, state
        # prune the fraction p of smallest |w| of each layer
        fraction, ranges = value(self.fraction, clock), groups(graph, "layer")
        k = [int(fraction * (hi - lo)) for lo, hi in ranges]
        drop = smallest(graph["weight"], k, ranges, magnitude=True, what="SNFS's |weight|")
        # redistribute all of them in proportion to the layers' mean |M|, as far as there is room
        left = [hi - lo - n for (lo, hi), n in zip(ranges, k, strict=True)]
        room = [size - n for size, n in zip(graph.space.sizes, left, strict=True)]
        shares = [float(momentum[graph.keys[lo:hi]].abs().mean()) if hi > lo else 0.0
                  for lo, hi in ranges]  # fmt: skip
        # regrow where |M| is largest
        grow = self._grow(graph, momentum, drop, allot(sum(k), shares, room))
        return exchange(graph, drop, grow), state

    @staticmethod
    def _grow(graph: Graph, momentum: Tensor, drop: Tensor, counts: list[int]) -> Tensor:
        """Keys of the largest |M| of each projection's absent synapses."""
        bounds = graph.space.bounds
        keys = [torch.from_numpy(np.empty(0, np.int64))]
        for i, n in enumerate(counts):
            staying = torch.from_numpy(graph.local_without(i, drop.numpy()))
            values, name = momentum[bounds[i] : bounds[i + 1]], graph.projections[i].name
            keys.append(
                top_absent(values, staying, n, "momentum", name, magnitude=True) + bounds[i]
            )
        return torch.cat(keys)

"""Early-Bird tickets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..budget import apportion
from ..graph import NOTHING, Edit, Graph
from ..rule import State
from ..select.choose import groups, smallest
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Bound, Clock, Every, When
from .shared.gradual import Gradual

PAPER = """
@inproceedings{you2020drawing,
  title = {Drawing Early-Bird Tickets: Towards More Efficient Training of Deep Networks},
  author = {You, Haoran and Li, Chaojian and Xu, Pengfei and Fu, Yonggan and Wang, Yue and
            Chen, Xiaohan and Baraniuk, Richard G. and Wang, Zhangyang and Lin, Yingyan},
  booktitle = {International Conference on Learning Representations},
  eprint = {1909.11957},
  archiveprefix = {arXiv},
  year = {2020},
}
"""


@dataclass(frozen=True, kw_only=True)
class EarlyBird(Gradual):
    """Early-Bird tickets (You et al. 2020, arXiv:1909.11957, Algorithm 1).

    Training starts dense. At each tick, after the optimiser's step, the mask is drawn that would
    keep the weights of largest |w|; once its distance to each of the last ``history`` masks is
    below ``distance``, it is the ticket: all other weights are dropped, and training continues from
    the current weights. Afterwards the edges do not change.

    distance: the paper's epsilon = 0.1.
    of:       the denominator of the distance. "ticket": the share of the kept synapses that another
        mask would not keep. "network": the paper's, positions in which two masks differ over all
        positions. At density .5 they are the same number; at low densities the paper's is small for
        any masks (at .05 never above .1), and the first five masks would be accepted.
    history:  number of earlier masks that are compared; the paper's is 5.
    scope:    "global" ranks all weights together; "layer" gives each projection the density.
    when:     the paper draws a mask each epoch.
    until:    the last tick not after this draws the ticket in any case, so that the run ends at
        its density; None: the last tick of ``when``. ``state["drawn"]`` is the step it was drawn.

    Deviations:
    - The paper's masks are of channels, by the size of their batch normalisation's scale, on which
      it trains with an L1 penalty; here of synapses, by magnitude, without a penalty.
    - The distance is by default of the ticket (``of="network"`` is the paper's).

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.EarlyBird(when=rewire.every(2), history=1, until=None)
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

    kind: ClassVar[str] = "during training, falling budget"
    source: ClassVar[str] = "You et al. 2020, arXiv:1909.11957"
    bibtex: ClassVar[str] = PAPER

    distance: Annotated[float, Tunable(0.02, 0.3, log=True)] = 0.1
    of: Literal["ticket", "network"] = "ticket"
    history: int = 5
    scope: Literal["layer", "global"] = "global"
    when: When = Every(100)
    until: Bound | None = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.history < 1:
            raise ValueError(f"EarlyBird's history is one mask or more, got {self.history}.")
        if not 0 < self.distance <= 1:
            raise ValueError(f"EarlyBird's distance is in (0, 1], got {self.distance}.")

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        edit, state = super().start(graph, signals, rng)
        return edit, {**state, "masks": [], "drawn": 0}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        if state["drawn"]:
            return NOTHING, state
        assert isinstance(self.when, Every)
        # the mask that would keep the largest |w| now
        drop = self._outside(graph, state)
        stays = torch.ones(len(graph), dtype=torch.bool)
        stays[drop] = False
        mask, past = graph.keys[stays], state["masks"]
        # the ticket: nearer than epsilon to each of the last masks, or the last chance
        settled = len(past) == self.history and all(
            self._distance(mask, other, graph.possible) < self.distance for other in past
        )
        if settled or clock.step >= self.when.last(clock.span, self.until):
            return Edit(drop=drop), {**state, "masks": [], "drawn": clock.step}
        # a queue of the last ``history`` masks, as keys
        return NOTHING, {**state, "masks": [*past, mask][-self.history :]}

    def _outside(self, graph: Graph, state: State) -> Tensor:
        """Rows of what the mask would leave out."""
        counts = graph.counts().tolist()
        if self.scope == "layer":
            some = [i for i, n in enumerate(counts) if n]
            shares = [graph.projections[i].size for i in some]
            keep = apportion(shares, min(state["end"], len(graph)), [counts[i] for i in some])
            staying = dict(zip(some, keep, strict=True))
            k = [n - staying.get(i, 0) for i, n in enumerate(counts)]
        else:
            k = [max(len(graph) - state["end"], 0)]
        ranges = groups(graph, self.scope)
        return smallest(graph["weight"], k, ranges, magnitude=True, what="EarlyBird's |weight|")

    def _distance(self, mask: Tensor, other: Tensor, possible: int) -> float:
        differ = len(np.setxor1d(mask.numpy(), other.numpy(), assume_unique=True))
        # "ticket": 0 for equal masks, 1 for masks without a common synapse
        most = len(mask) + len(other) if self.of == "ticket" else possible
        return differ / max(most, 1)

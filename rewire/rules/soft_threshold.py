"""Soft thresholds on a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch

from ..graph import Edit, Graph
from ..rule import State
from ..select.choose import groups
from ..signals import Signals
from ..streams import Stream
from ..tunable import Scoped, Tunable
from ..when import Bound, Clock, Every, When
from .shared.gradual import Gradual
from .shared.silencing import foremost, soft_gain
from .str import PAPER


@dataclass(frozen=True, kw_only=True)
class SoftThreshold(Gradual):
    """Soft thresholding along a schedule: the network computes with sign(w) relu(|w| - a_t)
    (Kusupati et al. 2020, arXiv:2002.03231, eq. 2), a_t such that Zhu & Gupta's cubic
    (arXiv:1710.01878, eq. 1) is the exact number of live edges.

    At each tick, after the optimiser's step, the largest |w| are live, and a_t is the largest of
    the others. The effective weight is continuous at the threshold, and a silent edge may return.

    scope: "layer" gives every projection the same density and a threshold of its own; "global"
           ranks all together, with one threshold.
    straight_through: the step also changes silent weights, by the gradient with respect to what
           they would carry; otherwise (the derivative of eq. 2) live ones only.
    until: the number of live edges falls until here; thresholds are set until the end of training.

    Deviations:
    - The combination is not from a paper: STR learns its thresholds, and the cubic schedule was
      made for masks.
    - Silent weights and their moments do not change; with the derivative of eq. 2 an optimiser's
      momentum and decay would still change them (with ``straight_through=True`` their gradient
      does).

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.SoftThreshold(until=None)
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

    columns: ClassVar[Mapping[str, Any]] = {"gain": 1.0}
    kind: ClassVar[str] = "during training, falling budget"
    source: ClassVar[str] = "Kusupati et al. 2020, arXiv:2002.03231"
    bibtex: ClassVar[str] = PAPER

    scope: Scoped = "layer"
    straight_through: Annotated[bool, Tunable(choices=(False, True))] = False
    when: When = Every(1)
    until: Bound | None = 0.75

    @property
    def trains(self) -> str:  # type: ignore[override]
        return "all" if self.straight_through else "live"

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # as many of the largest |w| as the cubic says are live
        sizes = self.live_counts(graph, state, clock, self.scope)
        size = graph["weight"].abs()
        live = foremost(graph, size, sizes, self.scope, "SoftThreshold's |weight|")
        # a_t: the largest |w| that is not, so that no weight jumps where it crosses
        silent, threshold = size * (1 - live), torch.zeros_like(size)
        for lo, hi in groups(graph, self.scope):
            if hi > lo:  # an empty projection has no largest
                threshold[lo:hi] = silent[lo:hi].max()
        return Edit(set={"gain": soft_gain(graph["weight"], threshold, live)}), state

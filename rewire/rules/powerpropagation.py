"""Powerpropagation: a reparametrisation in which large weights learn faster than small ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from ..fields import Only, Range
from ..graph import Edit, Graph
from ..rule import State
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Bound, Clock, Every, When
from .shared.gradual import Gradual
from .shared.silencing import foremost

PAPER = """
@inproceedings{schwarz2021powerpropagation,
  title = {Powerpropagation: A sparsity inducing weight reparameterisation},
  author = {Schwarz, Jonathan and Jayakumar, Siddhant M. and Pascanu, Razvan and Latham, Peter E.
    and Teh, Yee Whye},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2110.00296},
  archiveprefix = {arXiv},
  year = {2021},
}
"""
TINY = torch.finfo(torch.float32).tiny  # the gain of a live weight of 0, whose product is 0


@dataclass(frozen=True, kw_only=True)
class Powerpropagation(Gradual):
    """Powerpropagation (Schwarz et al. 2021, arXiv:2110.00296): the network computes with
    w = theta |theta|^(alpha - 1), and theta is what the optimiser steps.

    The gradient of theta is dL/dw alpha |theta|^(alpha - 1): the larger a weight, the faster it
    learns, and those near 0 stay there, so that fewer weights are important. Momentum, scaling and
    decay of the optimiser are theta's. The network starts at the model's own weights, theta =
    sign(w) |w|^(1/alpha) as in the authors' code. A theta of exactly 0 never moves.

    After each step the smallest |w| (which are the smallest |theta|) become silent, as many as Zhu
    & Gupta's cubic schedule says; a silent theta does not train, and returns if others become
    smaller. With density 1 only the reparametrisation is left.

    alpha: 1 is an ordinary weight; the authors find 2 to 5 to work, larger at lower densities.
    scope: "layer" gives every projection the same density, "global" ranks all together.
    until: the number of live edges falls until here.

    In the graph ``weight`` is theta, ``gain`` |theta|^(alpha - 1) and ``slope`` alpha times that;
    ``graph.effective()`` has w.

    Deviations:
    - The authors prune once at the end, in rounds with rewinding, or by Top-KAST; here the schedule
      is that of `GMP` and `SoftThreshold`, which differ from this rule only in the parametrisation.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.Powerpropagation(until=None)
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

    columns: ClassVar[Mapping[str, Any]] = {"gain": 1.0, "slope": 1.0}
    trains: ClassVar[str] = "live"
    kind: ClassVar[str] = "during training, falling budget"
    source: ClassVar[str] = "Schwarz et al. 2021, arXiv:2110.00296"
    bibtex: ClassVar[str] = PAPER

    alpha: Annotated[float, Range(1), Tunable(1.0, 5.0)] = 2.0
    scope: Literal["layer", "global"] = "layer"
    when: Annotated[
        When, Only(Every(1), "every(1)", "w follows theta after each step; until= ends the pruning")
    ] = Every(1)
    until: Bound | None = 0.75

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        edit, state = super().start(graph, signals, rng)
        weight = graph["weight"]
        theta = torch.sign(weight) * weight.abs() ** (1 / self.alpha)
        return Edit(set={"weight": theta, **self._factors(theta, torch.ones(len(graph)))}), state

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        sizes = self.live_counts(graph, state, clock, self.scope)
        theta = graph["weight"]
        live = foremost(graph, theta.abs(), sizes, self.scope, "Powerpropagation's |theta|")
        return Edit(set=self._factors(theta, live)), state

    def _factors(self, theta: Tensor, live: Tensor) -> dict[str, Tensor]:
        """w / theta and dw / d theta of the live, 0 of the silent."""
        power = theta.abs() ** (self.alpha - 1)
        live = live.to(power)
        return {"gain": power.clamp(min=TINY) * live, "slope": self.alpha * power * live}

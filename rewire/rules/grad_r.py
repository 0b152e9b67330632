"""Grad R: gradient rewiring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Annotated, Any, ClassVar

import torch

from ..fields import NonNegative, Positive
from ..graph import Edit, Graph
from ..rule import Budget, Rule, State
from ..rule_budget import Falling
from ..select.pairs import pair_sign
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Clock
from .shared.silencing import rate_of

PAPER = """
@inproceedings{chen2021pruning,
  title = {Pruning of Deep Spiking Neural Networks through Gradient Rewiring},
  author = {Chen, Yanqi and Yu, Zhaofei and Fang, Wei and Huang, Tiejun and Tian, Yonghong},
  booktitle = {International Joint Conference on Artificial Intelligence},
  eprint = {2105.04916},
  archiveprefix = {arXiv},
  year = {2021},
}
"""
LEARNT = "its prior leads there at the speed lr alpha, and the loss decides as well"


@dataclass(frozen=True, kw_only=True)
class GradR(Rule):
    """Gradient rewiring (Chen et al. 2021, arXiv:2105.04916): DEEP R in which dormant links also
    follow their gradient.

    Every link has a fixed sign s and a strength theta; its weight is w = s relu(theta). The step
    changes all theta by s dL/dw, those of dormant links (theta <= 0) too (straight-through); then
    theta <- theta - lr alpha sign(theta - mu), the gradient of a Laplacian prior around mu < 0,
    under which a fraction 1 - to of the links is dormant: mu = log(2 to) / alpha (eq. 10).

    to:    the density that the prior alone would lead to, at most 1/2; set by ``density``. The
           final density is a result of prior and loss, and is reported.
    alpha: strength of the prior (the authors' 1e-5 to 1e-3, with Adam).
    rate:  lr of the prior's drift; None takes the weights'.

    In the graph ``weight`` is s theta, and ``gain`` 0 marks a dormant link. At the start all links
    are active, with the values and signs of the weights.

    Deviations:
    - sign(theta - mu) is taken after the gradient's part of the step.
    - The prior moves theta by lr alpha. The authors' optimiser, an Adam of their own, divides this
      too by its bias correction 1 - .9^t: it moves ten times as far at the first step, and 1.1
      times at the 23rd.
    - With other optimisers the gradient's part is the world's own step, and moments of dormant
      links are updated.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.GradR(alpha=1.0)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=30)
    >>> for _ in range(30):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges < len(net.graph)  # some links are dormant
    True
    """

    columns: ClassVar[Mapping[str, Any]] = {"gain": 1.0, "sign": pair_sign}
    budget: ClassVar[Budget] = Falling("reported", outcome=LEARNT)
    kind: ClassVar[str] = "during training, learnt density"
    source: ClassVar[str] = "Chen et al. 2021, arXiv:2105.04916"
    bibtex: ClassVar[str] = PAPER

    to: float | None = None
    alpha: Annotated[Positive, Tunable(1e-5, 1e-2, log=True)] = 1e-3
    rate: NonNegative | None = None

    def __post_init__(self) -> None:
        if self.to is not None and not 0 < self.to <= 0.5:
            raise ValueError(
                f"GradR.to: its prior has its centre below 0, so that the density is in (0, 0.5], "
                f"got {self.to}."
            )

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if self.to is None:
            raise ValueError("GradR needs the density of its prior: pass density=, or set to=.")
        sign = torch.sign(graph["weight"]).to(graph["sign"].dtype)
        sign = torch.where(sign == 0, graph["sign"], sign)
        return Edit(set={"sign": sign, "gain": (graph["weight"] * sign > 0).float()}), {}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # the step moved s dL/dw of every link, dormant ones too: theta = s w is at hand
        weight, sign = graph["weight"], graph["sign"]
        rate = rate_of(self, signals, graph.keys) if self.rate is None else self.rate
        # eq. 10: the prior's mu leaves the fraction ``to`` of the links above 0
        centre = log(2 * self.to) / self.alpha  # type: ignore[operator]
        theta = weight * sign
        # theta <- theta - lr alpha sign(theta - mu)
        theta = theta - (rate * self.alpha * torch.sign(theta - centre)).to(theta)
        gain = (theta > 0).float()
        return Edit(set={"weight": (theta * sign).to(weight), "gain": gain}), state

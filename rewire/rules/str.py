"""STR: soft threshold reparameterisation with learnt thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from ..fields import NonNegative
from ..graph import Edit, Graph
from ..rule import Budget, Rule, State
from ..rule_budget import Falling
from ..select.choose import largest, ranked_numbers
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Clock
from .shared.silencing import rate_of, soft_gain

PAPER = """
@inproceedings{kusupati2020soft,
  title = {Soft Threshold Weight Reparameterization for Learnable Sparsity},
  author = {Kusupati, Aditya and Ramanujan, Vivek and Somani, Raghav and Wortsman, Mitchell and
    Jain, Prateek and Kakade, Sham and Farhadi, Ali},
  booktitle = {International Conference on Machine Learning},
  eprint = {2002.03231},
  archiveprefix = {arXiv},
  year = {2020},
}
"""
LEARNT = (
    "its thresholds are learnt, `decay` drives the density down, and `to` holds it from below alone"
)


@dataclass(frozen=True, kw_only=True)
class STR(Rule):
    """A soft threshold for each layer, learned with the weights (Kusupati et al. 2020,
    arXiv:2002.03231, eq. 2 to 5).

    The network computes with sign(w) relu(|w| - sigmoid(s)), with one number s for each projection.
    The step changes the weights above their threshold; after it, s moves by gradient descent with
    decay: s <- s - lr (dL/ds + decay s), with dL/ds = -sigmoid'(s) sum of sign(w) dL/dw over live
    edges.

    initial: of s. The paper's is -3200 on ImageNet, where only the decay moves it for most of the
             training, and tuned for each network; -8 suits short trainings.
    decay:   drives s towards 0 and the threshold towards 1/2, against the loss; it controls the
             density. The paper uses the weights' own decay. LeNet on mnist5k, 600 steps at rate
             0.1: decay .02 ends at density .51, .05 at .21, .1 at .13, .4 below .05.
    rate:    learning rate of s; None takes the weights'.
    to:      if given (``density=`` sets it), all thresholds are lowered by one number whenever
             fewer than ``round(to x possible)`` edges would be live. The paper has no such floor
             and reports the final density: for that leave the density out.

    Deviations:
    - Where a density is given, thresholds stop at it; the paper has no floor.
    - s moves by plain gradient descent whatever the weights' optimiser is.
    - Silent weights and their moments do not change; in the paper weight decay and momentum still
      change weights below the threshold.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.STR(initial=-1.0)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=3)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> 20 <= net.edges < 200  # learnt, and not below the density
    True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"grad"})
    columns: ClassVar[Mapping[str, Any]] = {"gain": 1.0}
    trains: ClassVar[str] = "live"
    budget: ClassVar[Budget] = Falling("reported", outcome=LEARNT)
    kind: ClassVar[str] = "during training, learnt density"
    source: ClassVar[str] = "Kusupati et al. 2020, arXiv:2002.03231"
    bibtex: ClassVar[str] = PAPER

    initial: Annotated[float, Tunable(-12.0, -3.0)] = -8.0
    decay: Annotated[NonNegative, Tunable(1e-4, 0.1, log=True)] = 5e-3
    rate: NonNegative | None = None
    to: float | None = None

    def __post_init__(self) -> None:
        if self.to is not None and not 0 < self.to <= 1:
            raise ValueError(f"STR is held at a density in (0, 1], got to={self.to}.")

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        s = torch.full((len(graph.projections),), self.initial, dtype=torch.float64)
        gain, _ = self._gain(graph, s)
        return Edit(set={"gain": gain}), {"s": s}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        s = state["s"]
        rate = rate_of(self, signals, graph.keys) if self.rate is None else self.rate
        if isinstance(rate, Tensor):  # one for each projection, that of its edges
            rate = rate[[min(row, len(rate) - 1) for row in graph.bounds[:-1]]].double()
        # eq. 5: dL/ds = -sigmoid'(s) sum of sign(w) dL/dw over the live edges
        slope = signals.pair("grad", graph.keys) * torch.sign(graph["weight"])
        slope = (slope * (graph["gain"] != 0)).double()
        sums = torch.stack([slope[graph.rows(i)].sum() for i in range(len(s))])
        bend = torch.sigmoid(s) * (1 - torch.sigmoid(s))
        # s <- s - lr (dL/ds + decay s); s waits where the floor holds the thresholds back
        moved = s - rate * (self.decay * s - bend * sums)
        gain, floored = self._gain(graph, moved)
        return Edit(set={"gain": gain}), {**state, "s": s if floored else moved}

    def _gain(self, graph: Graph, s: Tensor) -> tuple[Tensor, bool]:
        """The gains under these thresholds, and whether the floor held them back."""
        weight = graph["weight"]
        threshold = torch.sigmoid(s).to(weight).repeat_interleave(graph.counts())
        margin = weight.abs() - threshold
        ranked_numbers(margin.numpy(), "STR's |weight| - threshold")
        live = (margin > 0).float()
        least = 0 if self.to is None else min(round(self.to * graph.possible), len(graph))
        floored = int(live.sum()) < least
        if floored:  # the largest margins live: all thresholds fall by one number
            rows = largest(margin, least, what="STR's |weight| - threshold")
            live = torch.zeros_like(live)
            live[rows] = 1.0
            silent = margin[live == 0]
            threshold = threshold + (silent.max() if len(silent) else margin.min())
        return soft_gain(weight, threshold, live), floored

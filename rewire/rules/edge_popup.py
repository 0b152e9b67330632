"""Edge-popup: which subnetwork of untrained weights is good?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod, sqrt
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from ..fields import NonNegative, Share
from ..graph import Edit, Graph
from ..rule import State
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Clock, Cosine, Rate, value
from .shared.silencing import Silencing, foremost

PAPER = """
@inproceedings{ramanujan2020hidden,
  title = {What's Hidden in a Randomly Weighted Neural Network?},
  author = {Ramanujan, Vivek and Wortsman, Mitchell and Kembhavi, Aniruddha and Farhadi, Ali
    and Rastegari, Mohammad},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  eprint = {1911.13299},
  archiveprefix = {arXiv},
  year = {2020},
}
"""


@dataclass(frozen=True, kw_only=True)
class EdgePopup(Silencing):
    """Train a score for every edge, and no weight (Ramanujan et al. 2020, arXiv:1911.13299).

    The edges of the largest scores of each layer are live, exactly ``to`` of them. After each step
    the score of every edge, live or silent, moves by stochastic gradient descent with momentum,
    with a straight-through gradient (eq. 5), dL/dw w, where w is the weight of the edge.

    weights:  "signed" (the paper's best) sets every weight to its own sign times sqrt(2 / fan-in),
              with fan-in the live one under ``scaled``; "given" leaves the model's own.
    scaled:   the paper's scaling by sqrt(1 / density), so that the live edges carry the variance.
    rate, momentum, decay: of the scores (the paper's CIFAR runs: 0.1 and a cosine, 0.9, 1e-4).
    ranks:    "magnitude" ranks |score|, as the authors' code does; "value" ranks the score, as the
              paper's text has it.

    Scores start uniform in +-1 / sqrt(fan-in) (kaiming_uniform with a = sqrt 5, the authors').
    Deviations:
    - The optimiser trains biases and norms; for the paper's networks build the model without them,
      or freeze them.
    - ``scaled`` divides the fan-in by the live share, as the paper's text has it, and is on. In the
      authors' code it is a flag, off in their configurations, which multiplies the fan-in by the
      share that is *not* live: the same number only at density .5.
    - Scores, velocity and the mask are the rule's own: the optimiser's learning rate, momentum and
      decay do not apply to them.
    - Exactly ``to`` of the edges are live; the authors round each layer up.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.EdgePopup()
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=3)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> len(net.graph), net.edges  # all edges, and those that are live
    (200, 20)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"grad"})
    columns: ClassVar[Mapping[str, Any]] = {"gain": 1.0, "score": 0.0, "velocity": 0.0}
    trains: ClassVar[str] = "none"
    kind: ClassVar[str] = "supermask"
    source: ClassVar[str] = "Ramanujan et al. 2020, arXiv:1911.13299"
    bibtex: ClassVar[str] = PAPER

    weights: Literal["signed", "given"] = "signed"
    scaled: bool = True
    rate: Annotated[Rate, Tunable(0.01, 1.0, log=True)] = Cosine(0.1)
    momentum: Share = 0.9
    decay: Annotated[NonNegative, Tunable(1e-6, 1e-2, log=True)] = 1e-4
    ranks: Literal["magnitude", "value"] = "magnitude"

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        keep = self.budget_of(graph, self.to)
        # scores by kaiming_uniform with a = sqrt 5: uniform in +-1 / sqrt(fan-in)
        fan_in = torch.cat([
            torch.full((n,), float(prod(p.shape[1:])))
            for p, n in zip(graph.projections, graph.counts().tolist(), strict=True)
        ])  # fmt: skip
        score = (2 * rng.uniform(len(graph)) - 1) / fan_in.sqrt()
        edit = {"score": score, "gain": self._gain(graph, score, keep)}
        # weights of one size a layer, sqrt(2 / fan-in), so that live edges carry the variance
        if self.weights == "signed":
            weight = graph["weight"]
            factor = sqrt(2 / self.to) if self.scaled else sqrt(2)  # type: ignore[operator]
            edit["weight"] = (torch.sign(weight) * factor / fan_in.sqrt()).to(weight)
        return Edit(set=edit), {"keep": keep}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # eq. 5: dL/ds = dL/dw w, straight through the choice of the live edges
        score = graph["score"]
        slope = signals.pair("grad", graph.keys) * graph["weight"].float()
        if self.ranks == "magnitude":
            slope = slope * torch.sign(score)
        # stochastic gradient descent with momentum and decay, as torch.optim.SGD has them
        velocity = self.momentum * graph["velocity"] + slope + self.decay * score
        score = score - value(self.rate, clock) * velocity
        gain = self._gain(graph, score, state["keep"])
        return Edit(set={"score": score, "velocity": velocity, "gain": gain}), state

    def _gain(self, graph: Graph, score: Tensor, keep: list[int]) -> Tensor:
        ranked = score.abs() if self.ranks == "magnitude" else score
        return foremost(graph, ranked, keep, self.scope, "EdgePopup's score")

"""Continuous sparsification: soft masks that training hardens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from ..fields import NonNegative, Only, Range, Share
from ..graph import NOTHING, Edit, Graph
from ..rule import State
from ..select.choose import ranked_numbers
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Bound, Clock, Every, When
from .shared.gradual import Gradual, apart
from .shared.silencing import foremost

PAPER = """
@inproceedings{savarese2020winning,
  title = {Winning the Lottery with Continuous Sparsification},
  author = {Savarese, Pedro and Silva, Hugo and Maire, Michael},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {1912.04427},
  archiveprefix = {arXiv},
  year = {2020},
}
"""


@dataclass(frozen=True, kw_only=True)
class ContinuousSparsification(Gradual):
    """Continuous sparsification (Savarese, Silva & Maire 2020, arXiv:1912.04427): an l0 norm made
    smooth by m = sigmoid(beta s), whose temperature beta rises until m is 0 or 1.

    The network computes with w m / sigmoid(s_0), and lowers L + penalty sum m / sigmoid(s_0), over
    w (by its own optimiser) and over s (by stochastic gradient descent with Nesterov's momentum,
    without decay) at once; s starts at s_0, so that the network starts at the model's weights. The
    i-th of n steps computes with beta = sharpness^((i - 1) / (n - 1)). After the n-th, the last not
    after ``until``, the masks become hard: the largest s are live, all others stay silent, and
    training continues.

    initial:   s_0; it controls the density in the paper; below 0 for fewer edges.
    sharpness: beta at the end, the authors' 200.
    penalty:   lambda, the authors' 1e-8.
    rate, momentum: of s, the authors' 0.1 and 0.9.
    to:        the final density, set by ``density``. The paper has no such field: it keeps all s >
               0 and reports their number.
    scope:     whether s is ranked over all projections together or within each.

    All edges are live until then, except those whose mask is below the smallest number of float32.

    Deviations:
    - The number of edges at the end is exact where a density is given.
    - beta rises each step (the authors': each epoch).
    - One round, without the rewinding of the paper's ticket search.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.ContinuousSparsification()
    >>> net = rewire.attach(layer, optimizer, rule, density=0.1, steps=8)
    >>> edges = []
    >>> for _ in range(8):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges[0], edges[5:]
    (200, [20, 20, 20])
    """

    needs: ClassVar[frozenset[str]] = frozenset({"grad"})
    columns: ClassVar[Mapping[str, Any]] = {
        "gain": 1.0, "slope": 1.0, "score": 0.0, "velocity": 0.0, "before": 0.0,
    }  # fmt: skip
    kind: ClassVar[str] = "during training, falling budget"
    source: ClassVar[str] = "Savarese et al. 2020, arXiv:1912.04427"
    bibtex: ClassVar[str] = PAPER

    initial: Annotated[float, Tunable(-0.3, 0.3)] = 0.0
    sharpness: Annotated[float, Range(1), Tunable(50.0, 1000.0, log=True)] = 200.0
    penalty: Annotated[NonNegative, Tunable(1e-10, 1e-6, log=True)] = 1e-8
    rate: Annotated[NonNegative, Tunable(0.01, 1.0, log=True)] = 0.1
    momentum: Share = 0.9
    scope: Literal["layer", "global"] = "global"
    when: Annotated[
        When,
        Only(
            Every(1),
            "every(1)",
            "masks train with each step of the network; until= ends their training",
        ),
    ] = Every(1)
    until: Bound | None = 0.75

    @property
    def _scale(self) -> float:
        return 1 + exp(-self.initial)  # 1 / sigmoid(s_0)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        _, state = super().start(graph, signals, rng)
        one, weight = torch.ones(len(graph)), graph["weight"]
        score = self.initial * one
        edit = Edit(set={"score": score, "gain": one, "slope": one, "before": weight})
        return edit, {**state, "cut": False}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        assert isinstance(self.when, Every)
        if state["cut"]:
            return NOTHING, state
        last = self.when.last(clock.span, self.until)
        # d(L + lambda sum m) / ds = (dL/d(w m) w + lambda) dm/ds, w as this step found it
        beta = self._beta(clock.step, last)
        soft = torch.sigmoid(beta * graph["score"])
        bend = self._scale * beta * soft * (1 - soft)
        slope = (signals.pair("grad", graph.keys) * graph["before"] + self.penalty) * bend
        # Nesterov's momentum, as torch.optim.SGD has it
        velocity = self.momentum * graph["velocity"] + slope.float()
        score = graph["score"] - self.rate * (slope.float() + self.momentum * velocity)
        ranked_numbers(score.numpy(), "ContinuousSparsification's score")
        cut = clock.step >= last
        gain = self._hard(graph, score, state) if cut else (
            torch.sigmoid(self._beta(clock.step + 1, last) * score)
        )  # fmt: skip
        factor = self._scale * gain
        columns = {"score": score, "velocity": velocity, "before": graph["weight"]}
        return Edit(set={**columns, "gain": factor, "slope": factor}), {**state, "cut": cut}

    def _beta(self, step: int, last: int) -> float:
        """The temperature that a step, from 1 to the last, computes with."""
        return self.sharpness ** ((step - 1) / max(last - 1, 1))

    def _hard(self, graph: Graph, score: Tensor, state: State) -> Tensor:
        sizes = apart(state["start"], min(state["end"], len(graph)), graph, self.scope)
        return foremost(graph, score, sizes, self.scope, "ContinuousSparsification's score")

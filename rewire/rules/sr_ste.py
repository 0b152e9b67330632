"""SR-STE: N:M sparse networks learnt from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch

from ..fields import NonNegative
from ..graph import Edit, Graph
from ..rule import Budget, Rule, State
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Clock
from .shared.n_of_m import LivePattern, Undivided, check, chosen
from .shared.silencing import rate_of

PAPER = """
@inproceedings{zhou2021learning,
  title = {Learning {N:M} Fine-grained Structured Sparse Neural Networks From Scratch},
  author = {Zhou, Aojun and Ma, Yukun and Zhu, Junnan and Liu, Jianbo and Zhang, Zhijie and
    Yuan, Kun and Sun, Wenxiu and Li, Hongsheng},
  booktitle = {International Conference on Learning Representations},
  eprint = {2102.04010},
  archiveprefix = {arXiv},
  year = {2021},
}
"""


@dataclass(frozen=True, kw_only=True)
class SRSTE(Rule):
    """N of every M weights are live, learned from scratch (Zhou et al. 2021, arXiv:2102.04010, eq.
    9).

    After each step the n largest |w| of every m in sequence along the inputs are live. The step
    changes all weights, silent ones by the gradient with respect to what they would carry (the
    straight-through estimator). The sparse-refined term then moves those that were silent in the
    step towards 0, w <- w - lr decay w, so that they exchange with live ones less often.

    n, m, undivided: groups as in :class:`NM`; the density is n / m, and no other is possible.
    decay: lambda_w, 2e-4 in the paper. 0 is the plain straight-through estimator.

    Deviations:
    - The sparse-refined term is applied after the step; with plain SGD that equals the paper to
      order lr^2. Under momentum or Adam it bypasses the moments, unlike in the paper.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.SRSTE(n=1, m=4)
    >>> net = rewire.attach(layer, optimizer, rule, density=0.25)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> live = net.graph["gain"].view(10, 5, 4)
    >>> live.sum(2).unique().tolist()  # one of every four
    [1.0]
    """

    columns: ClassVar[Mapping[str, Any]] = {"gain": 1.0}
    budget: ClassVar[Budget] = LivePattern()
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Zhou et al. 2021, arXiv:2102.04010"
    bibtex: ClassVar[str] = PAPER

    n: int = 2
    m: int = 4
    undivided: Undivided = "refused"
    decay: Annotated[NonNegative, Tunable(1e-5, 1e-2, log=True)] = 2e-4

    def __post_init__(self) -> None:
        check(self.name, self.n, self.m)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        return Edit(set={"gain": self._gain(graph)}), {}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        edit = {}
        # the refined term of eq. 9, of the weights that were silent in the step
        if self.decay:
            weight, rate = graph["weight"], rate_of(self, signals, graph.keys)
            pull = rate * self.decay * weight * (1 - graph["gain"])
            edit["weight"] = weight - pull.to(weight)
            graph = graph.with_columns(edit)  # the live ones are chosen among the weights pulled
        return Edit(set={**edit, "gain": self._gain(graph)}), state

    def _gain(self, graph: Graph) -> torch.Tensor:
        return chosen(self, graph).float()

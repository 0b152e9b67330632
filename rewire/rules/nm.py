"""N:M sparsity by magnitude: N of every M weights in sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..graph import Edit, Graph
from ..rule import Budget, Rule, State
from ..signals import Signals
from ..streams import Stream
from ..when import When, never
from .shared.n_of_m import PatternAtStart, Undivided, check, chosen

PAPER = """
@misc{mishra2021accelerating,
  title = {Accelerating Sparse Deep Neural Networks},
  author = {Mishra, Asit and Latorre, Jorge Albericio and Pool, Jeff and Stosic, Darko and
    Stosic, Dusan and Venkatesh, Ganesh and Yu, Chong and Micikevicius, Paulius},
  eprint = {2104.08378},
  archiveprefix = {arXiv},
  year = {2021},
}
"""


@dataclass(frozen=True, kw_only=True)
class NM(Rule):
    """Keep the n largest |w| of every m in sequence along the inputs, once, before training
    (Mishra et al. 2021, arXiv:2104.08378, the one-shot recipe for sparse tensor cores).

    The paper's recipe prunes a trained model and trains it further with the same settings. A group
    is m inputs to one output (of a convolution: at one kernel position). Each group keeps exactly
    n; ties are broken by the smaller key.

    n, m: 2 of 4 is supported by NVIDIA's tensor cores; the density is n / m, and no other is
    possible.
    undivided: layers whose inputs are no multiple of m (a picture's three channels, depthwise
        convolutions) are "refused" by name or left "dense", as NVIDIA's ASP leaves layers that
        tensor cores cannot run; the density is then n / m of the other layers.

    Deviations:
    - The paper's permutations of channels are not implemented.
    - A model that is not trained is pruned at its initial weights.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(8, 1)
    >>> with torch.no_grad():
    ...     layer.weight[0] = torch.tensor([4., 1., -3., 2., 0., 0., 0., 5.])
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> net = rewire.attach(layer, optimizer, rewire.NM(n=2, m=4))
    >>> net.masks()["weight"].int().tolist()
    [[1, 0, 1, 0, 1, 0, 0, 1]]
    """

    budget: ClassVar[Budget] = PatternAtStart()
    kind: ClassVar[str] = "at initialisation"
    source: ClassVar[str] = "Mishra et al. 2021, arXiv:2104.08378"
    bibtex: ClassVar[str] = PAPER

    n: int = 2
    m: int = 4
    undivided: Undivided = "refused"
    when: When = never

    def __post_init__(self) -> None:
        check(self.name, self.n, self.m)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        return Edit(drop=(~chosen(self, graph)).nonzero().squeeze(1)), {}

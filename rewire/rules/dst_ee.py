"""DST-EE: dynamic sparse training that balances exploration and exploitation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..fields import NonNegative, Positive
from ..graph import Edit, Graph
from ..rule import Rule, State
from ..select.choose import groups, smallest
from ..select.exchange import exchange
from ..signals import Signals, top_absent
from ..streams import Stream
from ..tunable import Period, Replaced, Tunable
from ..when import Clock, Cosine, Every, value
from .shared.link_prediction import refuse_multapses

PAPER = """
@inproceedings{huang2023dynamic,
  title = {Dynamic Sparse Training via Balancing the Exploration-Exploitation Trade-off},
  author = {Huang, Shaoyi and Lei, Bowen and Xu, Dongkuan and Peng, Hongwu and Sun, Yue and Xie,
    Mimi and Ding, Caiwen},
  booktitle = {ACM/IEEE Design Automation Conference},
  eprint = {2211.16667},
  archiveprefix = {arXiv},
  year = {2023},
}
"""


@dataclass(frozen=True, kw_only=True)
class DSTEE(Rule):
    """DST-EE (Huang et al. 2023, arXiv:2211.16667): drop small weights, grow where the gradient is
    large or where a synapse has seldom existed.

    `RigL` with a different growth score, the acquisition function

        |dL/dw| + c ln(t) / (N + epsilon),

    t the training step and N the number of topologies so far (the first one, and one after each
    tick) that had the synapse: the first term exploits, the second explores. As in RigL the tick
    takes the place of the optimiser step, the ``fraction`` of smallest |w| of each projection is
    dropped, and as many of largest score are grown; a synapse that is dropped and grown in one tick
    keeps its value and moments.

    c:       weight of exploration, relative to the size of the gradients; 0 is `RigL`.
    epsilon: keeps the score finite for synapses that never existed (N = 0).

    The score is computed for every possible synapse: O(possible) memory during a tick, and one
    number for each synapse that has ever existed.

    Deviations:
    - The defaults of c and epsilon are ours, and those of ``fraction`` and ``when`` RigL's.
    - Ties are broken by position.
    - The acquisition function is written from memory, not checked against the paper.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.DSTEE(fraction=0.25, c=1e6, when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2)
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges, net.history.formed  # nothing but exploration: all grown are new
    (40, 20)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"growth"})
    skips_step: ClassVar[bool] = True
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Huang et al. 2023, arXiv:2211.16667"
    bibtex: ClassVar[str] = PAPER
    lives_under: ClassVar[frozenset[str]] = frozenset()  # it ranks all absent synapses itself
    keeps_slots: ClassVar[bool] = False

    fraction: Replaced = Cosine(0.3)
    c: Annotated[NonNegative, Tunable(1e-5, 0.1, log=True)] = 1e-3
    epsilon: Positive = 1.0
    when: Period = Every(100, stop=0.75)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        refuse_multapses(graph, self.name)
        return Edit(), {"ever": graph.keys.clone(), "times": torch.ones(len(graph)).long()}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        fraction, ranges = value(self.fraction, clock), groups(graph, "layer")
        k = [int(fraction * (hi - lo)) for lo, hi in ranges]
        drop = smallest(graph["weight"], k, ranges, magnitude=True, what="DSTEE's |weight|")
        score = self._acquisition(signals.whole("growth").double(), state, clock.step)
        edit = exchange(graph, drop, _largest(graph, score, k, drop))
        return edit, _counted(state, graph.apply(edit).array)

    def _acquisition(self, gradient: Tensor, state: State, t: int) -> Tensor:
        """|dL/dw| + c ln(t) / (N + epsilon) of every possible synapse, float64."""
        explore = self.c * log(t)
        bonus = torch.full_like(gradient, explore / self.epsilon)
        bonus[state["ever"]] = explore / (state["times"].double() + self.epsilon)
        return gradient + bonus


def _largest(graph: Graph, score: Tensor, k: list[int], drop: Tensor) -> Tensor:
    """Keys of the ``k[i]`` synapses of projection i of largest score among those not kept."""
    keys = []
    for i, (lo, hi) in enumerate(pairwise(graph.space.bounds)):
        present = torch.from_numpy(graph.local_without(i, drop.numpy()))
        name = graph.projections[i].name
        keys.append(top_absent(score[lo:hi], present, k[i], "growth", name) + lo)
    return torch.cat(keys)


def _counted(state: State, keys: np.ndarray) -> State:
    """How many topologies had each synapse that ever was, these ``keys`` as one more."""
    ever = np.concatenate([state["ever"].numpy(), keys])
    times = np.concatenate([state["times"].numpy(), np.ones(len(keys), np.int64)])
    ever, of = np.unique(ever, return_inverse=True)
    counted = np.bincount(of, times, len(ever)).astype(np.int64)
    return {"ever": torch.from_numpy(ever), "times": torch.from_numpy(counted)}

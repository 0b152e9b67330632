"""Cannistraci-Hebb training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..fields import Share
from ..graph import Edit, Graph
from ..rule import Rule, State
from ..select.choose import groups, largest, smallest
from ..select.exchange import exchange
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Replaced
from ..when import Clock, Every, value
from .shared.link_prediction import ch3_l3, fed_and_heard, grown, refuse_multapses

PAPER = """
@inproceedings{zhang2024epitopological,
  title = {Epitopological Learning and Cannistraci-Hebb Network Shape Intelligence Brain-Inspired
           Theory for Ultra-Sparse Advantage in Deep Learning},
  author = {Zhang, Yingtao and Zhao, Jialin and Wu, Wenjing and Muscoloni, Alessandro and
            Cannistraci, Carlo Vittorio},
  booktitle = {International Conference on Learning Representations},
  doi = {10.20944/preprints202207.0139},
  url = {https://openreview.net/forum?id=iayEcORsGd},
  year = {2024},
}
"""


@dataclass(frozen=True, kw_only=True)
class CHT(Rule):
    """Cannistraci-Hebb training (Zhang et al. 2024, "Epitopological learning and Cannistraci-Hebb
    network shape intelligence brain-inspired theory for ultra-sparse advantage in deep learning",
    ICLR 2024): drop small weights, grow where the topology predicts a link.

    At each tick, after the optimiser's step: (1) in each projection the ``fraction`` of smallest
    |w| is dropped; (2) the other synapses of hidden units that have lost all their inputs or all
    their outputs are dropped too, and so on along the chain; (3) as many as a projection lost are
    grown at the pairs (u, v) of largest CH3-L3 score in the remaining graph,

        sum over paths u - a - b - v of 1 / sqrt((1 + e_a) (1 + e_b)),

    e the neighbours of a that lie on no path from u to v and are not u or v (likewise of b). No
    gradient is needed. A synapse that is dropped and grown in one tick keeps its value.

    fraction: the paper's zeta, .3.
    soft:    draw the new synapses, without replacement, in proportion to their score, instead of
        taking the largest. `CHTs` also draws the dropped ones, and uses another score.
    chain:   whether to do (2).
    stop_at: a projection stops rewiring once more than this share of its dropped synapses is grown
        again in the same tick (the paper's early stop, .9); None: never.
    when:    the paper rewires once an epoch.

    A projection is treated as the bipartite graph of its parameter's rows and columns (of a
    convolution: output channels, and kernel positions of input channels). If fewer pairs than
    needed are joined by a path of three edges, the others are drawn at random. The time is in
    proportion to the number of such paths, about edges^3 / (rows x columns).

    Deviations:
    - The paper's initial topology and weights (by correlations of the inputs, CSTI and SWI) are not
      part of the rule, which begins with the graph that it is given.
    - ``soft=True`` is not the soft rule of the 2025 paper, which is `CHTs`: here only growth is
      drawn, by CH3-L3; `CHTs` also draws the synapses that stay, scores by CH2-L3n, lets zeta fall
      as a cosine and begins with a bipartite receptive field.
    - The optimiser also makes its step on ticks; the authors' code, a fork of RigL's, skips it.
    - The paper may also drop by relative importance (|w| over its row's and its column's sums);
      here by |w|.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.CHT(fraction=0.25, when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2)
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges
    40
    """

    version: ClassVar[int] = 2
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Zhang et al. 2024, doi:10.20944/preprints202207.0139"
    bibtex: ClassVar[str] = PAPER
    lives_under: ClassVar[frozenset[str]] = frozenset()  # it ranks all absent pairs itself
    keeps_slots: ClassVar[bool] = False

    fraction: Replaced = 0.3
    soft: bool = False
    chain: bool = True
    stop_at: Share | None = 0.9
    when: Period = Every(100)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        refuse_multapses(graph, self.name)
        return Edit(), {"rests": [0] * len(graph.projections)}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        # (1) the weakest of each projection
        fraction, ranges = value(self.fraction, clock), groups(graph, "layer")
        rests = list(state["rests"])
        k = [0 if rest else int(fraction * (hi - lo))
             for rest, (lo, hi) in zip(rests, ranges, strict=True)]  # fmt: skip
        drop = smallest(graph["weight"], k, ranges, magnitude=True, what="CHT's |weight|")
        stays = torch.ones(len(graph), dtype=torch.bool)
        stays[drop] = False
        # (2) what hidden units without inputs or outputs still have
        if self.chain:
            stays = fed_and_heard(graph, stays, rests)
        drop = (~stays).nonzero().squeeze(1)
        # (3) as many by CH3-L3 in what is left, the rest at random
        left = graph.apply(Edit(drop=drop))
        lost = [a - b for a, b in zip(graph.counts().tolist(), left.counts().tolist(), strict=True)]
        grow = grown(left, lost, lambda i, n: self._best(left, i, n, rng), rng)
        # a projection rests once most of what it drops comes back at once
        came_back = np.intersect1d(grow.numpy(), graph.array[drop.numpy()], assume_unique=True)
        back = np.histogram(came_back, graph.space.ends)[0].tolist()
        for i, n in enumerate(lost):
            if self.stop_at is not None and n and back[i] > self.stop_at * n:
                rests[i] = 1
        return exchange(graph, drop, grow), {**state, "rests": rests}

    def _best(self, left: Graph, i: int, n: int, rng: Stream) -> Tensor:
        """Keys of up to ``n`` absent synapses of projection i, by CH3-L3, ascending."""
        if not n:
            return torch.empty(0, dtype=torch.int64)
        at, scores = ch3_l3(left, i)
        n = min(n, len(at))
        if self.soft:  # the n largest of u^(1 / s): Efraimidis & Spirakis 2006
            scores = np.log(rng.doubles(len(at))) / scores
        rows = largest(torch.from_numpy(scores), n, what="CHT's CH3-L3 score")
        return torch.from_numpy(at)[rows] + left.space.bounds[i]

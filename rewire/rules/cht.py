"""Cannistraci-Hebb training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..fields import Share
from ..graph import Edit, Graph
from ..kernels.paths import paths_of_three
from ..rule import Rule, State
from ..select.choose import groups, largest, smallest
from ..select.grow import sample_absent
from ..signals import Signals
from ..streams import Stream
from ..when import Clock, Every, Fraction, When, value
from .shared.exchange import exchange

PAPER = """
@inproceedings{zhang2024epitopological,
  title = {Epitopological Learning and Cannistraci-Hebb Network Shape Intelligence Brain-Inspired
           Theory for Ultra-Sparse Advantage in Deep Learning},
  author = {Zhang, Yingtao and Zhao, Jialin and Wu, Wenjing and Muscoloni, Alessandro and
            Cannistraci, Carlo Vittorio},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
}
"""


@dataclass(frozen=True, kw_only=True)
class CHT(Rule):
    """Cannistraci-Hebb training (Zhang et al. 2024, "Epitopological learning and Cannistraci-Hebb
    network shape intelligence brain-inspired theory for ultra-sparse advantage in deep learning",
    ICLR 2024): drop small weights, grow where the topology alone predicts a link.

    At each tick, after the optimiser's step: (1) in each projection the ``fraction`` of smallest
    |w| is dropped; (2) so are the other synapses of hidden units that have lost all their inputs or
    all their outputs, and so on along the chain; (3) as many as a projection lost are grown at the
    pairs (u, v) of largest CH3-L3 score in what is left of it,

        sum over paths u - a - b - v of 1 / sqrt((1 + e_a) (1 + e_b)),

    e the neighbours of a that lie on no path from u to v and are not u or v (likewise of b). No
    gradient is asked for. One dropped and grown in one tick keeps its value: it never left.

    fraction: the paper's zeta, .3.
    soft:    draw the new ones, without replacement, in proportion to their score (CHTs, Zhang et
        al. 2025) in the place of taking the largest.
    chain:   whether to do (2).
    stop_at: a projection of which more than this share of the dropped synapses came back at once
        rests from then on (the paper's early stop, .9); None: none ever rests.
    when:    the paper rewires once an epoch.

    A projection is looked at as the bipartite graph of its parameter's rows and columns (of a
    convolution: output channels, and kernel positions of input channels). Where fewer pairs than
    needed are joined by a path of three, the rest is drawn at random. Time in proportion to the
    number of such paths, about edges^3 / (rows x columns).

    Deviations: the paper's initial topology and weights (by correlations of the inputs) are not
    part of the rule, which begins with the graph that it is given.

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

    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Zhang et al. 2024, ICLR (Cannistraci-Hebb training)"
    bibtex: ClassVar[str] = PAPER
    lives_under: ClassVar[frozenset[str]] = frozenset()  # it ranks all absent pairs itself

    fraction: Fraction = 0.3
    soft: bool = False
    chain: bool = True
    stop_at: Share | None = 0.9
    when: When = Every(100)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        for p in graph.projections:
            if p.multapses:
                raise ValueError(
                    f"CHT scores pairs that are not joined, and {p.name!r} may join a pair twice. "
                    "Use a projection without multapses."
                )
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
            stays = _fed_and_heard(graph, stays, rests)
        drop = (~stays).nonzero().squeeze(1)
        # (3) as many by CH3-L3 in what is left, the rest at random
        left = graph.apply(Edit(drop=drop))
        lost = [a - b for a, b in zip(graph.counts().tolist(), left.counts().tolist(), strict=True)]
        grown = [self._best(left, i, n, rng) for i, n in enumerate(lost)]
        missing = [n - len(g) for n, g in zip(lost, grown, strict=True)]
        grow = torch.cat(grown)
        if any(missing):
            more = sample_absent(left.apply(Edit(add=grow)), missing, rng)
            grow = torch.cat([grow, more]).sort().values
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


def ch3_l3(graph: Graph, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices of projection i's absent pairs that a path of three edges joins, ascending, and
    their CH3-L3 scores, float64, both (n,)."""
    p = graph.projections[i]
    local = graph.local(i).numpy()
    if p.kind.startswith("stacked"):  # rows and columns of each layer by themselves
        parts, rows, inner = p.shape
        row = local // inner
        starts = local.searchsorted(np.arange(parts * rows + 1, dtype=np.int64) * inner)
        columns = local % inner + row // rows * inner
        at, scores = paths_of_three(starts, columns, parts * inner)
        return at // (parts * inner) * inner + at % inner, scores
    width = p.size // p.shape[0]
    starts = local.searchsorted(np.arange(p.shape[0] + 1, dtype=np.int64) * width)
    return paths_of_three(starts, local % width, width)


def _fed_and_heard(graph: Graph, stays: Tensor, rests: list[int]) -> Tensor:
    """Of the edges that stay, (E,) bool, those whose hidden units have both inputs and outputs.

    Edges of projections that rest are left alone.
    """
    which, pre, post = graph.locate()
    free = ~torch.tensor(rests, dtype=torch.bool)[which]
    ends = []
    for population in graph.populations:
        into = [p.target == population.name for p in graph.projections]
        out_of = [p.source == population.name for p in graph.projections]
        if any(into) and any(out_of):
            ends.append((torch.tensor(into)[which], torch.tensor(out_of)[which], population.size))
    stays, before = stays.clone(), -1
    while int(stays.sum()) != before:
        before = int(stays.sum())
        for arrives, leaves, size in ends:
            fan_in = torch.bincount(post[arrives & stays], minlength=size)
            fan_out = torch.bincount(pre[leaves & stays], minlength=size)
            dead = (fan_in == 0) | (fan_out == 0)
            stays &= ~(free & ((arrives & dead[post % size]) | (leaves & dead[pre % size])))
    return stays

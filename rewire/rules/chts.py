"""Cannistraci-Hebb training with a soft rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..graph import Edit, Graph
from ..rule import Rule, State
from ..select.choose import largest, ranked_numbers
from ..select.exchange import exchange
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Replaced
from ..when import Clock, Cosine, Every, Linear, Rate, value
from .shared.link_prediction import ch2_l3n, ch3_l3, fed_and_heard, grown, refuse_multapses

PAPER = """
@inproceedings{zhang2025brain,
  title = {Brain network science modelling of sparse neural networks enables Transformers and
    {LLM}s to perform as fully connected},
  author = {Zhang, Yingtao and Cerretti, Diego and Zhao, Jialin and Wu, Wenjing and Liao, Ziheng
    and Michieli, Umberto and Cannistraci, Carlo Vittorio},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2501.19107},
  archiveprefix = {arXiv},
  year = {2025},
}
"""
SCORES = {"CH2-L3n": ch2_l3n, "CH3-L3p": ch3_l3}


@dataclass(frozen=True, kw_only=True)
class CHTs(Rule):
    """Cannistraci-Hebb training, soft rule (Zhang et al. 2025, arXiv:2501.19107): draw the synapses
    that stay by their weight, and those that grow by a score of the topology.

    At each tick, after the optimiser's step: (1) in each projection ``fraction`` of the synapses is
    dropped; those that stay are drawn without replacement, in proportion to |w|^T, T the
    ``sharpness``; (2) the other synapses of hidden units that have lost all their inputs or all
    their outputs are dropped too, and so on along the chain; (3) as many as a projection lost are
    drawn, without replacement, among the absent pairs (u, v), in proportion to their CH2-L3n score
    in the remaining graph,

        sum over the units z on paths u - a - b - v, a and b, of (1 + i_z) / (1 + e_z),

    i the links of z to other units of these paths, e its links to units on none of them. No
    gradient is needed. A synapse that is dropped and grown in one tick keeps its value.

    fraction:  zeta, from .3 to 0 as a cosine (the authors' ``adaptive_zeta``; .1 in their language
        models).
    sharpness: T, from 1 to 9 as a line: the authors' delta / (1 - delta), delta from .5 to .9. Up
        to 3 in their machine translation. With larger values the smallest |w| are dropped more
        certainly.
    score:     "CH2-L3n", by units (three products of matrices a projection, whatever its density:
        about rows x columns x (rows + columns) operations), or "CH3-L3p", `CHT`'s own, by paths.
    regrowth:  "drawn", or "largest": the largest scores, as the authors' code for language models.
    chain:     whether to do (2); not done in their language models.
    when:      up to three quarters of the training, as in their code.

    A projection is treated as the bipartite graph of its units (kernel positions and gates are
    separate columns). If fewer pairs than needed are joined by a path of three edges, the others
    are drawn uniformly.

    Start with ``initial="bipartite-receptive-field"``, as the paper does.

    Deviations:
    - The optimiser also makes its step on ticks; the authors' code skips it.
    - Weights below 1e-12 are drawn as if they were 1e-12, as in their code.
    - Queries and keys of attention, which the authors treat as one chain, are ordinary projections.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.CHTs(fraction=0.25, when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2, steps=4)
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> net.edges
    40
    """

    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Zhang et al. 2025, arXiv:2501.19107"
    bibtex: ClassVar[str] = PAPER
    lives_under: ClassVar[frozenset[str]] = frozenset()  # it ranks all absent pairs itself
    keeps_slots: ClassVar[bool] = False

    fraction: Replaced = Cosine(0.3)
    sharpness: Rate = Linear(1.0, 9.0)
    score: Literal["CH2-L3n", "CH3-L3p"] = "CH2-L3n"
    regrowth: Literal["drawn", "largest"] = "drawn"
    chain: bool = True
    when: Period = Every(100, stop=0.75)

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        refuse_multapses(graph, self.name)
        return Edit(), {}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        return self.rewired(graph, torch.arange(len(graph)), rng, clock), state

    def rewired(self, graph: Graph, rows: Tensor, rng: Stream, clock: Clock) -> Edit:
        """The edit that leaves as many synapses of each projection as ``rows``, ascending, has."""
        # (1) those that stay, drawn in proportion to |w|^T
        ends = rows.numpy().searchsorted(graph.bounds).tolist()
        ranges = list(zip(ends[:-1], ends[1:], strict=True))
        fraction, counts = value(self.fraction, clock), [hi - lo for lo, hi in ranges]
        keep = [n - int(fraction * n) for n in counts]
        chances = value(self.sharpness, clock) * _log_size(graph, rows, self.name)
        drawn = largest(_raced(chances, rng), keep, ranges)
        stays = torch.zeros(len(graph), dtype=torch.bool)
        stays[rows[drawn]] = True
        # (2) without what hidden units without inputs or outputs still have
        if self.chain:
            stays = fed_and_heard(graph, stays)
        drop = (~stays).nonzero().squeeze(1)
        # (3) as many as each projection lost, drawn in proportion to their score in what is left
        left = graph.apply(Edit(drop=drop))
        lost = [n - k for n, k in zip(counts, left.counts().tolist(), strict=True)]
        scored = partial(_best, left, self.score, rng if self.regrowth == "drawn" else None)
        return exchange(graph, drop, grown(left, lost, scored, rng))


def _log_size(graph: Graph, rows: Tensor, rule: str) -> np.ndarray:
    """ln |w| of these rows, not below that of 1e-12."""
    weight = ranked_numbers(graph["weight"][rows].double().abs().numpy(), f"{rule}'s |weight|")
    return np.log(np.maximum(weight, 1e-12))


def _best(left: Graph, score: str, rng: Stream | None, i: int, n: int) -> Tensor:
    """Keys of up to ``n`` absent synapses of projection i, ascending: drawn in proportion to their
    score where there is a stream to draw from, else of the largest."""
    if not n:
        return torch.empty(0, dtype=torch.int64)
    at, scores = SCORES[score](left, i)
    ranked = torch.from_numpy(scores) if rng is None else _raced(np.log(scores), rng)
    rows = largest(ranked, min(n, len(at)), what=f"the {score} score")
    return torch.from_numpy(at)[rows] + left.space.bounds[i]


def _raced(chances: np.ndarray, rng: Stream) -> Tensor:
    """ln p + Gumbel noise: the k largest are k draws without replacement in proportion to p."""
    with np.errstate(divide="ignore"):  # one of 2^53 numbers is 0
        return torch.from_numpy(chances - np.log(-np.log(rng.doubles(len(chances)))))

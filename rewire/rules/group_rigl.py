"""RigL by blocks or diagonals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch

from ..fields import Count
from ..graph import Edit, Graph, Projection
from ..rule import Rule, State
from ..select.choose import ranked_numbers
from ..select.exchange import exchange
from ..signals import Signals
from ..streams import Stream
from ..tunable import Period, Replaced, Tunable
from ..when import Clock, Cosine, Every, value
from .rigl import PAPER
from .shared.groups_of_keys import GroupsOfKeys, blocks_of, diagonals_of
from .shared.link_prediction import refuse_multapses


@dataclass(frozen=True, kw_only=True)
class GroupRigL(Rule):
    """RigL (Evci et al. 2020, arXiv:1911.11134) whose unit of an edit is a group of synapses: a
    block of a weight matrix, or one of its diagonals.

    On its ticks the rule takes the place of the optimiser step: in each projection the ``fraction``
    of groups of smallest mean |w| is dropped, and as many are grown whole where the mean |dL/dw| is
    largest among all that were not kept. A group that is dropped and grown in one tick keeps its
    values and moments. With blocks of 1 x 1 the rule is RigL.

    groups: "block", or "diagonal": the max(rows, columns) diagonals of min(rows, columns) synapses,
        which wrap around the longer side.
    block:  rows and columns of a block. If they do not divide a matrix, the blocks at its borders
        are smaller; groups are exchanged for groups of the same size, so that counts are constant.

    Before step 0 the topology is replaced by groups: those that contain most of its edges (at
    random among equal ones), as many as fit into the number of edges of each projection, so that a
    density is met to within one group. Edges that this adds have the model's own weights. From then
    on the number of edges is constant. Groups that another rule has broken are not exchanged.

    In the sparse world's C++ engine, linear and recurrent layers compute two rows that follow each
    other and have the same edges at once, as those of blocks do: faster, the same numbers up to
    rounding. Diagonals, and blocks of a convolution, are computed as any other edges are.

    Deviations:
    - This rule is not from a paper; arXiv:2510.14812 compares dynamic training by blocks and by
      diagonals, with and without learned permutations.
    - Those of `RigL`.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 12)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = rewire.GroupRigL(fraction=0.5, when=rewire.every(2))
    >>> net = rewire.attach(layer, optimizer, rule, density=0.2)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    >>> blocks = net.masks()["weight"].view(3, 4, 5, 4).sum((1, 3))
    >>> net.edges, blocks.unique().tolist()  # three blocks of 16, which are no more than 48
    (48, [0, 16])
    """

    needs: ClassVar[frozenset[str]] = frozenset({"growth", "weight"})
    skips_step: ClassVar[bool] = True
    kind: ClassVar[str] = "during training, constant budget"
    source: ClassVar[str] = "Evci et al. 2020, arXiv:1911.11134"
    bibtex: ClassVar[str] = PAPER
    lives_under: ClassVar[frozenset[str]] = frozenset()  # it ranks groups of synapses itself
    keeps_slots: ClassVar[bool] = False

    groups: Annotated[
        Literal["block", "diagonal"], Tunable(choices=("block", "diagonal"))
    ] = "block"  # fmt: skip
    block: tuple[Count, ...] = (4, 4)
    fraction: Replaced = Cosine(0.3)
    when: Period = Every(100, stop=0.75)

    def __post_init__(self) -> None:
        if len(self.block) != 2:
            raise ValueError(
                f"GroupRigL.block is the rows and columns of a block, got {self.block}."
            )

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        refuse_multapses(graph, self.name)
        keys = []
        for i, p in enumerate(graph.projections):
            of = self._of(p)
            held = np.bincount(of.number[graph.local(i).numpy()], minlength=len(of.lengths))
            drawn = rng.permutation(len(of.lengths)).numpy()
            fullest = drawn[np.argsort(-held[drawn], kind="stable")]
            chosen = self._fitting(p, fullest, of.lengths, int(held.sum()))
            keys.append(np.flatnonzero(chosen[of.number]) + graph.space.bounds[i])
        there = np.concatenate(keys)
        added = torch.from_numpy(np.setdiff1d(there, graph.array, assume_unique=True))
        gone = np.flatnonzero(~np.isin(graph.array, there, assume_unique=True))
        birth = {"weight": signals.pair("weight", added).to(graph["weight"])}
        return Edit(drop=torch.from_numpy(gone), add=added, birth=birth), {}

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        fraction, slopes = value(self.fraction, clock), signals.whole("growth").double().numpy()
        drop, grow = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for i, p in enumerate(graph.projections):
            of, first, rows = self._of(p), graph.space.bounds[i], graph.rows(i)
            local = graph.local(i).numpy()
            size = graph["weight"][rows].double().abs().numpy()
            ranked_numbers(size, "GroupRigL's |weight|")
            gradient = slopes[first : first + p.size]
            ranked_numbers(gradient, "GroupRigL's |gradient|")
            goes, comes = _exchanged(of, of.number[local], size, gradient, fraction)
            drop.append(np.flatnonzero(goes[of.number[local]]) + rows.start)
            grow.append(np.flatnonzero(comes[of.number]) + first)
        dropped, grown = (torch.from_numpy(np.concatenate(x)) for x in (drop, grow))
        return exchange(graph, dropped, grown), state

    def _of(self, p: Projection) -> GroupsOfKeys:
        return diagonals_of(p) if self.groups == "diagonal" else blocks_of(p, *self.block)

    def _fitting(
        self, p: Projection, order: np.ndarray, lengths: np.ndarray, count: int
    ) -> np.ndarray:
        """Which groups, taken in this order, have ``count`` edges or as few less as they can."""
        chosen, left = np.zeros(len(lengths), bool), count
        for group in order:
            if lengths[group] <= left:
                chosen[group] = True
                left -= int(lengths[group])
        if count and left == count:
            raise ValueError(
                f"GroupRigL cannot keep {count:,} edges of {p.name!r} in {self.groups}s of "
                f"{int(lengths.min())} and more: ask for a higher density, or for smaller blocks."
            )
        return chosen


def _exchanged(
    of: GroupsOfKeys, number: np.ndarray, size: np.ndarray, gradient: np.ndarray, fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which groups are dropped and which grown, from |w| of the edges and |dL/dw| of all keys."""
    many = len(of.lengths)
    held = np.bincount(number, minlength=many)
    worth = np.bincount(number, size, many) / of.lengths
    slope = np.bincount(of.number, gradient, many) / of.lengths
    goes, comes = np.zeros(many, bool), np.zeros(many, bool)
    for length in np.unique(of.lengths):
        alike = of.lengths == length
        whole, absent = (
            np.flatnonzero(alike & (held == length)),
            np.flatnonzero(alike & (held == 0)),
        )
        k = int(fraction * len(whole))
        weakest = whole[np.argsort(worth[whole], kind="stable")[:k]]
        goes[weakest] = True
        free = np.sort(np.concatenate([absent, weakest]))
        comes[free[np.argsort(-slope[free], kind="stable")[:k]]] = True
    return goes, comes

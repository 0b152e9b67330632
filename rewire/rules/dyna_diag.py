"""DynaDiag: diagonals whose importance is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..fields import NonNegative, Only, Positive
from ..graph import NOTHING, Edit, Graph
from ..rule import State
from ..select.choose import largest, ranked_numbers
from ..signals import Signals
from ..streams import Stream
from ..tunable import Tunable
from ..when import Bound, Clock, Every, When
from .shared.gradual import Gradual
from .shared.groups_of_keys import diagonals_of

PAPER = """
@inproceedings{tyagi2025dynamic,
  title = {Dynamic Sparse Training of Diagonally Sparse Networks},
  author = {Tyagi, Abhishek and Iyer, Arjun and Renninger, William H. and Kanan, Christopher and
    Zhu, Yuhao},
  booktitle = {International Conference on Machine Learning},
  eprint = {2506.11449},
  archiveprefix = {arXiv},
  year = {2025},
}
"""
MOMENTS = 0.9, 0.999  # of Adam, and the number beside the root
TINY = 1e-8


@dataclass(frozen=True, kw_only=True)
class DynaDiag(Gradual):
    """DynaDiag (Tyagi et al. 2025, arXiv:2506.11449): keep whole diagonals of each weight matrix,
    chosen by an importance that is trained with the weights.

    A matrix of R rows and C columns has max(R, C) diagonals of min(R, C) weights, which wrap around
    its longer side. The network computes with w m, m of a weight's diagonal j

        m_j = min(k softmax(alpha / T)_j, 1),

    a soft choice of the k most important of a projection, over w (by its own optimiser) and over
    alpha (by Adam) at once. T falls from ``hot`` to ``cold`` as a cosine. At the last step not
    after ``until`` the choice becomes hard: the k diagonals of largest alpha are live with m = 1,
    all others stay silent, and training continues.

    to:        the final density, set by ``density``: the largest number of whole diagonals that
        does not exceed it, each projection as close to its share as possible and with at least one.
    hot, cold: the authors' 5 and .05. until: they choose at epoch 30 of 100.
    rate, decay: Adam's of alpha, the authors' .001 and .0001; alpha starts even.

    A projection is treated as the matrix of its units (kernel positions and gates are separate
    columns; groups of a convolution have separate diagonals, which are chosen together).

    All edges are live until the choice, except those whose m is below the smallest number of
    float32.

    Deviations:
    - The authors round k up, and their density with it.
    - T falls each step (theirs: each epoch).
    - Their layers are linear ones.

    >>> import torch, rewire
    >>> layer = torch.nn.Linear(20, 10)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> net = rewire.attach(layer, optimizer, rewire.DynaDiag(), density=0.12, steps=10)
    >>> edges = []
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     layer(torch.randn(8, 20)).square().sum().backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges[0], edges[-1]  # two diagonals of 10, which are no more than 24
    (200, 20)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"grad"})
    columns: ClassVar[Mapping[str, Any]] = {
        "gain": 1.0, "slope": 1.0, "before": 0.0, "diagonal": 0.0,
    }  # fmt: skip
    kind: ClassVar[str] = "during training, falling budget"
    source: ClassVar[str] = "Tyagi et al. 2025, arXiv:2506.11449"
    bibtex: ClassVar[str] = PAPER

    hot: Positive = 5.0
    cold: Annotated[Positive, Tunable(0.005, 0.5, log=True)] = 0.05
    rate: Annotated[NonNegative, Tunable(1e-4, 0.1, log=True)] = 1e-3
    decay: NonNegative = 1e-4
    when: Annotated[
        When,
        Only(
            Every(1),
            "every(1)",
            "diagonals are weighed at each step of the network; until= ends their training",
        ),
    ] = Every(1)
    until: Annotated[Bound | None, Tunable(0.1, 0.75)] = 0.3

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        _, state = super().start(graph, signals, rng)
        numbers, counts, lengths = list[np.ndarray](), list[int](), list[int]()
        for i, p in enumerate(graph.projections):
            of = diagonals_of(p)
            numbers.append(of.number[graph.local(i).numpy()] + sum(counts))
            counts.append(len(of.lengths))
            lengths.append(int(of.lengths[0]))
        keep = self._shares(graph, counts, lengths)
        alpha = torch.cat([torch.full((n,), 1 / n, dtype=torch.float64) for n in counts])
        state = {**state, "counts": counts, "keep": keep, "alpha": alpha, "cut": False,
                 "mean": torch.zeros_like(alpha), "square": torch.zeros_like(alpha)}  # fmt: skip
        diagonal = torch.from_numpy(np.concatenate(numbers))
        gain = self._soft(state, alpha, self.hot)[0][diagonal].float()
        columns = {"gain": gain, "slope": gain, "before": graph["weight"]}
        return Edit(set={**columns, "diagonal": diagonal.float()}), state

    def update(
        self, graph: Graph, signals: Signals, state: State, rng: Stream, clock: Clock
    ) -> tuple[Edit, State]:
        assert isinstance(self.when, Every)
        if state["cut"]:
            return NOTHING, state
        last = self.when.last(clock.span, self.until)
        alpha, diagonal = state["alpha"], graph["diagonal"].long()
        # dL/dm of each diagonal: dL/d(w m) w over its weights, as this step found them
        slope = (signals.pair("grad", graph.keys) * graph["before"]).double()
        slope = torch.zeros_like(alpha).index_add_(0, diagonal, slope)
        # through min(k p, 1) and the softmax p of alpha / T
        heat = self._heat(clock.step, last)
        soft, chance = self._soft(state, alpha, heat)
        slope = slope * soft / chance.clamp(min=1e-300) * (soft < 1)  # soft / chance is k
        for lo, hi in _ranges(state["counts"]):
            p = chance[lo:hi]
            slope[lo:hi] = p * (slope[lo:hi] - (p * slope[lo:hi]).sum()) / heat
        # Adam, as torch.optim has it
        slope = slope + self.decay * alpha
        b1, b2 = MOMENTS
        mean = b1 * state["mean"] + (1 - b1) * slope
        square = b2 * state["square"] + (1 - b2) * slope**2
        root = (square / (1 - b2**clock.step)).sqrt() + TINY
        alpha = alpha - self.rate * mean / (1 - b1**clock.step) / root
        ranked_numbers(alpha.numpy(), "DynaDiag's importance")
        cut = clock.step >= last
        after = {**state, "alpha": alpha, "mean": mean, "square": square, "cut": cut}
        chosen = _hard(after, alpha) if cut else (
            self._soft(after, alpha, self._heat(clock.step + 1, last))[0]
        )  # fmt: skip
        gain = chosen[diagonal].float()
        return Edit(set={"gain": gain, "slope": gain, "before": graph["weight"]}), after

    def _heat(self, step: int, last: int) -> float:
        """The temperature that a step, from 1 to the last, computes with."""
        done = min((step - 1) / max(last - 1, 1), 1.0)
        return self.cold + (self.hot - self.cold) / 2 * (1 + cos(pi * done))

    def _soft(self, state: State, alpha: Tensor, heat: float) -> tuple[Tensor, Tensor]:
        """m and the softmax of each diagonal, projection by projection."""
        chance = torch.cat([
            torch.softmax(alpha[lo:hi] / heat, 0) for lo, hi in _ranges(state["counts"])
        ])  # fmt: skip
        k = torch.tensor(state["keep"]).repeat_interleave(torch.tensor(state["counts"]))
        return (k * chance).clamp(max=1.0), chance

    def _shares(self, graph: Graph, counts: list[int], lengths: list[int]) -> list[int]:
        """How many diagonals each projection keeps."""
        assert self.to is not None
        most = round(self.to * graph.possible)
        exact = [self.to * p.size / n for p, n in zip(graph.projections, lengths, strict=True)]
        keep = [min(max(int(k), 1), n) for k, n in zip(exact, counts, strict=True)]
        edges = sum(k * n for k, n in zip(keep, lengths, strict=True))
        if edges > most:
            raise ValueError(
                f"DynaDiag cannot end at density {self.to:g}, {most:,} of {graph.possible:,} "
                f"edges: one diagonal in each projection and as many as fit in the others are "
                f"{edges:,}. Ask for a higher density."
            )
        # what is left over goes where most is missing
        for i in sorted(range(len(keep)), key=lambda i: (keep[i] - exact[i], i)):
            if keep[i] < counts[i] and keep[i] < exact[i] and edges + lengths[i] <= most:
                keep[i], edges = keep[i] + 1, edges + lengths[i]
        return keep


def _ranges(counts: list[int]) -> list[tuple[int, int]]:
    return list(pairwise([0, *np.cumsum(counts).tolist()]))


def _hard(state: State, alpha: Tensor) -> Tensor:
    """1 for the k diagonals of largest importance of each projection, else 0."""
    rows = largest(alpha, state["keep"], _ranges(state["counts"]), what="DynaDiag's importance")
    out = torch.zeros_like(alpha)
    out[rows] = 1.0
    return out

"""N:M sparsity by magnitude: N of every M weights in sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..graph import Edit, Graph
from ..rule import Rule, State
from ..select import ranked_numbers
from ..signals import Signals
from ..streams import Stream
from ..when import When, never

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

INPUTS = {"embedding": 0, "conv_transpose": 0}  # the axis of the inputs; 1 for all other kinds


@dataclass(frozen=True, kw_only=True)
class NM(Rule):
    """Keep the n largest |w| of every m in sequence along the inputs, once, before training
    (Mishra et al. 2021, arXiv:2104.08378, the one-shot recipe for sparse tensor cores).

    Of a trained model: its recipe, prune and train on with the same settings. Groups are of m
    inputs to one output (of a convolution: at one place of the kernel); a last, shorter group
    keeps n too. Exact: n in each group, the smaller key first among equals.

    n, m: 2 of 4 is what NVIDIA's tensor cores run; the density is n / m, and no other.

    Deviation: none of the paper's permutations of channels.
    """

    prunes_at_start: ClassVar[bool] = True
    kind: ClassVar[str] = "at initialisation"
    source: ClassVar[str] = "Mishra et al. 2021, arXiv:2104.08378"
    bibtex: ClassVar[str] = PAPER

    n: int = 2
    m: int = 4
    when: When = never

    def __post_init__(self) -> None:
        check(self.name, self.n, self.m)

    def aimed(self, counts: Sequence[int]) -> Rule:
        return self  # the groups say how many

    def towards(self, densities: Sequence[float]) -> Rule:
        suits(self.name, self.n, self.m, densities)
        return self

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        return Edit(drop=(~chosen(graph, self.n, self.m, "NM's |weight|")).nonzero().squeeze(1)), {}


def check(name: str, n: int, m: int) -> None:
    """Raise ValueError where n of m is no pattern."""
    if not 1 <= n <= m:
        raise ValueError(f"{name} keeps n of every m weights, 1 <= n <= m; got n={n}, m={m}.")


def suits(name: str, n: int, m: int, densities: Sequence[float]) -> None:
    """Raise ValueError for a density that n of m is not."""
    for density in densities:
        if abs(density - n / m) > 1e-3 * n / m:
            raise ValueError(
                f"{name} keeps {n} of every {m} weights, density {n / m:.4g}, and was asked for "
                f"{density:g}: ask for {n / m:.4g}, or set n and m."
            )


def chosen(graph: Graph, n: int, m: int, what: str) -> Tensor:
    """Whether each edge is among the n largest |w| of its group of m, (E,) bool.

    Raises ValueError for NaN, naming ``what``.
    """
    if graph.space.multapses:
        raise ValueError("n of m counts weights of pairs, and a projection here allows multapses.")
    size = graph["weight"].abs()
    ranked_numbers(size.numpy(), what)
    parts = [
        _of_projection(graph, i, size[graph.rows(i)], n, m) for i in range(len(graph.projections))
    ]
    return torch.cat(parts)


def _of_projection(graph: Graph, i: int, size: Tensor, n: int, m: int) -> Tensor:
    p, local = graph.projections[i], graph.local(i)
    scores = size.new_full((p.size,), -1.0)  # below every magnitude: absent
    scores[local] = size
    axis = INPUTS.get(p.kind, 1)
    scores = scores.view(p.shape).movedim(axis, -1)
    short = -scores.shape[-1] % m
    padded = torch.nn.functional.pad(scores, (0, short), value=-1.0)
    rows = padded.reshape(-1, m)
    best = _best(rows, n)
    best = best.view(padded.shape)[..., : scores.shape[-1]].movedim(-1, axis)
    return best.reshape(-1)[local]


def _best(rows: Tensor, n: int) -> Tensor:
    """The n largest of each row, the first among equals, as booleans of its shape."""
    cut = rows.topk(n, dim=1).values[:, -1:]
    best = rows >= cut
    tied = (best.sum(1) > n).nonzero().squeeze(1)
    equal, above = rows[tied] == cut[tied], rows[tied] > cut[tied]
    best[tied] = above | equal & (equal.cumsum(1) <= n - above.sum(1, keepdim=True))
    return best

"""Optimal Brain Surgeon with the empirical Fisher matrix in blocks: WoodFisher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from ..graph import Edit, Graph
from ..select.choose import groups, smallest
from ..signals import Signals
from ..tunable import Tunable
from .shared.gradual import Ranked

AT_ONCE = 2**20  # numbers of the block inverses made at a time: 8 MB

PAPER = """
@inproceedings{singh2020woodfisher,
  title = {WoodFisher: Efficient Second-Order Approximation for Neural Network Compression},
  author = {Singh, Sidak Pal and Alistarh, Dan},
  booktitle = {Advances in Neural Information Processing Systems 33},
  eprint = {2004.14340},
  archiveprefix = {arXiv},
  year = {2020},
}
"""


@dataclass(frozen=True, kw_only=True)
class WoodFisher(Ranked):
    """WoodFisher (Singh & Alistarh 2020, arXiv:2004.14340, equations 3-11): Optimal Brain Surgeon
    (Hassibi & Stork 1993) with the empirical Fisher matrix for the Hessian, in diagonal blocks.

    Training starts dense. At each tick, after the optimiser's step, with F = damp I + the mean of
    g_n g_n^T over the probe's examples n, in blocks of ``block`` synapses that follow each other in
    a projection: the synapses of smallest w_q^2 / (2 [F^-1]_qq) are dropped, and the others of
    their blocks change to compensate for it.

    block:  number of remaining synapses in a block (the last block of a projection is shorter).
        O(edges x block) memory, O(edges x block^2) time.
    damp:   lambda, that of the authors' MNIST scripts; their ImageNet ones have 1e-5.
    survivors: how the remaining weights change. "joint": the change that is optimal for all weights
        that a block loses (Hassibi & Stork's constraints, all at once). "singles", the paper's:
        each dropped weight q changes the others by -w_q F^-1 e_q / [F^-1]_qq, and these changes are
        added; the sum is far too large if many weights are dropped at once or ``damp`` is small.
        "nothing": they do not change (an ablation).

    Memory of the examples' gradients: one number for each edge and example; some hundred examples
    are enough. Moments of the remaining weights do not change.

    Deviations:
    - "joint" is the default (dropping a fifth of a small network at once by "singles" cost up to
      three times as much, at the paper's damp).
    - The authors' blocks are those of the dense layer, with masked gradients; here blocks are
      formed anew from the remaining edges.
    - The inverse is by Cholesky factors in float64, the authors' by Woodbury updates: the same
      matrix.

    >>> import torch, rewire
    >>> from torch.nn.functional import cross_entropy
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batch = torch.randn(8, 20), torch.randint(3, (8,))
    >>> probe = rewire.Probe([batch], lambda model, b: cross_entropy(model(b[0]), b[1]))
    >>> rule = rewire.WoodFisher(when=rewire.every(1))
    >>> net = rewire.attach(model, optimizer, rule, density=0.1, probe=probe, steps=3)
    >>> edges = [net.edges]
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     probe.loss(model, batch).backward()
    ...     net.step()
    ...     edges.append(net.edges)
    >>> edges
    [230, 84, 31, 23]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"example_gradients"})
    source: ClassVar[str] = "Singh & Alistarh 2020, arXiv:2004.14340"
    bibtex: ClassVar[str] = PAPER

    block: int = 50
    damp: Annotated[float, Tunable(1e-5, 0.1, log=True)] = 1e-3
    survivors: Literal["singles", "joint", "nothing"] = "joint"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block < 1:
            raise ValueError(f"WoodFisher's block holds one synapse or more, got {self.block}.")
        if not self.damp > 0:
            raise ValueError(f"WoodFisher's damp must be above 0, got {self.damp}.")

    def prune(self, graph: Graph, signals: Signals, k: Sequence[int]) -> Edit:
        g = signals.pair("example_gradients", graph.keys)
        weight = graph["weight"].double()
        cost, blocks = torch.empty_like(weight), []
        # saliency w_q^2 / (2 [F^-1]_qq), F block by block along the rows
        for rows in _blocks(graph.bounds, self.block):
            inverse = inverse_fisher(g[rows].double(), self.damp)
            cost[rows] = weight[rows].square() / (2 * inverse.diagonal(dim1=1, dim2=2))
            blocks.append((rows, inverse))
        drop = smallest(cost, k, groups(graph, self.scope), what="WoodFisher's saliency")
        if self.survivors == "nothing":
            return Edit(drop=drop)
        # survivors take over what those that go did, as far as a block's curvature says
        leaves = torch.zeros(len(weight), dtype=torch.bool)
        leaves[drop] = True
        moved = weight.clone()
        for rows, inverse in blocks:
            moved[rows] += step(
                inverse, weight[rows], leaves[rows], joint=self.survivors == "joint"
            )
        return Edit(set={"weight": moved.to(graph["weight"])}, drop=drop)


def _blocks(bounds: Sequence[int], size: int) -> Iterator[Tensor]:
    """Row numbers of blocks of one size, (b, size), a few blocks at a time."""
    for lo, hi in pairwise(bounds):
        # whole blocks in stacks that fit in memory, then the rest of the projection
        whole = (hi - lo) // size * size
        many = max(1, AT_ONCE // size**2)
        if whole:
            yield from torch.arange(lo, lo + whole).view(-1, size).split(many)
        if lo + whole < hi:
            yield torch.arange(lo + whole, hi).view(1, -1)


def inverse_fisher(gradients: Tensor, damp: float) -> Tensor:
    """(damp I + G^T G / N)^-1 of each block, (b, B, B), from gradients (b, B, N) of N examples.

    Raises ValueError where they are not finite.
    """
    fisher = gradients @ gradients.mT / gradients.shape[2]
    if not fisher.diagonal(dim1=1, dim2=2).isfinite().all():
        raise ValueError(
            "WoodFisher's gradients are not finite, and edges cannot be ranked by them. Training "
            "has diverged."
        )
    # damped: the empirical Fisher of few examples is singular
    fisher.diagonal(dim1=1, dim2=2).add_(damp)
    return torch.cholesky_inverse(torch.linalg.cholesky(fisher))


def step(inverse: Tensor, weight: Tensor, leaves: Tensor, *, joint: bool) -> Tensor:
    """How the weights (b, B) move as those of ``leaves`` go; what it makes of these is of no use.

    joint: -F^-1 E (E^T F^-1 E)^-1 E^T w, E the columns of I of those that go; else the sum of
    what each of them alone would do.
    """
    lost = torch.where(leaves, weight, 0.0)
    if joint:
        # E^T F^-1 E, with the identity for those that stay: one solve for blocks of any pattern
        both = leaves.unsqueeze(1) & leaves.unsqueeze(2)
        system = torch.where(both, inverse, 0.0)
        system.diagonal(dim1=1, dim2=2).add_((~leaves).to(system))
        pull = torch.linalg.solve(system, lost.unsqueeze(2))
    else:
        pull = (lost / inverse.diagonal(dim1=1, dim2=2)).unsqueeze(2)
    return -(inverse @ pull).squeeze(2)

"""Pruning by the diagonal of the empirical Fisher matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..graph import Edit, Graph
from ..select.choose import groups, smallest
from ..signals import Signals
from .shared.gradual import Ranked

PAPER = r"""
@misc{theis2018faster,
  title = {Faster Gaze Prediction with Dense Networks and Fisher Pruning},
  author = {Theis, Lucas and Korshunova, Iryna and Tejani, Alykhan and Husz{\'a}r, Ferenc},
  eprint = {1801.05787},
  archiveprefix = {arXiv},
  year = {2018},
}
"""


@dataclass(frozen=True, kw_only=True)
class DiagonalFisher(Ranked):
    """Fisher pruning (Theis et al. 2018, arXiv:1801.05787, equation 7, for single weights; the
    diagonal baseline of Singh & Alistarh 2020, arXiv:2004.14340).

    Training starts dense. At each tick, after the optimiser's step, the synapses of smallest F w^2
    / 2 are dropped, F the mean of (dL_n / dw)^2 over the probe's examples n: the empirical Fisher
    matrix instead of the Hessian of Optimal Brain Damage. It costs one backward pass for each
    example, whatever the number of outputs, and is 0 if every example is fitted.

    Deviations:
    - Theis et al. prune whole feature maps, and weigh the loss against the cost of computing; here
      synapses are pruned, without costs, along the cubic schedule of `GMP`.
    - Dropped synapses do not return; ties are broken by key.

    >>> import torch, rewire
    >>> from torch.nn.functional import cross_entropy
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batch = torch.randn(8, 20), torch.randint(3, (8,))
    >>> probe = rewire.Probe([batch], lambda model, b: cross_entropy(model(b[0]), b[1]))
    >>> rule = rewire.DiagonalFisher(when=rewire.every(1))
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

    needs: ClassVar[frozenset[str]] = frozenset({"fisher"})
    source: ClassVar[str] = "Theis et al. 2018, arXiv:1801.05787"
    bibtex: ClassVar[str] = PAPER

    def prune(self, graph: Graph, signals: Signals, k: Sequence[int]) -> Edit:
        # eq. 7 of single weights: the Fisher matrix's diagonal in the place of the Hessian's
        f = signals.pair("fisher", graph.keys)
        saliency = f * graph["weight"].to(f).square() / 2
        ranges = groups(graph, self.scope)
        return Edit(drop=smallest(saliency, k, ranges, what="DiagonalFisher's saliency"))

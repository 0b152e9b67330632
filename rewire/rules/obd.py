"""Optimal Brain Damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..graph import Edit, Graph
from ..rule import State
from ..select.choose import groups, smallest
from ..signals import Signals
from ..streams import Stream
from .shared.gradual import Ranked

PAPER = """
@inproceedings{lecun1990optimal,
  title = {Optimal Brain Damage},
  author = {LeCun, Yann and Denker, John S. and Solla, Sara A.},
  booktitle = {Advances in Neural Information Processing Systems 2},
  pages = {598--605},
  year = {1990},
}
"""


@dataclass(frozen=True, kw_only=True)
class OBD(Ranked):
    """Optimal Brain Damage (LeCun, Denker & Solla 1990, NeurIPS 2, equations 5-11).

    Training starts dense. At each tick, after the optimiser's step, the synapses of smallest
    saliency h w^2 / 2 are dropped, h the diagonal of the Hessian of the mean loss over the probe's
    examples: the increase of the loss at a minimum, to second order and with the other weights
    fixed. The remaining weights are trained until the next tick.

    recursion: False: h is the exact diagonal of the Gauss-Newton matrix (without the second
        derivatives of the activations, as in the paper), by one backward pass for each example and
        output. True: the paper's own backward recursion (equations 8-11, without the term in f''),
        which also neglects off-diagonal terms at every layer. It needs one pass for each batch, and
        a chain of linear, convolutional and elementwise modules. In the last layer the two agree;
        below they differ, by up to a factor of 2 in small networks.

    Deviations:
    - The paper prunes a trained network a few times by hand; here pruning follows the cubic
      schedule of `GMP`.
    - A weight that a convolution shares has one h, the second derivative of the loss by this weight
      (the paper sums those of its connections, as the recursion does).
    - By default h is the exact diagonal, not the paper's recursion (``recursion=True``).

    >>> import torch, rewire
    >>> from torch.nn.functional import cross_entropy
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batch = torch.randn(8, 20), torch.randint(3, (8,))
    >>> probe = rewire.Probe([batch], lambda model, b: cross_entropy(model(b[0]), b[1]))
    >>> rule = rewire.OBD(when=rewire.every(1))
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

    needs: ClassVar[frozenset[str]] = frozenset({"hessian_diag"})
    source: ClassVar[str] = "LeCun, Denker & Solla 1990"
    bibtex: ClassVar[str] = PAPER

    recursion: bool = False

    def start(self, graph: Graph, signals: Signals, rng: Stream) -> tuple[Edit, State]:
        if self.recursion:  # refused before the first step where the model is no chain
            signals.pair("hessian_diag", graph.keys[:0], recursion=True)
        return super().start(graph, signals, rng)

    def prune(self, graph: Graph, signals: Signals, k: Sequence[int]) -> Edit:
        # s_k = h_kk w_k^2 / 2: what the loss gains to second order (eq. 5)
        h = signals.pair("hessian_diag", graph.keys, recursion=self.recursion)
        saliency = h * graph["weight"].to(h).square() / 2
        return Edit(drop=smallest(saliency, k, groups(graph, self.scope), what="OBD's saliency"))

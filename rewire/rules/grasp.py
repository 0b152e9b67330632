"""GraSP: gradient signal preservation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..graph import Edit, Graph
from ..signals import Signals, dense_signal
from ..streams import Stream
from ..tunable import Tunable
from .shared.prune_at_start import PruneAtStart

if TYPE_CHECKING:
    from ..world import DenseModel

PAPER = """
@inproceedings{wang2020picking,
  title = {Picking Winning Tickets Before Training by Preserving Gradient Flow},
  author = {Wang, Chaoqi and Zhang, Guodong and Grosse, Roger},
  booktitle = {International Conference on Learning Representations},
  eprint = {2002.07376},
  archiveprefix = {arXiv},
  year = {2020},
}
"""


@dataclass(frozen=True, kw_only=True)
class GraSP(PruneAtStart):
    """Keep the synapses whose removal would reduce the gradient norm most (Wang, Zhang & Grosse
    2020, arXiv:2002.07376, Algorithm 1).

    To first order, removing weight q changes |g|^2 by 2 S_q, S = -w * Hg (equation 8), with g and H
    the gradient and the Hessian of the probe's mean loss with respect to the weights that may be
    sparse. The *largest* S are dropped, so the largest w * Hg are kept: by value, not by magnitude.
    Hg is exact (two backward passes).

    temperature: the model's output (its logits) is divided by it before the loss. 200, as in the
        authors' code, from which the paper's results come; 1 is the paper's formula as it stands.

    The probe's loss must take the model's output as one tensor.

    Deviations:
    - The authors' code scores a copy whose linear layers are drawn anew; here the model is scored
      as it is.
    - The authors' code divides S by |sum S|, which does not change the ranking.
    - The authors use ten examples of each class; here the probe determines the examples.

    >>> import torch, rewire
    >>> from torch.nn.functional import cross_entropy
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batch = torch.randn(8, 20), torch.randint(3, (8,))
    >>> probe = rewire.Probe([batch], lambda model, b: cross_entropy(model(b[0]), b[1]))
    >>> net = rewire.attach(model, optimizer, rewire.GraSP(), density=0.1, probe=probe)
    >>> net.edges, net.graph.possible
    (23, 230)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient_flow"})
    source: ClassVar[str] = "Wang et al. 2020, arXiv:2002.07376"
    bibtex: ClassVar[str] = PAPER

    temperature: Annotated[float, Tunable(1.0, 1000.0, log=True)] = 200.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"GraSP's temperature is above 0, got {self.temperature}.")

    def cut(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        def flow(left: Graph) -> Tensor:
            return signals.at(left).pair("gradient_flow", left.keys, temperature=self.temperature)

        return self.prune(graph, flow)


@dense_signal("gradient_flow", needs_probe=True)
@torch.enable_grad()
@sdpa_kernel(SDPBackend.MATH)  # torch's faster ones have no second derivative
def gradient_flow(
    world: DenseModel, graph: Graph, keys: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """w * Hg of the probe's mean loss: half of what |g|^2 gains as w grows by itself.

    0 at absent synapses, which take no part in g either.
    """
    probe = world.probe
    assert probe is not None
    weights = world.effective_weights()
    forward = world.model_with(weights)

    def model(*args: Any, **kwargs: Any) -> Tensor:
        return forward(*args, **kwargs) / temperature

    def gradients(create_graph: bool) -> Iterator[list[Tensor]]:
        """Of each batch, of the weights that there are."""
        for batch in probe.batches:
            slopes = torch.autograd.grad(
                probe.loss(model, batch), weights, allow_unused=True, create_graph=create_graph
            )
            yield [torch.zeros_like(w) if g is None else g * m
                   for w, g, m in zip(weights, slopes, world.masks, strict=True)]  # fmt: skip

    # g first, then Hg as the gradient of g (constant) . dL/dw
    n = world.counted(len(probe.batches))
    totals = [sum(parts[1:], parts[0]) for parts in zip(*gradients(False), strict=True)]
    g = [total / n for total in world.summed(totals)]
    scores = [torch.zeros_like(w) for w in weights]
    for own in gradients(True):  # one batch's graph in memory at a time
        flow = torch.stack([(a * b).sum() for a, b in zip(g, own, strict=True)]).sum()
        # d(g . dL/dw)/dw = Hg with g constant, of this batch
        if not flow.requires_grad:  # a loss without curvature
            continue
        curved = torch.autograd.grad(flow, weights, allow_unused=True)
        for score, w, h in zip(scores, weights, curved, strict=True):
            if h is not None:
                score += (w * h).detach() / n
    return world.numbers_at(keys, world.summed(scores))

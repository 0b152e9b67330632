"""ProsPr: prospect pruning, by gradients through the first steps of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..fields import Count, Positive, Share
from ..graph import Edit, Graph
from ..signals import Signals, dense_signal
from ..streams import Stream
from ..tunable import Tunable
from .shared.prune_at_start import PruneAtStart

if TYPE_CHECKING:
    from ..world import DenseModel

PAPER = """
@inproceedings{alizadeh2022prospect,
  title = {Prospect Pruning: Finding Trainable Weights at Initialization using Meta-Gradients},
  author = {Alizadeh, Milad and Tailor, Shyam A. and Zintgraf, Luisa M. and van Amersfoort, Joost
    and Farquhar, Sebastian and Lane, Nicholas Donald and Gal, Yarin},
  booktitle = {International Conference on Learning Representations},
  eprint = {2202.08132},
  archiveprefix = {arXiv},
  year = {2022},
}
"""


@dataclass(frozen=True, kw_only=True)
class ProsPr(PruneAtStart):
    """Keep the synapses on which the loss after some steps of training depends most (Alizadeh et
    al. 2022, arXiv:2202.08132).

    The network starts at w_0 = c w, with c a factor of 1 on each weight, and takes ``steps`` steps
    of stochastic gradient descent, v <- momentum v + g, w <- w - rate v, in all its parameters,
    biases and norms too. A synapse's score is |dL(w_M)/dc| = |w dL(w_M)/dw_0|, L the loss of one
    more batch: the gradient is propagated back through the steps, by one product of the Hessian
    with a vector for each. A copy of the network is trained; the network itself does not change.

    The i-th step takes the i-th batch of the probe, in a cycle. With one batch, the authors'
    default, all steps and the score use the same data.

    steps, rate, momentum: of these steps (the authors' defaults on CIFAR: 3, 0.1 and 0).
    gradient: "full", or "first_order": |w dL(w_M)/dw_M|, without the Hessians, which the authors
        use for many steps.

    Deviations:
    - The authors' code treats the momentum after the first step as a constant; here the gradient is
      propagated through it.

    >>> import torch, rewire
    >>> from torch.nn.functional import cross_entropy
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batch = torch.randn(8, 20), torch.randint(3, (8,))
    >>> probe = rewire.Probe([batch], lambda model, b: cross_entropy(model(b[0]), b[1]))
    >>> net = rewire.attach(model, optimizer, rewire.ProsPr(), density=0.1, probe=probe)
    >>> net.edges, net.graph.possible
    (23, 230)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"meta_gradient"})
    source: ClassVar[str] = "Alizadeh et al. 2022, arXiv:2202.08132"
    bibtex: ClassVar[str] = PAPER

    steps: Annotated[Count, Tunable(1, 10, log=True)] = 3
    rate: Annotated[Positive, Tunable(0.01, 1.0, log=True)] = 0.1
    momentum: Share = 0.0
    gradient: Literal["full", "first_order"] = "full"

    def cut(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        def prospect(left: Graph) -> Tensor:
            return signals.at(left).pair(
                "meta_gradient", left.keys, steps=self.steps, rate=self.rate,
                momentum=self.momentum, full=self.gradient == "full",
            )  # fmt: skip

        return self.prune(graph, prospect)


@dense_signal("meta_gradient", needs_probe=True)
def meta_gradient(
    world: DenseModel,
    graph: Graph,
    keys: Tensor,
    *,
    steps: int = 3,
    rate: float = 0.1,
    momentum: float = 0.0,
    full: bool = True,
) -> Tensor:
    """|w dL/dw| of the probe's loss after steps of SGD that begin at the weights w; 0 at absent
    synapses, which do not train either."""
    ahead = _LookAhead(world)
    with torch.random.fork_rng(list({w.device for w in ahead.start if w.is_cuda})):
        point, velocity, path = ahead.start, [torch.zeros_like(w) for w in ahead.start], []
        for i in range(steps):
            path.append(point)
            velocity = [momentum * v + g
                        for v, g in zip(velocity, ahead.slope(point, i), strict=True)]  # fmt: skip
            point = [w - rate * v for w, v in zip(point, velocity, strict=True)]
        # back along the path: of w_M by the loss, of the velocity, of w_{i} by both
        by_weight = ahead.slope(point, steps)
        by_velocity = [torch.zeros_like(w) for w in point]
        for i in reversed(range(steps if full else 0)):
            by_velocity = [momentum * v - rate * w
                           for v, w in zip(by_velocity, by_weight, strict=True)]  # fmt: skip
            curved = ahead.curvature(path[i], i, by_velocity)
            by_weight = [w + h for w, h in zip(by_weight, curved, strict=True)]
    scores = [(ahead.start[i] * by_weight[i]).abs() for i in ahead.sparse]
    return world.numbers_at(keys, scores)


class _LookAhead:
    """The loss of a probe's batches as a function of all that trains, with what is absent at 0.

    start: the trained tensors as they are; sparse: which of them each projection's weights are.
    """

    def __init__(self, world: DenseModel) -> None:
        self._world = world
        number = {id(p): i for i, p in enumerate(world.parameters)}
        named = {n: p for n, p in world.model.named_parameters()
                 if p.requires_grad or id(p) in number}  # fmt: skip
        weights = world.effective_weights()
        self._names, of = list(named), [number.get(id(p)) for p in named.values()]
        self.start = [(p if i is None else weights[i]).detach()
                      for p, i in zip(named.values(), of, strict=True)]  # fmt: skip
        self._masks = [None if i is None else world.masks[i] for i in of]
        self.sparse = [of.index(i) for i in range(len(weights))]

    def slope(self, point: Sequence[Tensor], i: int) -> list[Tensor]:
        """The gradient of the i-th batch's loss, a mean over the ranks."""
        return self._mean(self._slopes(*self._loss(point, i)))

    def curvature(self, point: Sequence[Tensor], i: int, by: Sequence[Tensor]) -> list[Tensor]:
        """The i-th batch's Hessian times a vector, a mean over the ranks."""
        loss, leaves = self._loss(point, i)
        slopes = self._slopes(loss, leaves, create_graph=True)
        along = torch.stack([(g * v).sum() for g, v in zip(slopes, by, strict=True)]).sum()
        if not along.requires_grad:  # a loss without curvature
            return [torch.zeros_like(w) for w in point]
        return self._mean(self._slopes(along, leaves))

    def _loss(self, point: Sequence[Tensor], i: int) -> tuple[Tensor, list[Tensor]]:
        probe, model = self._world.probe, self._world.model
        leaves = [w.detach().requires_grad_() for w in point]
        tensors = dict(zip(self._names, leaves, strict=True))
        tensors |= {n: b.clone() for n, b in model.named_buffers()}

        def call(*args: Any, **kwargs: Any) -> Any:
            return functional_call(model, tensors, args, kwargs)

        torch.manual_seed(i)  # a pass back sees the dropout of the pass ahead
        # torch's faster attention has no second derivative
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            return probe.loss(call, probe.batches[i % len(probe.batches)]), leaves

    def _slopes(
        self, of: Tensor, leaves: Sequence[Tensor], create_graph: bool = False
    ) -> list[Tensor]:
        slopes = torch.autograd.grad(of, leaves, allow_unused=True, create_graph=create_graph)
        return [
            torch.zeros_like(w) if g is None else g if m is None else g * m
            for w, g, m in zip(leaves, slopes, self._masks, strict=True)
        ]

    def _mean(self, slopes: Sequence[Tensor]) -> list[Tensor]:
        n = self._world.counted(1)
        return [g.detach() / n for g in self._world.summed(slopes)]

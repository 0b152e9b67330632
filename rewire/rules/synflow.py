"""SynFlow: iterative conservation of synaptic flow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..fields import Count
from ..graph import Edit, Graph
from ..signals import Signals, dense_signal
from ..streams import Stream
from ..tunable import Tunable
from .shared.prune_at_start import PruneAtStart

if TYPE_CHECKING:
    from ..world import DenseModel

PAPER = """
@inproceedings{tanaka2020pruning,
  title = {Pruning neural networks without any data by iteratively conserving synaptic flow},
  author = {Tanaka, Hidenori and Kunin, Daniel and Yamins, Daniel L. K. and Ganguli, Surya},
  booktitle = {Advances in Neural Information Processing Systems},
  eprint = {2006.05467},
  archiveprefix = {arXiv},
  year = {2020},
}
"""


@dataclass(frozen=True, kw_only=True)
class SynFlow(PruneAtStart):
    """Keep the synapses that carry the flow from inputs to outputs, without any data (Tanaka et
    al. 2020, arXiv:2006.05467, Algorithm 1).

    R is the sum of the outputs for an input of ones, every parameter and buffer replaced by its
    magnitude; a synapse's score is |w| dR/d|w|. In a ReLU network without biases that is the sum
    over all paths through it of the product of their |w|, and what enters a hidden unit leaves it
    (Theorem 1). Biases contribute by their magnitude, as in the authors' code, and begin paths
    behind the first layer: at extreme densities the random biases of torch's layers cause the first
    layers to lose all edges (a warning says so). Set biases to 0, or leave them out. Normalisation
    is in evaluation mode.

    rounds: the paper's 100; after round k of n a fraction rho^(k/n) of the edges remains, and the
        remaining ones are ranked anew. ``SynFlow.one_shot()`` prunes in one round, which is what
        the authors' command line does by default and what their paper shows to collapse layers.
    input: shape of one example, (784,) or (1, 28, 28); by default that of the probe's first batch,
        whose values are not used.
    precision: "double" computes the scores in float64, because products over many layers exceed the
        range of float32. "single": in the type of the model.

    Deviations:
    - The scores are computed in float64; the authors' code computes in float32.
    - Counts are exact and ties are broken by key; the authors' threshold drops all weights that
      equal it.
    - 100 rounds are the default, the paper's; that of their command line is 1.

    >>> import torch, rewire
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> net = rewire.attach(model, optimizer, rewire.SynFlow(input=(20,)), density=0.1)
    >>> net.edges, min(net.counts) > 0  # no data, and no layer is lost
    (23, True)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"synaptic_flow"})
    source: ClassVar[str] = "Tanaka et al. 2020, arXiv:2006.05467"
    bibtex: ClassVar[str] = PAPER

    rounds: Annotated[int, Tunable(10, 300, log=True)] = 100
    input: tuple[Count, ...] | None = None
    precision: Literal["double", "single"] = "double"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1:
            raise ValueError(f"SynFlow prunes in one round or more, got rounds={self.rounds}.")

    @classmethod
    def one_shot(cls, **fields: Any) -> SynFlow:
        """One round: not the paper's SynFlow, but its ablation."""
        return cls(rounds=1, **fields)

    def cut(self, graph: Graph, signals: Signals, rng: Stream) -> Edit:
        def flow(left: Graph) -> Tensor:
            return signals.at(left).pair(
                "synaptic_flow", left.keys, input=self.input, double=self.precision == "double"
            )

        return self.prune(graph, flow, self.rounds)


@dense_signal("synaptic_flow")
@torch.enable_grad()
def synaptic_flow(
    world: DenseModel,
    graph: Graph,
    keys: Tensor,
    *,
    input: tuple[int, ...] | None = None,
    double: bool = True,
) -> Tensor:
    """|w| dR/d|w|, R the sum of the outputs of the network of magnitudes for an input of ones."""
    model = world.model
    with _evaluating(model):
        shape = _shape_of_input(world) if input is None else input
        place = {id(p): i for i, p in enumerate(world.parameters)}
        kind = torch.float64 if double else world.parameters[0].dtype
        weights = [w.detach().abs().to(kind).requires_grad_() for w in world.effective_weights()]
        # the network of magnitudes: its sparse weights, whose gradient is wanted, and all else
        magnitudes = {n: _magnitude(b, kind) for n, b in model.named_buffers()}
        for name, p in model.named_parameters():
            magnitudes[name] = weights[place[id(p)]] if id(p) in place else _magnitude(p, kind)
        # R: the sum of the outputs for an input of ones
        ones = torch.ones(1, *shape, dtype=kind, device=weights[0].device)
        total = functional_call(model, magnitudes, (ones,)).sum()
        # a product over many layers of many units may leave even float64
        if not total.isfinite():
            raise ValueError(
                f"the synaptic flow of this model leaves {str(kind).removeprefix('torch.')}: it "
                f"adds up to {total.item():g}. "
                + ("Scale its weights down." if double else "Use precision='double'.")
            )
        slopes = torch.autograd.grad(total, weights, allow_unused=True)
    scores = [None if d is None else (w * d).detach()
              for w, d in zip(weights, slopes, strict=True)]  # fmt: skip
    return world.numbers_at(keys, scores)


def _magnitude(t: Tensor, kind: torch.dtype) -> Tensor:
    return t.detach().abs().to(kind) if t.is_floating_point() else t.detach().clone()


def _shape_of_input(world: DenseModel) -> tuple[int, ...]:
    """The shape of one example, as the probe's loss hands it to the model."""
    if world.probe is None:
        raise ValueError(
            "SynFlow feeds the model an input of ones and has to know its shape: "
            "SynFlow(input=(1, 28, 28)), or pass probe= to attach."
        )
    inputs: list[Any] = []
    forward = world.model_with(world.effective_weights())

    def model(*args: Any, **kwargs: Any) -> Any:
        inputs.extend([*args, *kwargs.values()])
        return forward(*args, **kwargs)

    # the loss calls the model with what it takes as inputs: listen to that call
    with torch.no_grad():
        world.probe.loss(model, world.probe.batches[0])
    if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or not inputs[0].is_floating_point():
        raise ValueError(
            "SynFlow needs a model of one input of floating point; the probe's loss handed it "
            f"{[type(x).__name__ if not isinstance(x, Tensor) else x.dtype for x in inputs]}."
        )
    return tuple(inputs[0].shape[1:])


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every module goes back to its own."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode

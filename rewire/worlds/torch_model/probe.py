"""Data for rules that look at it in passes of their own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...names import short


@dataclass(frozen=True)
class Probe:
    """Data for signals that need passes of their own.

    >>> import torch, rewire
    >>> def loss(model, batch):
    ...     x, y = batch
    ...     return torch.nn.functional.cross_entropy(model(x), y)
    >>> x, y = torch.randn(8, 20), torch.arange(8) % 2
    >>> model = torch.nn.Linear(20, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> probe = rewire.Probe([(x, y)], loss)
    >>> net = rewire.attach(model, optimizer, rule=rewire.SNIP(), density=0.25, probe=probe)
    >>> net.edges
    10

    batches: batches of any form; loss: (model, batch) -> scalar loss.

    Raises TypeError for what holds no batches, or is no function.
    """

    batches: Sequence[Any]
    loss: Callable[[Callable[..., Tensor], Any], Tensor]

    def __post_init__(self) -> None:
        if isinstance(self.batches, str | Tensor) or not isinstance(self.batches, Iterable):
            raise TypeError(
                f"a probe's batches are several, in a list, got {short(self.batches)}: write "
                "rewire.Probe([(x, y)], loss)."
            )
        if isinstance(self.loss, nn.Module) or not callable(self.loss):
            raise TypeError(
                f"a probe's loss is a function (model, batch) -> scalar, got {short(self.loss)}: "
                "write one, as for rewire.train."
            )


@dataclass
class Passes:
    """A world's model as a function of what it computes with, to be derived by.

    weights: of the sparse layers, one tensor for each projection, dense or of edges alone.
    at: tensors like the weights -> the numbers of the graph's edges, (E,).
    """

    model: Callable[..., Any]
    weights: Sequence[Tensor]
    at: Callable[[Sequence[Tensor | None]], Tensor]
    probe: Probe
    root: nn.Module
    owner: Mapping[int, int]  # id of a parameter -> number of its projection

    def gradients(self, of: Tensor, by: Tensor | None = None) -> tuple[Tensor | None, ...]:
        """d of / d weights, or by^T times it; the graph behind ``of`` stays."""
        if not of.requires_grad:
            return (None,) * len(self.weights)
        return torch.autograd.grad(of, self.weights, by, retain_graph=True, allow_unused=True)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, with gradients; every module goes back to its own mode.

    What the passes draw at random leaves the user's random numbers, torch's own, as they were.

    cuDNN's recurrent layers have no backward pass in evaluation mode; torch's own have.
    """
    modes = [(m, m.training) for m in model.modules()]
    recurrent = any(isinstance(m, nn.RNNBase) for m in model.modules())
    cudnn = torch.backends.cudnn
    drawn_on = {p.device for p in model.parameters() if p.is_cuda}
    model.eval()
    try:
        with (
            torch.random.fork_rng(list(drawn_on)),
            torch.enable_grad(),
            cudnn.flags(enabled=cudnn.enabled and not recurrent),
        ):
            yield
    finally:
        for module, mode in modes:  # a norm that the user froze stays frozen
            module.training = mode


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    """What the model computes of ``x`` in evaluation mode, without gradients."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    with torch.no_grad():
        out = model(x)
    for module, mode in modes:  # a norm that the user froze stays frozen
        module.training = mode
    return out


def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, int]:
    """Mean cross-entropy in evaluation mode, and how many examples are classified right."""
    out = outputs(model, x)
    return float(cross_entropy(out, y)), int((out.argmax(1) == y).sum())


def _copied(tree: Any) -> Any:
    """A copy with tensors of its own: of a view, what it shows and not all of what it lies in."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {k: _copied(v) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(map(_copied, tree))
    return copy.deepcopy(tree)

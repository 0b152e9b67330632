"""Passes of a dense model with other weights than its own, to be derived by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..torch_model.group import Ranks
from ..torch_model.probe import Probe


def effective(weights: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    """Weights under their masks, as leaves to derive by."""
    return [(w.detach() * m).requires_grad_() for w, m in zip(weights, masks, strict=True)]


def model_with(
    model: nn.Module, parameters: Sequence[nn.Parameter], weights: Sequence[Tensor]
) -> Callable[..., Any]:
    """The model as a function that computes with these weights in the place of its parameters.

    With copies of the buffers: a signal's passes are none of training's (running means and
    counts).
    """
    names = {id(p): n for n, p in model.named_parameters()}
    tensors = {names[id(p)]: w for p, w in zip(parameters, weights, strict=True)}
    tensors |= {n: b.clone() for n, b in model.named_buffers()}

    def call(*args: Any, **kwargs: Any) -> Any:
        return functional_call(model, tensors, args, kwargs)

    return call


def mean_gradients(
    model: Callable[..., Any], weights: Sequence[Tensor], probe: Probe, ranks: Ranks | None = None
) -> list[Tensor | None]:
    """Mean gradient of the probe's loss with respect to the weights that the model computes with,
    over all batches of all ranks; None for one that it does not compute with."""
    total: list[Tensor | None] = [None] * len(weights)
    with torch.random.fork_rng(list({w.device for w in weights if w.is_cuda})):
        for batch in probe.batches:
            grads = torch.autograd.grad(probe.loss(model, batch), weights, allow_unused=True)
            total = [g if t is None else t if g is None else t + g
                     for t, g in zip(total, grads, strict=True)]  # fmt: skip
    n = len(probe.batches)
    if ranks is not None:
        total, n = ranks.sums(total, weights), ranks.count(n)
    return [None if t is None else t / n for t in total]

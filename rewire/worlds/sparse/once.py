"""Backward passes of the engine's have no derivative: who asks for one is told so."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

WHY = (
    "the sparse world's layers are derived once: their gradient has no gradient of its own. Attach "
    "with world='masked' for gradient penalties and second derivatives."
)


class _NoSecond(Function):
    """Gradients as they are, which raise where they are derived."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(g.view_as(g) for g in gradients)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        raise RuntimeError(WHY)


def derived_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A Function's ``backward`` whose results raise RuntimeError where they are derived again.

    Unlike torch's ``once_differentiable`` also where what came in was a constant: the weights are
    in the gradient of the input, and the input in that of the weights.
    """

    @wraps(backward)
    def wrapper(ctx: Any, *slopes: Tensor | None) -> Any:
        with torch.no_grad():
            plain = [None if s is None else s.detach() for s in slopes]
            gradients = backward(ctx, *plain)
        if not torch.is_grad_enabled():  # but with create_graph=True
            return gradients
        given = [g for g in gradients if isinstance(g, Tensor)]
        anchor = torch.zeros((), requires_grad=True)
        guarded = iter(_NoSecond.apply(anchor, *given))
        return tuple(next(guarded) if isinstance(g, Tensor) else g for g in gradients)

    return wrapper

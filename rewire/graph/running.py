"""A program run with ones and zeros, forward and, by its derivative, backward.

After every operation both directions are brought back to ones and zeros, so that nothing overflows
or vanishes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .program import MOVES, OPERATIONS, PRODUCTS, Program, Step, recurrent

NOISE = 0.5  # sums of products of ones and zeros are whole, whatever order rounding takes


class _Binary(torch.autograd.Function):
    """Ones where there is something, in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ahead: float, back: float) -> Tensor:  # type: ignore[override]
        ctx.back = back
        return (x > ahead).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return (gradient > ctx.back).to(gradient.dtype), None, None


def run(
    program: Program,
    weight: Callable[[int, Sequence[int]], Tensor],
    entered: Callable[[Sequence[int]], Tensor],
) -> list[Tensor]:
    """The outputs of a program, ones where anything arrives.

    weight: (number of a projection, shape) -> its weights, ones and zeros. entered: the shape of an
    input -> its numbers.
    """
    values: list[Tensor] = []
    for step in program.steps:
        if step.op == "weight":
            values.append(weight(step.options[0], step.shapes[0]))
        elif step.op == "input":
            values.append(entered(step.shapes[0]))
        elif step.op in ("zeros", "unknown"):
            values.append(torch.zeros(step.shapes[0]))
        else:
            values += _results(step, [values[i] for i in step.inputs])
    return [values[i] for i in program.outputs]


def _results(step: Step, inputs: Sequence[Tensor]) -> list[Tensor]:
    if step.op in PRODUCTS:  # what comes back through a product is a sum of whole numbers
        inputs = [_Binary.apply(x, NOISE, NOISE) for x in inputs]
    if step.op == "recurrent":
        return [*recurrent(inputs, step.options, _product, lambda x: _Binary.apply(x, 0.0, 0.0))]
    out = OPERATIONS[step.op](inputs, step.options, step.shapes[0])
    if step.op in MOVES:
        return [out]
    return [_Binary.apply(out, NOISE if step.op in PRODUCTS else 0.0, 0.0)]


def _product(x: Tensor, weight: Tensor | None, rows: int) -> Tensor:
    if weight is None:
        out = x.sum(-1, keepdim=True).expand(*x.shape[:-1], rows)
    else:
        out = torch.nn.functional.linear(x, weight)
    return _Binary.apply(out, NOISE, NOISE)

"""Which edges lie on a path from a network's input to its output, at every place of a picture.

A program of a model's pass (`rewire.graph.program`) is run with ones and zeros: forward it says
which units are fed where, and its derivative which are useful where. An edge is on a path exactly
if at some pair of places its pre is fed and its post is useful. After every operation both
directions are brought back to ones and zeros, so nothing overflows or vanishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..graph.program import MOVES, OPERATIONS, PRODUCTS, Program, Step, recurrent

if TYPE_CHECKING:
    from ..graph import Graph

NOISE = 0.5  # sums of products of ones and zeros are whole, whatever order rounding takes


def traced_edges(graph: Graph, program: Program) -> np.ndarray:
    """Which edges lie on a path, (E,) bool, by a program of the whole model."""
    masks = {
        i: graph.mask(i).to(torch.float32).requires_grad_()
        for step in program.steps
        if step.op == "weight"
        for i in step.options
    }
    useful: dict[int, Tensor | None] = {}
    with torch.enable_grad():
        outputs = [y for y in _run(program, masks) if y.requires_grad]
        if outputs and masks:
            ones = [torch.ones_like(y) for y in outputs]
            gradients = torch.autograd.grad(outputs, [*masks.values()], ones, allow_unused=True)
            useful = dict(zip(masks, gradients, strict=True))
    on_path = np.zeros(len(graph), bool)
    for i, gradient in useful.items():
        if gradient is not None:
            on_path[graph.rows(i)] = (gradient.reshape(-1)[graph.local(i)] > 0).numpy()
    return on_path


class _Binary(torch.autograd.Function):
    """Ones where there is something, in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ahead: float, back: float) -> Tensor:  # type: ignore[override]
        ctx.back = back
        return (x > ahead).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return (gradient > ctx.back).to(gradient.dtype), None, None


def _run(program: Program, masks: dict[int, Tensor]) -> list[Tensor]:
    values: list[Tensor] = []
    for step in program.steps:
        values += _made(step, [values[i] for i in step.inputs], masks)
    return [values[i] for i in program.outputs]


def _made(step: Step, inputs: Sequence[Tensor], masks: dict[int, Tensor]) -> list[Tensor]:
    if step.op == "weight":
        return [masks[step.options[0]]]
    if step.op == "input":
        return [torch.ones(step.shapes[0])]
    if step.op in ("zeros", "unknown"):
        return [torch.zeros(shape) for shape in step.shapes]
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

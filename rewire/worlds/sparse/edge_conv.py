"""A convolution on edges as one function of torch's autograd, for nets that no plan can run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...native import sparse
from .edge_numbers import array
from .once import derived_once
from .wires import Wires


class _Conv2d(torch.autograd.Function):
    """dL/dvalue, dL/dx and dL/dbias by the engine; its own gradient has none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, bias: Tensor | None, connectivity: Any,
                options: tuple[Any, ...], wires: Wires | None) -> Tensor:  # fmt: skip
        assert sparse is not None
        if wires is not None:
            wires.check()
        name = {torch.float32: "Conv2dFloat32", torch.float64: "Conv2dFloat64"}[x.dtype]
        out = getattr(sparse, name)(
            *connectivity, array(value),
            None if bias is None else bias.detach().numpy(),
            x.detach().contiguous().numpy(), *options, ctx.needs_input_grad[0],
        )  # fmt: skip
        out.forward()
        ctx.done, ctx.wires = out, wires  # holds x in the engine's layout
        ctx.save_for_backward(value)  # torch says so where it was changed in between
        return torch.from_numpy(out.output())

    @staticmethod
    @derived_once
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        ctx.saved_tensors  # noqa: B018
        if ctx.wires is not None:
            ctx.wires.check()
        ctx.done.load_slope(slope.contiguous().numpy())
        ctx.done.backward()
        dvalue, dbias, dx = ctx.done.gradients()
        slopes = (dx, dvalue, dbias)
        return *(None if d is None else torch.from_numpy(d) for d in slopes), None, None, None


def sparse_conv2d(
    x: Tensor,
    indptr: Tensor,
    index: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    groups: int = 1,
) -> Tensor:
    """torch.nn.functional.conv2d with a weight that is given by its edges, O(edges) in memory.

    x: (B, C, H, W), float32 or float64 on the CPU; value: (E,) of the same type. indptr:
    (C_out + 1,) int64 and index: (E,) int32, CSR by output channel, index the flat place in
    (C / groups, kh, kw). Gradients flow to x, value and bias, once.

    Raises:
        ValueError: shapes, types or indices that do not fit together.
        RuntimeError: the engine was not built.
    """
    if sparse is None:
        raise RuntimeError(
            "there is no sparse engine: reinstall with a C++ compiler, without REWIRE_NATIVE=0."
        )
    if x.dtype not in (torch.float32, torch.float64) or value.dtype != x.dtype:
        raise ValueError(
            f"x and value must both be float32 or both float64, got {x.dtype} and {value.dtype}."
        )
    options = (tuple(kernel_size), tuple(stride), tuple(padding), groups)
    return _Conv2d.apply(x, value, bias, (indptr.numpy(), index.numpy()), options, None)


def conv2d(
    x: Tensor, value: Tensor, bias: Tensor | None, wires: Wires, options: tuple[Any, ...]
) -> Tensor:
    """The same for the edges of a layer, while it has those. options: kernel size, stride, padding
    and groups."""
    connectivity = wires.indptr.numpy(), wires.index.numpy()
    return _Conv2d.apply(x, value, bias, connectivity, options, wires)

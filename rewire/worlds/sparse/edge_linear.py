"""The product of a list of edges with many rows, as one function of torch's autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ...native import sparse
from .edge_numbers import array
from .inputs import check_input, lowered, lowers
from .once import derived_once
from .wires import Wires


class _NativeLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, bias: Tensor | None, wires: Wires) -> Tensor:
        wires.check()
        ctx.csr = wires.indptr.numpy(), wires.index.numpy()
        ctx.wires, ctx.has_bias = wires, bias is not None
        ctx.x = x
        ctx.save_for_backward(value)  # torch says so where it was changed in between
        given = None if bias is None else bias.detach().numpy()
        assert sparse is not None
        y, ctx.kept = sparse.linear_forward(*ctx.csr, array(value), given, x.numpy())
        return torch.from_numpy(y)

    @staticmethod
    @derived_once
    def backward(ctx: Any, dy: Tensor) -> Any:
        dy = dy.contiguous()
        assert sparse is not None
        ctx.wires.check()
        (value,) = ctx.saved_tensors
        dvalue, dbias, dx = sparse.linear_backward(
            *ctx.csr, array(value), ctx.kept, dy.numpy(),
            ctx.has_bias, ctx.needs_input_grad[0],
        )  # fmt: skip
        ctx.wires.note(ctx.x, dy)
        given = [None if g is None else torch.from_numpy(g) for g in (dx, dvalue, dbias)]
        return *given, None


class _TorchLinear(Function):
    """The same on torch's own sparse matrices, where the engine was not built."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, bias: Tensor | None, wires: Wires) -> Tensor:
        wires.check()
        ctx.wires, ctx.x, ctx.has_bias = wires, x, bias is not None
        ctx.save_for_backward(value)
        y = (_csr(wires, value.detach()) @ x.T).T
        return y if bias is None else y + bias

    @staticmethod
    @derived_once
    def backward(ctx: Any, dy: Tensor) -> Any:
        wires, value = ctx.wires, ctx.saved_tensors[0].detach()
        wires.check()
        empty = _csr(wires, torch.zeros_like(value))
        dvalue = torch.sparse.sampled_addmm(empty, dy.T.contiguous(), ctx.x, beta=0.0).values()
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (_csr(wires, value).to_sparse_csc().transpose(0, 1) @ dy.T).T
        wires.note(ctx.x, dy)
        return dx, dvalue, dy.sum(0) if ctx.has_bias else None, None


def _csr(wires: Wires, value: Tensor) -> Tensor:
    return torch.sparse_csr_tensor(
        wires.indptr, wires.index.long(), value, (wires.shape[0], wires.width),
        check_invariants=False,
    )  # fmt: skip


def linear(x: Tensor, value: Tensor, bias: Tensor | None, wires: Wires) -> Tensor:
    """``x @ w.T + bias`` for x (..., n_pre) and the weights (E,) of the edges."""
    check_input(x, value)
    if lowers(value):
        return lowered(lambda *lower: linear(lower[0], lower[1], lower[2], wires), (x, value, bias))
    run = _TorchLinear if sparse is None else _NativeLinear
    flat = x.reshape(-1, x.shape[-1]).contiguous()
    return run.apply(flat, value, bias, wires).view(*x.shape[:-1], wires.shape[0])

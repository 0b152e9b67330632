"""Spiking units over all time steps in one call each way, with edges among them or without.

Models that go through time step by step ask a layer with a list of edges, where one feeds or joins
their units, for `EdgeLinear.spikes_over_time`; the engine does what they would do by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ...native import sparse
from .edge_numbers import array
from .once import derived_once
from .wires import Wires


class _NativeSpiking(Function):
    """Spikes (T, B, n) of currents (T, B, n), and of edges among the units where they have wires;
    ``units``: what `spiking_forward` is told of the units."""

    @staticmethod
    def forward(
        ctx: Any, currents: Tensor, value: Tensor | None, bias: Tensor | None,
        wires: Wires | None, units: Mapping[str, Any], keep: bool,
    ) -> Tensor:  # fmt: skip
        assert sparse is not None
        among = None
        if wires is not None:
            assert value is not None
            wires.check()
            numbers = array(value), None if bias is None else bias.detach().numpy()
            among = wires.indptr.numpy(), wires.index.numpy(), *numbers
            ctx.save_for_backward(value)  # torch says so where it was changed in between
        out, ctx.run = sparse.spiking_forward(currents.numpy(), among, keep=keep, **units)
        spikes = torch.from_numpy(out)
        ctx.wires, ctx.spikes = wires, spikes if wires is not None and wires.keeping else None
        return spikes

    @staticmethod
    @derived_once
    def backward(ctx: Any, slope: Tensor) -> Any:
        assert sparse is not None
        ctx.saved_tensors  # noqa: B018
        if ctx.wires is not None:
            ctx.wires.check()
        found, of_among = sparse.spiking_backward(ctx.run, slope.contiguous().numpy())
        currents = torch.from_numpy(found)
        if ctx.spikes is not None:  # each step began with the spikes of the one before
            before = torch.cat([torch.zeros_like(ctx.spikes[:1]), ctx.spikes[:-1]])
            ctx.wires.note(before.flatten(0, 1), currents.flatten(0, 1))
        value, bias = of_among or (None, None)
        given = [None if g is None else torch.from_numpy(g) for g in (value, bias)]
        return currents, *given, None, None, None


def spikes_over_time(
    currents: Tensor, units: Mapping[str, Any], among: tuple[Tensor, Tensor | None, Wires] | None
) -> Tensor | None:
    """The spikes of ``units`` at each step, (T, B, n), from rest; None where the engine cannot.

    among: weights, bias and edges among the units, whose spikes arrive a step later.
    """
    adaptation = units["adaptation"]
    if sparse is None or not hasattr(sparse, "spiking_forward") or currents.dim() != 3:
        return None
    tensors = [currents, *(among or ())[:2]]
    if any(x is not None and (x.dtype != currents.dtype or not x.is_cpu) for x in tensors):
        return None
    if currents.dtype not in (torch.float32, torch.float64) or not currents.numel():
        return None
    if adaptation is not None:
        if adaptation.requires_grad:
            return None
        units = {**units, "adaptation": adaptation.to(currents.dtype).contiguous().numpy()}
    value, bias, wires = among or (None, None, None)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    return _NativeSpiking.apply(currents.contiguous(), value, bias, wires, units, keep)

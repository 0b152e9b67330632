"""What the layers with lists of edges can be called with: numbers that the engine reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from .edge_weight import DENSE

_PLAIN = (Tensor, nn.Parameter)
_LOWERED = (torch.float32, torch.bfloat16, torch.float16)  # what autocast converts


def check_input(x: Any, weight: Tensor) -> None:
    """Raise RuntimeError or TypeError for what has no numbers on the CPU, of the weight's type.

    Tracers (torch.fx, torch.export) pass stand-ins of tensors, and transforms (torch.func) tensors
    that wrap others: what the engine computes with would be left out of the trace.
    """
    if type(x) not in _PLAIN and not _is_plain(x):
        raise TypeError(
            f"a layer with a list of edges computes with tensors, got a {type(x).__name__}: it "
            f"cannot be traced or exported (torch.fx, torch.export). To export, {DENSE}."
        )
    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(
            "a layer with a list of edges cannot be transformed by torch.func (vmap, grad, jvp, "
            "jacrev): use backward() and torch.autograd.grad, attach with world='masked', or, for "
            f"the finished model, {DENSE}."
        )
    if forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None:
        raise RuntimeError(
            "a layer with a list of edges is derived by backward passes alone, not by forward-mode "
            "differentiation: attach with world='masked' for that."
        )
    with torch._C.DisableTorchFunctionSubclass():  # quicker
        kind = weight.dtype
    fits = x.dtype == kind or (lowers(weight) and x.dtype in _LOWERED)
    if not fits or not x.is_cpu:
        raise TypeError(
            f"a layer with a list of edges computes in {kind} on the CPU, got an input of "
            f"{x.dtype} on {str(x.device)!r}: convert the input."
        )


def _is_plain(x: Any) -> bool:
    """Whether a tensor of another class (one with metadata of its owner) has numbers of its own."""
    if not isinstance(x, Tensor):
        return False
    try:
        return x.is_meta or x.numel() == 0 or x.data_ptr() != 0
    except RuntimeError:  # FakeTensor, FunctionalTensor
        return False


def lowers(weight: Tensor) -> bool:
    """Whether torch.autocast has layers of this weight compute in a lower type now."""
    return torch.is_autocast_enabled("cpu") and weight.dtype in _LOWERED


def lowered(compute: Callable[..., Tensor], tensors: Sequence[Tensor | None]) -> Tensor:
    """What a layer computes under torch.autocast: of numbers that are rounded to its type, added up
    in float32, the result rounded again, as torch's layers do it. Gradients are rounded alike."""
    kind = torch.get_autocast_dtype("cpu")
    with torch.autocast("cpu", enabled=False):
        return compute(*(None if t is None else t.to(kind).float() for t in tensors)).to(kind)

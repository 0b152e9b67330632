"""The spike, 0 or 1, and slopes that stand in for its derivative."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

# What goes back through a spike, of what came and the potential above the threshold. Which shape
# matters less than how steep it is (Zenke & Vogels 2021, doi:10.1162/neco_a_01367).
SURROGATES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    # Fang et al. 2021, arXiv:2007.05785
    "arctan": lambda slope, v: slope / (1 + (math.pi * v) ** 2),
    # SuperSpike: Zenke & Ganguli 2018, arXiv:1705.11146
    "fast-sigmoid": lambda slope, v: slope / (1 + v.abs()) ** 2,
    # Bellec et al. 2018, arXiv:1803.09574, with their factor of .3
    "triangle": lambda slope, v: slope * 0.3 * (1 - v.abs()).clamp(min=0),
}


class Spike(torch.autograd.Function):
    """1 where a potential is above 0, else 0; backwards a slope of `SURROGATES`, that of an arc
    tangent by default, 1 / (1 + (pi v)^2), at the potential times ``steepness``.

    >>> v = torch.tensor([-0.5, 0.5], requires_grad=True)
    >>> spikes = Spike.apply(v)
    >>> spikes.sum().backward()
    >>> spikes.tolist(), [round(g, 3) for g in v.grad.tolist()]
    ([0.0, 1.0], [0.288, 0.288])
    """

    @staticmethod
    def forward(ctx, potential: Tensor, surrogate: str = "arctan", steepness: float = 1.0):
        ctx.save_for_backward(potential)
        ctx.surrogate, ctx.steepness = surrogate, steepness
        return (potential > 0).to(potential)

    @staticmethod
    def backward(ctx, slope: Tensor):
        (potential,) = ctx.saved_tensors
        v = potential if ctx.steepness == 1.0 else potential * ctx.steepness
        return SURROGATES[ctx.surrogate](slope, v), None, None

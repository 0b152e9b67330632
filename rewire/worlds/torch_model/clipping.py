"""Gradients clipped by their joint norm: of existing synapses, biases and norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


def clipped(
    parameters: Sequence[nn.Parameter], masks: Mapping[int, Tensor], most: float
) -> float | Tensor:
    """Multiply all gradients by what brings their joint norm down to ``most``, which is returned.

    masks: by id of a parameter; what is masked has no part in the norm, and is multiplied too.

    >>> weight, bias = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(1))
    >>> weight.grad, bias.grad = torch.tensor([3.0, 100.0, 0.0]), torch.tensor([4.0])
    >>> factor = clipped([weight, bias], {id(weight): torch.tensor([1.0, 0.0, 1.0])}, 1.0)
    >>> round(float(factor), 4), weight.grad.round().tolist()
    (0.2, [1.0, 20.0, 0.0])
    """
    slopes = [p.grad for p in parameters if p.grad is not None]
    if not slopes:
        return 1.0
    trained = [p.grad * masks[id(p)] if id(p) in masks else p.grad
               for p in parameters if p.grad is not None]  # fmt: skip
    norm = torch.stack([torch.linalg.vector_norm(slope) for slope in trained]).norm()
    factor = torch.clamp(most / (norm + EPSILON), max=1.0)
    for slope in slopes:
        slope.mul_(factor)
    return factor

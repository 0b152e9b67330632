"""The optimisers' formulas, over all replicates at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Coefficients = tuple[Tensor, ...]  # one number for each replicate, (R, 1, ...)


# -- optimisers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Formula:
    """An optimiser of torch, element by element, with coefficients for each replicate.

    moments: names of its state. refuses: options that must stay off. numbers: of a parameter
    group, the learning rate first. prepare: (numbers, (K, R); live, (R,); steps made, (R,)) ->
    coefficients (R,) with which a replicate that is not live stays exactly as it is. update:
    (weights, gradient, moments, coefficients, flags), in place.
    """

    moments: tuple[str, ...]
    refuses: tuple[str, ...]
    flags: tuple[str, ...]
    numbers: Callable[[Mapping[str, Any]], tuple[float, ...]]
    prepare: Callable[[Tensor, Tensor, Tensor], Coefficients]
    update: Callable[[Tensor, Tensor, Mapping[str, Tensor], Coefficients, tuple[bool, ...]], None]


def _sgd_coefficients(numbers: Tensor, live: Tensor, steps: Tensor) -> Coefficients:
    lr, momentum, decay = numbers
    return lr * live, torch.where(live > 0, momentum, 1.0), live, decay


def _sgd(
    p: Tensor, g: Tensor, held: Mapping[str, Tensor], c: Coefficients, flags: tuple[bool, ...]
) -> None:
    rate, momentum, live, decay = c
    (nesterov,) = flags
    g = torch.addcmul(g, p, decay)
    buffer = held.get("momentum_buffer")
    if buffer is not None:
        buffer.mul_(momentum).addcmul_(g, live)
        g = torch.addcmul(g, buffer, momentum) if nesterov else buffer
    p.addcmul_(g, rate, value=-1)


def _adam_coefficients(numbers: Tensor, live: Tensor, steps: Tensor) -> Coefficients:
    lr, beta1, beta2, eps, decay = numbers
    t = steps.clamp(min=1)  # a replicate may skip its first step
    rate = lr * live
    keep = torch.where(live > 0, beta2, 1.0)
    return (rate / (1 - beta1**t), (1 - beta2**t).sqrt(), (1 - beta1) * live, keep,
            (1 - beta2) * live, eps, decay, 1 - rate * decay)  # fmt: skip


def _adam(
    p: Tensor, g: Tensor, held: Mapping[str, Tensor], c: Coefficients, flags: tuple[bool, ...]
) -> None:
    rate, root, toward, keep, share, eps, decay, shrink = c
    (decoupled,) = flags
    if decoupled:
        p.mul_(shrink)
    else:
        g = torch.addcmul(g, p, decay)
    mean, square = held["exp_avg"], held["exp_avg_sq"]
    mean.lerp_(g, toward)
    square.mul_(keep).addcmul_(g, g * share)
    p.addcdiv_(mean * rate, (square.sqrt() / root).add_(eps), value=-1)


def _adam_numbers(group: Mapping[str, Any]) -> tuple[float, ...]:
    return float(group["lr"]), *map(float, group["betas"]), group["eps"], group["weight_decay"]


_ADAM = Formula(
    ("exp_avg", "exp_avg_sq"), ("amsgrad", "maximize"), ("decoupled_weight_decay",),
    _adam_numbers, _adam_coefficients, _adam,
)  # fmt: skip
FORMULAS: Mapping[type[torch.optim.Optimizer], Formula] = {
    torch.optim.SGD: Formula(
        ("momentum_buffer",), ("dampening", "maximize"), ("nesterov",),
        lambda group: (float(group["lr"]), group["momentum"], group["weight_decay"]),
        _sgd_coefficients, _sgd,
    ),
    torch.optim.Adam: _ADAM,
    torch.optim.AdamW: _ADAM,
}  # fmt: skip


# -- what cannot be stacked -----------------------------------------------------------------------


def _formula(optimizers: Sequence[torch.optim.Optimizer]) -> Formula:
    kinds = {type(o) for o in optimizers}
    if len(kinds) != 1 or not kinds <= FORMULAS.keys():
        names = ", ".join(sorted(k.__name__ for k in kinds)) or "none"
        raise ValueError(
            f"stacked replicates train with one kind of optimizer, SGD, Adam or AdamW; got {names}."
        )
    return FORMULAS[kinds.pop()]

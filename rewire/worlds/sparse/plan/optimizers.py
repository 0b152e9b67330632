"""Optimisers that the native step can make, and their numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .tracing import NotTraceable

NUMBERS = 6  # of an optimiser, for each group of parameters


# -- optimisers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One parameter in an optimiser's table.

    name: of the parameter; group: its row of numbers. state: tensors that the step moves, each as
    large as the parameter: SGD (momentum,) or (); Adam and AdamW (exp_avg, exp_avg_sq, step), the
    step a single float32 or float64. Parameters whose ``step`` is the same memory are counted once.
    """

    name: str
    group: int
    state: tuple[Tensor, ...]


def numbers(optimizer: torch.optim.Optimizer) -> tuple[str, np.ndarray]:
    """The method, "sgd" or "adam", and its numbers (groups, 6) of a torch optimiser.

    Raises:
        NotTraceable: the engine has no such optimiser; plan.gradients serve torch's own step.
    """
    kind = type(optimizer)
    rows = []
    for group in optimizer.param_groups:
        for option in ("maximize", "amsgrad", "differentiable", "capturable"):
            if group.get(option):
                raise NotTraceable(f"the engine has no {kind.__name__} with {option}=True.")
        if kind is torch.optim.SGD:
            names = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
            rows.append([float(group[n]) for n in names] + [0.0])
            if group["dampening"]:
                raise NotTraceable("the engine has no SGD with dampening.")
        elif kind in (torch.optim.Adam, torch.optim.AdamW):
            decoupled = kind is torch.optim.AdamW or group.get("decoupled_weight_decay", False)
            rows.append([
                float(group["lr"]), *map(float, group["betas"]), group["eps"],
                group["weight_decay"], float(decoupled),
            ])  # fmt: skip
        else:
            raise NotTraceable(f"the engine has no {kind.__name__}; it has SGD, Adam and AdamW.")
    return "sgd" if kind is torch.optim.SGD else "adam", np.array(rows, np.float64)


def state_of(optimizer: torch.optim.Optimizer, p: Tensor, group: int) -> tuple[Tensor, ...]:
    """The optimiser's state of one parameter, made as torch makes it where there is none yet."""
    state, options = optimizer.state[p], optimizer.param_groups[group]
    if isinstance(optimizer, torch.optim.SGD):
        if not options["momentum"]:
            return ()
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(p, requires_grad=False)
        return (state["momentum_buffer"],)
    if not state:
        wide = torch.float64 if torch.get_default_dtype() is torch.float64 else torch.float32
        state["step"] = torch.tensor(0.0, dtype=wide)
        state["exp_avg"] = torch.zeros_like(p, requires_grad=False)
        state["exp_avg_sq"] = torch.zeros_like(p, requires_grad=False)
    return state["exp_avg"], state["exp_avg_sq"], state["step"]

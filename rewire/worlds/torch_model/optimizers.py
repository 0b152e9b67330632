"""Which optimisers keep absent synapses at zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

# Optimisers that treat each weight by itself: masked gradients keep their state clean. The value
# is a state's birth value where that is not 0.
ELEMENTWISE: Mapping[type, Mapping[str, Callable[[dict[str, Any]], float]]] = {
    torch.optim.SGD: {},
    torch.optim.Adam: {},
    torch.optim.AdamW: {},
    torch.optim.NAdam: {},
    torch.optim.RAdam: {},
    torch.optim.Adamax: {},
    torch.optim.RMSprop: {},
    torch.optim.Adadelta: {},
    torch.optim.ASGD: {},
    torch.optim.Adagrad: {"sum": lambda group: group.get("initial_accumulator_value", 0.0)},
    torch.optim.Rprop: {"step_size": lambda group: float(group["lr"])},
}
REFUSED = {
    "Adafactor": "it keeps factored moments, from which one synapse's share cannot be removed",
    "LBFGS": "it keeps one flat history of all weights, from which one synapse cannot be removed",
    "SparseAdam": "it wants sparse gradients; the masked world's are dense",
}


def sort_optimizer(
    optimizer: torch.optim.Optimizer,
) -> Mapping[str, Callable[[dict[str, Any]], float]]:
    """Birth values of an optimiser's state where those are not 0. Raises ValueError by name."""
    name = type(optimizer).__name__
    if name in REFUSED:
        raise ValueError(
            f"{name} cannot train sparse weights: {REFUSED[name]}. Use SGD, Adam, AdamW or another "
            "optimizer that treats each weight by itself."
        )
    return ELEMENTWISE.get(type(optimizer), {})


def unwatched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether nobody can tell ``optimizer.step()`` from what it computes.

    No hook on its steps, no scheduler's counter around its method, no graph of its own.
    """
    return not (
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
        or "step" in vars(optimizer)
        or optimizer.defaults["differentiable"]
    )


def _unscale(scaler: Any, optimizer: torch.optim.Optimizer) -> None:
    try:
        scaler.unscale_(optimizer)
    except RuntimeError as e:  # the user's loop did it already, to clip gradients
        if "already been called" not in str(e):
            raise

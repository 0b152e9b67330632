"""What `attach` and `train` are given, and the words where that is something else."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from .names import short
from .when import Schedule

INSTEAD = {
    "sparsity": "say the density, the fraction of weights kept: density=0.1 for sparsity=0.9",
    "lr": "the learning rate is the optimizer's",
    "rules": "rule= takes one rule, or a list of several",
    "epochs": "say steps=, the number of optimizer steps",
    "pruning": "rule= says how, density= how far",
    "amount": "say density=, the fraction of weights kept",
    "fraction": "it is a field of rules: rewire.RigL(fraction=0.3)",
    "device": "the model's device holds",
}
NEEDS = {
    "model": "the torch module to make sparse",
    "optimizer": "the optimizer of its parameters",
    "rule": "one rule or several, as rewire.RigL()",
    "loss": "a function (model, batch) -> scalar",
    "data": "an iterable of batches, or a function step -> batch",
    "steps": "the number of optimizer steps in a round",
}


def check_model(model: Any, optimizer: Any) -> None:
    """Raise TypeError for what is no torch module, before it is looked into."""
    if isinstance(model, torch.nn.Module):
        return
    if isinstance(model, torch.optim.Optimizer) and isinstance(optimizer, torch.nn.Module):
        raise TypeError(
            "the model and its optimizer are the other way round: the model comes first, as "
            "attach(model, optimizer, rule)."
        )
    if isinstance(model, type) and issubclass(model, torch.nn.Module):
        what = f"the class {model.__name__}: make one, as {model.__name__}(...)"
    elif isinstance(model, str):
        what = f"{model!r}: build it first, as rewire.models.build does by name"
    elif isinstance(model, Mapping):
        what = "a table, as state_dict() gives: load it into its model, and give that"
    else:
        what = f"{short(model)}: give the module that holds the parameters"
    raise TypeError(f"a model is a torch.nn.Module, got {what}.")


def check_loop(loss: Any, data: Any, steps: Any, schedule: Any) -> None:
    """Raise TypeError, or ValueError, for what train() cannot make steps of."""
    if isinstance(loss, torch.nn.Module) or not callable(loss):
        raise TypeError(
            f"loss is a function (model, batch) -> scalar, got {short(loss)}: write\n"
            "    def loss(model, batch):\n        x, y = batch\n"
            "        return torch.nn.functional.cross_entropy(model(x), y)"
        )
    try:
        inspect.signature(loss).bind(None, None)
    except TypeError as error:
        raise TypeError(
            f"loss is called with the model and a batch, and {short(loss)} takes other arguments "
            f"({error}): write def loss(model, batch)."
        ) from None
    except ValueError:  # a function of another language, which says nothing of its arguments
        pass
    if isinstance(data, type | str) or not (callable(data) or isinstance(data, Iterable)):
        raise TypeError(
            "data is an iterable of batches (a DataLoader), or a function step -> batch, got "
            f"{short(data)}: give one of these."
        )
    if isinstance(data, Tensor):
        raise TypeError(
            f"data is one tensor {tuple(data.shape)}, of which train() would take each row for a "
            "batch: give a list of batches, as data=[(x, y)]."
        )
    if not isinstance(steps, Integral) or isinstance(steps, bool) or steps < 1:
        raise ValueError(
            "steps (a session's span) is a whole number from 1 up, or None; got "
            f"{short(steps)}: train() needs the number of optimizer steps in a round."
        )
    if isinstance(schedule, Schedule) or (schedule is not None and not callable(schedule)):
        raise TypeError(
            f"schedule is a function step -> factor on the learning rate, got {short(schedule)}: "
            "write schedule=lambda step: 0.9**step."
        )
    if schedule is not None and not isinstance(factor := schedule(0), Real):
        raise TypeError(
            f"schedule(0) gave {short(factor)}: it has to give a number, the factor on the "
            "optimizer's learning rates at that step."
        )


def check_value(value: Any) -> None:
    """Raise TypeError for a loss's value that no gradient can be taken of."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.requires_grad:
        return
    shape = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else short(value)
    alone = " that no parameter led to" if isinstance(value, Tensor) and value.numel() == 1 else ""
    raise TypeError(
        f"loss(model, batch) gave {shape}{alone}: it has to give one number that gradients flow "
        "back from (a mean; without .item() or .detach())."
    )

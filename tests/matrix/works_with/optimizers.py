"""Optimisers, each as a user makes it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import torch


class Made(NamedTuple):
    """make: of a list of parameters. package: what it needs. mixed: names of state that is no
    number of a single weight. trainer: who it is tried under."""

    make: Callable[[list[Any]], Any]
    package: str = "torch"
    mixed: frozenset[str] = frozenset()
    trainer: str = "optimizer.step()"


def _torch(name: str, trainer: str = "optimizer.step()", **options: Any) -> Made:
    kind = getattr(torch.optim, name)
    return Made(lambda p: kind(p, **{"lr": 0.01, **options}), trainer=trainer)


def _collected(name: str, *mixed: str, trainer: str = "optimizer.step()", **options: Any) -> Made:
    def make(p: list[Any]) -> Any:
        kind = import_module("pytorch_optimizer").load_optimizer(name)
        return kind(p, **{"lr": 0.01, **options})

    return Made(make, "pytorch-optimizer", frozenset(mixed), trainer)


def _wrapped(name: str, trainer: str = "optimizer.step()") -> Made:
    def make(p: list[Any]) -> Any:
        kind = getattr(import_module("pytorch_optimizer"), name)
        if name == "SAM":
            return kind(p, torch.optim.SGD, lr=0.01, momentum=0.9)
        return kind(torch.optim.SGD(p, lr=0.01, momentum=0.9))

    return Made(make, "pytorch-optimizer", trainer=trainer)


def _adafactor(p: list[Any]) -> Any:
    kind = import_module("transformers.optimization").Adafactor
    return kind(p, lr=0.01, relative_step=False, scale_parameter=False)


OPTIMIZERS = {
    # eps: gradients that are 0 but for rounding (attention's bias of keys) make no step of lr
    "AdamW": Made(lambda p: torch.optim.AdamW(p, lr=0.01, eps=1e-3)),
    "SGD": _torch("SGD"),
    "SGD, momentum, decay": _torch("SGD", momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": _torch("Adam", weight_decay=0.01),
    "Adam, amsgrad": _torch("Adam", amsgrad=True),
    "Adam, fused": _torch("Adam", fused=True),
    "NAdam": _torch("NAdam"),
    "RAdam": _torch("RAdam"),
    "Adamax": _torch("Adamax"),
    "RMSprop": _torch("RMSprop", centered=True, momentum=0.9),
    "Adadelta": _torch("Adadelta", lr=1.0),
    "Adagrad": _torch("Adagrad", initial_accumulator_value=0.1),
    "ASGD": _torch("ASGD"),
    "Rprop": _torch("Rprop"),
    "Adafactor": _torch("Adafactor"),
    "LBFGS": _torch("LBFGS", trainer="closure"),
    "SparseAdam": _torch("SparseAdam"),
    "Adafactor (transformers)": Made(_adafactor, "transformers"),
    **{
        name: _collected(name)
        for name in (
            "A2Grad", "AccSGD", "AdaBelief", "AdaBound", "Adai", "AdaMod", "AdamP", "Adan", "ADOPT",
            "AggMo", "DiffGrad", "Kate", "Lamb", "LARS", "Lion", "MADGRAD", "NovoGrad", "Prodigy",
            "QHAdam", "Ranger", "ScheduleFreeAdamW", "SGDP", "Shampoo", "SM3", "SPAM",
            "StableAdamW", "Tiger", "Yogi",
        )
    },
    "SOAP": _collected("SOAP", "exp_avg_sq"),
    "AdaHessian": _collected("AdaHessian", trainer="create_graph"),
    "SophiaH": _collected("SophiaH", trainer="create_graph"),
    "SAM": _wrapped("SAM", "closure"),
    "Lookahead": _wrapped("Lookahead"),
}  # fmt: skip

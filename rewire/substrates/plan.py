"""Plans: a whole net traced into the operations of the native sparse engine.

A plan runs gather, forward pass, loss, backward pass and optimiser step in one native call, on
memory that stays the model's, the optimiser's and the graph's. :func:`trace` makes it from an
``nn.Module`` by way of torch.fx; a module that it does not know raises :class:`NotTraceable`, which
names it, and the caller trains layer by layer instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


class NotTraceable(ValueError):
    """A model that a plan cannot run; the message names the module or function, and says why."""


@dataclass(frozen=True)
class Value:
    """A tensor on its way through the net: the plan's buffer that holds it."""

    buffer: int
    channels: int
    height: int = 1
    width: int = 1


# What adds one module to a plan: (tracer, its name, the module, its inputs) -> its output.
Add = Callable[[Any, str, nn.Module, tuple[Value, ...]], Value]
MODULES: dict[type[nn.Module], Add] = {}

"""The values that a traced model is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional


class NotTraceable(ValueError):
    """A model that a plan cannot run; the message names the module or function, and says why."""


@dataclass(frozen=True)
class Edges:
    """The edges of one projection, as CSR by output row in the order of their keys.

    indptr:   (rows + 1,) int64, from 0 to E.
    index:    (E,) int32, flat index within the row of the weight as it is stored, rising in a row:
              the input unit of a linear layer; (in channel of the group, ky, kx) of a convolution.
    value:    (E,) the weights, of the plan's type; a slice of the graph's column is fine.
    gradient: (E,) written by every backward pass.
    """

    indptr: Tensor
    index: Tensor
    value: Tensor
    gradient: Tensor

    def arrays(self) -> tuple[np.ndarray, ...]:
        parts = (self.indptr, self.index, self.value, self.gradient)
        return tuple(p.detach().numpy() for p in parts)


@dataclass(frozen=True)
class Value:
    """A tensor on its way through the net: the plan's buffer that holds it."""

    buffer: int
    channels: int
    height: int = 1
    width: int = 1

    @property
    def features(self) -> int:
        return self.channels * self.height * self.width


# What adds one module or function to a plan: (tracing, its name, the module or None, its inputs)
# -> its output.
Add = Callable[["Tracing", str, Any, tuple[Value, ...]], Value]


@dataclass
class Tracing:
    """A net on its way into a plan: what handlers of modules work with.

    native:  the plan that is being built; its ``add_...`` methods return an operation's number.
    node:    the torch.fx node that is being added, for its arguments.
    values:  what each node before it made.
    fused:   nodes that an operation before them has done already.
    waiting: batch norms that an addition is to take up: called with what is added and relu.
    """

    native: Any
    modules: Mapping[str, nn.Module]
    edges: Mapping[str, Edges]
    training: bool
    alone: bool = False
    node: fx.Node = field(init=False)
    values: dict[fx.Node, Value] = field(default_factory=dict)
    fused: set[fx.Node] = field(default_factory=set)
    waiting: dict[fx.Node, Callable[[Value | None, bool], Value]] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)

    def names(self, name: str, module: nn.Module) -> tuple[str, str | None]:
        """The names of a layer's weight, and of its bias where it has one."""
        prefix = "" if self.alone else f"{name}."
        return f"{prefix}weight", f"{prefix}bias" if module.bias is not None else None

    def buffer(self, channels: int, height: int = 1, width: int = 1) -> Value:
        """A new buffer of the plan."""
        return Value(self.native.add_buffer(channels, height, width), channels, height, width)

    def takes_relu(self) -> bool:
        """Whether only a ReLU reads this node's output: the handler then applies it itself."""
        users = list(self.node.users)
        if len(users) != 1 or not _is_relu(users[0], self.modules):
            return False
        self.fused.add(users[0])
        return True

    def parameter(self, name: str, tensor: Tensor | None) -> tuple[Any, Any]:
        """Memory and gradient of one dense parameter of the model, (None, None) for no tensor."""
        if tensor is None:
            return None, None
        if not tensor.is_contiguous() or tensor.device.type != "cpu":
            raise NotTraceable(
                f"{name!r} is not contiguous on the CPU: a plan works in place there."
            )
        gradient = torch.zeros_like(tensor, requires_grad=False)
        self.gradients[name] = gradient
        return tensor.detach().numpy(), gradient.numpy()

    def placed(self, op: int, *names: str | None) -> None:
        """Say which parameters operation ``op`` holds, in its order; None for one that it lacks."""
        for which, name in enumerate(n for n in names if n is not None):
            self.places[name] = (op, which)


def _is_relu(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], nn.ReLU)
    return node.target in (torch.relu, functional.relu, "relu")

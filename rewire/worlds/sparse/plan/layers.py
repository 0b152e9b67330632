"""Layers that the native step can make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import fx, nn

from . import images
from .tracing import NotTraceable

if TYPE_CHECKING:
    from .tracing import Add, Tracing, Value

# -- the kinds of operations --------------------------------------------------------------------


def _linear(tracing: Tracing, name: str, module: nn.Linear, inputs: tuple[Value, ...]) -> Value:
    x = inputs[0]
    if x.features != module.in_features or (x.height * x.width > 1 and x.channels != x.features):
        raise NotTraceable(
            f"{name}: a linear layer of {module.in_features} inputs after {x.channels} x "
            f"{x.height} x {x.width} values; flatten them first."
        )
    out = tracing.buffer(module.out_features)
    weight, bias = tracing.names(name, module)
    more = (*tracing.parameter(bias or "", module.bias), tracing.takes_relu())
    if weight in tracing.edges:
        arrays = tracing.edges[weight].arrays()
        op = tracing.native.add_linear(x.buffer, out.buffer, *arrays, *more)
    else:
        memory = tracing.parameter(weight, module.weight)
        op = tracing.native.add_dense_linear(x.buffer, out.buffer, *memory, *more)
    tracing.placed(op, weight, bias)
    return out


def _flatten(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    start = module.start_dim if module is not None else _argument(tracing.node, 1, "start_dim", 0)
    end = module.end_dim if module is not None else _argument(tracing.node, 2, "end_dim", -1)
    x = inputs[0]
    if start != 1 or end not in (-1, 3 if x.height * x.width > 1 else 1):
        raise NotTraceable(f"{name}: a plan flattens from dimension 1 to the last one.")
    return images.flattened(tracing, x)


def _argument(node: fx.Node, at: int, name: str, default: Any) -> Any:
    return node.args[at] if len(node.args) > at else node.kwargs.get(name, default)


def _elementwise(kind: str) -> Add:
    def add(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
        x = inputs[0]
        out = tracing.buffer(x.channels, x.height, x.width)
        getattr(tracing.native, f"add_{kind}")(x.buffer, out.buffer)
        return out

    return add


def _identity(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    return inputs[0]


def _dropout(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    if module.p > 0 and tracing.training:
        raise NotTraceable(f"{name}: a plan cannot train with dropout (p = {module.p}).")
    return inputs[0]

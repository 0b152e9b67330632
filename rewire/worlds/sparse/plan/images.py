"""How the layers of image models become operations of a plan (``plan.MODULES``, ``FUNCTIONS``).

Convolutions, batch norm, pooling, additions and the shortcut A of residual networks. Batch norm
takes an addition and a ReLU that follow it into its own pass; so does a subsampling the padding of
channels behind it. What the engine does not do raises ValueError, which ``trace`` turns into
NotTraceable.
"""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

if TYPE_CHECKING:
    from .tracing import Add, Tracing, Value

Pair = tuple[int, int]


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _arguments(node: fx.Node, **defaults: Any) -> tuple[Any, ...]:
    """The arguments of a call after its first one, in the order of ``defaults``."""
    arguments = dict(zip(defaults, node.args[1:], strict=False)) | node.kwargs
    return tuple(arguments.get(name, default) for name, default in defaults.items())


def _after(size: int, kernel: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - kernel) // stride + 1


def _shrunk(tracing: Tracing, x: Value, channels: int, kernel: Pair, stride: Pair,
            padding: Pair) -> Value:  # fmt: skip
    height = _after(x.height, kernel[0], stride[0], padding[0])
    width = _after(x.width, kernel[1], stride[1], padding[1])
    if height < 1 or width < 1:
        raise ValueError(
            f"a window of {kernel[0]} x {kernel[1]} does not fit into pictures of {x.height} x "
            f"{x.width} with padding {padding}."
        )
    return tracing.buffer(channels, height, width)


# -- convolutions ---------------------------------------------------------------------------------


def _conv2d(tracing: Tracing, name: str, module: nn.Conv2d, inputs: tuple[Value, ...]) -> Value:
    x = inputs[0]
    if x.channels != module.in_channels:
        raise ValueError(f"{name} takes {module.in_channels} channels, not {x.channels}.")
    if _pair(module.dilation) != (1, 1) or module.padding_mode != "zeros":
        raise ValueError("a plan has convolutions without dilation and padded with zeros only.")
    kernel, stride = _pair(module.kernel_size), _pair(module.stride)
    if isinstance(module.padding, str):
        sizes = [0, 0] if module.padding == "valid" else [k - 1 for k in kernel]
        if any(size % 2 for size in sizes):
            raise ValueError("a plan has padding='same' for odd kernels only.")
        padding = (sizes[0] // 2, sizes[1] // 2)
    else:
        padding = _pair(module.padding)
    out = _shrunk(tracing, x, module.out_channels, kernel, stride, padding)
    weight, bias = tracing.names(name, module)
    if weight in tracing.edges:
        arrays = tracing.edges[weight].arrays()
    else:
        arrays = (*_all_edges(module), *tracing.parameter(weight, module.weight))
    memory = tracing.parameter(bias or "", module.bias)
    op = tracing.native.add_conv2d(
        x.buffer, out.buffer, kernel, stride, padding, module.groups, tracing.takes_relu(),
        *arrays, *memory,
    )  # fmt: skip
    tracing.placed(op, weight, bias)
    return out


def _all_edges(module: nn.Conv2d) -> tuple[np.ndarray, np.ndarray]:
    """indptr and index of a weight without a hole: its memory is its edges."""
    rows, columns = module.out_channels, module.weight[0].numel()
    indptr = np.arange(rows + 1, dtype=np.int64) * columns
    return indptr, np.tile(np.arange(columns, dtype=np.int32), rows)


# -- batch norm and additions ---------------------------------------------------------------------


def _batch_norm(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    x = inputs[0]
    if x.channels != module.num_features:
        raise ValueError(f"{name} takes {module.num_features} channels, not {x.channels}.")
    if tracing.training and not module.training:
        raise ValueError(f"{name} is frozen (in eval mode), which a plan cannot train around.")
    node = tracing.node
    names = tracing.names(name, module)
    affine: list[np.ndarray] = []
    if module.weight is not None:
        affine = [
            *tracing.parameter(names[0], module.weight),
            *tracing.parameter(names[1] or "", module.bias),
        ]
    running: list[np.ndarray] = []
    batches = None
    if module.running_mean is not None:
        running = [module.running_mean.numpy(), module.running_var.numpy()]
        batches = module.num_batches_tracked.numpy()
    momentum = -1.0 if module.momentum is None else float(module.momentum)

    def add(residual: Value | None, relu: bool) -> Value:
        out = tracing.buffer(x.channels, x.height, x.width)
        op = tracing.native.add_batch_norm(
            x.buffer, None if residual is None else residual.buffer, out.buffer, module.eps,
            momentum, relu, affine, running, batches,
        )  # fmt: skip
        if affine:
            tracing.placed(op, *names)
        return out

    if _joins_an_addition(tracing, node):
        tracing.waiting[node] = add
        return x
    return add(None, tracing.takes_relu())


def _joins_an_addition(tracing: Tracing, node: fx.Node) -> bool:
    """Whether all that reads this output is the sum with one other tensor, that waits for none."""
    users = list(node.users)
    if len(users) != 1 or users[0].target not in ADDITIONS or users[0].kwargs:
        return False
    others = [n for n in users[0].args if n is not node]
    return len(others) == 1 and isinstance(others[0], fx.Node) and others[0] not in tracing.waiting


def _addition(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    node = tracing.node
    parts = [n for n in node.args if isinstance(n, fx.Node)]
    if node.kwargs or len(parts) != 2 or len(node.args) != 2:
        raise ValueError("a plan adds two tensors, neither scaled nor with a number.")
    first, second = parts
    if node.target in IN_PLACE and any(user is not node for user in first.users):
        raise ValueError("something else reads a tensor that an addition changes in place.")
    for n, other in ((first, second), (second, first)):
        if n in tracing.waiting:
            return tracing.waiting.pop(n)(tracing.values[other], tracing.takes_relu())
    a, b = tracing.values[first], tracing.values[second]
    out = tracing.buffer(a.channels, a.height, a.width)
    tracing.native.add_sum(a.buffer, b.buffer, out.buffer, tracing.takes_relu())
    return out


# -- pooling, subsampling, flattening -------------------------------------------------------------


def _max_pool2d(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    m = module
    kernel, stride, padding, dilation, ceil, indices = (
        (m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)
        if m is not None
        else _arguments(tracing.node, kernel_size=0, stride=None, padding=0, dilation=1,
                        ceil_mode=False, return_indices=False)
    )  # fmt: skip
    if ceil or indices or _pair(dilation) != (1, 1):
        raise ValueError("a plan has max-pooling without ceil_mode, dilation and indices only.")
    return _pool(tracing, "max", inputs[0], kernel, stride, padding)


def _avg_pool2d(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    m = module
    kernel, stride, padding, ceil, counted, divisor = (
        (m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override)
        if m is not None
        else _arguments(tracing.node, kernel_size=0, stride=None, padding=0, ceil_mode=False,
                        count_include_pad=True, divisor_override=None)
    )  # fmt: skip
    if ceil or divisor is not None or (not counted and _pair(padding) != (0, 0)):
        raise ValueError("a plan has average pooling as torch's defaults say: no ceil_mode, "
                         "padding counted, no divisor_override.")  # fmt: skip
    return _pool(tracing, "avg", inputs[0], kernel, stride, padding)


def _pool(tracing: Tracing, kind: str, x: Value, kernel: Any, stride: Any, padding: Any) -> Value:
    kernel = _pair(kernel)
    stride = _pair(stride) if stride not in (None, [], ()) else kernel
    padding = _pair(padding)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"padding {padding} is more than half of the window, {kernel}.")
    out = _shrunk(tracing, x, x.channels, kernel, stride, padding)
    add = getattr(tracing.native, f"add_{kind}_pool2d")
    add(x.buffer, out.buffer, kernel, stride, padding)
    return out


def _adaptive(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    size = (
        module.output_size if module is not None else _arguments(tracing.node, output_size=None)[0]
    )
    if size not in (1, (1, 1), [1, 1]):
        raise ValueError(f"a plan has adaptive average pooling to 1 x 1 only, not to {size}.")
    return _global_mean(tracing, inputs[0])


def _mean(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    dims, keepdim = _arguments(tracing.node, dim=None, keepdim=False)
    if not isinstance(dims, list | tuple) or sorted(d % 4 for d in dims) != [2, 3]:
        raise ValueError(f"a plan takes means over height and width, (2, 3), not over {dims}.")
    return _global_mean(tracing, inputs[0])


def _global_mean(tracing: Tracing, x: Value) -> Value:
    return _pool(tracing, "avg", x, (x.height, x.width), None, 0)


def _slices(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    """x[:, :, ::s, ::t], and the padding of channels with zeros that may follow."""
    node, x = tracing.node, inputs[0]
    parts = node.args[1]
    whole = slice(None, None, None)
    if (
        not isinstance(parts, tuple)
        or len(parts) != 4
        or not all(isinstance(p, slice) and p.start is None and p.stop is None for p in parts)
        or any(p not in (whole, slice(None, None, 1)) for p in parts[:2])  # type: ignore
        or not all(p.step is None or p.step > 0 for p in parts[2:])  # type: ignore[union-attr]
    ):
        raise ValueError("of all slices a plan knows x[:, :, ::s, ::t] only.")
    stride = tuple(p.step or 1 for p in parts[2:])  # type: ignore[union-attr]
    before = after = 0
    users = list(node.users)
    if len(users) == 1 and users[0].target is functional.pad:
        before, after = _channels_padded(users[0])
        tracing.fused.add(users[0])
    return _subsample(tracing, x, stride, before, after)


def _pad(tracing: Tracing, name: str, module: Any, inputs: tuple[Value, ...]) -> Value:
    return _subsample(tracing, inputs[0], (1, 1), *_channels_padded(tracing.node))


def _channels_padded(node: fx.Node) -> Pair:
    pad, mode, value = _arguments(node, pad=None, mode="constant", value=None)
    if (
        len(pad) != 6
        or any(pad[:4])
        or min(pad) < 0
        or mode != "constant"
        or value not in (None, 0)
    ):
        raise ValueError(f"a plan pads channels with zeros only, not pad={pad}, mode={mode!r}.")
    return pad[4], pad[5]


def _subsample(tracing: Tracing, x: Value, stride: Any, before: int, after: int) -> Value:
    height, width = -(-x.height // stride[0]), -(-x.width // stride[1])
    out = tracing.buffer(before + x.channels + after, height, width)
    tracing.native.add_subsample(x.buffer, out.buffer, stride, before)
    return out


def flattened(tracing: Tracing, x: Value) -> Value:
    """The features of pictures as one vector.

    Without a halo they lie as one vector already: so does what pooling makes for a linear layer
    alone. All else is copied.
    """
    before, users = tracing.node.args[0], list(tracing.node.users)
    pooled = isinstance(before, fx.Node) and len(before.users) == 1 and (
        isinstance(tracing.modules.get(str(before.target)), POOLS) or before.target in POOLINGS
    )  # fmt: skip
    last = len(users) == 1 and isinstance(tracing.modules.get(str(users[0].target)), nn.Linear)
    if x.height * x.width == 1 and x.channels == x.features or (pooled and last):
        return replace(x, channels=x.features, height=1, width=1)
    out = tracing.buffer(x.features)
    tracing.native.add_flatten(x.buffer, out.buffer)
    return out


POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
POOLINGS = (functional.max_pool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d)
IN_PLACE = (operator.iadd, "add_")
ADDITIONS = (operator.add, torch.add, "add", *IN_PLACE)

MODULES: dict[type[nn.Module], Add] = {
    nn.Conv2d: _conv2d,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool2d,
    nn.AvgPool2d: _avg_pool2d,
    nn.AdaptiveAvgPool2d: _adaptive,
}
FUNCTIONS: dict[Any, Add] = {
    **dict.fromkeys(ADDITIONS, _addition),
    functional.max_pool2d: _max_pool2d,
    torch.max_pool2d: _max_pool2d,
    functional.avg_pool2d: _avg_pool2d,
    functional.adaptive_avg_pool2d: _adaptive,
    functional.pad: _pad,
    operator.getitem: _slices,
    torch.mean: _mean,
    "mean": _mean,
}

"""Operations of torch on tensors of which some have no numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .skeleton import mapped

# Operations whose kernels for shapes alone are in Python: for the first of those that runs, torch
# imports its compiler, for a second. A product's two factors among its arguments; what broadcasts.
MATRICES = {"mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2)}
BROADCAST = {"add", "sub", "mul", "div", "rsub", "where"}


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """All tensors of nested sequences, mappings and plain objects (a model's output)."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from tensors_in(value)
    elif isinstance(tree, list | tuple | set):
        for value in tree:
            yield from tensors_in(value)
    elif hasattr(tree, "__dataclass_fields__"):
        for name in tree.__dataclass_fields__:
            yield from tensors_in(getattr(tree, name))


def carries(tensor: Tensor) -> bool:
    """Whether a tensor holds numbers that a path may lead through."""
    return tensor.is_floating_point() or tensor.is_complex()


def run_empty(func: Any, args: Any, kwargs: Any) -> Any:
    """The operation itself; where weights without numbers meet others, zeros of its shape."""
    inputs = [*tensors_in((args, kwargs))]
    empty = [t.is_meta for t in inputs]
    if not any(empty) or all(empty):
        return func(*args, **kwargs)
    if func._schema.is_mutable and isinstance(args[0], Tensor):
        return kwargs.get("out", args[0])
    device = next(t.device for t in inputs if not t.is_meta)
    name = func._schema.name.split("::")[-1]
    shape: Sequence[int] | None = None
    if name in MATRICES:
        a, b = (args[at] for at in MATRICES[name])
        shape = (*a.shape[:-1], b.shape[-1])
    elif name == "embedding":
        shape = (*args[1].shape, args[0].shape[-1])
    elif name in BROADCAST:
        shape = torch.broadcast_shapes(*(t.shape for t in inputs))
    if shape is not None:
        dtypes = [t.dtype for t in inputs if carries(t)]
        return torch.zeros(shape, dtype=dtypes[0], device=device)
    kwargs = {k: v for k, v in kwargs.items() if k != "device"}
    shapes = func(*mapped(args, lambda t: t.to("meta")), **mapped(kwargs, lambda t: t.to("meta")))

    def filled(t: Tensor) -> Tensor:
        return torch.zeros(t.shape, dtype=t.dtype, device=device)

    return mapped(shapes, filled)

"""What a model computes of one example, followed from its input to its outputs.

One forward pass of an empty copy of the model (`skeleton`), without gradients: the numbers are
zeros, only who feeds whom is of interest. Torch's own operations are noted as they are dispatched,
so that any module with a ``forward`` of its own can be followed; recurrent layers, attention and
norms are noted whole. What is not known becomes an ``unknown`` step, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...graph import Space, Wiring
from ...graph.wiring import traced_wiring
from .operations import HANDLERS
from .products import PRODUCTS
from .recording import Recorder, Whole, tensors_in
from .skeleton import one_example, skeleton, with_own_buffers


def trace(model: nn.Module, space: Space, parameters: Sequence[Tensor], example: Any) -> Wiring:
    """How a model joins the populations of its space.

    parameters: the sparse ones, one for each projection, as `layers.discover` returns them.
    example: what the model takes: a tensor with a batch before it, or a tuple of arguments, or a
        mapping of keyword arguments. Only its shapes and types matter.

    The model itself is neither run nor changed. Raises RuntimeError where it does not run on such
    an example.

    >>> from rewire.graph import Graph
    >>> from rewire.worlds.torch_model.layers import discover
    >>> class Residual(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
    ...
    ...     def forward(self, x):
    ...         return x + self.b(self.a(x).relu())
    >>> model = Residual()
    >>> space, parameters, _ = discover(model)
    >>> wiring = trace(model, space, parameters, torch.zeros(8, 3))
    >>> [step.op for step in wiring.program.steps]
    ['input', 'weight', 'permute', 'matmul', 'weight', 'permute', 'matmul', 'add']
    """
    copy, empty = skeleton(model)
    return trace_skeleton(copy, empty, space, [id(p) for p in parameters], example)


def trace_skeleton(
    copy: nn.Module,
    empty: Mapping[int, Tensor],
    space: Space,
    sparse: Sequence[int],
    example: Any,
) -> Wiring:
    """The same for a skeleton; sparse: ids of the parameters that it was made of."""
    weights = [empty[p] for p in sparse]
    copy = with_own_buffers(copy)
    names = {id(p): name.removesuffix(".weight") for name, p in copy.named_parameters()}
    recorder = Recorder(weights, names, {**HANDLERS, **PRODUCTS})
    args, kwargs = _arguments(one_example(example))
    try:
        with _running(copy, recorder):
            for tensor in tensors_in((args, kwargs)):
                recorder.enter(tensor)
            out = copy(*args, **kwargs)
    except Exception as error:
        raise RuntimeError(
            f"the model cannot be followed: on one example of zeros it stops with "
            f"{type(error).__name__}: {error}. Pass an example= that it takes."
        ) from error
    return traced_wiring(space, recorder.program(out))


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple | list):
        if len(example) == 2 and isinstance(example[0], tuple) and isinstance(example[1], dict):
            return example[0], example[1]
        return tuple(example), {}
    return (example,), {}


@contextmanager
def _running(copy: nn.Module, recorder: Recorder) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.autocast("cpu", enabled=False))
        for name, module in copy.named_modules():
            if _is_norm(module):
                module.__dict__["forward"] = recorder.unchanged
            module.__dict__["_forward_name"] = name
        stack.enter_context(Whole(recorder))
        stack.enter_context(recorder)
        yield


def _is_norm(module: nn.Module) -> bool:
    """A norm of whatever package, by its name: it acts on units as they are."""
    kind = type(module).__name__.lower()
    return (
        "norm" in kind
        and not any(True for _ in module.children())
        and not any(
            p is not None and sum(n > 1 for n in p.shape) > 1 for p in module._parameters.values()
        )
    )

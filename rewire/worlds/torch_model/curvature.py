"""Signals of how the loss curves: passes over the probe's examples, one by one.

In both torch worlds, of the edges there are (0 at others), means over the probe's examples n with
L_n the loss of a batch of that example alone: ``fisher``, the mean of (dL_n/dw)^2;
``example_gradients``, (k, N), the dL_n/dw themselves; ``hessian_diag``, the diagonal of the
Gauss-Newton matrix. The model is in evaluation mode meanwhile (batch normalisation by its running
statistics, no dropout).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...graph import Graph
from ...signals import signal
from .base import TorchWorld
from .layers import CONVOLUTIONS
from .probe import Passes

# Layers after which LeCun's recursion multiplies by the square of their slope.
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Identity,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d,
)  # fmt: skip
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)  # pass the curvature on to the winner


def examples(batches: Sequence[Any]) -> Iterator[Any]:
    """Every example of the batches, as a batch of one. Raises ValueError where they cannot be cut.

    A batch is a tensor, or tuples, lists and dictionaries of tensors with the examples along
    their first dimension.
    """
    for batch in batches:
        sizes = {len(t) if t.dim() else -1 for t in _tensors(batch)}
        if len(sizes) != 1 or -1 in sizes:
            raise ValueError(
                "curvature is of single examples, and this probe's batches cannot be cut into "
                f"them: the first dimensions of their tensors are {sorted(sizes)}. Give batches "
                "whose tensors all have the examples along the first dimension."
            )
        for n in range(sizes.pop()):
            yield _cut(batch, slice(n, n + 1))


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for part in batch.values():
            yield from _tensors(part)
    elif isinstance(batch, tuple | list):
        for part in batch:
            yield from _tensors(part)


def _cut(batch: Any, rows: slice) -> Any:
    if isinstance(batch, Tensor):
        return batch[rows]
    if isinstance(batch, Mapping):
        return {k: _cut(v, rows) for k, v in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(_cut(v, rows) for v in batch)
    return batch


def _asked(graph: Graph, keys: Tensor, values: Tensor) -> Tensor:
    """The edges' values (E, ...) at keys; 0 where there is no edge."""
    if keys is graph.keys:
        return values
    row, exists = graph.find(keys)
    out = values.new_zeros(len(keys), *values.shape[1:])
    out[exists] = values[row[exists]]
    return out


# -- first derivatives ---------------------------------------------------------------------------


@signal("sparse", "fisher", needs_probe=True)
@signal("masked", "fisher", needs_probe=True)
def fisher(world: TorchWorld, graph: Graph, keys: Tensor) -> Tensor:
    """The diagonal of the empirical Fisher matrix: the mean of the squares of the examples'
    gradients (the square of a batch's gradient is another thing)."""
    with world.deriving(graph) as passes:
        total, n = [torch.zeros_like(w) for w in passes.weights], 0
        for example in examples(passes.probe.batches):
            n += 1
            for t, g in zip(total, passes.gradients(_loss(passes, example)), strict=True):
                if g is not None:
                    t.addcmul_(g, g)
        return _asked(graph, keys, passes.at(_mean(world, total, n)))


def _mean(world: TorchWorld, total: Sequence[Tensor], n: int) -> list[Tensor]:
    """Sums over n examples, divided by n: of all ranks that train the model."""
    count = world.counted(n)
    return [t.detach().div_(count) for t in world.summed([t.detach() for t in total])]


@signal("sparse", "example_gradients", needs_probe=True)
@signal("masked", "example_gradients", needs_probe=True)
def example_gradients(world: TorchWorld, graph: Graph, keys: Tensor) -> Tensor:
    """The gradient of each of the probe's examples, (k, N)."""
    with world.deriving(graph) as passes:
        slopes = [
            passes.at(passes.gradients(_loss(passes, example)))
            for example in examples(passes.probe.batches)
        ]
    values = torch.stack(slopes, 1)
    if world.ranks is not None:  # the examples of all ranks, in the order of the ranks
        values = world.ranks.joined(values, 1)
    return _asked(graph, keys, values)


def _loss(passes: Passes, example: Any) -> Tensor:
    return passes.probe.loss(passes.model, example)


# -- second derivatives --------------------------------------------------------------------------


@signal("sparse", "hessian_diag", needs_probe=True)
@signal("masked", "hessian_diag", needs_probe=True)
def hessian_diag(
    world: TorchWorld, graph: Graph, keys: Tensor, *, recursion: bool = False
) -> Tensor:
    """The diagonal of the Gauss-Newton matrix: mean over examples of diag(J^T H J), J the
    derivative of the model's output by the weights, H the Hessian of the loss by that output.

    Exact: one backward pass for each example and each direction in which H is not 0.
    recursion: LeCun, Denker & Solla's (1990, equations 8-11) instead, which leaves out what is
    off the diagonal in every layer; of chains of linear, convolutional and elementwise modules.
    Asked for no keys, it only looks whether it can be computed.
    """
    with world.deriving(graph) as passes:
        if not len(keys):
            if recursion:
                _look(passes)
            return _asked(graph, keys, passes.at([torch.zeros_like(w) for w in passes.weights]))
        total, n = _by_recursion(passes) if recursion else _exact(passes)
        return _asked(graph, keys, passes.at(_mean(world, total, n)))


def _exact(passes: Passes) -> tuple[list[Tensor], int]:
    """The sum over the examples, and how many there are."""
    total, n = [torch.zeros_like(w) for w in passes.weights], 0
    for example in examples(passes.probe.batches):
        n += 1
        output = _output(passes, example)
        curvature, directions = torch.linalg.eigh(_output_hessian(passes, output, example))
        tiny = curvature.abs().max() * len(curvature) * torch.finfo(curvature.dtype).eps
        for h, v in zip(curvature, directions.T, strict=True):
            if h.abs() > tiny:
                slopes = passes.gradients(output, v.reshape(output.shape).to(output))
                for t, g in zip(total, slopes, strict=True):
                    if g is not None:
                        t.addcmul_(g, g, value=float(h))
    return total, n


def _output(passes: Passes, batch: Any) -> Tensor:
    """What the model says of a batch. Raises ValueError unless that is one tensor."""
    outputs: list[Any] = []

    def model(*args: Any, **kwargs: Any) -> Any:
        outputs.append(passes.model(*args, **kwargs))
        return outputs[-1]

    passes.probe.loss(model, batch)
    if len(outputs) != 1 or not isinstance(outputs[0], Tensor):
        raise ValueError(
            "the Gauss-Newton matrix is of a loss of one output tensor; the probe's loss called "
            f"the model {len(outputs)} times and got "
            f"{', '.join(type(output).__name__ for output in outputs)}."
        )
    return outputs[0]


def _output_hessian(passes: Passes, output: Tensor, batch: Any) -> Tensor:
    """The Hessian of the loss by the output, (k, k) with k numbers in it, float64."""
    z = output.detach().requires_grad_()
    (slope,) = torch.autograd.grad(
        passes.probe.loss(lambda *args, **kwargs: z, batch), z, create_graph=True
    )
    if not slope.requires_grad:  # a loss that is linear in the output
        return torch.zeros(z.numel(), z.numel(), dtype=torch.float64, device=z.device)
    rows = [torch.autograd.grad(s, z, retain_graph=True)[0].reshape(-1) for s in slope.reshape(-1)]
    return torch.stack(rows).double()


def _look(passes: Passes) -> None:
    """Raise ValueError where the recursion cannot be computed: tried on one example."""
    total = [torch.zeros_like(w) for w in passes.weights]
    _recursion(passes, next(examples(passes.probe.batches)), total)


def _by_recursion(passes: Passes) -> tuple[list[Tensor], int]:
    """LeCun's recursion, batch by batch: a backward pass with squared weights, slopes and inputs.

    Returns the sum over the examples, and how many there are.
    """
    total, n = [torch.zeros_like(w) for w in passes.weights], 0
    for batch in passes.probe.batches:
        next(examples([batch]))  # raises where the batch cannot be cut
        size = len(next(_tensors(batch)))
        n += size
        _recursion(passes, batch, total, size)
    return total, n


def _recursion(passes: Passes, batch: Any, total: list[Tensor], size: int = 1) -> None:
    """Add the batch's share: the sum over its ``size`` examples, whose loss is their mean."""
    ran: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        ran.append((module, args[0], output))

    leaves = [m for m in passes.root.modules() if not list(m.children())]
    hooks = [m.register_forward_hook(note) for m in leaves]
    try:
        output = _output(passes, batch)
    finally:
        for hook in hooks:
            hook.remove()
    expected, h = output, _diagonal(passes, output, batch) * size
    for module, x, y in reversed(ran):
        follows = isinstance(y, Tensor) and y.data_ptr() == expected.data_ptr()
        if not follows or y.numel() != h.numel():
            raise _no_recursion(module, "its output is not the next module's input")
        h, expected = _back(passes, module, x.detach(), h.reshape(y.shape), total), x


def _diagonal(passes: Passes, output: Tensor, batch: Any) -> Tensor:
    """d2L / dz2 of the batch's loss by each number of the output, in its shape.

    The examples' outputs do not mix in the loss: one pass for each number of one example.
    """
    z = output.detach().requires_grad_()
    (slope,) = torch.autograd.grad(
        passes.probe.loss(lambda *args, **kwargs: z, batch), z, create_graph=True
    )
    out = torch.zeros_like(z).reshape(len(z), -1)
    if slope.requires_grad:
        flat = slope.reshape(len(z), -1)
        for j in range(flat.shape[1]):
            (row,) = torch.autograd.grad(flat[:, j].sum(), z, retain_graph=True)
            out[:, j] = row.reshape(len(z), -1)[:, j]
    return out.reshape(z.shape).detach()


def _back(passes: Passes, module: nn.Module, x: Tensor, h: Tensor, total: list[Tensor]) -> Tensor:
    """From the curvature by a module's output to that by its input; adds that by its weight."""
    if isinstance(module, (nn.Linear, *CONVOLUTIONS)):
        at = passes.owner.get(id(module.weight))
        weight = module.weight if at is None else passes.weights[at]
        squares = weight.detach().square().requires_grad_()
        inputs = x.square().requires_grad_()
        y = functional_call(module, {"weight": squares}, (inputs,))
        before, own = torch.autograd.grad(y, (inputs, squares), h)
        if at is not None:
            total[at] += own
        return before
    inputs = x.clone().requires_grad_()  # a copy: some activations work in place
    y = module(inputs.clone())
    if isinstance(module, ELEMENTWISE):
        (slope,) = torch.autograd.grad(y.sum(), inputs)
        return slope.square() * h
    if isinstance(module, POOLS):
        return torch.autograd.grad(y, inputs, h)[0]
    if isinstance(module, nn.Flatten):
        return h.reshape(x.shape)
    raise _no_recursion(module, "it is none of the modules that the recursion knows")


def _no_recursion(module: nn.Module, why: str) -> ValueError:
    return ValueError(
        "LeCun's recursion follows a chain of linear, convolutional, elementwise and max-pooling "
        f"modules, and stops at {type(module).__name__}: {why}. Use recursion=False, the exact "
        "diagonal."
    )

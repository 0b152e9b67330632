"""Whether a layer with a ``forward`` of its own computes with the weight that it stores.

A standardised convolution stores one weight and computes with another, in which absent synapses
are not 0. Tried by perturbing: where only absent synapses carry the input, the output may not
depend on the weights that are present. What a layer adds to its output cancels out.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .declared import Use

METHODS = ("forward", "_conv_forward")
TRIED = ("linear", "transposed", "conv", "conv_transpose")  # kinds of layers that run alone


def own_forward(module: nn.Module) -> bool:
    """Whether the class or the module itself replaces what torch's layer computes.

    >>> class Louder(nn.Linear):
    ...     def forward(self, x):
    ...         return 2 * super().forward(x)
    >>> own_forward(nn.Linear(2, 2)), own_forward(Louder(2, 2))
    (False, True)
    """
    kinds = type(module).__mro__
    base = next((k for k in kinds if k.__module__.startswith("torch.nn.")), nn.Module)
    return any(
        name in vars(module) or getattr(type(module), name, None) is not getattr(base, name, None)
        for name in METHODS
    )


def check_stored(name: str, module: nn.Module, use: Use, weight: nn.Parameter) -> None:
    """Raises ValueError for a layer that computes with another weight than the stored one.

    A class attribute ``computes_with_stored_weight = True`` declares one that cannot be tried. Of a
    weight whose kind was declared only what a trial shows is refused.
    """
    if not own_forward(module) or getattr(module, "computes_with_stored_weight", False):
        return
    if use.declared:
        leak = _leak_of_declared(module, use, weight)
        if leak is not None:
            raise ValueError(
                f"{name!r} was said to be {use.kind!r} in its {type(module).__name__}, and {leak}: "
                "it is stored otherwise, or not what the layer computes with. Name another kind, "
                "or leave it out with exclude=."
            )
        return
    reason = _reason(module, use.kind, weight)
    if reason is not None:
        raise ValueError(
            f"{name!r} belongs to a {type(module).__name__} with a forward of its own: {reason}. "
            "Leave it out with exclude=, or declare computes_with_stored_weight = True in its "
            "class if absent synapses (weight 0) carry nothing."
        )


def _reason(module: nn.Module, kind: str, weight: nn.Parameter) -> str | None:
    if kind not in TRIED or weight.is_meta:
        return "it cannot be tried alone, so that absent synapses may carry"
    try:
        with _borrowed(module, weight):
            return _Trial(module, kind, weight).reason()
    except Exception as error:
        return (
            f"it cannot be run alone ({type(error).__name__}: {error}), so that absent synapses "
            "may carry"
        )


def _leak_of_declared(module: nn.Module, use: Use, weight: nn.Parameter) -> str | None:
    """How absent synapses carry in a copy of the layer; None where they do not, or where it does
    not run alone on one tensor."""
    if use.kind not in TRIED or weight.is_meta:
        return None
    try:
        alone = copy.deepcopy(module)
        own = alone._parameters[use.attribute]
        assert own is not None
        with _borrowed(alone, own):
            trial = _Trial(alone, use.kind, own)
            return None if trial.unheard() else trial.leak()
    except Exception:
        return None


@contextmanager
def _borrowed(module: nn.Module, weight: nn.Parameter) -> Iterator[None]:
    """The module in evaluation mode, to be written into: all is as before at the end."""
    modes = [(m, m.training) for m in module.modules()]
    state = [(t, t.detach().clone()) for t in (weight, *module.buffers())]
    devices = [weight.device] if weight.is_cuda else []
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices):
            yield
    finally:
        for tensor, before in state:
            tensor.data.copy_(before)
        for child, mode in modes:
            child.training = mode


class _Trial:
    """One layer's outputs under weights of ours; inputs are centred in a field of zeros."""

    def __init__(self, module: nn.Module, kind: str, weight: nn.Parameter):
        self.module, self.weight = module, weight
        turned = kind in ("transposed", "conv_transpose")
        self.inputs, self.outputs = (0, 1) if turned else (1, 0)
        self.channels = weight.shape[0 if turned else 1]
        groups = getattr(module, "groups", 1)
        if kind == "conv":
            self.channels *= groups
        reach = [d * (k - 1) for d, k in zip(_dilation(module), weight.shape[2:], strict=False)]
        self.field = [4 * r + 5 for r in reach]
        self.generator = torch.Generator().manual_seed(0)
        self.over_time = not self._runs() and self._runs(over_time=True)

    def _runs(self, *, over_time: bool = False) -> bool:
        """Whether the layer takes its input as it is, or with an axis of time before its batch."""
        self.over_time = over_time
        try:
            self._output(self._input(), self._weight())
        except Exception:
            return False
        return True

    def reason(self) -> str | None:
        """Why absent synapses may carry; None where they do not."""
        if self.unheard():
            return "its output does not depend on the stored weight"
        return self.leak()

    def unheard(self) -> bool:
        """Whether the output does not depend on the weight."""
        return bool(self._change(self._input(), self._weight(), self._weight()).max() == 0)

    def leak(self) -> str | None:
        """How absent synapses carry; None where they do not."""
        x = self._input()
        for axis, what in ((self.inputs, "inputs"), (self.outputs, "outputs")):
            if self.weight.shape[axis] > 1 and self._leaks(axis, x):
                return f"absent synapses carry when others of its {what} are there"
        if self.weight[0, 0].numel() > 1 and self._leaks_in_kernel():
            return "absent synapses carry when others of its kernel are there"
        return None

    def _leaks(self, axis: int, x: Tensor) -> bool:
        """Whether output that only absent synapses (half of an axis) could make is changed by the
        weights of the other half."""
        size = self.weight.shape[axis]
        absent = torch.arange(size) < (size + 1) // 2
        absent = absent[torch.randperm(size, generator=self.generator)]
        shape = [1] * self.weight.dim()
        shape[axis] = size
        present = (~absent).view(shape)
        one, other = self._weight() * present, self._weight() * present
        if axis == self.inputs:
            rows = absent.repeat(self.channels // size)
            change = self._change(x * rows.view(-1, *[1] * len(self.field)), one, other)
        else:
            change = self._change(x, one, other)
            change = change[:, absent.repeat(change.shape[1] // size)]
        return bool(change.max() > 0)

    def _leaks_in_kernel(self) -> bool:
        """Whether one tap of the kernel answers an impulse at more than one place."""
        x = torch.zeros(1, self.channels, *self.field)
        centre: tuple[Any, ...] = (..., *(n // 2 for n in self.field))
        x[centre] = 1.0
        tap = torch.zeros(self.weight.shape[2:])
        tap.view(-1)[0] = 1.0
        change = self._change(x, self._weight() * tap, self._weight() * tap)
        return bool(((change > 0).flatten(2).sum(2) > 1).any())

    def _change(self, x: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """How far outputs under two weights differ, 0 where that is rounding alone."""
        first, second = self._output(x, one), self._output(x, other)
        change = (first - second).abs()
        return change * (change > 1e-5 * first.abs().max().clamp(min=1e-30))

    def _output(self, x: Tensor, weight: Tensor) -> Tensor:
        self.weight.data.copy_(weight)
        torch.default_generator.manual_seed(0)
        if self.weight.is_cuda:
            with torch.cuda.device(self.weight.device):
                torch.cuda.manual_seed(0)
        x = x.to(self.weight.device, self.weight.dtype)
        out = torch.as_tensor(self.module.forward(x[None] if self.over_time else x))
        return (out[0] if self.over_time else out).detach().double().cpu()

    def _input(self) -> Tensor:
        return self._random((2, self.channels, *self.field))

    def _weight(self) -> Tensor:
        return 0.5 + self._random(self.weight.shape).abs()

    def _random(self, shape: tuple[int, ...] | torch.Size) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def _dilation(module: nn.Module) -> tuple[int, ...]:
    return tuple(getattr(module, "dilation", ()))

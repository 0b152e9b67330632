"""Whether a model still is what a plan was traced from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as torch_module

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
HELD = ("_parameters", "_buffers", "_modules", *HOOKS)  # dictionaries of every module
OWN = frozenset(vars(nn.Module())) - {"training"}  # what torch keeps in every module
EVERYWHERE = tuple(getattr(torch_module, f"_global{name}") for name in HOOKS)

SPARED = "_rewire_hooks"  # of a parameter: ids of hooks that a plan need not call
TRAINED = attrgetter("requires_grad", "_backward_hooks", "_post_accumulate_grad_hooks")


def hooks(module: nn.Module) -> Iterator[Mapping[int, Any]]:
    """The hooks that a pass through this module calls, by kind."""
    yield from (getattr(module, name) for name in HOOKS)
    yield from EVERYWHERE


def hook_ids(p: Tensor) -> frozenset[int]:
    """Ids of what listens to the gradient of a parameter."""
    return frozenset((*(p._backward_hooks or ()), *(p._post_accumulate_grad_hooks or ())))


def hooked(p: Tensor | None) -> bool:
    """Whether something but this world's own hooks listens to the gradient of this parameter."""
    return p is not None and bool(hook_ids(p) - getattr(p, SPARED, frozenset()))


class Outline:
    """All of a model that a plan takes from it but once: not the numbers in its tensors.

    Its modules, their attributes (whether they train, a dropout's p) and hooks, which tensors they
    hold, where the numbers of those lie, and which parameters are trained. What changes within an
    attribute, as in a list that grows, is not seen. Looking takes 3 us for LeNet-300-100, 30 us
    for ResNet-20.

    moving: ids of parameters whose numbers the world itself lays elsewhere.
    """

    def __init__(self, model: nn.Module, moving: frozenset[int] = frozenset()):
        modules = list(model.modules())
        self._vars = [vars(m) for m in modules]
        names = [("_parameters", *(n for n in d if n not in OWN)) for d in self._vars]
        self._looks = [(itemgetter(*n), d) for n, d in zip(names, self._vars, strict=True)]
        tables = [getattr(m, name) for m in modules for name in HELD] + list(EVERYWHERE)
        self._full, self._empty = [d.values() for d in tables if d], [d for d in tables if not d]
        self._parameters: list[Tensor] = list(model.parameters())
        self._fixed = [p for p in self._parameters if id(p) not in moving] + list(model.buffers())
        self.renew()

    def renew(self) -> None:
        """Take attributes and tensors as they are now."""
        self._objects = [*chain.from_iterable(self._full)]
        self._values = self._look()

    def _look(self) -> list[Any]:
        return [
            *map(len, self._vars),
            *[look(d) for look, d in self._looks],
            *map(TRAINED, self._parameters),
            *map(Tensor.data_ptr, self._fixed),
        ]

    def holds(self) -> bool:
        """Whether the model still has this outline."""
        if any(self._empty):
            return False
        # by identity: a tensor does not compare with another one
        now, then = [*chain.from_iterable(self._full)], self._objects
        if len(now) != len(then) or not all(map(is_, now, then)):
            return False
        try:
            return self._look() == self._values
        except (KeyError, RuntimeError, ValueError):  # one is gone, or an array in the place of one
            return False

    def replace(self, old: Tensor, new: Tensor) -> None:
        """The world put one parameter in the place of another."""
        self._objects = [new if x is old else x for x in self._objects]
        self._parameters = [new if p is old else p for p in self._parameters]

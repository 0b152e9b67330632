"""A copy of a model's structure that can be run without its numbers, its hooks or its mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .group import is_sharded, kind_of
from .twin import HOOKS, bare

RECOMPUTES = "torch.nn.utils."  # hooks of this package make weights out of other parameters


def skeleton(model: nn.Module) -> tuple[nn.Module, dict[int, Tensor]]:
    """The model's modules anew, in evaluation mode and without hooks; its parameters on the meta
    device; and that tensor of each parameter, by the parameter's id.

    Buffers and whatever else modules hold are shared. The model itself is left alone.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    >>> copy, empty = skeleton(model)
    >>> copy[1].training, copy[0].weight is empty[id(model[0].weight)], copy[0].weight.is_meta
    (False, True, True)
    """
    model = bare(model)
    empty: dict[int, Tensor] = {}
    copies = {id(m): _shallow(m) for m in model.modules()}
    for module in model.modules():
        copy = copies[id(module)]
        state = copy.__dict__
        state["_parameters"] = {
            name: None if p is None else empty.setdefault(id(p), _emptied(p))
            for name, p in module._parameters.items()
        }
        state["_buffers"] = dict(module._buffers)
        state["_modules"] = {
            name: None if child is None else copies[id(child)]
            for name, child in module._modules.items()
        }
        for name, value in module.__dict__.items():
            owner = getattr(value, "__self__", None)
            if isinstance(value, MethodType) and id(owner) in copies:
                state[name] = MethodType(value.__func__, copies[id(owner)])
            elif not name.startswith("_") and isinstance(value, nn.Module):
                state[name] = copies.get(id(value), value)
        flat = state.get("_flat_weights")
        if flat is not None:
            state["_flat_weights"] = [None if w is None else empty.get(id(w), w) for w in flat]
    return copies[id(model)], empty


def _shallow(module: nn.Module) -> nn.Module:
    copy = object.__new__(kind_of(module))
    copy.__dict__ = dict(module.__dict__)
    copy.__dict__["training"] = False
    for hooks, with_kwargs in HOOKS:
        recomputing = {
            k: hook
            for k, hook in getattr(module, hooks).items()
            if type(hook).__module__.startswith(RECOMPUTES)
        }
        copy.__dict__[hooks], copy.__dict__[with_kwargs] = recomputing, {}
    return copy


def _emptied(p: Tensor) -> Tensor:
    if is_sharded(p):
        empty = p.to_local().new_empty(p.shape, device="meta")  # type: ignore[attr-defined]
    else:
        empty = torch.empty_like(p, device="meta")
    return nn.Parameter(empty, requires_grad=False)


def with_own_buffers(copy: nn.Module) -> nn.Module:
    """A skeleton whose buffers are copied, so that nothing that a pass writes reaches the model."""
    for module in copy.modules():
        module.__dict__["_buffers"] = {
            name: b if b is None or b.is_meta else b.detach().cpu().clone()
            for name, b in module._buffers.items()
        }
    return copy


def zeros_like(tree: Any) -> Any:
    """Zeros in the place of every tensor.

    >>> zeros_like((torch.ones(2), {"mask": None}))
    (tensor([0., 0.]), {'mask': None})
    """
    return mapped(tree, lambda t: torch.zeros(t.shape, dtype=t.dtype))


def first_examples(tree: Any, n: int) -> Any:
    """Zeros of the first ``n`` examples of a batch; None where its tensors are of several lengths,
    or of no more than one.

    >>> first_examples((torch.ones(8, 3), {"mask": None}), 2)[0].shape
    torch.Size([2, 3])
    """
    lengths = set[int]()
    mapped(tree, lambda t: lengths.add(len(t)) if t.dim() else None)
    if len(lengths) != 1 or max(lengths) < 2:
        return None
    return mapped(
        tree,
        lambda t: torch.zeros((n, *t.shape[1:]) if t.dim() else (), dtype=t.dtype),
    )


def mapped(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """Sequences and mappings with something else in the place of each tensor."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, Mapping):
        return {k: mapped(v, change) for k, v in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(v, change) for v in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(mapped(v, change) for v in tree)
    return tree

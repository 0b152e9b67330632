"""Data for rules that look at it in passes of their own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class Probe:
    """Data for signals that need passes of their own.

    batches: batches of any form; loss: (model, batch) -> scalar loss.
    """

    batches: Sequence[Any]
    loss: Callable[[Callable[..., Tensor], Any], Tensor]


def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, int]:
    """Mean cross-entropy in evaluation mode, and how many examples are classified right."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    with torch.no_grad():
        out = model(x)
    for module, mode in modes:  # a norm that the user froze stays frozen
        module.training = mode
    return float(cross_entropy(out, y)), int((out.argmax(1) == y).sum())


def _copied(tree: Any) -> Any:
    """A copy with tensors of its own: of a view, what it shows and not all of what it lies in."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {k: _copied(v) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(map(_copied, tree))
    return copy.deepcopy(tree)

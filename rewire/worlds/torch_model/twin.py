"""Copies of a model with sparse weights of one's own: an average, a dense model to hand on."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ...graph import Graph
from .activity import Tap
from .copies import MARK, own_copy, owners
from .mask_state import Loads, Saves

HOOKS = (
    ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
    ("_forward_hooks", "_forward_hooks_with_kwargs"),
)


def bare(model: nn.Module) -> nn.Module:
    """The model inside what torch.compile and DistributedDataParallel put around it."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.parallel.DistributedDataParallel):
            inner = model.module
        if inner is None:
            return model
        model = inner


def strip(model: nn.Module) -> None:
    """Take from a copy of a model what a session put there."""
    for module in model.modules():
        module.__dict__.pop(MARK, None)
        for hooks, with_kwargs in HOOKS:
            table = getattr(module, hooks)
            for k in [k for k, hook in table.items() if isinstance(hook, Tap)]:
                del table[k]
                getattr(module, with_kwargs).pop(k, None)
        for table in (module._state_dict_hooks, module._load_state_dict_pre_hooks):
            for k in [
                k for k, h in table.items() if isinstance(getattr(h, "hook", h), Saves | Loads)
            ]:
                del table[k]


class Twin:
    """A copy of a model whose sparse weights are what it is told; it knows no session.

    source: the model that it is a copy of. parameters: the sparse ones, one for each projection.
    """

    def __init__(self, model: nn.Module, parameters: Sequence[Tensor]):
        self.source = bare(model)
        with own_copy():
            self.model = self.copied()
        strip(self.model)
        pairs = zip(self.source.modules(), self.model.modules(), strict=True)
        self._copied = dict(pairs)
        self._places = [(self._copied[m], w) for m, w in owners(self.source, parameters).items()]

    def copied(self) -> nn.Module:
        """A copy of the model."""
        return copy.deepcopy(self.source)

    def now(self, p: Tensor) -> Tensor:
        """The numbers of a parameter of the model."""
        return p

    @torch.no_grad()
    def hold(self, graph: Graph) -> None:
        """Let sparse weights be the column ``weight`` of a graph, 0 where it has no edge."""
        for module, weights in self._places:
            for i, attribute in weights:
                p = module._parameters[attribute]
                assert p is not None
                p.copy_(graph.dense(i))

    def rest(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, number in the model and in the copy of all parameters that are not sparse."""
        sparse = {(id(m), attribute) for m, weights in self._places for _, attribute in weights}
        copied = dict(self.model.named_modules())
        for name, p in self.source.named_parameters():
            prefix, _, attribute = name.rpartition(".")
            module = copied[prefix]
            if (id(module), attribute) not in sparse:
                yield name, self.now(p), module._parameters[attribute]  # type: ignore[misc]

    def buffers(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, number in the model and in the copy of all buffers."""
        copied = dict(self.model.named_buffers())
        for name, b in self.source.named_buffers():
            yield name, b, copied[name]

"""Gradients of absent synapses, cleared where they are made.

A hook on each sparse parameter acts as soon as a backward pass has accumulated its gradient, so
that whatever looks at gradients between the pass and the step (clipping by norm, a GradScaler,
SAM's first step) sees those of the edges alone. What a rule is to see at absent synapses is kept
aside before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..torch_model.group import Ranks
from .memory import clear_one
from .weights import MaskedWeights


class Masks(NamedTuple):
    """Masks of dense weights, and the numbers of those that lack synapses."""

    masks: Sequence[Tensor]
    thin: Collection[int]


def scaled(whole: Tensor, gradient: Tensor, exists: Tensor | None, replaced: bool) -> Tensor | None:
    """A whole gradient, scaled as that of the edges was since it was kept.

    exists: which synapses there are, where something else than a backward pass wrote the gradient;
    what it added to absent ones is added here, and where it was ``replaced`` by one that has any it
    is whole itself: None.
    """
    if exists is not None:
        added = gradient.masked_fill(exists, 0.0)
        if added.any():
            if replaced:
                return None
            own = whole[exists]
            scale = torch.dot(gradient[exists], own) / torch.dot(own, own)
            return torch.where(exists, gradient, whole * scale + added)
    edges = gradient.flatten()
    at = edges.abs().argmax()
    now, before = float(edges[at]), float(whole.flatten()[at])
    changed = now != before and before != 0  # NaN too: a rule is to refuse it by name
    return whole * (now / before) if changed else whole


class Backward:
    """The gradients of a session's sparse parameters, as backward passes leave them.

    wanted: whether a rule will ask for dense gradients after the coming step.
    ranks: the processes that train the model together, whose mean a kept gradient is to be.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], weights: MaskedWeights | Masks):
        self._parameters, self._weights = parameters, weights
        self.wanted = False
        self.ranks: Ranks | None = None
        self._whole: list[Tensor | None] = [None] * len(parameters)
        # the gradients that are masked: where each lies, and how often it was written
        self._clean: list[tuple[int, int] | None] = [None] * len(parameters)
        self._handles: list[Any] = []

    def listen(self, *, dense: bool) -> None:
        """Hook into the parameters, once. dense: whether some rule asks for dense gradients."""
        if self._handles:
            return
        for i, p in enumerate(self._parameters):
            if dense:
                self._handles.append(p.register_hook(self._keeping(i)))
            self._handles.append(p.register_post_accumulate_grad_hook(self._masking(i)))

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _keeping(self, i: int) -> Any:
        def keep(gradient: Tensor) -> None:
            if not self.wanted:
                return
            held = self._parameters[i].grad
            if held is None or not held.any():  # zeroed since the last pass
                self._whole[i] = gradient.detach().clone()
            else:
                earlier = self._whole[i]
                self._whole[i] = (held if earlier is None else earlier).detach() + gradient.detach()

        return keep

    def _masking(self, i: int) -> Any:
        def mask(parameter: Tensor) -> None:
            gradient = parameter.grad
            if gradient is None:
                return
            if i in self._weights.thin:
                if gradient.requires_grad:  # to be derived again, without what is absent
                    present = self._weights.masks[i] != 0
                    parameter.grad = gradient = torch.where(present, gradient, 0.0)
                else:
                    clear_one(gradient, self._weights.masks[i])
            self._clean[i] = gradient.data_ptr(), gradient._version

        return mask

    def unmasked(self, i: int) -> bool:
        """Whether something else than a backward pass wrote the gradient of projection i, or put
        it in its place, so that it may have numbers at absent synapses (noise, a mean taken off).
        Ranks put theirs there after the pass."""
        gradient = self._parameters[i].grad
        if gradient is None:
            return False
        written = self._clean[i] != (gradient.data_ptr(), gradient._version)
        return written or self.ranks is not None

    def dense(self) -> list[Tensor | None]:
        """The whole gradient of each projection, the mean of the ranks', scaled as that of the
        edges was since (unscaled, clipped).

        What was added in place since (noise) is added to it. None where none was kept, and where
        the gradient was replaced by one that has numbers at absent synapses: it is whole itself.
        """
        whole = self._whole
        if self.ranks is not None:
            whole = self.ranks.sums(whole, self._parameters)
            whole = [None if t is None else t / self.ranks.size for t in whole]
        return [self._scaled(i, t) for i, t in enumerate(whole)]

    def _scaled(self, i: int, whole: Tensor | None) -> Tensor | None:
        gradient = self._parameters[i].grad
        if whole is None or gradient is None:
            return None
        exists = self._weights.masks[i] != 0 if self.unmasked(i) else None
        clean = self._clean[i]
        replaced = clean is None or clean[0] != gradient.data_ptr()
        return scaled(whole, gradient.detach(), exists, replaced and self.ranks is None)

    def settle(self) -> None:
        """A step is over: what comes now belongs to the next."""
        self._whole = [None] * len(self._parameters)
        self._clean = [None] * len(self._parameters)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of the world makes its own."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()


def _nothing() -> None:
    return None

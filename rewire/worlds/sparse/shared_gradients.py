"""Gradients of lists of edges under DistributedDataParallel: their mean over the ranks.

Its buckets are as large as the parameters were when the model was wrapped, and lists change their
length with every edit. It is therefore told to leave the sparse weights out, and their gradients
are averaged here, all in one, at the end of each backward pass in which it averages its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Variable

from ..torch_model.group import Ranks
from .weights import Weight

IGNORED = "_ddp_params_and_buffers_to_ignore"  # the attribute of a model that DDP reads
Wrapper = nn.parallel.DistributedDataParallel


def _names(model: nn.Module, weights: Sequence[Weight]) -> set[str]:
    """The names of the sparse parameters in a model."""
    own = {id(w.parameter) for w in weights}
    return {name for name, p in model.named_parameters(remove_duplicate=False) if id(p) in own}


def check_wrapper(wrapper: Wrapper, weights: Sequence[Weight]) -> None:
    """Raise RuntimeError where the sparse weights of a wrapped model are in its buckets."""
    if _names(wrapper.module, weights) - set(getattr(wrapper, "parameters_to_ignore", ())):
        raise RuntimeError(
            "DistributedDataParallel holds this model's sparse weights in buckets that are as "
            "large as they were at first, and lists of edges change their length: in the sparse "
            "world call torch.distributed.init_process_group first, then rewire.attach, and wrap "
            "the very model that was attached last (under Lightning: the whole module, in its "
            "setup()); or attach with world='masked'."
        )


class LeftOut(list[str]):
    """Names of parameters that DistributedDataParallel leaves out, on the model that it wraps.

    It waits for the gradient of another one, and reads these names before it looks for it: where
    there is none, that is said here.
    """

    others = True  # whether the model has another parameter that is trained

    def __iter__(self) -> Iterator[str]:
        if not self.others and sys._getframe(1).f_code is Wrapper.__init__.__code__:
            raise RuntimeError(
                "every trained parameter of this model is a list of edges, whose gradients are "
                "averaged when DistributedDataParallel has averaged others, and it wraps no model "
                "without any: leave a layer out with exclude=, give one a bias, or attach with "
                "world='masked'."
            )
        return super().__iter__()

    def __reduce__(self) -> tuple[Any, ...]:  # in a copy of the model: plain names
        return list, ([*self],)


class SharedGradients:
    """Means over ranks of the gradients of a model's sparse weights."""

    def __init__(self, model: nn.Module, weights: Sequence[Weight]):
        self._model, self._weights = model, weights
        self._wrapper: Wrapper | None = None  # whose last forward pass is to be averaged
        self._queued = False
        self._hooked: dict[str, tuple[Tensor, Any]] = {}  # parameters by name, and their hooks
        self._others: list[Any] = []  # hooks of parameters that are not sparse
        self._forward = model.register_forward_pre_hook(self._before_forward)
        earlier = set(getattr(model, IGNORED, ()))
        self._added = _names(model, weights) - earlier
        left_out = LeftOut([*earlier, *sorted(self._added)])
        names = {name for name, p in model.named_parameters() if p.requires_grad}
        left_out.others = bool(names - set(left_out))
        setattr(model, IGNORED, left_out)

    def close(self) -> None:
        """Take the hooks off; a wrapper that comes holds the weights as any others."""
        self._forward.remove()
        for handle in [*self._others, *(handle for _, handle in self._hooked.values())]:
            handle.remove()
        self._hooked.clear()
        self._others.clear()
        setattr(self._model, IGNORED, [n for n in getattr(self._model, IGNORED)
                                       if n not in self._added])  # fmt: skip

    def _before_forward(self, model: nn.Module, args: Any) -> None:
        wrapper = Wrapper._active_ddp_module
        if wrapper is None or not torch.is_grad_enabled():
            return
        check_wrapper(wrapper, self._weights)
        if not wrapper.require_backward_grad_sync:
            return
        self._wrapper = wrapper
        self._listen(model)

    def _listen(self, model: nn.Module) -> None:
        """Hook into all parameters: a rank on which no sparse one had a part averages too."""
        own = {id(w.parameter) for w in self._weights}
        if not self._others:
            self._others = [
                p.register_post_accumulate_grad_hook(self._accumulated)
                for p in model.parameters()
                if p.requires_grad and id(p) not in own
            ]
        for w in self._weights:  # an edit may have put another in its place
            p, handle = self._hooked.get(w.name, (None, None))
            if p is not w.parameter:
                if handle is not None:
                    handle.remove()
                hook = w.parameter.register_post_accumulate_grad_hook(self._accumulated)
                self._hooked[w.name] = w.parameter, hook

    def _accumulated(self, parameter: Tensor) -> None:
        if self._wrapper is not None and not self._queued:
            self._queued = True
            self._at_end(lambda: self._at_end(lambda: self._at_end(self._average)))

    @staticmethod
    def _at_end(call: Callable[[], None]) -> None:
        """Do this when the backward pass is over; queued there, after what is queued so far: the
        wrapper's own reductions, whose hooks may start others when they end."""
        Variable._execution_engine.queue_callback(call)  # type: ignore[attr-defined]

    @torch.no_grad()
    def _average(self) -> None:
        """At the end of a backward pass: one reduction of all sparse weights' gradients."""
        wrapper, self._wrapper, self._queued = self._wrapper, None, False
        assert wrapper is not None
        ranks = Ranks(wrapper.process_group, wrapper)
        if ranks.size == 1:
            return
        parameters = [w.parameter for w in self._weights]
        gradients = [p.grad for p in parameters]
        known = torch.tensor([float(g is not None) for g in gradients])
        flat = [(torch.zeros_like(p) if g is None else g).detach().reshape(-1)
                for p, g in zip(parameters, gradients, strict=True)]  # fmt: skip
        total = ranks.sum(torch.cat([*flat, known.to(flat[0])]))
        anywhere = total[-len(parameters) :].tolist()
        means = total[: -len(parameters)].div_(ranks.size).split([len(f) for f in flat])
        for p, mean, n in zip(parameters, means, anywhere, strict=True):
            if n and p.grad is None:
                p.grad = mean.view(p.shape).clone()
            elif n:
                p.grad.copy_(mean.view(p.shape))  # type: ignore[union-attr]

    def __deepcopy__(self, memo: dict[int, Any]) -> Nobodys:
        return Nobodys()

    def __reduce__(self) -> tuple[Any, ...]:
        return Nobodys, ()


class Nobodys:
    """What stays in a copy of the model, whose own session averages for itself."""

    def _before_forward(self, model: nn.Module, args: Any) -> None:
        """Nothing is to be done."""

    def _accumulated(self, parameter: Tensor) -> None:
        """Nothing is to be done."""

    def close(self) -> None:
        """Nothing is to be taken off."""

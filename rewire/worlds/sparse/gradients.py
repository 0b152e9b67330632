"""Gradients of sparse weights, at edges and at absent synapses, of the last backward pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...graph import Space
from ..masked.backward import Backward, Masks
from ..masked.memory import clear_absent
from ..torch_model.group import Ranks
from . import edge_layers
from .native_step import NativeStep
from .plan.fingerprint import SPARED, hook_ids
from .weights import Weight


class ListHooks:
    """Hooks on a list of edges, which notice when its gradient begins anew and how it is scaled."""

    def __init__(self, weight: Weight, gradients: Gradients):
        self.parameter, self._weight, self._gradients = weight.parameter, weight, gradients
        self.made: Tensor | None = None  # the gradient as backward passes made it
        before = hook_ids(weight.parameter)
        self._handles = [
            weight.parameter.register_hook(self._before),
            weight.parameter.register_post_accumulate_grad_hook(self._after),
        ]
        setattr(weight.parameter, SPARED, hook_ids(weight.parameter) - before)

    def close(self) -> None:
        """Take them off."""
        for handle in self._handles:
            handle.remove()

    def scale(self) -> float:
        """What the gradient, the mean of the ranks', was multiplied by since it was made."""
        gradient, made, ranks = self.parameter.grad, self.made, self._gradients.ranks
        if ranks is not None:
            made = torch.zeros_like(self.parameter) if made is None else made
            made = ranks.mean(made)
        if gradient is None or made is None or not gradient.numel():
            return 1.0
        at = gradient.abs().argmax()
        now, before = float(gradient[at]), float(made[at])
        return now / before if before not in (0, now) else 1.0

    def _before(self, gradient: Tensor) -> None:
        earlier, wires = self.parameter.grad, self._weight.wires
        if wires is not None and (earlier is None or not earlier.any()):
            wires.begin()

    def _after(self, parameter: Tensor) -> None:
        wires = self._weight.wires
        if wires is not None:
            wires.mark = len(wires.passes)
        if self._gradients.wanted and parameter.grad is not None:
            self.made = parameter.grad.clone()


class Gradients:
    """dL/dw of weights in either form, from a plan or from what the layers noted.

    keeping: whether layers keep activations and output gradients, which gradients at absent
    synapses are made of. wanted: whether a rule will ask after the coming step: dense gradients are
    then kept as they are before masks. ranks: processes that train the model together, whose mean
    these gradients are.
    """

    def __init__(self, weights: Sequence[Weight], native: NativeStep):
        self._weights, self._native = weights, native
        self.keeping = False
        self.wanted = False
        self.factor = 1.0  # what learn() multiplied the gradients by to clip them
        self.ranks: Ranks | None = None
        self._whole: dict[str, Tensor] = {}
        self._scales: dict[str, float] = {}
        self._listens = False
        self._backward: Backward | None = None  # of the dense ones, while a session listens
        self._place: dict[str, int] = {}  # their numbers there
        self._heard: dict[str, ListHooks] = {}

    def listen(self) -> None:
        """Clear dense gradients at absent synapses as soon as a backward pass has made them, and
        notice where lists' gradients were zeroed or scaled since they were noted."""
        self._listens = True
        self.follow()

    def unlisten(self) -> None:
        """Take the hooks off."""
        self._listens = False
        self._forget_dense()
        for hooks in self._heard.values():
            hooks.close()
        self._heard.clear()

    def _forget_dense(self) -> None:
        if self._backward is not None:
            self._backward.close()
        self._backward, self._place = None, {}

    def follow(self) -> None:
        """The masks, the parameters, or the forms that weights are held in, are others."""
        if not self._listens:
            return
        dense = [w for w in self._weights if w.mask is not None]
        if dense or self._place:
            self._forget_dense()
            masks = [w.mask for w in dense if w.mask is not None]
            thin = frozenset(i for i, mask in enumerate(masks) if not mask.all())
            self._backward = Backward([w.parameter for w in dense], Masks(masks, thin))
            self._backward.wanted = self.wanted
            others = [hook_ids(w.parameter) for w in dense]
            self._backward.listen(dense=self.keeping)
            for w, before in zip(dense, others, strict=True):
                setattr(w.parameter, SPARED, hook_ids(w.parameter) - before)
            self._place = {w.name: i for i, w in enumerate(dense)}
        for w in self._weights if self.keeping else ():
            hooks = self._heard.get(w.name)
            if hooks is not None and (w.wires is None or hooks.parameter is not w.parameter):
                hooks.close()
                del self._heard[w.name]
            if w.wires is not None and w.name not in self._heard:
                self._heard[w.name] = ListHooks(w, self)

    def settle(self) -> None:
        """A step is over: passes that come belong to the next."""
        if self._backward is not None:
            self._backward.settle()
        for hooks in self._heard.values():
            hooks.made = None

    def want(self, wanted: bool) -> None:
        """Forget those of the last step; keep the next ones if they are wanted."""
        self.wanted, self.factor = wanted, 1.0
        self._whole.clear()
        self._scales.clear()
        if self._backward is not None:
            self._backward.wanted = wanted

    def keep(self) -> None:
        """Keep the dense ones as they are without masks, and how lists' were scaled since they
        were noted (unscaled, clipped), where a rule will ask for them."""
        if not self.wanted:
            return
        whole: Sequence[Tensor | None] = ()
        if self._backward is not None:
            self._backward.ranks = self.ranks
            whole = self._backward.dense()
        for w in self._weights:
            gradient = w.parameter.grad
            if w.mask is not None and gradient is not None:
                dense = whole[self._place[w.name]] if w.name in self._place else None
                self._whole[w.name] = gradient.clone() if dense is None else dense
            elif w.name in self._heard:
                self._scales[w.name] = self._heard[w.name].scale()

    def mask(self) -> None:
        """Clear the dense ones at absent synapses; what a rule will ask for is kept."""
        self.keep()
        for w in self._weights:
            if w.mask is not None and w.parameter.grad is not None:
                clear_absent([w.parameter.grad], [w.mask])

    def at(self, i: int, local: Tensor) -> Tensor:
        """Those of projection i at flat indices, existing or absent, (k,)."""
        w = self._weights[i]
        if w.wires is None:
            return self.dense(i)[local]
        values = self._own_at(w, local)
        return values if self.ranks is None else self.ranks.mean(values)

    def _own_at(self, w: Weight, local: Tensor) -> Tensor:
        """Those of a list of edges, of this process alone."""
        assert w.wires is not None
        width = w.wires.width
        rows, columns = local // width, local % width
        if self._native.plan is not None:
            return self._clipped(self._native.plan.sddmm(w.name, rows, columns))
        return self._scaled(w, edge_layers.gradient_at(w.wires, rows, columns))

    def dense(self, i: int) -> Tensor:
        """Those at every synapse of projection i, (size,)."""
        w, plan = self._weights[i], self._native.plan
        if w.wires is not None:
            if plan is None:
                own = self._scaled(w, edge_layers.dense_gradient(w.wires))
            else:
                own = self._clipped(plan.dense_gradient(w.name))
            return own.reshape(-1) if self.ranks is None else self.ranks.mean(own.reshape(-1))
        grad = self._whole.get(w.name)
        if grad is None:
            grad = w.parameter.grad if plan is None else plan.gradients[w.name]
        if grad is None:
            raise ValueError("there is no gradient yet: it is known after a backward pass.")
        return grad.reshape(-1)

    def top_absent(self, i: int, k: int, leaving: Tensor | None) -> tuple[Tensor, ...] | None:
        """Flat indices of the k absent synapses of projection i with the largest |dL/dw|, |dL/dw|
        there, how many are absent, and how many of these gradients are NaN; None for a dense
        weight, and where other ranks have a part in them: all are looked at then."""
        w = self._weights[i]
        if w.wires is None or self.ranks is not None:
            return None
        if self._native.plan is not None:
            native = self._native.plan
            keys, scores, absent, nan = native.top_absent(w.name, k, leaving)  # type: ignore[misc]
            return keys, self._clipped(scores), absent, nan  # type: ignore[return-value]
        keys, scores, absent, nan = edge_layers.top_absent(w.wires, k, leaving)
        return keys, self._scaled(w, scores), absent, nan  # type: ignore[return-value]

    def _scaled(self, w: Weight, gradient: Tensor) -> Tensor:
        scale = self._scales.get(w.name, self.factor)
        return gradient if scale == 1 else gradient * scale

    def _clipped(self, gradient: Tensor) -> Tensor:
        return gradient if self.factor == 1 else gradient * self.factor

    def at_keys(self, space: Space, keys: Tensor, dtype: torch.dtype) -> Tensor:
        """Those at keys, existing or absent, (k,)."""
        out, which = torch.empty(len(keys), dtype=dtype), space.which(keys)
        for i in which.unique().tolist():
            rows = which == i
            out[rows] = self.at(i, keys[rows] - space.bounds[i])
        return out

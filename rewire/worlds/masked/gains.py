"""Silent edges in the masked world: the model computes with weight x gain, the weights stay.

Between steps a parameter holds what the forward pass needs, weight times gain, and the weights
themselves lie beside it. For the optimiser's step and for edits they change places: nothing is
hooked into the model, which keeps working under deepcopy, torch.compile and in evaluation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...graph import Graph

Moments = Mapping[str, Sequence[Tensor | None]]  # name -> one tensor for each projection


class Gates:
    """The gains of a graph's edges, and the weights that they multiply.

    Where a rule's gain is a function of the weight, or has a slope for another reason, its column
    ``slope`` is d(weight x gain) / d weight, which multiplies the gradients of a step. Without it
    they are those of what the edges carry, straight through the gain.

    parameters: written in place; they hold the weights when this is made, weight x gain after.
    trains:     which edges a step moves, as :attr:`rewire.rule.Rule.trains` says.
    """

    def __init__(self, parameters: Sequence[Tensor], graph: Graph, trains: str):
        self.parameters, self.trains = parameters, trains
        self.leaves: Sequence[Tensor] = parameters  # what the optimiser steps
        self.stored = [p.detach().clone() for p in parameters]
        self.is_open = False  # whether the parameters hold the weights, without their gains
        self._before: Moments = {}
        self.set(graph)

    @torch.no_grad()
    def set(self, graph: Graph) -> None:
        """Multiply by the gains of this graph; the weights are as they were."""
        self.gains = self._dense(graph, "gain")
        moved = {"all": None, "none": None, "live": self.gains}
        column = moved[self.trains] if self.trains in moved else self._dense(graph, self.trains)
        self._moved = None if column is None else [(c != 0).to(c) for c in column]  # 1 or 0
        self._slopes = self._dense(graph, "slope") if "slope" in graph.columns else None
        self._multiply()

    def _dense(self, graph: Graph, column: str) -> list[Tensor]:
        out, values = [], graph[column]
        for i, p in enumerate(self.parameters):
            part = values[graph.rows(i)]
            whole = len(part) == p.numel()  # laid out as it is needed
            out.append((part.view(p.shape) if whole else graph.dense(i, column)).to(p, copy=True))
        return out

    def _gradient(self, i: int) -> Tensor | None:
        return self.leaves[i].grad

    def effective(self) -> list[Tensor]:
        """Weight times gain, copies."""
        return [w * g for w, g in zip(self.stored, self.gains, strict=True)]

    def holding(self, graph: Graph) -> Gates:
        """The same weights under another graph's gains: a copy that writes to no parameter."""
        other = copy.copy(self)
        other.parameters = [torch.empty_like(w) for w in self.stored]
        if "gain" in graph.columns:
            other.set(graph)
        return other

    @torch.no_grad()
    def open(self) -> None:
        """Let the parameters hold the weights themselves."""
        for p, w in zip(self.parameters, self.stored, strict=True):
            p.copy_(w)
        self.is_open = True

    @torch.no_grad()
    def close(self) -> None:
        """Note the weights that the parameters hold, and let those hold weight x gain."""
        for p, w in zip(self.parameters, self.stored, strict=True):
            w.copy_(p)
        self.is_open = False
        self._multiply()

    @torch.no_grad()
    def take(self) -> None:
        """Take what somebody else wrote into the parameters, as weight x gain: where it differs
        from what they held it is the new product, or of a silent edge the new weight."""
        for p, w, g in zip(self.parameters, self.stored, self.gains, strict=True):
            written = torch.where(g != 0, p / g, p)
            w.copy_(torch.where(p != w * g, written, w))

    def _multiply(self) -> None:
        for p, w, g in zip(self.parameters, self.stored, self.gains, strict=True):
            torch.mul(w, g, out=p.detach())

    @torch.no_grad()
    def restore(self, stored: Sequence[Tensor]) -> None:
        """Take other weights, and let the parameters hold them times their gains."""
        for weight, saved in zip(self.stored, stored, strict=True):
            weight.copy_(saved)
        self._multiply()

    # -- around the optimiser's step ----------------------------------------------------------

    @torch.no_grad()
    def before_step(self, moments: Moments) -> None:
        """The weights in their place, and gradients only where the step is to move them."""
        self.open()
        for i, slope in enumerate(self._slopes or ()):
            if (gradient := self._gradient(i)) is not None:
                gradient.mul_(slope)
        if self.trains == "none":
            for p in self.leaves:
                p.grad = None  # such a parameter the optimiser leaves alone
        elif self._moved is not None:
            for i, moved in enumerate(self._moved):
                if (gradient := self._gradient(i)) is not None:
                    gradient.masked_fill_(moved == 0, 0.0)
            self._before = {
                name: [None if t is None else t.clone() for t in tensors]
                for name, tensors in moments.items()
            }

    @torch.no_grad()
    def after_step(
        self,
        moments: Moments,
        births: Mapping[str, Callable[[dict[str, Any]], float]],
        param_groups: Sequence[dict[str, Any]],
        groups: Sequence[int],
    ) -> None:
        """What the step was not to move goes back: weights, and moments (decay, momentum)."""
        if self._moved is None:
            return
        for i, moved in enumerate(self._moved):
            p = self.parameters[i].detach()
            p.copy_(torch.where(moved != 0, p, self.stored[i]))
            for name, tensors in moments.items():
                now, before = tensors[i], self._before.get(name, [None] * len(tensors))[i]
                if now is None:
                    continue
                if before is None:  # of the first step: where they start
                    birth = births.get(name)
                    before = torch.full_like(now, birth(param_groups[groups[i]]) if birth else 0.0)
                now.copy_(torch.where(moved != 0, now, before))
        self._before = {}

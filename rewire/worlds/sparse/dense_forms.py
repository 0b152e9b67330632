"""Weights that a world of edges holds dense: numbers at absent synapses are noticed and set to 0.

Their gradients are cleared where backward passes make them (:mod:`.gradients`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..masked.memory import clear_absent
from .moments import Moments
from .weights import Weight


class DenseForms:
    """The weights in the form "masked" of a world, which may be others after an edit.

    thin: those of them that have absent synapses, with their masks.
    """

    def __init__(self, weights: Sequence[Weight], moments: Moments):
        self._weights, self._moments = weights, moments
        self.thin: list[tuple[Weight, Tensor]] = []

    def renew(self) -> None:
        """Other weights are held dense, or under other masks."""
        pairs = [(w, w.mask) for w in self._weights if w.mask is not None]
        self.thin = [(w, mask) for w, mask in pairs if not mask.all()]

    def marks(self) -> list[int]:
        """What changes where somebody writes into a weight, or gives it other memory."""
        parameters = (w.parameter for w, _ in self.thin)
        return [n for p in parameters for n in (p._version, p.data_ptr())]

    def strays(self, *, moments: bool) -> list[str]:
        """What is not 0 at absent synapses, in words. moments: whether the optimiser's count."""
        out = []
        for w, mask in self.thin:
            tensors = {"weights": w.parameter.detach()}
            if moments:
                tensors |= self._moments.of_absent(w)
            for what, t in tensors.items():
                if n := _strays(t, mask):
                    out.append(f"{n:,} absent synapses of {w.name!r} have {what} other than 0.")
        return out

    @torch.no_grad()
    def clear(self) -> None:
        """Set weights and moments of absent synapses to 0."""
        for w, mask in self.thin:
            clear_absent([w.parameter], [mask])
            self._moments.mask(w)

    @torch.no_grad()
    def enforce(self) -> int:
        """The same: how many weights were not 0."""
        n = sum(_strays(w.parameter, mask) for w, mask in self.thin)
        self.clear()
        return n


def _strays(t: Tensor, mask: Tensor) -> int:
    return int(((t != 0) & ~mask).sum())

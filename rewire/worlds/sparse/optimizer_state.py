"""States of optimisers of lists of edges carry a digest of those edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..torch_model.optimizers import innermost
from .edge_state import ORDER, digest
from .weights import Weight

ENTRY = "rewire"  # in an optimiser's state


class OptimizerEdges:
    """Hooks on an optimiser's ``state_dict`` and ``load_state_dict`` for these sparse weights."""

    def __init__(self, optimizer: torch.optim.Optimizer, weights: Sequence[Weight]):
        self._weights = weights
        inner = innermost(optimizer)  # accelerate's, which wraps others, knows no hooks
        inner.register_state_dict_post_hook(self.add)
        inner.register_load_state_dict_pre_hook(self.check)

    def _entry(self) -> dict[str, Any]:
        keys = [_keys_of(w) for w in self._weights]
        return {"digest": digest(*keys), "edges": sum(map(len, keys))}

    def add(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Let a state say which edges its moments are of."""
        if any(w.wires is not None for w in self._weights):
            state[ENTRY] = self._entry()

    def check(self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
        """Raise ValueError for moments of other edges."""
        moments = self._moments(optimizer, state)
        if not moments:
            return
        for w, name, moment in moments:
            if moment.shape != w.parameter.shape:
                raise ValueError(
                    f"{name!r} of {w.name!r} in this optimizer's state has shape "
                    f"{tuple(moment.shape)}, and the weight is a list of {w.parameter.numel():,} "
                    f"edges: {ORDER}."
                )
        saved, own = state.get(ENTRY), self._entry()
        if saved is not None and saved["digest"] != own["digest"]:
            raise ValueError(
                f"this optimizer's state is of other edges (digest {saved['digest']}, "
                f"{saved['edges']:,} of them) than the model holds (digest {own['digest']}, "
                f"{own['edges']:,} of them): {ORDER}."
            )

    def _moments(
        self, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
    ) -> list[tuple[Weight, str, Tensor]]:
        """What a saved state remembers of each edge: (weight, name, numbers)."""
        saved = [k for group in state["param_groups"] for k in group["params"]]
        params = [p for group in optimizer.param_groups for p in group["params"]]
        place = {id(p): k for p, k in zip(params, saved, strict=False)}
        return [
            (w, name, v)
            for w in self._weights
            for name, v in state["state"].get(place.get(id(w.parameter)), {}).items()
            if isinstance(v, Tensor) and v.dim()
        ]


def _keys_of(w: Weight) -> Tensor:
    if w.wires is not None:
        return w.wires.keys()
    return torch.empty(0) if w.mask is None else w.mask.reshape(-1).nonzero().squeeze(1)

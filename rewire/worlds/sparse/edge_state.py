"""States of models that hold lists of edges carry which edges those are.

A number at a place of such a list means nothing without its key: of two models with as many edges
each, every list has the same length. ``model.state_dict()`` therefore has the flat indices of the
edges beside each list (``fc1.weight_keys`` beside ``fc1.weight``); a state of other edges is
refused when it is loaded. The optimiser's is :mod:`rewire.worlds.sparse.optimizer_state`.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from .wires import Wires

SUFFIX = "_keys"  # after a weight's name in a model's state: which edges its numbers are of
ORDER = "load the session first (net.load_state_dict), then model and optimizer"


def digest(*keys: Tensor) -> str:
    """Eight hexadecimal digits for lists of edges.

    >>> import torch
    >>> digest(torch.tensor([1, 2])) == digest(torch.tensor([1, 2], dtype=torch.int32))
    True
    >>> digest(torch.tensor([1, 2])) == digest(torch.tensor([1]), torch.tensor([2]))
    False
    """
    hashed = hashlib.blake2b(digest_size=4)
    for part in keys:
        hashed.update(len(part).to_bytes(8, "little"))
        hashed.update(part.to("cpu", torch.int64).contiguous().numpy().tobytes())
    return hashed.hexdigest()


class EdgeState(nn.Module):
    """What the layers with lists of edges save and load."""

    wires: dict[str, Wires]

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for attribute, wires in self.wires.items():
            if prefix + attribute in destination:
                destination[prefix + attribute + SUFFIX] = wires.keys()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        assign = local_metadata.get("assign_to_params_buffers", False)
        refused = []
        for attribute, wires in self.wires.items():
            name = prefix + attribute
            keys = state_dict.pop(name + SUFFIX, None)
            if name not in state_dict:
                continue
            if (why := _mismatch(name, state_dict[name], keys, wires, assign)) is not None:
                error_msgs.append(why)
                del state_dict[name]
                refused.append(name)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        missing_keys[:] = [name for name in missing_keys if name not in refused]


def _mismatch(name: str, value: Any, keys: Any, wires: Wires, assign: bool) -> str | None:
    """Why a saved weight cannot be loaded into these edges, or None."""
    own = wires.keys()
    holds = f"the model holds {len(own):,} of them (digest {digest(own)})"
    if keys is None:
        shape = tuple(getattr(value, "shape", ()))
        return (
            f"{name!r} of this state, of shape {shape}, does not say which edges it is of (it has "
            f"no entry {name + SUFFIX!r}), and {holds}: load a state that was saved from a model "
            "in the sparse world, or a dense one before rewire.attach."
        )
    if not torch.equal(keys.to("cpu", torch.int64), own.to(torch.int64)):
        return (
            f"{name!r} of this state is of other edges (digest {digest(keys)}, {len(keys):,} of "
            f"them), and {holds}: {ORDER}."
        )
    if assign:
        return (
            f"{name!r} is a list of edges, whose memory the session shares: load it with "
            "assign=False."
        )
    return None

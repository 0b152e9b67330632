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

from .edge_weight import CONVERT, EdgeWeight
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
    """What the layers with lists of edges save and load, and what they refuse to become.

    Tools that put another layer or another parameter in their place (quantisation, pruning,
    parametrisations, scripting, conversion of types) would take the list for the weight, or leave
    it out without a word: each is refused where it begins.
    """

    wires: dict[str, Wires]

    @property
    def qconfig(self) -> Any:
        """None: torch's quantisation leaves layers alone that have none, and sets it first."""
        raise AttributeError("qconfig")

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        raise RuntimeError(self._refusal("cannot be quantised"))

    def __prepare_scriptable__(self) -> nn.Module:
        """torch.jit.script asks for what it is to compile."""
        raise RuntimeError(self._refusal("cannot be scripted"))

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        wires = vars(self).get("wires", {})
        if name in wires and not isinstance(param, EdgeWeight):
            raise RuntimeError(self._refusal(f"cannot have another {name!r}"))
        new = name not in self._parameters
        if new and any(name.startswith(f"{attribute}_") for attribute in wires):  # weight_orig, _g
            raise RuntimeError(self._refusal(f"cannot be pruned or parametrised ({name!r})"))
        super().register_parameter(name, param)

    def __delattr__(self, name: str) -> None:
        if name in vars(self).get("wires", {}):
            raise RuntimeError(self._refusal(f"cannot be parametrised ({name!r} would be taken)"))
        super().__delattr__(name)

    def reset_parameters(self) -> None:
        """First weights are those of dense layers, drawn before rewire.attach."""
        if "wires" in vars(self):
            raise RuntimeError(self._refusal("cannot be reset"))
        super().reset_parameters()  # type: ignore[misc]

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        for attribute in self.wires:
            p = self._parameters[attribute]
            assert p is not None
            probe = fn(torch.empty(0, dtype=p.dtype, device=p.device))
            if (probe.dtype, probe.device) != (p.dtype, p.device):
                raise RuntimeError(
                    self._refusal(f"cannot become {probe.dtype} on {str(probe.device)!r}")
                    + " Modules before this one may have been converted already."
                )
        return super()._apply(fn, recurse)

    def _refusal(self, what: str) -> str:
        return (
            f"a {self._get_name().removeprefix('Edge')} whose weights are lists of edges (the "
            f"sparse world's) {what}. {CONVERT}"
        )

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
            f"them), and {holds}: {ORDER}, or take it with its edges by net.adopt(state)."
        )
    if assign:
        return (
            f"{name!r} is a list of edges, whose memory the session shares: load it with "
            "assign=False."
        )
    return None

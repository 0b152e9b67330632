"""States of a model with dense weights under masks carry which of their synapses exist.

The masks are in torch's own place for what a state says of itself, ``state_dict()._metadata``, in
which it keeps the versions of modules: it goes through ``torch.save`` and ``torch.load``, and a
plain model without a session takes the state as any other (an entry of its own would be an
unexpected key there). A session refuses to go on with a state of other edges. A state without
masks (of a plain model, of safetensors, a dict made anew) is a dense one, which is projected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import ref

import numpy as np
import torch
from torch import Tensor, nn

from .copies import Places, owners
from .layers import clean

ENTRY = "rewire"  # in the metadata of a module: packed masks by the names of its weights


def packed(mask: Tensor) -> Tensor:
    """A mask as bits, (ceil(n / 8),) uint8.

    >>> unpacked(packed(torch.tensor([[True, False], [True, True]])), 4)
    tensor([0, 2, 3])
    """
    return torch.from_numpy(np.packbits((mask != 0).reshape(-1).cpu().numpy()))


def unpacked(bits: Tensor, size: int) -> Tensor:
    """Flat indices of the synapses of a packed mask of so many, (E,)."""
    return torch.from_numpy(np.unpackbits(bits.cpu().numpy(), count=size)).nonzero().squeeze(1)


def masks_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The packed masks that a state carries, by the clean names of its weights."""
    return {
        clean(f"{prefix}.{attribute}" if prefix else attribute): bits
        for prefix, local in getattr(state, "_metadata", {}).items()
        for attribute, bits in local.get(ENTRY, {}).items()
    }


class _Hook:
    """On a module that owns weights under masks. Copies of the module have one that does nothing:
    they are plain models."""

    def __init__(self, states: MaskState | None, places: Places):
        self._states, self.places = None if states is None else ref(states), places

    def states(self) -> MaskState | None:
        """What it belongs to, while a session listens."""
        return None if self._states is None else self._states()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Hook:
        return type(self)(None, [])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (None, [])


class Saves(_Hook):
    """Lets a module's state say which edges its weights are of."""

    _from_public_api = True  # as torch marks its own

    def __call__(self, module: nn.Module, state: Any, prefix: str, local: dict[str, Any]) -> None:
        states = self.states()
        if states is None:
            return
        bits = {a: b for i, a in self.places if (b := states.bits_of(i)) is not None}
        if bits:
            local[ENTRY] = {a: b for a, b in bits.items() if prefix + a in state}


class Loads(_Hook):
    """Notes weights of other edges, and refuses memory that is not the session's."""

    def __call__(
        self, module: nn.Module, state: dict[str, Any], prefix: str, local: dict[str, Any],
        strict: bool, missing: list[str], unexpected: list[str], errors: list[str],
    ) -> None:  # fmt: skip
        states = self.states()
        for i, attribute in self.places if states is not None else []:
            name = prefix + attribute
            if name not in state or states.mask_of(i) is None:  # type: ignore[union-attr]
                continue
            if local.get("assign_to_params_buffers", False):
                errors.append(
                    f"{name!r} is under a mask, and the session's optimizer steps the parameter "
                    "that it is: load it with assign=False."
                )
                state[name] = module._parameters[attribute]
                continue
            states.note(i, local.get(ENTRY, {}).get(attribute))  # type: ignore[union-attr]


class MaskState:
    """The hooks of a world on its model's states, and what was loaded of other edges.

    Such a state may be looked at (a best checkpoint, evaluated at the end), and its session may be
    loaded after it; who trains or reads the session before is stopped.
    """

    def __init__(self, world: Any):
        self._world, self._handles = ref(world), list[Any]()
        self.foreign: dict[int, Tensor] = {}  # packed masks of loaded weights, by their numbers
        for module, places in owners(world.model, world.sparse_parameters()).items():
            self._handles += [
                module.register_state_dict_post_hook(Saves(self, places)),
                module.register_load_state_dict_pre_hook(Loads(self, places)),
            ]

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def mask_of(self, i: int) -> Tensor | None:
        """The mask that a session holds for a weight; None of a list of edges."""
        world = self._world()
        return None if world is None else world.mask_of(i)

    def bits_of(self, i: int) -> Tensor | None:
        """The packed mask of the numbers that are in a weight."""
        self.settle()
        if i in self.foreign:
            return self.foreign[i]
        mask, world = self.mask_of(i), self._world()
        if mask is None or world is None:
            return None
        if not self.foreign:
            world.look()
        return packed(mask)

    def note(self, i: int, bits: Tensor | None) -> None:
        """A weight is loaded, of the edges of a packed mask; None: nobody knows of which."""
        self.foreign.pop(i, None)
        if bits is not None:
            self.foreign[i] = bits.cpu()

    def settle(self) -> None:
        """Forget what was loaded of edges that the session holds by now."""
        for i, bits in list(self.foreign.items()):
            if (mask := self.mask_of(i)) is None or torch.equal(bits, packed(mask)):
                del self.foreign[i]

    def stop(self) -> None:
        """Raise RuntimeError where weights were loaded of edges that the session does not hold."""
        if not self.foreign:
            return
        self.settle()
        world = self._world()
        for i, bits in self.foreign.items() if world is not None else ():
            mask, name = world.mask_of(i), world.space.projections[i].name  # type: ignore[union-attr]
            raise RuntimeError(
                f"{name!r} was loaded from a state of other edges "
                f"({len(unpacked(bits, mask.numel())):,} of them) than this session holds "
                f"({int((mask != 0).sum()):,}): load the session of that state as well "
                "(net.load_state_dict; net.load goes back with all of it), "
                + ("" if world.sharded else "take the state with its edges by net.adopt(state), ")  # type: ignore[union-attr]
                + "or set what is absent here to 0 by net.enforce()."
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of the world makes its own."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()


def _nothing() -> None:
    return None

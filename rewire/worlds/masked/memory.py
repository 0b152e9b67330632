"""Where in a stored weight an edge's number lies."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...native import kernels

TYPES = {torch.float32: "float32", torch.float64: "float64"}


# How a tensor's numbers lie: (1, 1) in the order in which it counts them; (inputs, places of a
# kernel) channels last, that of (out, in, place) right after that of (out, in - 1, place).
Layout = tuple[int, int]
PLAIN: Layout = (1, 1)
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def layout(t: Tensor) -> Layout | None:
    """How the tensor's numbers lie; None where in another way, or with gaps."""
    if t.is_contiguous():
        return PLAIN
    form = CHANNELS_LAST.get(t.dim())
    if form is None or not t.is_contiguous(memory_format=form):
        return None
    return t.shape[1], t.shape[2:].numel()


def places(local: np.ndarray, lies: Layout) -> np.ndarray:
    """Where the numbers at flat indices lie."""
    if lies == PLAIN:
        return local
    channels, area = lies
    kernel, place = np.divmod(local, area)
    out, channel = np.divmod(kernel, channels)
    return (out * area + place) * channels + channel


class Addresses(NamedTuple):
    """Where the numbers of tensors on the CPU lie, one tensor for each projection.

    turned: the layouts for kernels, which take none where all are plain. verbs: the kernels.
    """

    tensors: list[int]
    type: torch.dtype  # float32 or float64, of all of them
    layouts: list[Layout | None]  # none of them None
    turned: list[Layout | None]
    verbs: Any


def _verbs(type_: str) -> SimpleNamespace:
    """The kernels for tensors of one type, by what they do."""
    end = f"_{type_}"
    named = {n.removesuffix(end): n for n in dir(kernels) if n.endswith(end)}
    return SimpleNamespace(**{verb: getattr(kernels, n) for verb, n in named.items()})


VERBS = {kind: _verbs(name) for kind, name in TYPES.items()}


def addresses(tensors: Sequence[Tensor | None]) -> Addresses | None:
    """The tensors for the kernels; None where there are no kernels, or not for these tensors."""
    if kernels is None or tensors[0] is None:
        return None
    kind = tensors[0].dtype
    if kind not in VERBS:
        return None
    places_of, layouts = [], list[Layout | None]()
    for t in tensors:
        if t is None or t.dtype is not kind or not t.is_cpu or (lies := layout(t)) is None:
            return None
        places_of.append(t.data_ptr())
        layouts.append(lies)
    turned = layouts if any(lies != PLAIN for lies in layouts) else []
    return Addresses(places_of, kind, layouts, turned, VERBS[kind])


INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def mask_type(parameters: Sequence[Tensor]) -> torch.dtype | None:
    """The type of masks that clears numbers fastest: bytes for the kernels, else integers as wide
    as the numbers, whose bits they keep or clear; None where torch has none so wide."""
    if addresses(parameters) is not None:
        return torch.bool
    return INTEGERS.get(parameters[0].itemsize)


@torch.no_grad()
def clear_absent(tensors: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    """Set to 0, in place, what the masks leave out, whatever was there.

    A product would leave NaN where there was an infinite number.

    >>> weight = torch.tensor([1.0, float("inf"), float("nan"), -2.0])
    >>> clear_absent([weight], [torch.tensor([True, False, False, True])])
    >>> weight
    tensor([ 1.,  0.,  0., -2.])
    """
    if masks[0].dtype is torch.bool:
        fast = addresses(tensors)
        if fast is not None and fast.layouts == [layout(m) for m in masks]:
            sizes = [m.numel() for m in masks]
            fast.verbs.mask(fast.tensors, [m.data_ptr() for m in masks], sizes)
            return
    wide = {INTEGERS.get(t.itemsize) for t in tensors} | {m.dtype for m in masks}
    if len(wide) == 1:
        torch._foreach_mul_(
            [t.detach().view(m.dtype) for t, m in zip(tensors, masks, strict=True)], list(masks)
        )
        return
    for t, m in zip(tensors, masks, strict=True):
        t.detach().masked_fill_(m == 0, 0.0)


def clear_one(tensor: Tensor, mask: Tensor) -> None:
    """As :func:`clear_absent` for one tensor, by fewer calls: each gradient of a pass is one."""
    if kernels is not None and mask.dtype is torch.bool and tensor.is_cpu:
        verbs = VERBS.get(tensor.dtype)
        if verbs is not None and tensor.is_contiguous() and mask.is_contiguous():
            verbs.mask([tensor.data_ptr()], [mask.data_ptr()], [mask.numel()])
            return
    clear_absent([tensor.detach()], [mask])


class Views:
    """Reads and writes single numbers of tensors, through flat numpy views where they allow it.

    Views are kept by the tensor's id. A view keeps its storage alive, so that an address that
    matches is the same memory.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, np.ndarray, Layout]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Views:
        return Views()

    def flat(self, t: Tensor) -> tuple[np.ndarray, Layout] | None:
        """The tensor's numbers as a flat view, and how they lie; None off the CPU."""
        lies = layout(t)
        known = self._known.get(id(t))
        if known is not None and known[0] == t.data_ptr() and known[1].size == t.numel():
            if known[2] == lies:
                return known[1:]
        view = flat(t)
        if view is not None:
            self._known[id(t)] = t.data_ptr(), *view
        return view

    def gather(self, t: Tensor, local: np.ndarray) -> np.ndarray:
        """The numbers at flat indices, float32 or float64."""
        return taken(t, local, self.flat(t))

    def scatter(self, t: Tensor, local: np.ndarray, values: np.ndarray | float) -> None:
        """Write numbers at flat indices."""
        view = self.flat(t)
        if view is not None:
            view[0][places(local, view[1])] = values
        elif isinstance(values, np.ndarray):
            t.detach()[_at(t, local)] = torch.from_numpy(values).to(t)
        else:
            t.detach()[_at(t, local)] = values


def flat(t: Tensor) -> tuple[np.ndarray, Layout] | None:
    """The tensor's numbers as a flat view, and how they lie; None where numpy cannot see them."""
    lies = layout(t)
    if lies is None or t.device.type != "cpu" or t.dtype is torch.bfloat16:
        return None
    turned = t.detach() if lies == PLAIN else t.detach().movedim(1, -1)
    return turned.view(-1).numpy(), lies


def taken(t: Tensor, local: np.ndarray, view: tuple[np.ndarray, Layout] | None) -> np.ndarray:
    """The numbers at flat indices, by a view where there is one, float32 or float64."""
    if view is not None:
        out = view[0][places(local, view[1])]
        return out if out.itemsize >= 4 else out.astype(np.float32)
    picked = t.detach()[_at(t, local)].cpu()
    return (picked if picked.itemsize >= 4 else picked.float()).numpy()


def _at(t: Tensor, local: np.ndarray) -> tuple[Tensor, ...]:
    return torch.unravel_index(torch.from_numpy(local).to(t.device), t.shape)

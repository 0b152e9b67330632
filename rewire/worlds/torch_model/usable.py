"""Whether a weight can be held sparse: a plain parameter, with memory of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from .declared import Use
from .group import is_sharded
from .stored_weight import check_stored


def check_usable(name: str, module: nn.Module, use: Use, p: nn.Parameter) -> None:
    """Raises ValueError for a weight that cannot be held sparse in place."""
    if parametrize.is_parametrized(module, use.attribute):
        raise ValueError(
            f"{name!r} is parametrised (weight_norm, spectral_norm, prune ...): it is "
            "recomputed at every forward pass and cannot be held sparse in place. Remove "
            "it first: torch.nn.utils.parametrize.remove_parametrizations."
        )
    if module._parameters.get(use.attribute) is None:  # a hook recomputes it, or prune
        raise ValueError(
            f"{name!r} is not a parameter of its module: something replaced it (for "
            "example torch.nn.utils.prune; call prune.remove first)."
        )
    if isinstance(p, UninitializedParameter):
        raise ValueError(f"{name!r} has no shape yet: run one batch through the model first.")
    if use.attribute in getattr(module, "wires", ()):
        raise ValueError(
            f"{name!r} is a list of edges, which a session in the sparse world holds: attach to "
            "the dense copy that its net.to_dense() makes (initial='nonzero' keeps the edges)."
        )
    if is_sharded(p):
        raise ValueError(
            f"{name!r} is sharded over processes ({type(p.data).__name__}, by fully_shard or FSDP)"
            ", and its edges cannot be counted here: call fully_shard on the whole model and "
            "attach with world='masked', train with DistributedDataParallel, or leave the weight "
            "out with exclude=."
        )
    if p.layout is not torch.strided or p.is_inference() or p.itemsize == 1:
        what = (
            f"of the layout {p.layout}" if p.layout is not torch.strided else f"of type {p.dtype}"
        )
        raise ValueError(
            f"{name!r} is {'an inference tensor' if p.is_inference() else what}, which cannot be "
            "written in place and trained here: make it a plain dense parameter, or leave it out "
            "with exclude=."
        )
    if p.is_complex():
        raise ValueError(
            f"{name!r} has complex weights ({p.dtype}), which have no order to rewire by: leave it "
            "out with exclude=."
        )
    check_stored(name, module, use, p)


def check_memory(model: nn.Module, names: Sequence[str], parameters: Sequence[Tensor]) -> None:
    """Raises ValueError for sparse weights of which two numbers lie in one place: within one
    (expand), or in another parameter or buffer (``a.weight.data = b.weight.data``)."""
    others = {id(t): (n, t) for n, t in (*model.named_parameters(), *model.named_buffers())}
    for name, p in zip(names, parameters, strict=True):
        others[id(p)] = name, p
    plain = [(n, t) for n, t in others.values() if _span(t) is not None]
    by_storage: dict[int, list[tuple[str, Tensor]]] = {}
    for name, t in plain:
        by_storage.setdefault(t.untyped_storage().data_ptr(), []).append((name, t))
    for name, p in zip(names, parameters, strict=True):
        if _span(p) is None:
            continue
        if any(step == 0 and n > 1 for step, n in zip(p.stride(), p.shape, strict=True)):
            raise ValueError(_shared(name, "itself: it was expanded"))
        for other, t in by_storage[p.untyped_storage().data_ptr()]:
            if t is not p and _overlap(p, t):
                raise ValueError(_shared(name, f"with {other!r}"))


def _shared(name: str, what: str) -> str:
    return (
        f"{name!r} shares its memory {what}, so that an absent synapse of one is a weight of the "
        "other: give it memory of its own (weight.data = weight.data.clone()), or tie the two as "
        "one parameter (a.weight = b.weight)."
    )


def _span(t: Tensor) -> tuple[int, int] | None:
    """The first byte of a tensor's storage that it uses, and one past the last; None where it has
    none, or another form."""
    if isinstance(t, UninitializedParameter) or t.is_meta or type(t.data) is not Tensor:
        return None
    if t.layout is not torch.strided or not t.numel():
        return None
    reach = sum(step * (n - 1) for step, n in zip(t.stride(), t.shape, strict=True))
    first = int(t.storage_offset()) * t.itemsize
    return first, first + (int(reach) + 1) * t.itemsize


def _overlap(p: Tensor, t: Tensor) -> bool:
    """Whether two tensors of one storage have a number in common."""
    a, b = _span(p), _span(t)
    assert a is not None and b is not None
    if a[1] <= b[0] or b[1] <= a[0]:
        return False
    if p.itemsize != t.itemsize:
        return True
    return bool(torch.isin(_places(p), _places(t)).any())


def _places(t: Tensor) -> Tensor:
    """Where each number of a tensor lies in its storage."""
    places = torch.tensor([t.storage_offset()])
    for step, n in zip(t.stride(), t.shape, strict=True):
        places = (places[:, None] + step * torch.arange(n)).reshape(-1)
    return places

"""Which tensors of a model can be held as lists of edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...graph import Projection
from .weights import Weight


def check_tensors(
    model: nn.Module, projections: Sequence[Projection], parameters: Sequence[nn.Parameter]
) -> None:
    """Raise ValueError for a model off the CPU, and for sparse weights of a type, or of several,
    that the engine does not compute with."""
    devices = {p.device.type for p in model.parameters()} - {"cpu", "meta"}
    if devices:
        raise ValueError(
            f"the sparse world runs on the CPU, and the model is on {sorted(devices)[0]!r}: "
            "attach with world='masked' there."
        )
    first = projections[0].name, parameters[0].dtype
    for projection, p in zip(projections, parameters, strict=True):
        if p.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"the sparse world computes in float32 or float64, and {projection.name!r} is "
                f"{p.dtype}: attach with world='masked', or convert the model."
            )
        if p.dtype != first[1]:
            raise ValueError(
                f"the sparse world holds all weights in one type, and {first[0]!r} is {first[1]}, "
                f"{projection.name!r} is {p.dtype}: attach with world='masked', or convert the "
                "model."
            )


def check_list(w: Weight, kind: torch.dtype) -> None:
    """Raise RuntimeError for a list of edges that somebody replaced by other numbers than one of
    this type for each edge."""
    edges = torch.empty(0) if w.wires is None else w.wires.keys()
    if problems := problem_of_list(w, edges, kind):
        raise RuntimeError(f"{problems[0]} Convert a model before rewire.attach.")


def problem_of_list(w: Weight, keys: Tensor, kind: torch.dtype) -> list[str]:
    """What is wrong with a weight that is to hold one number of this type for each of these edges:
    nothing, or one sentence."""
    p, wires = w.parameter, w.wires
    assert wires is not None
    if p.shape != keys.shape or p.dtype != kind or not p.is_cpu:
        return [
            f"{w.name!r} is a list of {len(keys):,} edges in {kind}, and holds numbers of shape "
            f"{tuple(p.shape)} in {p.dtype} on {str(p.device)!r} now: something else than this "
            "session laid them there."
        ]
    lists: Any = getattr(w.module, "wires", {})
    if lists.get(w.attribute) is not wires:
        return [f"the layer of {w.name!r} computes with other edges than the graph has."]
    if not torch.equal(wires.keys().to(keys.dtype), keys):
        return [f"{w.name!r} is a list of other edges than the graph has."]
    return []

"""Which tensors of a model can be held as lists of edges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...graph import Projection


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

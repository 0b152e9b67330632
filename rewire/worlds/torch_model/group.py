"""Several processes that train one model: they hold one topology, or the run stops."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor, nn

from ...graph import Graph


def several() -> bool:
    """Whether this process is one of several in a group of torch's."""
    dist = torch.distributed
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def data_parallel(model: nn.Module) -> bool:
    """Whether a DistributedDataParallel holds the model, or is it: its ranks train one network.

    Runs that are independent, each process with its own model, are none of this.
    """
    if not several():
        return False
    kind = nn.parallel.DistributedDataParallel
    wrappers = [model] if isinstance(model, kind) else gc.get_objects()
    return any(isinstance(o, kind) and any(m is model for m in o.modules()) for o in wrappers)


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """The mean of all ranks' tensors."""
    total = tensor.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def agree(graph: Graph, when: str) -> None:
    """Raise RuntimeError, on every rank, where the ranks hold other edges."""
    own = (len(graph), graph.digest())
    all_ranks: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(all_ranks, own)
    if len(set(all_ranks)) > 1:
        held = "; ".join(f"rank {r}: {n:,} edges, {d}" for r, (n, d) in enumerate(all_ranks))
        raise RuntimeError(
            f"the ranks of this training hold other edges {when} ({held}). A rule that looks at "
            "data of its own rank (activity of units, a probe) or another seed drives them apart: "
            "give every rank the same seed and the same probe, or take a rule that asks for "
            "weights and gradients alone."
        )

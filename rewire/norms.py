"""Statistics of batch norms made anew, for a network that was masked or interpolated."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def recompute_norms(model: nn.Module, batches: Iterable[Any]) -> int:
    """Give the batch norms of a model the means and variances of these batches; how many it has.

    Weights between two trained networks, or under another mask, give other activations than those
    that running statistics were taken of: a network must be judged with its own. They are
    cumulative averages, every batch counting alike, of passes in which the norms use their batch,
    and everything else is as in evaluation (dropout is off, and draws nothing). The model is in
    evaluation mode afterwards; one without such norms is not run at all.

    batches: inputs, or tuples that begin with them, such as a DataLoader's: of training data.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    >>> recompute_norms(model, [torch.randn(50, 4), torch.randn(50, 4)])
    1
    >>> model[1].num_batches_tracked
    tensor(2)
    """
    model.eval()
    norms = [m for m in model.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    if not norms:
        return 0
    passes = iter(batches)
    first = next(passes, None)
    if first is None:
        raise ValueError("there is no batch to take statistics of: give at least one.")
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # of torch: cumulative averages
            norm.train()
        with torch.no_grad():
            for batch in chain([first], passes):
                model(batch[0] if isinstance(batch, list | tuple) else batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
    return len(norms)

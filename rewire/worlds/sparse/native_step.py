"""The whole training step as one native call."""

from __future__ import annotations

from typing import Any

import torch

SMALL = 2**20  # weights of a dense linear layer whose product the plan makes faster than torch


def _options(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The numbers of each group, and how many parameters it has."""
    return [{**g, "params": len(g["params"]), "lr": float(g["lr"])} for g in optimizer.param_groups]

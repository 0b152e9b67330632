"""Which edges lie on a path from a network's input to its output, at every place of a picture.

A program of a model's pass (`rewire.graph.program`) is run with ones and zeros: forward it says
which units are fed where, and its derivative which are useful where. An edge is on a path exactly
if at some pair of places its pre is fed and its post is useful.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..graph.program import Program
from ..graph.running import run

if TYPE_CHECKING:
    from ..graph import Graph


def traced_edges(graph: Graph, program: Program) -> np.ndarray:
    """Which edges lie on a path, (E,) bool, by a program of the whole model."""
    masks = {
        i: graph.mask(i).to(torch.float32).requires_grad_()
        for step in program.steps
        if step.op == "weight"
        for i in step.options
    }
    useful: dict[int, Tensor | None] = {}
    with torch.enable_grad():
        outputs = run(program, lambda i, shape: masks[i], torch.ones)
        outputs = [y for y in outputs if y.requires_grad]
        if outputs and masks:
            ones = [torch.ones_like(y) for y in outputs]
            gradients = torch.autograd.grad(outputs, [*masks.values()], ones, allow_unused=True)
            useful = dict(zip(masks, gradients, strict=True))
    on_path = np.zeros(len(graph), bool)
    for i, gradient in useful.items():
        if gradient is not None:
            on_path[graph.rows(i)] = (gradient.reshape(-1)[graph.local(i)] > 0).numpy()
    return on_path

"""What a layer costs, against torch's own counter."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rewire.experiments.trainings import flops


@pytest.mark.parametrize("layer, example", [
    (nn.Linear(5, 4), (1, 3, 5)),
    (nn.Conv1d(4, 6, 3, stride=2, padding=1), (1, 4, 9)),
    (nn.Conv2d(4, 6, 3, groups=2, dilation=2), (1, 4, 9, 9)),
    (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2), (1, 4, 8, 8)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, padding=1), (1, 4, 8, 8)),
])  # fmt: skip
def test_a_layer_costs_what_torch_counts(layer, example):
    x = torch.randn(example)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    costs = flops.measure(layer, ["weight"], x)
    assert flops.FORWARD * costs.dense == counter.get_total_flops() > 0

"""What a layer costs, against torch's own counter where that counts, by hand elsewhere."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from rewire.experiments.trainings import flops


class Attention(nn.Module):
    """The first token asks all others, or all ask all."""

    def __init__(self, asking, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.asking = asking

    def forward(self, x):
        return self.attention(x[:, : self.asking], x, x, need_weights=False)[0]


class Experts(nn.Module):
    """Two of three experts, each for its part of the tokens."""

    def __init__(self):
        super().__init__()
        self.up = nn.Parameter(torch.randn(3, 4, 6))

    def forward(self, x):
        return torch.cat([x[:2] @ self.up[0].T, x[2:] @ self.up[2].T])


class Turned(nn.Module):
    """As Hugging Face's Conv1D: (inputs, outputs)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))

    def forward(self, x):
        return torch.addmm(x.new_zeros(4), x.flatten(0, -2), self.weight)


class Product(nn.Module):
    """Attention in plain torch: activations times activations."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, x):
        q = nn.functional.linear(x, self.weight)
        return scaled_dot_product_attention(q, x, x)


@pytest.mark.parametrize("layer, example", [
    (nn.Linear(5, 4), (1, 3, 5)),
    (nn.Conv1d(4, 6, 3, stride=2, padding=1), (1, 4, 9)),
    (nn.Conv2d(4, 6, 3, groups=2, dilation=2), (1, 4, 9, 9)),
    (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4)),
    (nn.ConvTranspose1d(4, 6, 5, stride=3, groups=2, output_padding=1), (1, 4, 8)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2), (1, 4, 8, 8)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, padding=1), (1, 4, 8, 8)),
    (nn.ConvTranspose3d(4, 4, 2, stride=2, groups=4), (1, 4, 3, 3, 3)),
    (Turned(), (1, 3, 5)),
])  # fmt: skip
def test_a_layer_costs_what_torch_counts(layer, example):
    x = torch.randn(example)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    costs = flops.measure(layer, ["weight"], x)
    assert flops.FORWARD * costs.dense == counter.get_total_flops() > 0
    assert costs.fixed == 0


STEPS = 5


def recurrent(gates, n_in, n, state=None):
    """Multiply-adds of a layer of one direction: each gate's two matrices at every step."""
    return STEPS * gates * n * (n_in + (state or n))


@pytest.mark.parametrize("model, example, expected", [
    # the LeNet of the transposed convolution: 27,648 = 2 x 4 x 6 x 9 x 64
    (nn.ConvTranspose2d(4, 6, 3, stride=2), (1, 4, 8, 8), 13_824),
    (nn.LSTM(3, 4), (STEPS, 1, 3), recurrent(4, 3, 4)),
    (nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True), (1, STEPS, 3),
     2 * recurrent(4, 3, 4) + 2 * recurrent(4, 8, 4)),
    (nn.LSTM(3, 4, proj_size=2), (STEPS, 1, 3), recurrent(4, 3, 4, 2) + STEPS * 4 * 2),
    (nn.GRU(3, 4, 2), (STEPS, 1, 3), recurrent(3, 3, 4) + recurrent(3, 4, 4)),
    (nn.RNN(3, 4), (STEPS, 1, 3), recurrent(1, 3, 4)),
    (nn.LSTMCell(3, 4), (1, 3), 4 * 4 * (3 + 4)),
    (nn.GRUCell(3, 4), (1, 3), 3 * 4 * (3 + 4)),
    # queries, keys and values; scores and their sums of values; the output
    (Attention(STEPS), (1, STEPS, 8), 3 * 64 * 5 + 2 * 25 * 8 + 64 * 5),
    (Attention(1), (1, STEPS, 8), 64 * (1 + 2 * 5) + 2 * 5 * 8 + 64),
    (Attention(2, kdim=8, vdim=8), (1, STEPS, 8), 64 * (2 + 2 * 5) + 2 * 2 * 5 * 8 + 64 * 2),
    (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, STEPS, 8),
     4 * 64 * 5 + 2 * 25 * 8 + 2 * 8 * 16 * 5),
    (Product(), (1, STEPS, 8), 64 * 5 + 2 * 25 * 8),
    (Experts(), (5, 6), 5 * 4 * 6),
])  # fmt: skip
def test_a_model_costs_what_is_counted_by_hand(model, example, expected):
    names = [name for name, p in model.named_parameters() if p.dim() > 1]
    assert flops.measure(model, names, torch.randn(example)).dense == expected
    assert flops.measure(model, [], torch.randn(example)).fixed == expected
    assert model.training


def test_an_embedding_is_looked_up_and_not_multiplied():
    model = nn.Sequential(nn.Embedding(20, 6), nn.Linear(6, 3))
    costs = flops.measure(model, ["0.weight", "1.weight"], torch.zeros(1, 4, dtype=torch.int64))
    assert list(costs.per_edge) == [0, 4] and costs.dense == 4 * 18


def test_what_is_sparse_is_counted_by_its_edges_and_the_rest_is_fixed():
    model = Attention(STEPS)
    x = torch.randn(1, STEPS, 8)
    costs = flops.measure(model, ["attention.in_proj_weight"], x)
    assert list(costs.per_edge) == [5] and list(costs.sizes) == [192]
    assert costs.fixed == 2 * 25 * 8 + 64 * 5
    assert costs.sparse([10]) == 50 + costs.fixed


def test_uneven_uses_are_a_mean_over_the_projection():
    """One query asks five keys: a row of queries is used once, one of keys and values 5 times."""
    costs = flops.measure(Attention(1), ["attention.in_proj_weight"], torch.randn(1, STEPS, 8))
    assert costs.per_edge == [pytest.approx(11 / 3)] and costs.dense - costs.fixed == 64 * 11


def test_a_tied_weight_counts_all_its_uses():
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.ReLU(), nn.Linear(6, 6, bias=False))
    model[2].weight = model[0].weight
    assert flops.measure(model, ["0.weight"], torch.randn(1, 6)).per_edge == [2]

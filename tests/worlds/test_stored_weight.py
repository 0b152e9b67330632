"""Layers that compute with another weight than they store are refused before step 0."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import rewire
from rewire.worlds.torch_model.layers import discover


class Standardised(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return self._conv_forward(x, w, self.bias)


class Centred(nn.Linear):
    axis = 1

    def forward(self, x):
        return F.linear(x, self.weight - self.weight.mean(self.axis, keepdim=True), self.bias)


class CentredOverOutputs(Centred):
    axis = 0


class CentredKernel(nn.Conv1d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean(2, keepdim=True), bias)


class Styled(nn.Linear):
    def forward(self, x, style):
        return super().forward(x * style)


class Unheard(nn.Linear):
    def forward(self, x):
        return x.new_ones(*x.shape[:-1], self.out_features)


class Adapted(nn.Linear):
    """Adds a product of two small matrices and scales, like LoRA."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.down = nn.Parameter(torch.randn(2, sizes[0]))
        self.up = nn.Parameter(torch.randn(sizes[1], 2))

    def forward(self, x):
        return 0.5 * super().forward(x) + x @ self.down.T @ self.up.T


class Same(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(F.pad(x, (1, 2, 1, 2)), self.weight, self.bias)


class Rounded(nn.Linear):
    def forward(self, x):
        return F.linear(x, (self.weight * 8).round() / 8, self.bias)


class Declared(Styled):
    computes_with_stored_weight = True


@pytest.mark.parametrize("layer, reason", [
    (Standardised(3, 4, 3), "others of its inputs"),
    (Centred(5, 4), "others of its inputs"),
    (CentredOverOutputs(5, 4), "others of its outputs"),
    (CentredKernel(4, 4, 3, groups=4), "others of its kernel"),
    (Styled(5, 4), "cannot be run alone .TypeError"),
    (Unheard(5, 4), "does not depend on the stored weight"),
])  # fmt: skip
def test_another_weight_than_the_stored_one_is_refused_by_name(layer, reason):
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    model = nn.Sequential(layer, nn.Linear(3, 2))
    drawn = torch.get_rng_state()
    with pytest.raises(ValueError, match=rf"'0.weight' .*{type(layer).__name__}.*{reason}"):
        discover(model)
    assert torch.equal(torch.get_rng_state(), drawn) and layer.training
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    space, *_ = discover(model, exclude=["0"])
    assert [p.name for p in space.projections] == ["1.weight"]


@pytest.mark.parametrize("layer", [
    Adapted(5, 4), Same(3, 4, 4, stride=2), Rounded(5, 4), Declared(5, 4),
    Same(4, 8, 4, groups=4, dtype=torch.bfloat16),
])  # fmt: skip
def test_layers_that_add_pad_or_round_stay(layer):
    before = layer.weight.detach().clone()
    space, *_ = discover(nn.Sequential(layer))
    assert [p.name for p in space.projections] == ["0.weight"]
    assert torch.equal(layer.weight, before)


def test_a_layer_that_cannot_be_held_may_be_left_out():
    pruned = nn.Linear(4, 4)
    prune.l1_unstructured(pruned, "weight", 0.5)
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), pruned, nn.LazyLinear(4),
                          nn.Linear(4, 2))  # fmt: skip
    for patterns in ({"exclude": ["0", "1", "2"]}, {"include": ["3"]}):
        space, *_ = discover(model, **patterns)
        assert [p.name for p in space.projections] == ["3.weight"]


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_string_is_no_list_of_patterns(option):
    with pytest.raises(ValueError, match=rf"{option} is a sequence .*{option}=\['0\*'\]"):
        discover(nn.Sequential(nn.Linear(4, 4)), **{option: "0*"})


def test_complex_weights_are_refused_by_name():
    with pytest.raises(ValueError, match=r"'0.weight' has complex weights \(torch.complex64\)"):
        discover(nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64)))


class Conv1D(nn.Module):
    """As Hugging Face's: a linear layer whose weight is stored turned."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.zeros(nf))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_turned_linear_layers_are_sparse(world):
    torch.manual_seed(0)
    model = nn.Sequential(Conv1D(5, 7), nn.ReLU(), nn.Linear(5, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    net = rewire.attach(
        model, optimizer, rewire.RigL(when=rewire.every(2)), density=0.4, steps=20, world=world
    )
    first = net.graph.projections[0]
    assert (first.kind, first.shape) == ("transposed", (7, 5))
    for _ in range(8):
        optimizer.zero_grad()
        model(torch.randn(6, 7)).square().sum().backward()
        net.step()
    edges = net.graph.keys[net.graph.keys < 35]
    alive = model[0].weight.detach().flatten().nonzero().flatten()
    assert set(alive.tolist()) <= set(edges.tolist()) and len(edges) < 35
    which, pre, post = net.graph.locate()
    assert torch.equal(pre[which == 0] * 5 + post[which == 0], edges)

"""A weight that another module computes with is held dense in the sparse world, and exact."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import rewire
from rewire import every


class Two(nn.Module):
    """Two layers; subclasses say how the second is used."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4)])

    def last(self, x):
        return self.layers[0](x)


class Product(Two):
    def forward(self, x):
        return self.last(self.first(x) @ self.second.weight.T + self.second.bias)


class Elsewhere(Two):
    """In a method that forward leads to."""

    def forward(self, x):
        return self.last(self.shared(self.first(x)))

    def shared(self, x):
        weight = self.second.weight
        return functional.linear(x, weight)


class InABranch(Two):
    """Only in training on a single example, so that no trial of a batch meets it."""

    def forward(self, x):
        h = self.first(x)
        if len(x) == 1:
            return self.last(functional.linear(h, self.second.weight, self.second.bias))
        return self.last(self.second(h))


class FromAList(Two):
    def forward(self, x):
        h = self.second(self.first(x))
        for layer in self.layers:
            h = functional.linear(h, layer.weight)
        return h


class Asks(Two):
    """What is asked of a weight in passing makes no layer dense."""

    def forward(self, x):
        if isinstance(self.second.weight, nn.Parameter) and self.second.weight is not None:
            x = x.to(self.second.weight.dtype)
        penalty = self.second.weight.abs().sum() * 0
        return self.last(self.second(self.first(x))) + penalty

    def reset(self):
        self.second.weight.data = torch.zeros(4, 8)


def product_of(x, layer):
    return functional.linear(x, layer.weight)


class ByAFunction(Two):
    def forward(self, x):
        return self.last(product_of(self.first(x), self.second))


def trained(model, world, batch=8):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    rule = rewire.SET(fraction=0.3, when=every(2))
    net = rewire.attach(model, optimizer, rule, density=0.5, seed=1, world=world)
    draw = torch.Generator().manual_seed(2)
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.randn(batch, 6, generator=draw)).square().mean().backward()
        optimizer.step()
    net.check()
    return net


@pytest.mark.parametrize("batch", [8, 1])
@pytest.mark.parametrize(
    "kind, dense",
    [
        (Product, {"second.weight"}),
        (Elsewhere, {"second.weight"}),
        (InABranch, {"second.weight"}),
        (FromAList, {"first.weight", "second.weight", "layers.0.weight"}),  # whichever it is of
        (Asks, set()),
    ],
)
def test_what_others_compute_with_is_held_dense_and_trains_alike(kind, dense, batch):
    masked, sparse = (trained(kind(), world, batch) for world in ("masked", "sparse"))
    forms = sparse.world.forms
    assert {name for name, form in forms.items() if form == "masked"} == dense
    assert torch.equal(masked.graph.keys, sparse.graph.keys)
    assert torch.allclose(masked.graph["weight"], sparse.graph["weight"], atol=1e-6)


def test_what_a_function_reads_is_refused_in_the_pass_that_does():
    with pytest.raises(RuntimeError, match=r"linear\(\) is of weights with rows and columns"):
        trained(ByAFunction(), "sparse")


def test_mamba_is_exact_as_lists_of_edges():
    transformers = pytest.importorskip("transformers")
    config = transformers.MambaConfig(
        vocab_size=32, hidden_size=16, state_size=4, num_hidden_layers=1, intermediate_size=32
    )
    weights, keys = [], []
    for world in ("masked", "sparse"):
        torch.manual_seed(0)
        model = transformers.MambaForCausalLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        net = rewire.attach(model, optimizer, rewire.RigL(when=every(2)), density=0.3, steps=20,
                            world=world)  # fmt: skip
        for seed in range(3):
            x = torch.randint(32, (2, 8), generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            model(input_ids=x, labels=x).loss.backward()
            optimizer.step()
        keys.append(net.graph.keys)
        weights.append(net.graph["weight"])
    assert "edges" in net.world.forms.values()
    assert torch.equal(*keys) and torch.allclose(*weights, atol=1e-5)

"""Which parameters the rules govern, which stay dense and why: said, and warned of below half."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import rewire
from rewire.coverage import Coverage

WORLDS = ("masked", "sparse")


class Turned(nn.Module):
    """A linear layer of somebody's own, whose weight is stored the other way round."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        return x @ self.kernel + self.bias


def attached(model, world="masked", **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rewire.attach(model, optimizer, rule=rewire.SET(), density=0.2, world=world, **options)


def reasons(net):
    return {d.name: d.reason for d in net.coverage.dense if d.weight}


@pytest.mark.parametrize("world", WORLDS)
def test_every_parameter_is_governed_or_has_a_reason(world):
    model = nn.ModuleDict({
        "table": nn.Embedding(30, 8), "own": Turned(8, 8), "norm": nn.LayerNorm((4, 8)),
        "first": nn.Linear(8, 20), "second": nn.Linear(20, 20), "third": nn.Linear(20, 4),
        "normed": parametrizations.weight_norm(nn.Linear(20, 3)),
    })  # fmt: skip
    model["third"].weight.requires_grad_(False)
    net = attached(model, world, exclude=["second", "normed"], include=["first", "s*", "normed"])
    assert net.coverage.sparse == {"first.weight": 160}
    assert reasons(net) == {
        "table.weight": "not included by pattern",
        "own.kernel": "Turned is no known kind of layer",
        "second.weight": "excluded by pattern",
        "third.weight": "not included by pattern",
        "normed.parametrizations.weight.original1": "excluded by pattern",
    }
    sizes = sum(d.size for d in net.coverage.dense) + net.coverage.governed
    assert sizes == sum(p.numel() for p in model.parameters()) + (
        0 if world == "masked" else 160 - net.edges  # a list of edges
    )
    assert net.coverage.weights == 160 + 240 + 64 + 400 + 80 + 60
    assert net.coverage.share == 160 / net.coverage.weights


def test_frozen_and_tied_weights_have_their_reason():
    model = nn.ModuleDict({
        "table": nn.Embedding(5, 6), "head": nn.Linear(6, 5, bias=False),
        "frozen": nn.Linear(6, 6), "free": nn.Linear(30, 30),
    })  # fmt: skip
    model["head"].weight = model["table"].weight
    model["frozen"].requires_grad_(False)
    net = attached(model)
    assert reasons(net) == {"table.weight": "an embedding", "frozen.weight": "frozen"}
    assert [d.name for d in net.coverage.left_out] == ["table.weight"]


@pytest.mark.parametrize("world", WORLDS)
def test_a_model_that_stays_mostly_dense_is_warned_of_by_name(world):
    model = nn.Sequential(nn.Linear(8, 4), Turned(4, 100), Turned(100, 4))
    with pytest.warns(UserWarning) as record:
        net = attached(model, world)
    (text,) = [str(w.message) for w in record]
    assert text.startswith("only 32 of 832 weights (3.8%) are in sparse parameters")
    assert "'1.kernel' (400: Turned is no known kind of layer)" in text
    assert "projections={'NAME': KIND}" in text
    assert "of 3.85 % of the model's weights)" in repr(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attached(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 100)), world)


def test_what_the_user_left_out_is_no_reason_to_warn():
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 100), nn.Linear(100, 4))
    model[2].weight.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = attached(model, exclude=["1"])
    assert net.coverage.share == 32 / 832


def test_train_warns_too():
    model = nn.Sequential(nn.Embedding(50, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match="'0.weight' .200: an embedding.*embeddings=True"):
        rewire.train(
            model, optimizer, rewire.SET(), density=0.5, steps=1,
            loss=lambda model, x: model(x).sum(), data=lambda step: torch.arange(3),
        )  # fmt: skip


def test_a_world_without_a_model_covers_its_space():
    space = rewire.Space(
        [rewire.Population("in", 6), rewire.Population("out", 4)],
        [rewire.Projection("w", "in", "out", "linear", (4, 6))],
    )
    graph = rewire.Graph(space, torch.arange(0, 24, 2))
    net = rewire.Session(rewire.Bare(space, weights=torch.ones(24)), graph, rewire.SET(), span=9)
    assert net.coverage == Coverage({"w": 24})
    assert repr(net).endswith("density 0.5)")

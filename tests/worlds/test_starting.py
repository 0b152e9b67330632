"""The topology to start from: a pruned model's own, masks, and what is told of zeros."""

import warnings

import pytest
import torch
from torch import nn

import rewire

WORLDS = ("masked", "sparse")


def pruned(amount=0.8, seed=0):
    """Both weights cut to their largest by size, each by itself."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    for layer in (model[0], model[2]):
        weight = layer.weight.data
        keep = weight.numel() - round(amount * weight.numel())
        cut = weight.abs().flatten().topk(keep).values[-1]
        weight[weight.abs() < cut] = 0.0
    return model


def attach(model, rule=None, world="masked", **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rewire.attach(model, optimizer, rule or rewire.Static(), world=world, **options)


def step(net):
    model = net.world.model
    model.zero_grad()
    x = torch.randn(8, 20, generator=torch.Generator().manual_seed(net.clock.step))
    nn.functional.cross_entropy(model(x), torch.arange(8) % 5).backward()
    net.step()


@pytest.mark.parametrize("world", WORLDS)
def test_a_pruned_model_keeps_its_zeros_and_its_weights(world):
    model = pruned()
    weights = [model[0].weight.detach().clone(), model[2].weight.detach().clone()]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = attach(model, world=world, initial="nonzero")
    assert net.counts == [120, 30]
    for mask, weight in zip(net.masks().values(), weights, strict=True):
        assert torch.equal(mask, weight != 0)
    assert torch.equal(net.graph["weight"], torch.cat([w[w != 0] for w in weights]))
    before = net.topology
    for _ in range(3):
        step(net)
    assert torch.equal(net.topology, before)


@pytest.mark.parametrize("world", WORLDS)
def test_rules_rewire_a_pruned_model_from_its_own_edges(world):
    rule = rewire.SET(fraction=0.3, when=rewire.every(1))
    net = attach(pruned(), rule, world, initial="nonzero", density=0.2)
    before = net.topology
    step(net)
    assert net.counts == [120, 30] and not torch.equal(net.topology, before)


@pytest.mark.parametrize("world", WORLDS)
def test_a_rule_that_prunes_goes_on_from_the_zeros(world):
    rule = rewire.GMP(when=rewire.every(1))
    net = attach(pruned(), rule, world, initial="nonzero", density=0.1, steps=6)
    start = net.topology
    assert net.edges == 150
    for _ in range(6):
        step(net)
    assert net.edges == round(0.1 * 750) and set(net.topology.tolist()) <= set(start.tolist())


@pytest.mark.parametrize("world", WORLDS)
def test_masks_by_name_are_the_topology(world):
    first = attach(pruned(), world=world, initial="nonzero")
    net = attach(pruned(seed=1), world=world, initial=first.masks())
    assert torch.equal(net.topology, first.topology)


@pytest.mark.parametrize("initial, options, message", [
    ("nonzero", {"density": 0.1}, "names 150 edges of 750, density 0.2, and density=0.1 .* 75"),
    ("nonzero", {"distribution": "uniform"}, "leave out distribution='uniform'"),
    ("nonzero", {"distribution": {"*": 0.5}}, "leave out distribution="),
    ("non-zero", {}, "a Graph, 'nonzero' or a mask"),
    ({"0.weight": torch.ones(30, 20, dtype=torch.bool)}, {}, "there is none for 2.weight"),
    ({"0.weight": torch.ones(30, 20), "2.weight": torch.ones(5, 30), "fc": torch.ones(2)}, {},
     "'fc' is no projection"),
    ({"0.weight": torch.ones(20, 30), "2.weight": torch.ones(5, 30)}, {},
     "mask of '0.weight' has shape .20, 30."),
])  # fmt: skip
def test_what_is_no_topology_or_disagrees_is_refused(initial, options, message):
    with pytest.raises(ValueError, match=message):
        attach(pruned(), initial=initial, **options)


@pytest.mark.parametrize("asked", [{"0.weight": 0.2, "2": 0.2}, [120, 30]])
def test_counts_that_the_topology_has_are_no_contradiction(asked):
    start = attach(pruned(), initial="nonzero").graph
    net = attach(pruned(seed=1), initial=start, distribution=asked)
    assert net.counts == [120, 30] and torch.equal(net.topology, start.keys)


def test_a_weight_of_zeros_alone_has_no_nonzero_topology():
    model = pruned()
    nn.init.zeros_(model[2].weight)
    with pytest.raises(ValueError, match="all weights of '2.weight' are 0"):
        attach(model, initial="nonzero")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nor was it pruned
        attach(model, exclude=["0"], density=0.5)


@pytest.mark.parametrize("initial", ["nonzero", "magnitude"])
def test_weights_that_are_not_there_yet_say_nothing(initial):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 5))
    with pytest.raises(ValueError, match=f"initial='{initial}' looks at .* meta"):
        attach(model, world="sparse", initial=initial)


@pytest.mark.parametrize("options, back", [
    ({"initial": "magnitude"}, 600),
    ({"initial": "magnitude", "density": 0.5}, None),
    ({"density": 0.1}, None),
    ({}, 600),
])  # fmt: skip
@pytest.mark.parametrize("world", WORLDS)
def test_zeros_that_come_back_are_said_by_name(world, options, back):
    message = "600 exact zeros, as after pruning, in '0.weight' .480., '2.weight' .120., and "
    with pytest.warns(UserWarning, match=message + (f"{back} of" if back else "")):
        net = attach(pruned(), world=world, **options)
    zero = int((net.graph["weight"] == 0).sum())
    assert zero == back if back else zero > 0


def test_a_topology_that_brings_no_zero_back_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = attach(pruned(), initial="magnitude", density=0.1, distribution="uniform")
        attach(nn.Linear(20, 5), density=0.2)
        attach(nn.Sequential(nn.Embedding(5, 20, padding_idx=0), nn.Linear(20, 9)),
               embeddings=True, density=0.2)  # fmt: skip
    assert not (net.graph["weight"] == 0).any()


def test_train_takes_the_same():
    model = pruned()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.train(
        model, optimizer, rewire.Static(), steps=2, initial="nonzero",
        loss=lambda model, x: model(x).square().sum(), data=lambda step: torch.randn(4, 20),
    )  # fmt: skip
    assert net.edges == 150

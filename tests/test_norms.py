"""Statistics of batch norms made anew: of a copy, under another mask, in both torch worlds."""

import copy

import pytest
import torch
from torch import nn

import rewire


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)
    )


def batches(n=4, size=25, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [2 + torch.randn(size, 12, generator=generator) for _ in range(n)]


def test_statistics_are_the_averages_over_the_batches():
    model, x = network(), batches()
    assert rewire.recompute_norms(model, x) == 1
    inputs = [model[0](batch) for batch in x]
    assert torch.allclose(model[1].running_mean, sum(i.mean(0) for i in inputs) / 4, atol=1e-6)
    assert torch.allclose(model[1].running_var, sum(i.var(0) for i in inputs) / 4, atol=1e-5)
    assert model[1].momentum == 0.1 and not any(m.training for m in model.modules())


def test_what_was_there_before_leaves_no_trace_and_dropout_draws_nothing():
    models = [network(), network()]
    models[1].train()
    models[1](100 * batches(1)[0])
    before = torch.get_rng_state()
    for model in models:
        rewire.recompute_norms(model, [(x, None) for x in batches()])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(models[0][1].running_mean, models[1][1].running_mean)


def test_a_network_without_norms_is_not_run():
    model = nn.Sequential(nn.Linear(12, 3), nn.GroupNorm(1, 3), nn.LayerNorm(3))
    state = copy.deepcopy(model.state_dict())
    model[0].register_forward_pre_hook(lambda *_: pytest.fail("it was run"))
    assert rewire.recompute_norms(model, batches()) == 0
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_no_batch_is_refused_before_anything_is_reset():
    model = network()
    model(batches(1)[0])
    mean = model[1].running_mean.clone()
    with pytest.raises(ValueError, match="there is no batch to take statistics of"):
        rewire.recompute_norms(model, [])
    assert torch.equal(model[1].running_mean, mean) and mean.any()


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_a_network_that_is_trained_under_a_mask_goes_on_with_them(world):
    """The same statistics in both worlds, and steps afterwards that begin with them."""
    model = network()
    del model[3]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(
        model, optimizer, rule=rewire.SET(when=rewire.every(3)), density=0.4, world=world
    )
    y = torch.arange(25) % 3
    for x in batches():
        net.learn(x, y)
        net.rewire()
    assert rewire.recompute_norms(model, batches(seed=2)) == 1
    dense = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16))
    with torch.no_grad():
        dense[0].weight.copy_(net.graph.dense(0).view(16, 12))
        dense[0].bias.copy_(model[0].bias)
    rewire.recompute_norms(dense, batches(seed=2))
    for statistic in ("running_mean", "running_var"):
        mine, theirs = (getattr(m[1], statistic) for m in (model, dense))
        assert torch.allclose(mine, theirs, atol=1e-5)
    x = batches(1, seed=3)[0]
    before = model[1].running_mean.clone()
    model.train()
    net.learn(x, y)
    inputs = dense[0](x)
    moved = 0.9 * before + 0.1 * inputs.mean(0).detach()
    assert torch.allclose(model[1].running_mean, moved, atol=1e-5)

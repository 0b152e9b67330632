"""Huang et al. 2023 (arXiv:2211.16667): DST-EE's acquisition function, written out anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import when


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(14, 12), nn.ReLU(), nn.Linear(12, 5)).double()


def batch(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(20, 14, generator=g).double(), torch.randint(5, (20,), generator=g)


def trained(rule, world="masked", steps=13, look=None):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    net = rewire.attach(model, optimizer, rule, density=0.3, world=world, steps=steps)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        x, y = batch(step)
        cross_entropy(model(x), y).backward()
        before = net.graph
        net.step()
        if look is not None:
            look(step, before, net)
    return net


def gradients(net, graph, step):
    """Dense gradients of the network of a graph, by a model of its own."""
    model = network()
    with torch.no_grad():
        for i, at in enumerate((0, 2)):
            model[at].weight.copy_(graph.dense(i))
            model[at].bias.copy_(net.world.model[at].bias)
    x, y = batch(step)
    cross_entropy(model(x), y).backward()
    return [model[at].weight.grad.abs().numpy().ravel() for at in (0, 2)]


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("c", [0.01, 1.0])
def test_every_tick_is_the_papers(world, c):
    rule = rewire.DSTEE(fraction=0.3, c=c, epsilon=0.5, when=when.every(3))
    counters = []

    def look(step, before, net):
        if not counters:
            counters.extend(before.mask(i).numpy().ravel().astype(float) for i in (0, 1))
        if step % 3:
            return
        for i, gradient in enumerate(gradients(net, before, step)):
            mask, weight = before.mask(i).numpy().ravel(), before.dense(i).numpy().ravel()
            k = int(0.3 * mask.sum())
            order = np.flatnonzero(mask)[np.argsort(np.abs(weight[mask]), kind="stable")]
            mask[order[:k]] = False
            score = gradient + c * np.log(step) / (counters[i] + 0.5)
            best = sorted(np.flatnonzero(~mask), key=lambda at: (-score[at], at))[:k]
            mask[best] = True
            assert np.array_equal(net.graph.mask(i).numpy().ravel(), mask)
            counters[i] += mask

    net = trained(rule, world, look=look)
    assert net.world.name == world and len(net.history) == 4


def test_without_exploration_it_is_rigl():
    fields = {"fraction": 0.3, "when": when.every(3)}
    mine, theirs = trained(rewire.DSTEE(c=0.0, **fields)), trained(rewire.RigL(**fields))
    assert torch.equal(mine.topology, theirs.topology)
    assert torch.equal(mine.graph["weight"], theirs.graph["weight"])


def test_more_of_the_network_is_explored_the_larger_c():
    rates, rule = [], rewire.DSTEE(fraction=0.3, when=when.every(3))
    for c in (0.0, 0.01, 100.0):
        net = trained(replace(rule, c=c), steps=25)
        rates.append(explored(net))
    assert sum(rates[0]) < sum(rates[1]) < sum(rates[2])
    # nothing but exploration: every birth is that of a new synapse, while there are any
    first, sizes = np.array(net.counts), np.array(net.graph.space.sizes)
    births = 8 * (0.3 * first).astype(int)
    assert rates[2] == np.minimum(first + births, sizes).tolist()


def explored(net):
    """How many synapses of each projection there ever were."""
    seen = {*net.history.start.tolist()}.union(*(r.add.tolist() for r in net.history))
    return np.histogram(sorted(seen), net.graph.space.ends)[0].tolist()

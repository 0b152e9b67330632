"""Yin et al. 2023 (arXiv:2305.19454): Chase, written out anew with dense masks."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import when

STEPS, AT = 21, (0, 2, 4)
RULE = rewire.Chase(channels=0.5, least=0.3, fraction=0.25, until=0.8, when=when.every(4))


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(14, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 5)
    ).double()


def batch(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(20, 14, generator=g).double(), torch.randint(5, (20,), generator=g)


def gradients(weights, biases, step):
    """Dense gradients of a network of these weights, by a model of its own."""
    model = perceptron()
    with torch.no_grad():
        for at, weight, bias in zip(AT, weights, biases, strict=True):
            model[at].weight.copy_(torch.from_numpy(weight))
            model[at].bias.copy_(bias)
    x, y = batch(step)
    cross_entropy(model(x), y).backward()
    return [model[at].weight.grad.abs().numpy() for at in AT]


def tick(weights, masks, gradient, gone, target):
    """Channels by mean magnitude over whole filters, then a global exchange; lists of matrices."""
    total = int(sum(m.sum() for m in masks))
    n = [len(weights[0]), len(weights[1])]
    umm = [np.abs(w).mean(1) for w in weights[:2]]
    order = sorted((umm[layer][unit], layer, unit) for layer in (0, 1) for unit in range(n[layer]))
    for _, layer, unit in order:
        least = int(np.ceil(0.3 * n[layer]))
        inside = n[layer] - sum(at == layer for at, _ in gone)
        if len(gone) < target and (layer, unit) not in gone and inside > least:
            gone = gone | {(layer, unit)}
    for layer, unit in gone:
        masks[layer][unit] = masks[layer + 1][:, unit] = False
    flat, size = np.concatenate([m.ravel() for m in masks]), np.concatenate(
        [np.abs(w).ravel() for w in weights]
    )  # fmt: skip
    weakest = np.flatnonzero(flat)[np.argsort(size[flat], kind="stable")][: int(0.25 * total)]
    flat[weakest] = False
    open_ = [np.ones(m.shape, bool) for m in masks]
    for layer, unit in gone:
        open_[layer][unit] = open_[layer + 1][:, unit] = False
    score = np.where(flat, -1.0, np.concatenate([g.ravel() for g in gradient]))
    score[~np.concatenate([o.ravel() for o in open_])] = -1.0
    flat[np.argsort(-score, kind="stable")[: total - flat.sum()]] = True
    return flat, gone


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_every_tick_is_the_papers(world):
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    net = rewire.attach(model, optimizer, RULE, density=0.25, world=world, steps=STEPS)
    gone, edges = frozenset(), net.edges
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        x, y = batch(step)
        cross_entropy(model(x), y).backward()
        before = [net.graph.dense(i).numpy() for i in range(3)]
        masks = [net.graph.mask(i).numpy() for i in range(3)]
        biases = [model[at].bias.detach().clone() for at in AT]
        net.step()
        assert net.edges == edges
        if step % 4:
            continue
        gradient = gradients(before, biases, step)
        after = [(w - 0.3 * g0) * m for w, g0, m in
                 zip(before, _signed(before, biases, step), masks, strict=True)]  # fmt: skip
        target = round(20 * 0.5 * (1 - max(1 - step / 16, 0) ** 3))
        flat, gone = tick(after, masks, gradient, gone, target)
        assert np.flatnonzero(flat).tolist() == net.graph.keys.tolist()
    assert len(gone) == 10 == len(net.states[0]["gone"])
    first, second = net.graph.mask(0), net.graph.mask(1)
    alive = int((first.any(1) & second.any(0)).sum()) + int(second.any(1).sum())
    assert alive <= 10


def _signed(weights, biases, step):
    """The gradients with their signs, of the step that comes before the tick."""
    model = perceptron()
    with torch.no_grad():
        for at, weight, bias in zip(AT, weights, biases, strict=True):
            model[at].weight.copy_(torch.from_numpy(weight))
            model[at].bias.copy_(bias)
    x, y = batch(step)
    cross_entropy(model(x), y).backward()
    return [model[at].weight.grad.numpy() for at in AT]


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_a_channel_takes_what_a_flattening_makes_of_it_along(world):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    net = rewire.attach(
        model, optimizer, RULE, density=0.2, steps=STEPS, world=world,
        example=torch.zeros(1, 2, 6, 6),
    )  # fmt: skip
    edges = net.edges
    for step in range(STEPS):
        optimizer.zero_grad()
        g = torch.Generator().manual_seed(step)
        x, y = torch.randn(8, 2, 6, 6, generator=g), torch.randint(4, (8,), generator=g)
        cross_entropy(model(x), y).backward()
        net.step()
        assert net.edges == edges
    one, two, three = (net.graph.mask(i) for i in range(3))
    fed, heard = one.flatten(1).any(1), two.transpose(0, 1).flatten(1).any(1)
    ends, flat = two.flatten(1).any(1), three.view(4, 6, 4).any(2).any(0)
    assert len(net.states[0]["gone"]) == 7
    assert int((~(fed | heard)).sum()) + int((~(ends | flat)).sum()) >= 7
    assert int((fed | heard).sum()) >= 3 and int((ends | flat).sum()) >= 2  # least


@pytest.mark.parametrize(
    ("rule", "density", "message"),
    [
        (
            rewire.Chase(channels=0.7, when=when.every(4)),
            0.5,
            "Chase keeps .* edges, and without 0.7 of the hidden",
        ),
        (rewire.Chase(until=10), 0.2, "it would never prune a channel in 20 steps"),
    ],
)
def test_what_cannot_be_reached_is_refused_before_step_0(rule, density, message):
    model = perceptron()
    with pytest.raises(ValueError, match=message):
        rewire.attach(
            model, torch.optim.SGD(model.parameters(), lr=0.1), rule, density=density, steps=20
        )


def test_channels_and_a_floor_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="cannot take 0.7 of the units away .* and leave 0.4"):
        rewire.Chase(channels=0.7, least=0.4)
    with pytest.raises(ValueError, match="none here is known"):
        layer = nn.Linear(5, 4)
        rewire.attach(
            layer, torch.optim.SGD(layer.parameters(), lr=0.1),
            rewire.Chase(when=when.every(1)), density=0.2, steps=20,
        )  # fmt: skip

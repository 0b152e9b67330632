"""Gradients in the sparse world are those of the masked one, clipped, scaled or zeroed."""

import copy

import pytest
import torch
from torch import nn

import rewire

WORLDS = ("masked", "sparse")


class Cell(nn.Module):
    """An LSTM cell, whose weights the sparse world holds dense, and a list of edges after it."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTMCell(6, 8), nn.Linear(8, 4)

    def forward(self, x):
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.out(state[0])


def attached(world, rule, density=0.3, steps=12):
    torch.manual_seed(0)
    model = Cell().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    net = rewire.attach(model, optimizer, rule, density=density, world=world, seed=3, steps=steps)
    return model, optimizer, net


def batches(n):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(8, 3, 6, generator=generator, dtype=torch.float64), torch.arange(8) % 4)
        for _ in range(n)
    ]


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def rigl(n=2):
    return rewire.RigL(fraction=0.3, when=rewire.every(n))


def assert_same(nets):
    masked, sparse = (net.graph for net in nets)
    assert torch.equal(masked.keys, sparse.keys)
    torch.testing.assert_close(masked["weight"], sparse["weight"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", [rewire.Static, rigl], ids=["static", "rigl"])
def test_anybodys_clip_sees_the_edges_alone_of_weights_that_are_held_dense(rule):
    norms, nets = [], []
    for world in WORLDS:
        model, optimizer, net = attached(world, rule())
        seen = []
        for batch in batches(6):
            optimizer.zero_grad()
            loss(model, batch).backward()
            seen.append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.05)))
            optimizer.step()
        norms.append(seen)
        nets.append(net)
    assert "masked" in nets[1].world.forms.values() and "edges" in nets[1].world.forms.values()
    assert norms[0] == pytest.approx(norms[1], rel=1e-12)
    assert_same(nets)


@pytest.mark.parametrize("way", ["overflow", "looked at", "accumulated", "copied"])
def test_rules_see_the_gradient_of_the_passes_since_it_was_zeroed(way):
    nets = []
    for world in WORLDS:
        model, optimizer, net = attached(world, rigl())
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=way == "overflow")
        for step, batch in enumerate(batches(7)):
            if way == "copied" and step == 3:
                net = copy.deepcopy(net)
                model, optimizer = net.world.model, net.optimizer
            if way == "looked at":  # a pass whose gradient nobody steps by
                loss(model, (3 * batch[0], batch[1])).backward()
            if way != "accumulated" or step % 2:
                optimizer.zero_grad()
            scaler.scale(loss(model, batch)).backward()
            if way == "overflow" and step == 3:
                model.out.bias.grad[0] = float("inf")
            if way != "accumulated" or not step % 2:
                scaler.step(optimizer)
                scaler.update()
        assert net.history.formed
        nets.append(net)
    assert_same(nets)


def test_rules_see_gradients_as_they_were_clipped():
    nets = []
    for world in WORLDS:
        model, optimizer, net = attached(world, rewire.SNFS(rewires=rewire.every(3)))
        for batch in batches(6):
            optimizer.zero_grad()
            loss(model, batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.01 if net.clock.step % 2 else 10.0)
            optimizer.step()
        assert net.history.formed
        nets.append(net)
    assert_same(nets)


def test_a_detached_session_leaves_gradients_as_torch_makes_them():
    model, _, net = attached("sparse", rigl())
    net.detach()
    loss(model, batches(1)[0]).backward()
    weight = model.cell.weight_hh
    assert (weight.grad != 0).all() and not weight._backward_hooks
    assert not weight._post_accumulate_grad_hooks and not model.out.weight._backward_hooks


@pytest.mark.parametrize("when", ["before attach", "before an edit"])
def test_parameters_that_were_replaced_are_refused_by_name(when):
    """A list taken once, whose norm would be that of gradients that nobody makes any more."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    parameters = list(model.parameters())
    rule = rewire.GMP(to=0.1, when=rewire.every(2))
    initial = 0.5 if when == "before attach" else None
    net = rewire.attach(
        model, optimizer, rewire.Static() if initial else rule, density=initial, world="sparse",
        steps=12,
    )  # fmt: skip
    if when == "before an edit":
        parameters = list(model.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(8, 20)).square().sum().backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        assert net.history.dropped
    optimizer.zero_grad()
    model(torch.randn(8, 20)).square().sum().backward()
    with pytest.raises(RuntimeError, match="no longer the model's"):
        nn.utils.clip_grad_norm_(parameters, 1.0)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()

"""Tyagi et al. 2025 (arXiv:2506.11449): DynaDiag against a layer of its own, through autograd."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import linear, mse_loss

import rewire
from rewire import when

HOT, COLD, RATE, DECAY, STEPS, LAST = 1.0, 0.1, 0.02, 0.01, 14, 10


def diagonal_numbers(rows, columns):
    """Position (r, c) is on the diagonal that begins r - c rows down, or c - r columns on."""
    out = np.empty((rows, columns), int)
    for r in range(rows):
        for c in range(columns):
            out[r, c] = (r - c) % rows if rows >= columns else (c - r) % columns
    return torch.from_numpy(out)


class Diagonals(nn.Module):
    """w m with m = min(k softmax(alpha / T), 1), later 1 for the k largest and 0 for the others."""

    def __init__(self, layer, k):
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().clone())
        self.bias = nn.Parameter(layer.bias.detach().clone())
        self.number, self.k = diagonal_numbers(*layer.weight.shape), k
        many = max(layer.weight.shape)
        self.alpha = nn.Parameter(torch.full((many,), 1 / many, dtype=torch.float64))
        self.heat, self.hard = HOT, None

    def chosen(self):
        if self.hard is not None:
            return self.hard
        return (self.k * torch.softmax(self.alpha / self.heat, 0)).clamp(0, 1)

    def forward(self, x):
        return linear(x, self.weight * self.chosen()[self.number], self.bias)

    def choose(self):
        self.hard = torch.zeros_like(self.alpha)
        self.hard[self.alpha.topk(self.k).indices] = 1.0


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4)).double()


def batch(step):
    g = torch.Generator().manual_seed(step)
    x = torch.randn(16, 6, generator=g).double()
    return x, x[:, :4].sin()


def test_it_is_joint_training_of_weights_and_importance():
    model = network()
    k = (3, 2)  # of 9 diagonals of 6 and 9 of 4: .3 of 54 and 36 edges, and no more than 27
    theirs = nn.Sequential(Diagonals(model[0], k[0]), nn.Tanh(), Diagonals(model[2], k[1]))
    layers = theirs[0], theirs[2]
    weights = torch.optim.SGD([p for n in layers for p in (n.weight, n.bias)], lr=0.2)
    importance = torch.optim.Adam([n.alpha for n in layers], lr=RATE, weight_decay=DECAY)
    rule = rewire.DynaDiag(hot=HOT, cold=COLD, rate=RATE, decay=DECAY, until=LAST)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    net = rewire.attach(model, optimizer, rule, density=0.3, steps=STEPS)
    assert net.states[0]["keep"] == list(k)
    for step in range(1, STEPS + 1):
        x, y = batch(step)
        for n in layers:
            n.heat = COLD + (HOT - COLD) / 2 * (1 + np.cos(np.pi * min((step - 1) / (LAST - 1), 1)))
        for one, optimisers in ((theirs, [weights, importance]), (model, [optimizer])):
            for each in optimisers:
                each.zero_grad()
            mse_loss(one(x), y).backward()
        weights.step()
        if step <= LAST:
            importance.step()
        if step == LAST:
            for n in layers:
                n.choose()
        net.step()
        if step < LAST:  # what the next step computes with
            for n in layers:
                done = min(step / (LAST - 1), 1)
                n.heat = COLD + (HOT - COLD) / 2 * (1 + np.cos(np.pi * done))
        for i, n in enumerate(layers):
            held = net.graph.rows(i)
            gain = n.chosen().detach()[n.number].ravel()
            torch.testing.assert_close(net.graph["gain"][held].double(), gain, atol=1e-6, rtol=1e-5)
            if step < LAST:
                mine = net.graph["weight"][held].double()
                torch.testing.assert_close(mine, n.weight.detach().ravel(), atol=1e-6, rtol=1e-5)
        alpha = torch.cat([n.alpha.detach() for n in layers])
        torch.testing.assert_close(net.states[0]["alpha"], alpha, atol=1e-7, rtol=1e-5)
    assert net.counts == [18, 8] and sum(net.counts) <= round(0.3 * 90)


@pytest.mark.parametrize(("kind", "shape"), [("conv", (8, 4, 3, 3)), ("grouped", (8, 2, 3, 3))])
def test_whole_diagonals_live_and_as_many_as_the_density_allows(kind, shape):
    torch.manual_seed(0)
    groups = 2 if kind == "grouped" else 1
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=groups), nn.ReLU(), nn.Flatten(), nn.Linear(32, 12)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    rule = rewire.DynaDiag(until=5)
    net = rewire.attach(model, optimizer, rule, density=0.25, steps=8)
    for _ in range(8):
        optimizer.zero_grad()
        model(torch.randn(4, 4, 4, 4)).square().mean().backward()
        net.step()
    most = round(0.25 * net.graph.possible)
    assert most - 12 < net.edges <= most
    gain = net.graph["gain"]
    for number in net.graph["diagonal"].unique():
        of = gain[net.graph["diagonal"] == number]
        assert of.unique().numel() == 1 and len(of) in ({8, 12} if groups == 1 else {4, 12})


def test_what_cannot_be_had_is_refused_before_step_0():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    with pytest.raises(ValueError, match="DynaDiag cannot end at density 0.05, 4 of 90 edges: one"):
        rewire.attach(model, optimizer, rewire.DynaDiag(), density=0.05, steps=20)
    with pytest.raises(ValueError, match=r"DynaDiag.when = .*every\(1\), since diagonals"):
        rewire.DynaDiag(when=when.every(2))

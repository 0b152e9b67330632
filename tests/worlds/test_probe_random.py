"""Passes of a probe leave the user's random numbers as they were."""

import pytest
import torch
from torch import nn

import rewire


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_a_probe_that_draws_moves_no_random_numbers(world):
    def loss(model, batch):
        return model(batch + torch.randn_like(batch)).square().mean()

    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = rewire.Probe([torch.randn(4, 6)], loss)
    drawn = torch.get_rng_state()
    net = rewire.attach(model, optimizer, rewire.SNIP(), density=0.3, probe=probe, world=world)
    assert net.edges == 14 and torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize("signal", ["fisher", "hessian_diag"])
@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_looks_at_the_curvature_that_draw_move_no_random_numbers(world, signal):
    def loss(model, batch):
        return model(batch + torch.randn_like(batch)).square().mean()

    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = rewire.Probe([torch.randn(4, 6)], loss)
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.5, probe=probe, world=world)
    drawn = torch.get_rng_state()
    graph = net.graph
    curvature = net.world.signals(graph).pair(signal, graph.keys)
    assert curvature.any() and torch.equal(torch.get_rng_state(), drawn)

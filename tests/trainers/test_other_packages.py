"""Optimisers and neurons of other packages train on edges."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from own_loop import WORLDS, classify, differences, loader, network

import rewire


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", ["Lion", "AdaBelief", "ADOPT"])
def test_optimisers_of_a_package_keep_absent_synapses_at_zero(name: str, world: str) -> None:
    packages = pytest.importorskip("pytorch_optimizer")
    nets = []
    for by_session in (True, False):
        model = network()
        optimizer = getattr(packages, name)(model.parameters(), lr=1e-3)
        net = rewire.attach(
            model, optimizer, rule=rewire.SET(when=rewire.every(2)), density=0.2, world=world
        )
        for batch in loader():
            optimizer.zero_grad()
            classify(model, batch).backward()
            net.step() if by_session else optimizer.step()
        net.check()
        assert net.history.formed > 0 and net.clock.step == 8
        nets.append(net)
    assert differences(*nets) == []


def test_spiking_neurons_of_snntorch_are_trained_alike_in_both_worlds() -> None:
    snntorch, utils = pytest.importorskip("snntorch"), pytest.importorskip("snntorch.utils")
    graphs = []
    for world in WORLDS:
        model = network()
        model[1] = snntorch.Leaky(beta=0.9, init_hidden=True)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        net = rewire.attach(
            model, optimizer, rule=rewire.SET(when=rewire.every(2)), density=0.2, world=world
        )
        for x, y in loader():
            utils.reset(model)
            optimizer.zero_grad()
            out: Any = sum(model(x) for _ in range(4))
            torch.nn.functional.cross_entropy(out, y).backward()
            optimizer.step()
        net.check()
        graphs.append(net.graph)
    masked, sparse = graphs
    assert torch.equal(masked.keys, sparse.keys)
    assert torch.allclose(masked["weight"], sparse["weight"], rtol=0, atol=1e-6)

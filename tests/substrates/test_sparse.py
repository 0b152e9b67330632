"""The sparse world against the masked one: the same rules, the same graphs, the same weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import Edit, Rule, every
from rewire.native import sparse as engine
from rewire.substrates.sparse import Sparse

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),  # which the engine does not have
}
RULES = {
    "Static": rewire.Static(),
    "DeepR": rewire.DeepR(l1=1e-2, noise=1e-2),
    "DeepR global": rewire.DeepR(l1=1e-2, noise=1e-2, scope="global"),
    "SoftDeepR": rewire.SoftDeepR(l1=1e-2, noise=1e-2),
    "SET": rewire.SET(when=every(3)),
    "RigL": rewire.RigL(when=every(3), fraction=0.3),
    "plasticity": rewire.StructuralPlasticity(partner="uniform", attempts=0.2, p_elim_dep=0.5),
}


def mlp(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    layers = [nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5)]
    return nn.Sequential(*layers).to(dtype)


def batches(n=40, size=12, dtype=torch.float64):
    g = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 20, generator=g).to(dtype), torch.randint(5, (size,), generator=g))
        for _ in range(n)
    ]


def trained(substrate, rule, optimizer, *, whole=True, model=None, density=0.3, steps=40):
    model = mlp() if model is None else model
    net = rewire.attach(
        model, OPTIMIZERS[optimizer](model.parameters()), rule, density=density, seed=3,
        steps=steps, substrate=substrate,
    )  # fmt: skip
    losses = []
    for x, y in batches(steps, dtype=next(model.parameters()).dtype):
        if whole:
            losses.append(net.learn(x, y))
            net.rewire()
        else:
            net.optimizer = None
            model.zero_grad(set_to_none=True)
            loss = cross_entropy(model(x), y)
            loss.backward()
            net.step()
            losses.append(float(loss.detach()))
    return net, losses


def same(one, other, tolerance=1e-9):
    (a, losses_a), (b, losses_b) = one, other
    assert torch.equal(a.graph.keys, b.graph.keys)
    torch.testing.assert_close(a.graph["weight"], b.graph["weight"], rtol=tolerance, atol=1e-12)
    np.testing.assert_allclose(losses_a, losses_b, rtol=tolerance)


@pytest.mark.parametrize("whole", [True, False], ids=["plan", "layers"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rule", RULES)
def test_a_training_is_that_of_the_masked_world(rule, optimizer, whole):
    if whole and engine is None:
        pytest.skip("the engine was not built")
    sparse = trained("sparse", RULES[rule], optimizer, whole=whole)
    assert set(sparse[0].world.forms.values()) == {"edges"}
    assert (sparse[0].world.plan is not None) == whole
    same(trained("masked", RULES[rule], optimizer, whole=whole), sparse)


def test_no_dense_tensor_is_left():
    net, _ = trained("sparse", RULES["RigL"], "Adam")
    edges = dict(zip(["0.weight", "2.weight", "4.weight"], net.counts, strict=True))
    for name, p in net.world.model.named_parameters():
        assert p.numel() == edges.get(name, p.numel())
        for v in net.world.optimizer.state[p].values():
            assert v.dim() == 0 or v.shape == p.shape

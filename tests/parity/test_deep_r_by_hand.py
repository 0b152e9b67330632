"""DEEP R and soft-DEEP R against the papers' Algorithms 1 and 2, written out with loops.

The hand-written forms keep theta of every connection and draw from the same streams; they know
nothing of graphs, edits and masks. Everything in float64: identical edges at every step, weights
equal to rounding.
"""

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire.select.grow import sample_absent
from rewire.select.pairs import pair_sign
from rewire.streams import rng_for

ETA, STEPS = 0.3, 60


def problem(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 3)).double()
    return model, (torch.randn(20, 8).double(), torch.randint(3, (20,)))


def loss_of(weights, biases, data):
    h = torch.tanh(data[0] @ weights[0].T + biases[0])
    return nn.functional.cross_entropy(h @ weights[1].T + biases[1], data[1])


class ByHand:
    """Dense theta and sign for every connection k = 0, 1, ... over both layers."""

    def __init__(self, model, active, sign):
        self.shapes = [m.weight.shape for m in (model[0], model[2])]
        self.biases = [m.bias.detach().clone() for m in (model[0], model[2])]
        start = torch.cat([m.weight.detach().reshape(-1) for m in (model[0], model[2])])
        self.active = set(active.tolist())
        on = torch.zeros(len(start), dtype=torch.bool)
        on[active] = True
        self.sign = torch.where(on & (start != 0), start.sign(), sign.double())
        self.theta = torch.where(on, self.sign * start, torch.zeros_like(start))

    def weights(self):
        """w_k = sign_k theta_k for active connections, 0 for dormant ones."""
        w = torch.zeros_like(self.theta)
        on = sorted(self.active)
        w[on] = self.sign[on] * self.theta[on]
        return [x.view(s) for x, s in zip(w.split([s.numel() for s in self.shapes]), self.shapes,
                                          strict=True)]  # fmt: skip

    def gradient(self, data):
        """dE/dw of every connection; biases take their SGD step."""
        leaves = [t.clone().requires_grad_() for t in (*self.weights(), *self.biases)]
        grads = torch.autograd.grad(loss_of(leaves[:2], leaves[2:], data), leaves)
        self.biases = [b - ETA * g for b, g in zip(self.biases, grads[2:], strict=True)]
        return torch.cat([g.reshape(-1) for g in grads[:2]])


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize(
    ("noise", "temperature"), [(0.1, None), (1e-5, 0.002), (0.0, None)], ids=str
)
def test_deep_r_is_algorithm_1_step_by_step(scope, noise, temperature):
    alpha = 0.05
    rule = rewire.DeepR(l1=alpha, noise=noise, temperature=temperature, scope=scope)
    model, data = problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=ETA)
    hand_model, _ = problem()
    net = rewire.attach(model, optimizer, rule=rule, density=0.3, seed=5)
    space, keys = net.graph.space, net.graph.keys
    hand = ByHand(hand_model, keys, pair_sign(torch.arange(space.possible), 5))
    T = ETA * noise**2 / 2 if temperature is None else temperature
    K, woken = len(keys), 0
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data[0]), data[1]).backward()
        net.step()

        # Algorithm 1: for all active k
        g = hand.gradient(data)
        order = sorted(hand.active)
        rng = rng_for(5, "0.DeepR", step)
        nu = rng.normal(K).double() if T else torch.zeros(K)
        for k, n in zip(order, nu.tolist(), strict=True):
            dE_dtheta = hand.sign[k] * g[k]
            hand.theta[k] += -ETA * dE_dtheta - ETA * alpha + (2 * ETA * T) ** 0.5 * n
        dormant_now = [k for k in order if hand.theta[k] < 0]
        hand.active -= set(dormant_now)
        # while |A| < K: wake a random dormant connection at theta = 0 (the same draw as ours)
        before = rewire.Graph(space, torch.tensor(order))
        rows = torch.tensor([order.index(k) for k in dormant_now], dtype=torch.int64)
        lost = torch.bincount(
            space.which(torch.tensor(dormant_now, dtype=torch.int64)), minlength=2
        )
        count = lost.tolist() if scope == "layer" else len(rows)
        for k in sample_absent(before, count, rng, without=rows).tolist():
            hand.theta[k] = 0.0
            hand.active.add(k)
            woken += 1

        assert len(hand.active) == K == net.edges
        assert net.graph.keys.tolist() == sorted(hand.active)
        for w, m in zip(hand.weights(), (model[0], model[2]), strict=True):
            assert torch.allclose(w, m.weight, rtol=1e-6, atol=1e-7)
    assert woken > 20


def test_soft_deep_r_is_algorithm_2_step_by_step():
    alpha, noise, p_min = 0.05, 0.2, 0.3
    T = ETA * noise**2 / 2
    model, data = problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=ETA)
    hand_model, _ = problem()
    net = rewire.attach(
        model, optimizer, rule=rewire.SoftDeepR(l1=alpha, noise=noise), density=p_min, seed=5,
        distribution="uniform",
    )  # fmt: skip
    graph = net.graph
    n = graph.possible
    hand = ByHand(hand_model, graph.keys, pair_sign(torch.arange(n), 5))
    density = torch.tensor([24 / 80, 9 / 30], dtype=torch.float64)
    assert graph.counts().tolist() == [24, 9]
    theta_min = (-T * (1 - density) / (alpha * density))[graph.space.which(torch.arange(n))]
    uniform = rng_for(5, "0.SoftDeepR/start").uniform(n).double()
    for k in set(range(n)) - hand.active:
        hand.theta[k] = uniform[k] * theta_min[k]
    changes = 0
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data[0]), data[1]).backward()
        net.step()

        g = hand.gradient(data)
        nu = rng_for(5, "0.SoftDeepR", step).normal(n).double()
        old = set(hand.active)
        for k in range(n):
            if k in hand.active:
                hand.theta[k] += -ETA * hand.sign[k] * g[k] - ETA * alpha
            hand.theta[k] += (2 * ETA * T) ** 0.5 * nu[k]
            hand.theta[k] = max(hand.theta[k], theta_min[k])
            if hand.theta[k] >= 0 and k not in hand.active:
                hand.active.add(k)
            elif hand.theta[k] < 0:
                hand.active.discard(k)
        changes += len(old ^ hand.active)

        assert net.graph.keys.tolist() == sorted(hand.active)
        for w, m in zip(hand.weights(), (model[0], model[2]), strict=True):
            assert torch.allclose(w, m.weight, rtol=1e-5, atol=1e-6)
    assert changes > 50


def test_each_edge_takes_the_learning_rate_of_its_parameter_group():
    """Drift -eta l1 and noise sqrt(2 eta T), with eta of the edge's own group, after schedules."""
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False))
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[1].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.4)
    net = rewire.attach(model, optimizer, rule=rewire.DeepR(l1=0.5, temperature=0.02))
    optimizer.param_groups[1]["lr"] = 0.2  # a schedule moved it
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    net.step()
    nu = rng_for(0, "0.DeepR", 1).normal(72)
    eta = torch.tensor([0.1] * 36 + [0.2] * 36)
    expected = 1 - eta * 0.5 + (2 * 0.02 * eta) ** 0.5 * nu
    assert torch.allclose(net.graph["weight"], expected)


@pytest.mark.parametrize("n", [1, 4])
def test_a_tick_for_n_steps_scales_drift_by_n_and_noise_by_root_n(n):
    space = rewire.Space(
        [rewire.Population("a", 50)], [rewire.Projection("p", "a", "a", "linear", (50, 50))]
    )
    world = rewire.Bare(space, lr=0.1, weights=torch.full((2500,), 100.0))
    rule = rewire.DeepR(l1=1.0, temperature=0.05, when=rewire.every(n))
    net = rewire.Session(world, rewire.Graph.full(space), rule, span=100)
    for _ in range(n):
        net.step()
    moved = (net.graph["weight"] - 100).numpy()
    nu = rng_for(0, "0.DeepR", n).normal(2500).numpy()
    assert np.allclose(moved, -0.1 * n + (n * 2 * 0.1 * 0.05) ** 0.5 * nu, atol=2e-5)

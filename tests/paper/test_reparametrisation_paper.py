"""Rules that train a function of the weights, against the same training by autograd."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

import rewire

NAMES = ("0.weight", "2.weight")
OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
}


def net_of(seed=0, width=12):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, width), nn.Tanh(), nn.Linear(width, 3)).double()


def batch(step):
    g = torch.Generator().manual_seed(100 + step)
    y = torch.randint(3, (20,), generator=g)
    centres = torch.randn(3, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return centres[y] + torch.randn(20, 10, generator=g, dtype=torch.float64), y


def loss(model, data):
    return nn.functional.cross_entropy(model(data[0]), data[1])


def trained(rule, optimiser, density, steps, **options):
    model = net_of()
    optimizer = OPTIMISERS[optimiser](model.parameters())
    net = rewire.attach(model, optimizer, rule, density=density, steps=steps, **options)
    for step in range(steps):
        optimizer.zero_grad()
        loss(model, batch(step)).backward()
        net.step()
    return model, net


class ByHand:
    """Parameters of a network in which some are functions of others, for autograd to derive."""

    def __init__(self, optimiser, start):
        self.model = net_of()
        for name, p in self.model.named_parameters():
            if name in NAMES:
                p.data = start(p.data)
        self.named = dict(self.model.named_parameters())
        self.optimizer = OPTIMISERS[optimiser](self.model.parameters())

    def step(self, step, effective, more=0.0, others=()):
        """One step of a loss of the network that computes with these functions of its weights."""
        tensors = {n: effective(n, p) for n, p in self.named.items() if n in NAMES}
        for optimizer in (self.optimizer, *others):
            optimizer.zero_grad()
        total = loss(lambda x: functional_call(self.model, tensors, x), batch(step)) + more
        total.backward()
        for optimizer in (self.optimizer, *others):
            optimizer.step()


# -- powerpropagation ---------------------------------------------------------------------------


def power(theta, alpha):
    return theta * theta.abs() ** (alpha - 1)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.5])
def test_powerpropagation_is_training_by_theta(alpha, optimiser):
    """dL/dtheta = dL/dw alpha |theta|^(alpha - 1) is what autograd derives, momentum theta's."""
    hand = ByHand(optimiser, lambda w: torch.sign(w) * w.abs() ** (1 / alpha))
    for step in range(12):
        hand.step(step, lambda n, theta: power(theta, alpha))
    model, net = trained(rewire.Powerpropagation(alpha=alpha, to=1.0), optimiser, None, 12)
    for i, name in enumerate(NAMES):
        theta = hand.named[name].detach()
        torch.testing.assert_close(net.graph.dense(i), theta, rtol=1e-12, atol=1e-14)
        computed = model.get_parameter(name).detach()
        torch.testing.assert_close(computed, power(theta, alpha), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(model[2].bias, hand.named["2.bias"], rtol=1e-12, atol=1e-14)


def test_powerpropagation_prunes_the_smallest_theta_along_the_cubic():
    """In each layer; what is silent keeps its theta."""
    sizes, steps, keep_last = (120, 36), 10, round(0.2 * 156)
    hand = ByHand("sgd", lambda w: torch.sign(w) * w.abs().sqrt())
    masks = {n: torch.ones_like(hand.named[n]) for n in NAMES}
    for step in range(1, steps + 1):
        hand.step(step - 1, lambda n, theta: power(theta, 2) * masks[n])
        left = max(0, 1 - step / 8)
        keep = round(keep_last + (156 - keep_last) * left**3)
        for n, size in zip(NAMES, sizes, strict=True):
            theta = hand.named[n].detach().abs().flatten()
            live = torch.zeros_like(theta)
            live[theta.topk(round(keep * size / 156)).indices] = 1
            masks[n] = live.view_as(hand.named[n])
    model, net = trained(rewire.Powerpropagation(until=8), "sgd", 0.2, steps)
    for i, name in enumerate(NAMES):
        assert torch.equal(net.graph.dense(i, "gain") != 0, masks[name] != 0)
        torch.testing.assert_close(net.graph.dense(i), hand.named[name].detach())
    assert net.edges == keep_last == 31


def test_powerpropagation_leaves_fewer_weights_that_matter():
    """Schwarz et al.'s claim: the mass of the weights is that of few of them. The largest tenth
    has 0.26 of all |w| without it, 0.44 at alpha 3."""
    shares = []
    for alpha in (1.0, 3.0):
        model, _ = trained(rewire.Powerpropagation(alpha=alpha, to=1.0), "sgd", None, 200)
        sizes = torch.cat([model.get_parameter(n).detach().abs().flatten() for n in NAMES])
        shares.append(float(sizes.topk(16).values.sum() / sizes.sum()))
    assert shares == pytest.approx([0.26, 0.44], abs=0.01)


@pytest.mark.parametrize("rule", [rewire.Powerpropagation(), rewire.ContinuousSparsification()])
def test_the_sparse_world_refuses_it_by_name_and_others_beside_it(rule):
    with pytest.raises(ValueError, match=f"{rule.name} cannot live in the sparse world: silent"):
        trained(rule, "sgd", 0.2, 4, world="sparse")
    with pytest.raises(ValueError, match=f"{rule.name} keeps a number of live edges by silencing"):
        trained([rule, rewire.SET(when=rewire.every(2))], "sgd", 0.2, 4)


# -- continuous sparsification ------------------------------------------------------------------


def times(factors):
    return lambda name, weight: weight * factors[name]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("initial", [0.0, -0.2])
def test_continuous_sparsification_is_joint_training_of_weights_and_masks(optimiser, initial):
    """As in the authors' code: one optimiser for w, Nesterov's for s, the penalty on all masks."""
    steps, soft, rule = 12, 9, rewire.ContinuousSparsification(initial=initial, penalty=0.02)
    hand = ByHand(optimiser, lambda w: w)
    scores = {n: torch.full_like(hand.named[n], initial).requires_grad_() for n in NAMES}
    masks = torch.optim.SGD(scores.values(), lr=0.1, momentum=0.9, nesterov=True)
    scale = 1 + math.exp(-initial)
    for step in range(soft):
        beta = 200 ** (step / (soft - 1))
        soft_masks = {n: scale * torch.sigmoid(beta * scores[n]) for n in NAMES}
        penalty = 0.02 * sum(m.sum() for m in soft_masks.values())
        hand.step(step, times(soft_masks), penalty, [masks])
    flat = torch.cat([scores[n].detach().flatten() for n in NAMES])
    hard = torch.zeros_like(flat)
    hard[flat.topk(round(0.25 * 156)).indices] = scale
    parts = {n: part.view_as(scores[n])
             for n, part in zip(NAMES, hard.split([120, 36]), strict=True)}  # fmt: skip
    for step in range(soft, steps):
        hand.step(step, times(parts))
    model, net = trained(rule, optimiser, 0.25, steps)
    for i, n in enumerate(NAMES):
        torch.testing.assert_close(net.graph.dense(i, "score"), scores[n].detach().float(),
                                   rtol=1e-4, atol=1e-6)  # fmt: skip
        live = net.graph.dense(i, "gain") != 0
        assert torch.equal(live, parts[n] != 0)
        computed = hand.named[n].detach() * parts[n]
        torch.testing.assert_close(model.get_parameter(n).detach(), computed, rtol=1e-4, atol=1e-6)
    assert net.edges == 39

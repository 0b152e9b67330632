"""FORCE and ProsPr against their formulas written out with plain tensors, in both torch worlds."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

import rewire
from rewire.graph import Graph

NAMES = ("0.weight", "2.weight", "4.weight")
WORLDS = pytest.mark.parametrize("world", ["masked", "sparse"])


def mlp(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)]
    return nn.Sequential(*layers).double()


def batches(n=2, seed=1):
    g = torch.Generator().manual_seed(seed)
    return [(torch.randn(20, 12, generator=g, dtype=torch.float64), torch.arange(20) % 3)
            for _ in range(n)]  # fmt: skip


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def attach(model, rule, density, data, world):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = rewire.Probe(data, loss)
    return rewire.attach(model, optimizer, rule, density=density, probe=probe, world=world)


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors])


def keep(scores, k):
    """A mask of the k largest; equal ones do not come up here."""
    mask = torch.zeros_like(scores)
    mask[scores.topk(k).indices] = 1
    return mask


def slopes_under(model, mask, data):
    """dL/dw of the network whose weights are multiplied by a mask, of absent ones as well."""
    weights = [p for n, p in model.named_parameters() if n in NAMES]
    parts = mask.split([w.numel() for w in weights])
    leaves = [
        (w.detach() * m.view_as(w)).requires_grad_() for w, m in zip(weights, parts, strict=True)
    ]
    tensors = dict(zip(NAMES, leaves, strict=True))
    total = sum(loss(lambda x: functional_call(model, tensors, x), b) for b in data) / len(data)
    return flat(torch.autograd.grad(total, leaves))


@WORLDS
def test_force_ranks_all_weights_by_their_own_value_and_the_slope_in_what_is_left(world):
    """Dropped synapses return, 37 times in six rounds."""
    data, twin, rounds = batches(), mlp(3), 6
    initial = flat(p.detach() for n, p in twin.named_parameters() if n in NAMES)
    m, k = len(initial), round(0.1 * len(initial))
    mask, returned = torch.ones(m, dtype=torch.float64), 0
    for i in range(1, rounds + 1):
        saliency = (initial * slopes_under(twin, mask, data)).abs()
        share = i / rounds
        after = keep(saliency, round(math.exp((1 - share) * math.log(m) + share * math.log(k))))
        returned += int((after > mask).sum())
        mask = after
    net = attach(mlp(3), rewire.FORCE(rounds=rounds), 0.1, data, world)
    assert net.graph.keys.tolist() == mask.nonzero().squeeze(1).tolist()
    assert net.edges == k == 16 and returned == 37
    assert torch.equal(net.graph["weight"], initial[net.graph.keys].to(net.graph["weight"]))


@WORLDS
def test_force_in_one_round_is_snip_and_in_many_is_not_iterative_snip(world):
    data = batches()
    edges = {
        rule: attach(mlp(), rule, 0.1, data, world).graph.keys.tolist()
        for rule in (rewire.FORCE(rounds=1), rewire.SNIP(), rewire.FORCE(), rewire.SNIP(rounds=60))
    }
    one, snip, many, iterative = edges.values()
    assert one == snip and many != iterative and len(many) == len(iterative) == 16


@WORLDS
@pytest.mark.parametrize(
    ("fields", "n"),
    [({}, 4), ({"steps": 5, "rate": 0.5, "momentum": 0.9}, 3), ({"gradient": "first_order"}, 1)],
    ids=["defaults", "momentum", "first-order"],
)
def test_prospr_is_the_gradient_through_steps_of_sgd_that_autograd_unrolls(world, fields, n):
    """All parameters train ahead, biases too; the score is of a factor on each weight."""
    rule, data, twin = rewire.ProsPr(**fields), batches(n), mlp(4)
    parameters = {name: p.detach() for name, p in twin.named_parameters()}
    factors = {name: torch.ones_like(parameters[name]).requires_grad_() for name in NAMES}
    point = {name: factors[name] * p if name in NAMES else p.clone().requires_grad_()
             for name, p in parameters.items()}  # fmt: skip
    velocity = dict.fromkeys(point, 0.0)

    def loss_at(tensors, i):
        return loss(lambda x: functional_call(twin, tensors, x), data[i % n])

    for i in range(rule.steps):
        slopes = torch.autograd.grad(loss_at(point, i), list(point.values()), create_graph=True)
        for (name, w), g in zip(list(point.items()), slopes, strict=True):
            velocity[name] = rule.momentum * velocity[name] + g
            point[name] = w - rule.rate * velocity[name]
    last = loss_at(point, rule.steps)
    if rule.gradient == "full":
        expected = flat(torch.autograd.grad(last, list(factors.values()))).abs()
    else:
        slopes = torch.autograd.grad(last, [point[name] for name in NAMES])
        expected = flat(g * parameters[name] for g, name in zip(slopes, NAMES, strict=True)).abs()

    model = mlp(4)
    net = attach(model, rule, 0.1, data, world)
    how = {"steps": rule.steps, "rate": rule.rate, "momentum": rule.momentum,
           "full": rule.gradient == "full"}  # fmt: skip
    full = Graph.full(net.graph.space)
    probe = rewire.Probe(data, loss)
    dense = rewire.Masked(twin, torch.optim.SGD(twin.parameters(), lr=0.1), probe=probe)
    scores = dense.signals(full).pair("meta_gradient", full.keys, **how)
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-12)
    assert net.graph.keys.tolist() == keep(expected, 16).nonzero().squeeze(1).tolist()
    # what trained ahead was a copy: the network starts as it was
    assert torch.equal(model[0].bias, parameters["0.bias"])
    weights = flat(parameters[name] for name in NAMES)
    assert torch.equal(net.graph["weight"], weights[net.graph.keys].to(net.graph["weight"]))


def test_prospr_looks_further_than_snip_and_its_hessians_matter():
    data = batches(4)
    edges = [
        tuple(attach(mlp(), rule, 0.1, data, "masked").graph.keys.tolist())
        for rule in (rewire.ProsPr(), rewire.ProsPr(gradient="first_order"), rewire.SNIP())
    ]
    assert len(set(edges)) == 3

"""Our rules beside other libraries' on the same tensors, where those are installed.

``deep-rewire`` and ``rigl-torch`` come with the extras ``test`` and ``bench``. ``sparsimony`` asks
for numpy 1: ``pip install --no-deps sparsimony``.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import rewire
from benchmarks import peers
from rewire import when
from rewire.graph import Graph
from rewire.select.choose import smallest
from rewire.select.exchange import exchange


def net_of(seed=0, bias=True):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=bias), nn.Tanh(), nn.Flatten(), nn.Linear(64, 12, bias=bias),
        nn.Tanh(), nn.Linear(12, 3, bias=bias),
    )  # fmt: skip


def batch(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(16, 1, 6, 6, generator=g), torch.randint(3, (16,), generator=g)


def train(model, optimizer, step, then):
    x, y = batch(step)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    then()


LAYERS = (0, 3, 5)


# -- torch.nn.utils.prune ---------------------------------------------------------------------


@pytest.mark.parametrize("method", ["random", "magnitude", "global"])
def test_a_network_pruned_by_torch_trains_to_the_same_weights(method):
    """Its masks on weights that go on existing, ours on weights that do not: the same network."""
    torchs = net_of()
    pairs = [(torchs[i], "weight") for i in LAYERS]
    torch.manual_seed(1)
    for pair in pairs:
        if method == "random":
            prune.random_unstructured(*pair, amount=0.7)
        elif method == "magnitude":
            prune.l1_unstructured(*pair, amount=0.7)
    if method == "global":
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.7)
    masks = {f"{i}.weight": torchs[i].weight_mask.bool() for i in LAYERS}

    ours = net_of()
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    space = rewire.Masked(ours, optimizer).space
    net = rewire.attach(ours, optimizer, rewire.Static(), initial=Graph.from_masks(space, masks))
    their_optimizer = torch.optim.SGD(torchs.parameters(), lr=0.1, momentum=0.9)
    for step in range(20):
        train(ours, optimizer, step, net.step)
        train(torchs, their_optimizer, step, their_optimizer.step)
    for i in LAYERS:
        effective = torchs[i].weight_orig * torchs[i].weight_mask
        assert torch.equal(ours[i].weight, effective)
        assert torch.equal(net.masks()[f"{i}.weight"], masks[f"{i}.weight"])


def test_random_masks_have_torchs_counts_and_each_place_its_chance():
    """prune.RandomUnstructured keeps n - round(amount n) of a layer, each place equally likely."""
    times, ours, torchs = 600, torch.zeros(200), torch.zeros(200)
    torch.manual_seed(0)
    for seed in range(times):
        model = nn.Linear(20, 10, bias=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        mask = rewire.attach(model, optimizer, rewire.Static(), density=0.3, seed=seed).masks()
        peer = prune.random_unstructured(nn.Linear(20, 10, bias=False), "weight", amount=0.7)
        assert mask["weight"].sum() == peer.weight_mask.sum() == 60
        ours += mask["weight"].reshape(-1)
        torchs += peer.weight_mask.reshape(-1)
    for drawn in (ours, torchs):  # chi-squared, of 199 degrees of freedom but for the fixed count
        chi2 = float(((drawn - 0.3 * times) ** 2 / (0.3 * times * 0.7)).sum() * 199 / 200)
        assert 199 - 4 * 20 < chi2 < 199 + 4 * 20


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_one_shot_imp_cuts_what_torch_cuts_of_a_trained_network(scope):
    model = net_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.IMP.one_shot(0.2, restore="nothing", scope=scope)
    trained = []
    net = rewire.train(
        model, optimizer, rule, steps=15, data=batch, on_round=lambda net: trained.append(
            copy.deepcopy(model)),
        loss=lambda model, b: nn.functional.cross_entropy(model(b[0]), b[1]),
    )  # fmt: skip
    dense = trained[0]
    pairs = [(dense[i], "weight") for i in LAYERS]
    possible = sum(m.weight.numel() for m, _ in pairs)
    if scope == "global":
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=possible - net.edges)
    else:
        for (module, name), n in zip(pairs, net.counts, strict=True):
            prune.l1_unstructured(module, name, amount=module.weight.numel() - n)
    for i in LAYERS:
        assert torch.equal(net.masks()[f"{i}.weight"], dense[i].weight_mask.bool())


# -- deep-rewire ------------------------------------------------------------------------------


def deep_rewire():
    module, why = peers.deep_rewire()
    if module is None:
        pytest.skip(f"deep-rewire is {why}")
    return module


def walked(rule, edges, seed):
    """One step of DEEP R by us and by deep-rewire from one state: thetas before, and after each.

    Of our graph's synapses, (E,); and the two numbers of active ones after the step.
    """
    theirs = deep_rewire()
    torch.manual_seed(seed)
    model = nn.Linear(30, 20, bias=False)
    model.weight.data = 0.02 * torch.randn(20, 30)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    net = rewire.attach(model, optimizer, rule, density=edges / 600, seed=seed)
    before = net.graph
    theta = before["sign"] * before["weight"]
    gradient = 0.3 * torch.randn(20, 30)

    p = nn.Parameter(torch.full((600,), -1.0))
    peer = theirs.DEEPR([p], nc=edges, lr=0.05, l1=rule.l1, temp=rule.temperature, reset_val=1e-12)
    with torch.no_grad():
        p.fill_(-1.0)
        p[before.keys] = theta
    p.grad = torch.zeros(600)
    p.grad[before.keys] = before["sign"] * gradient.reshape(-1)[before.keys]
    peer.step()
    model.weight.grad = gradient
    net.step()

    mine = torch.full((len(before),), -1.0)
    row, there = net.graph.find(before.keys)
    mine[there] = (net.graph["sign"] * net.graph["weight"])[row[there]]
    born = torch.isin(before.keys, torch.from_numpy(net.history.records[-1].add))
    mine[born] = -1.0  # dropped, and drawn again
    his = p.detach()[before.keys].clone()
    his[his <= 1e-12] = -1.0  # dropped: woken again at reset_val, or dormant
    return theta, mine, his, net.edges, int((p > 0).sum())


@pytest.mark.parametrize("seed", range(5))
def test_a_step_of_deep_r_is_deep_rewires_until_it_draws(seed):
    """Without noise: the same synapses go, and the others have the same strength."""
    rule = rewire.DeepR(l1=0.1, temperature=0.0)
    theta, mine, his, edges, theirs = walked(rule, 200, seed)
    assert edges == 200 >= theirs > 190  # it draws with replacement, and counts one drawn twice
    assert torch.equal(mine < 0, his < 0) and 10 < (mine < 0).sum() < 150
    torch.testing.assert_close(mine, his, rtol=1e-6, atol=1e-8)


def test_the_noise_is_as_strong_as_deep_rewires():
    """sqrt(2 eta T) N(0, 1), of those that were far from 0."""
    noisy, still = rewire.DeepR(l1=0.1, temperature=1e-6), rewire.DeepR(l1=0.1, temperature=0.0)
    spread = []
    for which in (1, 2):
        parts = []
        for seed in range(20):
            rest, moved = walked(still, 200, seed), walked(noisy, 200, seed)
            far = (rest[1] > 0.005) & (moved[which] > 0)
            parts.append(moved[which][far] - rest[which][far])
        spread.append(float(torch.cat(parts).std()))
    expected = (2 * 0.05 * 1e-6) ** 0.5
    assert spread == pytest.approx([expected, expected], rel=0.06)


# -- rigl-torch -------------------------------------------------------------------------------


def test_rigl_and_rigl_torch_train_one_network_to_the_same_masks_and_weights():
    """Cosine, skipped steps and four updates of two layers (its first layer is always dense)."""
    module, why = peers.rigl_torch()
    if module is None:
        pytest.skip(f"rigl-torch is {why}")
    theirs, ours = net_of(2, bias=False), net_of(2, bias=False)
    their_optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    scheduler = module.RigLScheduler(
        theirs, their_optimizer, 0.3, T_end=50, delta=10, alpha=0.4, ignore_linear_layers=False
    )
    masks = {f"{i}.weight": m for i, m in zip((3, 5), scheduler.backward_masks[1:], strict=True)}
    with torch.no_grad():
        for i in (3, 5):
            ours[i].weight.copy_(theirs[i].weight)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
    space = rewire.Masked(ours, optimizer, exclude=["0.weight"]).space
    rule = rewire.RigL(fraction=when.cosine(0.4, 50), when=when.every(10, stop=49))
    net = rewire.attach(ours, optimizer, rule, steps=60, exclude=["0.weight"],
                        initial=Graph.from_masks(space, masks))  # fmt: skip

    def their_step():
        if scheduler():
            their_optimizer.step()

    for step in range(60):
        train(theirs, their_optimizer, step, their_step)
        train(ours, optimizer, step, net.step)
        for i, mask in zip((3, 5), scheduler.backward_masks[1:], strict=True):
            assert torch.equal(net.masks()[f"{i}.weight"], mask)
            torch.testing.assert_close(ours[i].weight, theirs[i].weight, rtol=1e-5, atol=1e-7)
    assert scheduler.rigl_steps == 4 == len(net.history) and net.history.formed > 100


# -- sparsimony -------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.9])
def test_rigl_chooses_what_sparsimonys_pruner_and_grower_choose(fraction):
    """Its masks alone: what it drops and grows in one update it sets to 0, where it never left."""
    pytest.importorskip("sparsimony", reason="pip install --no-deps sparsimony (it wants numpy 1)")
    from sparsimony.pruners.unstructured import (
        UnstructuredGradientGrower,
        UnstructuredMagnitudePruner,
    )

    for seed in range(10):
        torch.manual_seed(seed)
        weight, gradient = torch.randn(40, 25), torch.randn(40, 25)
        mask = (torch.rand(40, 25) < 0.3).float()
        k = int(mask.sum())
        pruned = UnstructuredMagnitudePruner.calculate_mask(fraction, mask, weight)
        theirs = UnstructuredGradientGrower.calculate_mask(1 - (k + 0.5) / 1000, pruned, gradient)

        space = rewire.Space(
            [rewire.Population("a", 40)], [rewire.Projection("p", "a", "a", "linear", (40, 25))]
        )
        graph = Graph.from_masks(space, {"p": mask})
        graph = graph.with_columns({"weight": weight.reshape(-1)[graph.keys]})
        size = gradient.reshape(-1).abs()
        world = rewire.Bare(space, pairs={"growth": lambda keys, size=size: size[keys]})
        drop = smallest(graph["weight"], int(float(mask.sum()) * fraction), magnitude=True)
        grow = world.signals(graph).largest("growth", [len(drop)], without=drop)
        after = graph.apply(exchange(graph, drop, grow))
        assert torch.equal(after.mask(0), theirs.bool())
        assert np.count_nonzero(theirs.numpy()) == k

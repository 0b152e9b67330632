"""RigL against a sort on the same tensors, SET against its authors' description."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rewire
from rewire import when
from rewire.graph import Graph, Population, Projection, Space
from rewire.streams import rng_for
from rewire.when import Clock


def space_of(*shapes):
    n = max(max(s) for s in shapes)
    return Space(
        [Population("a", n)],
        [Projection(f"p{i}", "a", "a", "linear", s) for i, s in enumerate(shapes)],
    )


def rigl_by_sorting(weight, mask, gradient, k):
    """Evci et al.'s update of one layer: which synapses there are afterwards, and which are new.

    Keep the n - k largest |w|; grow the k largest |g| among everything not kept.
    """
    flat = range(mask.size)
    present = sorted((i for i in flat if mask.flat[i]), key=lambda i: (abs(weight.flat[i]), i))
    dropped, staying = present[:k], set(present[k:])
    candidates = sorted((i for i in flat if i not in staying), key=lambda i: (-gradient.flat[i], i))
    grown = set(candidates[:k])
    return staying | grown, grown - set(dropped)


@given(st.data())
@settings(max_examples=60)
def test_rigl_chooses_as_a_sort_does(data):
    """Ties, zeros and full layers included; values from a small set make many of them."""
    shapes = [(4, 5), (3, 4)]
    space = space_of(*shapes)
    numbers = st.sampled_from([0.0, 0.5, 0.5, 1.0, -1.0, 2.0, -0.25])
    n = space.possible
    bits = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    weights = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)))
    gradient = np.abs(data.draw(st.lists(numbers, min_size=n, max_size=n)))
    fraction = data.draw(st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]))
    graph = Graph(space, torch.from_numpy(bits.nonzero()[0]))
    world = rewire.Bare(
        space,
        pairs={"growth": lambda keys: torch.from_numpy(gradient)[keys].float()},
        weights=torch.from_numpy(weights).float(),
    )
    rule = rewire.RigL(fraction=fraction, when=when.every(1))
    net = rewire.Session(world, graph, rule, span=10)
    before = net.graph
    net.step()
    after = net.graph
    for i, (lo, hi) in enumerate(zip(space.bounds, space.bounds[1:], strict=False)):
        mask = bits[lo:hi]
        k = int(fraction * mask.sum())
        expected, new = rigl_by_sorting(weights[lo:hi], mask, gradient[lo:hi], k)
        assert after.local(i).tolist() == sorted(expected)
        held = dict(
            zip(after.local(i).tolist(), after["weight"][after.rows(i)].tolist(), strict=True)
        )
        for key, w in held.items():
            assert w == (0.0 if key in new else np.float32(weights[lo + key]))
    assert len(after) == len(before)


def test_rigl_ranks_by_the_dense_gradient_of_a_masked_network():
    """The gradient at absent synapses is the whole one, not the masked one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.5)
    net = rewire.attach(
        model, optimizer, rule=rewire.RigL(when=when.every(3), fraction=0.4), density=0.3, steps=30
    )
    for step in range(1, 13):
        g = torch.Generator().manual_seed(step)
        x, y = torch.randn(16, 8, generator=g), torch.randint(3, (16,), generator=g)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        whole = [model[0].weight, model[2].weight]
        gradient = list(torch.autograd.grad(loss, whole, retain_graph=True))
        loss.backward()
        before = net.graph
        held = [p.detach().clone() for p in model.parameters()]
        weights = [m.weight.detach().clone() for m in (model[0], model[2])]
        net.step()
        after = net.graph
        if step % 3:
            assert after is not before and torch.equal(after.keys, before.keys)
            continue
        for i in range(2):
            mask = before.mask(i)
            k = int(0.4 * int(mask.sum()))
            expected, new = rigl_by_sorting(
                weights[i].numpy(), mask.numpy(), gradient[i].abs().numpy(), k
            )
            assert after.local(i).tolist() == sorted(expected)
            assert new
        # the step was left out: nothing moved but what was dropped, biases included
        for old, p in zip(held, model.parameters(), strict=True):
            stayed = (p != 0) & (old != 0)
            assert torch.equal(p[stayed], old[stayed])
        assert torch.equal(model[0].bias, held[1]) and torch.equal(model[2].bias, held[3])


def test_rigl_keeps_moments_of_what_never_left_and_zeros_those_of_the_new():
    torch.manual_seed(0)
    model = nn.Linear(6, 6, bias=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    rule = rewire.RigL(when=when.at_steps(3), fraction=1.0)
    net = rewire.attach(model, optimizer, rule=rule, density=0.5, steps=10)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(20, 6)).pow(2).sum().backward()
        before = optimizer.state.get(model.weight, {}).get("exp_avg", torch.zeros(6, 6)).clone()
        was, weights = net.masks()["weight"], model.weight.detach().clone()
        net.step()
    now = net.masks()["weight"]
    new, both = now & ~was, now & was
    assert new.any() and both.any()
    for v in (model.weight, optimizer.state[model.weight]["exp_avg"]):
        assert v[new].abs().sum() == 0 and v[~now].abs().sum() == 0
    assert torch.equal(optimizer.state[model.weight]["exp_avg"][both], before[both])
    assert torch.equal(model.weight[both], weights[both])


def test_rigls_fraction_is_the_papers_cosine():
    rule = rewire.RigL()
    fractions = [rule.fraction(Clock(t, 1000)) for t in (100, 400, 700, 750)]
    paper = [0.15 * (1 + np.cos(np.pi * t / 750)) for t in (100, 400, 700, 750)]
    assert fractions == pytest.approx(paper)
    assert [t for t in range(1, 1001) if rule.when(Clock(t, 1000))] == list(range(100, 751, 100))


# -- SET --------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60)
def test_set_drops_the_smallest_positive_and_the_largest_negative_weights(data):
    """Mocanu et al.: a fraction zeta of each sign, counted by itself, closest to zero."""
    shapes = [(5, 6), (4, 5)]
    space = space_of(*shapes)
    n = space.possible
    bits = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    numbers = st.sampled_from([0.0, 0.1, 0.1, 0.7, 2.0, -0.1, -0.1, -0.5, -3.0])
    weights = torch.tensor(data.draw(st.lists(numbers, min_size=n, max_size=n)))
    zeta = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    graph = Graph(space, torch.tensor(bits).nonzero().squeeze(1))
    graph = graph.with_columns({"weight": weights[graph.keys]})
    world = rewire.Bare(space, weights=weights)
    edit, _ = rewire.SET(fraction=zeta).update(
        graph, world.signals(graph), {}, rng_for(0, "set"), Clock(1, 10)
    )
    dropped = set(edit.drop.tolist())
    assert len(dropped) == len(edit.drop) == len(edit.add)
    for i in range(2):
        rows = range(graph.bounds[i], graph.bounds[i + 1])
        w = graph["weight"].tolist()
        positive = sorted((r for r in rows if w[r] >= 0), key=lambda r: (w[r], r))
        negative = sorted((r for r in rows if w[r] < 0), key=lambda r: (-w[r], r))
        expected = positive[: int(zeta * len(positive))] + negative[: int(zeta * len(negative))]
        vacant = space.sizes[i] - len(rows)  # a full layer has none, and keeps its weights
        expected = sorted(expected, key=lambda r: (abs(w[r]), r))[:vacant]
        assert {r for r in dropped if r in rows} == set(expected)
    assert not set(edit.add.tolist()) & set(graph.keys.tolist())
    grown = graph.apply(edit)
    assert grown.counts().tolist() == graph.counts().tolist()


def test_the_magnitude_version_ignores_signs():
    space = space_of((3, 4))
    w = torch.tensor([0.3, -0.1, 0.2, -0.4, 0.05, -0.06])
    graph = Graph(space, torch.arange(6), {"weight": w})
    edit, _ = rewire.SET(fraction=0.5, drop="magnitude").update(
        graph, None, {}, rng_for(0, "set"), Clock(1, 10)
    )
    assert edit.drop.tolist() == [1, 4, 5]


def test_sets_new_weights_are_normal_with_the_birth_as_deviation():
    space = space_of((200, 200))
    graph = Graph(space, torch.arange(0, 40_000, 2), {"weight": torch.ones(20_000)})
    edit, _ = rewire.SET(fraction=0.5, birth=0.1).update(
        graph, None, {}, rng_for(0, "set"), Clock(1, 10)
    )
    born = edit.birth["weight"]
    assert len(born) == 10_000
    assert abs(born.mean()) < 4 * 0.1 / 100 and abs(born.std() / 0.1 - 1) < 4 / (2 * 10_000) ** 0.5

"""GMP, GraNet, DSR, SNFS and MEST against short loops over plain lists, and GMP against torch."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

import rewire
from rewire import when
from rewire.budget import allot
from rewire.graph import Graph, Population, Projection, Space
from rewire.streams import rng_for
from rewire.when import Clock

NUMBERS = st.sampled_from([0.5, 0.5, 1.0, -1.0, 2.0, -0.25, 0.125, -3.0])
SHAPES = [(4, 5), (3, 4)]


def space_of(*shapes):
    n = max(max(s) for s in shapes)
    return Space(
        [Population("a", n)],
        [Projection(f"p{i}", "a", "a", "linear", s) for i, s in enumerate(shapes)],
    )


def setting(data, rule, density=None, state=None, step=1, span=1):
    """Random weights, mask and gradient; the graph after one update of ``rule``, and its state."""
    space = space_of(*SHAPES)
    n = space.possible
    bits = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    bits[[0, 1, space.bounds[1], space.bounds[1] + 1]] = True
    weights = np.array(data.draw(st.lists(NUMBERS, min_size=n, max_size=n)))
    gradient = np.array(data.draw(st.lists(NUMBERS, min_size=n, max_size=n)))
    graph = Graph(space, torch.from_numpy(bits.nonzero()[0]))
    graph = graph.with_columns({"weight": torch.from_numpy(weights).float()[graph.keys]})
    g = torch.from_numpy(gradient).float()
    world = rewire.Bare(
        space, pairs={"grad": lambda keys: g[keys], "growth": lambda keys: g[keys].abs()}
    )
    signals = world.signals(graph)
    _, first = rule.start(graph, signals, rng_for(0, "start"))
    edit, after = rule.update(
        graph, signals, state or first, rng_for(0, "rule"), Clock(step, span, total=step)
    )
    return graph, graph.apply(edit), after, weights, gradient, edit


def layers_of(graph):
    return [set(graph.keys[graph.rows(i)].tolist()) for i in range(2)]


def weakest(keys, score, k):
    return sorted(sorted(keys), key=lambda i: (score[i], i))[:k]


def strongest(keys, score, k):
    return sorted(sorted(keys), key=lambda i: (-score[i], i))[:k]


# -- GMP --------------------------------------------------------------------------------------


def test_gmps_counts_are_the_papers_formula_at_every_tick():
    """s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, with s_i = 0, s_f = .9, t_0 = 100."""
    model = nn.Linear(100, 100, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    rule = rewire.GMP(when=when.every(50, first=150, stop=600))
    net = rewire.attach(model, optimizer, rule, density=0.1, steps=700)
    counts = []
    for _ in range(700):
        model(torch.ones(1, 100)).sum().backward()
        net.step()
        counts.append(net.edges)
    for t in range(1, 701):
        tick = min(max(t // 50 * 50, 100), 600)
        s = 0.9 + (0.0 - 0.9) * (1 - (tick - 100) / (10 * 50)) ** 3
        assert counts[t - 1] == round((1 - s) * 10_000)
    # by hand: 1 - .9 (1 - .9^3), 1 - .9 (1 - .8^3), ..., .1
    assert [counts[t - 1] for t in (149, 150, 200, 350, 600)] == [10_000, 7561, 5608, 2125, 1000]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_gmp_prunes_what_torch_prunes(scope):
    """torch.nn.utils.prune, by the same counts, on the same weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 10))
    torchs = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 10))
    torchs.load_state_dict(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    rule = rewire.GMP(when=when.every(5), scope=scope)
    net = rewire.attach(model, optimizer, rule, density=0.2, steps=10)
    for _ in range(10):
        model(torch.ones(1, 40)).sum().backward()
        net.step()
    pairs = [(torchs[0], "weight"), (torchs[2], "weight")]
    if scope == "global":
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=1500 - 300)
    else:
        for module, name in pairs:
            prune.l1_unstructured(module, name, amount=0.8)
    masks = net.masks()
    for i, (module, _) in zip((0, 2), pairs, strict=True):
        assert torch.equal(masks[f"{i}.weight"], module.weight_mask.bool())
        assert torch.equal(model[i].weight, module.weight)
    assert net.edges == 300


# -- GraNet -----------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_granet_prunes_over_all_then_exchanges_in_each_layer(data):
    fraction = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    rule = rewire.GraNet(to=0.2, fraction=fraction, when=when.every(1), until=None)
    before, after, _, w, g, _ = setting(data, rule, step=1, span=2)
    keep = round(6 + (len(before) - 6) * 0.5**3)  # .2 of 32 is 6 synapses; half of the way
    alive = set(before.keys.tolist()) - set(
        weakest(before.keys.tolist(), np.abs(w), max(len(before) - keep, 0))
    )
    for i, (lo, hi) in enumerate(zip(before.space.bounds, before.space.bounds[1:], strict=False)):
        layer = {key for key in alive if lo <= key < hi}
        k = int(fraction * len(layer))
        layer -= set(weakest(layer, np.abs(w), k))
        grown = set(strongest(set(range(lo, hi)) - layer, np.abs(g), k))
        assert layers_of(after)[i] == layer | grown
        was = layers_of(before)[i]
        for row in range(after.rows(i).start, after.rows(i).stop):
            key = int(after.keys[row])
            assert float(after["weight"][row]) == (np.float32(w[key]) if key in was else 0.0)


# -- DSR --------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_dsr_drops_below_one_threshold_and_shares_by_survivors(data):
    threshold, aim = data.draw(st.sampled_from([0.2, 0.6, 1.5])), data.draw(st.integers(1, 12))
    rule = rewire.DSR(threshold=threshold, aim=aim)
    before, after, state, w, _, edit = setting(data, rule)
    old, new = layers_of(before), layers_of(after)
    largest = {strongest(keys, np.abs(w), 1)[0] for keys in old}
    below = [k for k in old[0] | old[1] if abs(w[k]) < threshold and k not in largest]
    factor = 0.5 if len(below) > 1.1 * aim else 2.0 if len(below) < 0.9 * aim else 1.0
    assert state["threshold"] == threshold * factor
    dropped = set(weakest(below, np.abs(w), min(len(below), 32 - len(before))))
    assert set(before.keys.numpy()[edit.drop].tolist()) == dropped
    born = set(edit.add.tolist())
    assert not born & (old[0] | old[1])  # what was just dropped is not among them
    survivors = [len(keys - dropped) for keys in old]
    room = [20 - len(old[0]), 12 - len(old[1])]
    shares = [len(dropped) * s / sum(survivors) for s in survivors]
    grown = [len(keys & born) for keys in new]
    if all(s <= r for s, r in zip(shares, room, strict=True)):
        assert all(abs(n - s) < 1 for n, s in zip(grown, shares, strict=True))
    else:
        full = 0 if shares[0] > room[0] else 1
        assert grown[full] == room[full]
    assert len(after) == len(before)


def test_a_share_is_cut_at_the_room_and_the_rest_goes_to_the_others():
    assert allot(10, [1, 1, 2], [10, 10, 10]) == [3, 2, 5]  # 2.5, 2.5, 5: the first tie rounds up
    assert allot(10, [1, 1, 2], [10, 10, 1]) == [5, 4, 1]
    assert allot(7, [0, 0], [3, 9]) == [2, 5]  # by room: 1.75, 5.25
    assert allot(0, [1, 2], [0, 0]) == [0, 0]
    assert allot(4, [0, 1], [9, 3]) == [1, 3]
    with pytest.raises(ValueError, match="cannot share out 3 edges: there is room for 2"):
        allot(3, [1, 1], [1, 1])


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), min_size=1, max_size=6), st.data()
)
def test_shares_are_exact(pairs, data):
    shares, room = zip(*pairs, strict=True)
    total = data.draw(st.integers(0, sum(room)))
    out = allot(total, shares, room)
    assert sum(out) == total and all(0 <= n <= r for n, r in zip(out, room, strict=True))


# -- SNFS -------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_snfs_shares_by_mean_momentum_and_grows_where_it_is_largest(data):
    fraction = data.draw(st.sampled_from([0.0, 0.3, 0.5]))
    past = torch.tensor(data.draw(st.lists(NUMBERS, min_size=32, max_size=32)))
    rule = rewire.SNFS(fraction=fraction, momentum=0.5, rewires=when.every(1))
    before, after, state, w, g, _ = setting(data, rule, state={"momentum": past})
    m = np.array([0.5 * p + 0.5 * x for p, x in zip(past.tolist(), g.tolist(), strict=True)])
    assert state["momentum"].tolist() == m.tolist()
    old, new = layers_of(before), layers_of(after)
    k = [int(fraction * len(keys)) for keys in old]
    left = [keys - set(weakest(keys, np.abs(w), n)) for keys, n in zip(old, k, strict=True)]
    means = [np.mean([abs(m[i]) for i in sorted(keys)], dtype=np.float32) for keys in old]
    room = [20 - len(left[0]), 12 - len(left[1])]
    counts = allot(sum(k), means, room)
    share = sum(k) * means[0] / sum(means) if sum(means) else None
    if share is not None and share < room[0] and sum(k) - share < room[1]:
        assert abs(counts[0] - share) < 1
    for i, (lo, hi) in enumerate(((0, 20), (20, 32))):
        grown = strongest(set(range(lo, hi)) - left[i], np.abs(m), counts[i])
        assert new[i] == left[i] | set(grown)
    assert len(after) == len(before)


def test_snfss_momentum_is_that_of_sgd_on_the_dense_gradient():
    """beta M + (1 - beta) g of every step, at absent synapses too: torch's buffer, scaled."""
    torch.manual_seed(0)
    model = nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.SNFS(momentum=0.8, rewires=when.never)
    net = rewire.attach(model, optimizer, rule, density=0.4, steps=20)
    hand = torch.zeros(5, 6)
    for _ in range(7):
        optimizer.zero_grad()
        loss = model(torch.randn(4, 6)).pow(2).sum()
        (whole,) = torch.autograd.grad(loss, model.weight, retain_graph=True)
        loss.backward()
        hand = 0.8 * hand + 0.2 * whole
        net.step()
    torch.testing.assert_close(net.states[0]["momentum"].view(5, 6), hand)
    assert (hand[~net.masks()["weight"]] != 0).all()


# -- MEST -------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_mest_drops_the_least_worth(data):
    lam = data.draw(st.sampled_from([0.0, 0.5, 2.0]))
    rule = rewire.MEST(lam=lam, fraction=0.4)
    before, after, _, w, g, edit = setting(data, rule)
    worth = np.abs(w) + lam * np.abs(g)
    dropped = set()
    for keys, size in zip(layers_of(before), before.space.sizes, strict=True):
        vacant = size - len(keys)  # what is dropped is not grown again
        dropped |= set(weakest(keys, worth, min(int(0.4 * len(keys)), vacant)))
    assert set(before.keys.numpy()[edit.drop].tolist()) == dropped
    assert after.counts().tolist() == before.counts().tolist()


def test_soft_memory_holds_k_more_until_the_next_tick_and_ends_at_k():
    torch.manual_seed(0)
    model = nn.Linear(50, 40)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    rule = rewire.MEST(soft=True, fraction=when.linear(0.25, 0.0, 0.8), when=when.every(10))
    net = rewire.attach(model, optimizer, rule, density=0.1, steps=100)
    counts = []
    for _ in range(100):
        optimizer.zero_grad()
        model(torch.randn(8, 50)).pow(2).sum().backward()
        net.step()
        counts.append(net.edges)
    # 200 + floor(50 (1 - t / 80)) at t = 10, 20, ..., and 200 from t = 80 on
    assert counts[8::10] == [200, 243, 237, 231, 225, 218, 212, 206, 200, 200]
    assert counts[-1] == 200


# -- random rewiring --------------------------------------------------------------------------


def test_random_rewiring_makes_the_churn_it_is_told_and_chooses_uniformly():
    torch.manual_seed(0)
    model = nn.Linear(100, 100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with pytest.warns(
        UserWarning, match=r"RigL may exchange fewer .* RandomRewiring.beside\(net\)"
    ):
        rule = rewire.RandomRewiring.beside(
            rewire.RigL(fraction=0.25, when=when.every(2, stop=1.0))
        )
    assert rule.skips_step
    net = rewire.attach(model, optimizer, rule, density=0.2, steps=40)
    start = net.graph.keys
    for _ in range(40):
        optimizer.zero_grad()
        model(torch.randn(4, 100)).pow(2).sum().backward()
        keys = set(net.graph.keys.tolist())
        net.step()
        assert not net.clock.step % 2 or keys == set(net.graph.keys.tolist())
    assert net.history.churn().tolist() == [[t, 500, 500] for t in range(2, 41, 2)]
    # each of the first 2,000 survives 20 ticks with probability .75^20 or has been drawn again
    alive = np.isin(start.numpy(), net.graph.keys.numpy()).mean()
    p = 0.2  # the stationary occupation of any position, up to .75^20 (1 - .2) = .0025
    assert abs(alive - p) < 4 * (p * (1 - p) / 2000) ** 0.5 + 0.003
    with pytest.raises(ValueError, match="DeepR has no fraction"):
        rewire.RandomRewiring.beside(rewire.DeepR())


def short_run(rule, density=0.3, **more):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rule, density=density, steps=40, **more)
    counts = []
    for step in range(40):
        optimizer.zero_grad()
        x = torch.randn(16, 20, generator=torch.Generator().manual_seed(step))
        nn.functional.cross_entropy(model(x), torch.arange(16) % 10).backward()
        net.step()
        counts.append((net.history.formed, net.history.dropped, net.counts))
    return net, counts


OFTEN = when.every(5)


@pytest.mark.parametrize(
    "rule",
    [rewire.SNFS(rewires=when.every(5)), rewire.RigL(when=OFTEN), rewire.SRigL(when=OFTEN),
     rewire.SET(when=OFTEN), rewire.DeepR(noise=0.3), rewire.DeepR(noise=0.3, scope="global"),
     rewire.DSR(when=OFTEN), rewire.CHT(when=OFTEN), rewire.GMP(when=OFTEN),
     rewire.MEST(when=OFTEN, soft=True), rewire.AgeLimit(most=7), [rewire.SET(), rewire.DeepR()]],
    ids=lambda rule: str(getattr(rule, "name", "several")),
)  # fmt: skip
def test_the_control_of_a_run_has_its_churn_in_each_layer_at_each_step(rule):
    net, measured = short_run(rule)
    control, followed = short_run(rewire.RandomRewiring.beside(net), density=None,
                                  distribution=starting(net))  # fmt: skip
    assert followed == measured and net.history.formed + net.history.dropped > 0
    assert not torch.equal(control.graph.keys, net.graph.keys)


def starting(net):
    return rewire.Graph(net.graph.space, net.history.start).counts().tolist()


def test_a_control_beside_a_rule_has_its_churn_or_is_refused_by_name():
    for rule in (rewire.SET(when=OFTEN), rewire.MEST(when=OFTEN)):
        _, measured = short_run(rule)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            control = rewire.RandomRewiring.beside(rule)
        assert bool(told) == isinstance(rule, rewire.SET)
        _, followed = short_run(control)
        formed = [formed for formed, _, _ in measured]
        # SET counts each sign by itself: up to one edge less a layer and tick
        assert [formed for formed, _, _ in followed] == pytest.approx(formed, abs=2 * 8)
    for rule, why in (
        (rewire.SNFS(), "SNFS's fraction does not say"), (rewire.IMP(), "IMP's fraction does"),
        (rewire.SRigL(), "SRigL's fraction"), (rewire.CHT(), "CHT's fraction"),
        (rewire.GraNet(), "GraNet's fraction"), (rewire.MEST(soft=True), "MEST's fraction"),
        (rewire.DeepR(), "DeepR has no fraction"), (rewire.GMP(), "GMP has no fraction"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{why}.*beside"):
            rewire.RandomRewiring.beside(rule)


def test_a_control_of_a_run_is_a_value_and_asks_for_the_runs_counts():
    net, _ = short_run(rewire.SNFS(rewires=OFTEN))
    control = rewire.RandomRewiring.beside(net)
    assert control.budget.kept == "reported" and hash(control)
    assert rewire.RandomRewiring.from_table(control.to_table()) == control
    with pytest.raises(ValueError, match="started with .*: start from the same counts"):
        short_run(control, density=0.2)
    net, _ = short_run(rewire.TopKAST())
    with pytest.raises(ValueError, match="TopKAST silences edges"):
        rewire.RandomRewiring.beside(net)

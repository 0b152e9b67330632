"""SRigL and Early-Bird against plain loops, CHT's scores against paths that networkx lists."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rewire
from rewire import when
from rewire.budget import random_graph
from rewire.graph import Graph, Population, Projection, Space
from rewire.rules.cht import ch3_l3
from rewire.rules.srigl import units_of
from rewire.streams import rng_for
from rewire.when import Clock

NUMBERS = st.sampled_from([0.5, 0.5, 1.0, -1.0, 2.0, -0.25, 0.125, -3.0, 0.0])


def space_of(*shapes):
    n = max(max(s) for s in shapes)
    return Space(
        [Population("a", n)],
        [Projection(f"p{i}", "a", "a", "linear", s) for i, s in enumerate(shapes)],
    )


# -- SRigL ------------------------------------------------------------------------------------


def srigl_by_hand(weight, mask, gradient, fraction, gamma, ablates):
    """One layer, (units, inputs): the mask afterwards, unit by unit."""
    n, width = mask.shape
    total = int(mask.sum())
    present = sorted((i for i in range(mask.size) if mask.flat[i]),
                   key=lambda i: (-abs(weight.flat[i]), i))  # fmt: skip
    swapped = int(fraction * total)
    strong = set(present[: total - swapped])
    others = sorted((i for i in range(mask.size) if i not in strong),
                    key=lambda i: (-gradient.flat[i], i))  # fmt: skip
    salient = [sum(i // width == u for i in [*strong, *others[:swapped]]) for u in range(n)]
    fan_in = total / max(sum(mask[u].any() for u in range(n)), 1)
    alive = [u for u in range(n) if not ablates or (salient[u] and salient[u] >= gamma * fan_in)]
    rank = sorted(range(n), key=lambda u: (u not in alive, -salient[u] if u in alive else 0, u))
    alive = rank[: max(len(alive), -(-total // width), 1)]
    out = np.zeros_like(mask)
    for place, u in enumerate(alive):
        k = total // len(alive) + (place < total % len(alive))
        own = sorted(
            (i for i in strong if i // width == u), key=lambda i: (-abs(weight.flat[i]), i)
        )
        own += [i for i in others if i // width == u]
        out.flat[own[:k]] = True
    return out


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_srigl_is_the_papers_steps(data):
    shapes = [(4, 5), (3, 4)]
    space = space_of(*shapes)
    n = space.possible
    bits = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    weights = np.array(data.draw(st.lists(NUMBERS, min_size=n, max_size=n)), np.float32)
    gradient = np.abs(data.draw(st.lists(NUMBERS, min_size=n, max_size=n)))
    fraction = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    gamma = data.draw(st.sampled_from([0.0, 0.3, 0.95, 1.0]))
    graph = Graph(space, torch.from_numpy(bits.nonzero()[0]))
    graph = graph.with_columns({"weight": torch.from_numpy(weights)[graph.keys]})
    world = rewire.Bare(space, pairs={"growth": lambda k: torch.from_numpy(gradient)[k]})
    rule = rewire.SRigL(fraction=fraction, min_salient=gamma)
    edit, _ = rule.update(graph, world.signals(graph), {}, rng_for(0, "r"), Clock(1, 10))
    after = graph.apply(edit)
    for i in (0, 1):
        rows = slice(*space.bounds[i : i + 2])
        expected = srigl_by_hand(
            weights[rows].reshape(shapes[i]), bits[rows].reshape(shapes[i]),
            gradient[rows].reshape(shapes[i]), fraction, gamma, ablates=i == 0,
        )  # fmt: skip
        assert np.array_equal(after.mask(i).numpy(), expected)
    assert after.counts().tolist() == graph.counts().tolist()
    stayed = torch.isin(after.keys, graph.keys)  # these never left
    assert torch.equal(after["weight"][stayed], torch.from_numpy(weights)[after.keys[stayed]])


def test_an_over_full_unit_loses_its_smallest_weights():
    """The authors' code sorts a boolean row there: which of them go is arbitrary."""
    space = space_of((2, 6), (2, 2))
    weights = torch.zeros(16)
    weights[:6] = torch.tensor([0.2, -0.9, 0.5, 0.1, -0.7, 0.3])
    weights[[6, 12]] = 1.0
    graph = Graph(space, torch.tensor([0, 1, 2, 3, 4, 5, 6, 12]))
    graph = graph.with_columns({"weight": weights[graph.keys]})
    world = rewire.Bare(space, pairs={"growth": lambda k: k.float() / 100})
    rule = rewire.SRigL(fraction=0.0, min_salient=0.2)
    edit, _ = rule.update(graph, world.signals(graph), {}, rng_for(0, "r"), Clock(1, 10))
    after = graph.apply(edit)
    # 7 synapses for 2 units: the one with more salient ones gets 4, of largest |w|
    assert after.keys[after.rows(0)].tolist() == [1, 2, 4, 5, 6, 10, 11]


STACKED = {"stacked": (3, 4, 6), "stacked_transposed": (3, 6, 4)}


@pytest.mark.parametrize("kind", ["linear", "conv", "embedding", "conv_transpose", *STACKED])
def test_a_start_is_even_and_keeps_the_counts(kind):
    shape = {"linear": (9, 12), "embedding": (12, 9), **STACKED}.get(kind, (8, 6, 3, 3))
    groups = 3 if kind in STACKED else 1
    p = Projection("p", "a", "a", kind, shape, groups=groups)
    space = Space([Population("a", 99)], [p])
    weights = torch.randn(space.possible, generator=torch.Generator().manual_seed(0))
    graph = random_graph(space, [40], rewire.rng_for(0, "topology"))
    world = rewire.Bare(space, pairs={"growth": lambda k: k.float()}, weights=weights)
    net = rewire.Session(world, graph, rewire.SRigL(), span=10)
    unit = units_of(space.projections[0])
    fan_in = np.bincount(unit[net.graph.keys], minlength=unit.max() + 1)
    assert net.edges == 40 and fan_in.max() - fan_in.min() <= 1
    assert torch.equal(net.graph["weight"], weights[net.graph.keys])  # born with the model's own
    assert torch.isin(graph.keys, net.graph.keys).sum() > 20  # not drawn anew
    located = space.projections[0].locate(torch.arange(space.possible))[1].numpy()
    assert np.array_equal(located, unit)


# -- CHT --------------------------------------------------------------------------------------


def ch3_l3_by_networkx(graph, i):
    """Every path of three edges of every absent pair, and the degrees outside its community."""
    p = graph.projections[i]
    width = p.size // p.shape[0]
    net = nx.Graph()
    net.add_nodes_from(("row", r) for r in range(p.shape[0]))
    net.add_nodes_from(("column", c) for c in range(width))
    net.add_edges_from(
        (("row", k // width), ("column", k % width)) for k in graph.local(i).tolist()
    )
    out = {}
    for r in range(p.shape[0]):
        for c in range(width):
            u, v = ("column", c), ("row", r)
            if net.has_edge(u, v):
                continue
            paths = [q for q in nx.all_simple_paths(net, u, v, cutoff=3) if len(q) == 4]
            if not paths:
                continue
            inside = {node for q in paths for node in q}
            outer = {a: sum(b not in inside for b in net[a]) for q in paths for a in q[1:3]}
            out[r * width + c] = sum(
                ((1 + outer[a]) * (1 + outer[b])) ** -0.5 for _, a, b, _ in paths
            )
    return out


@pytest.mark.parametrize(("shape", "edges"), [((7, 9), 20), ((9, 7), 34), ((6, 2, 2, 2), 17)])
def test_ch3_l3_is_the_sum_over_the_paths_that_networkx_lists(shape, edges):
    kind = "linear" if len(shape) == 2 else "conv"
    space = Space([Population("a", 9)], [Projection(n, "a", "a", kind, shape) for n in "pq"])
    graph = random_graph(space, [edges, edges], rewire.rng_for(3, "topology"))
    for i in (0, 1):
        expected = ch3_l3_by_networkx(graph, i)
        at, scores = ch3_l3(graph, i)
        assert at.tolist() == sorted(expected) and len(at) > 5
        np.testing.assert_allclose(scores, [expected[k] for k in at.tolist()], rtol=1e-12)


def cht(graph, weights, rule, state=None, seed=0):
    graph = graph.with_columns({"weight": weights[graph.keys]})
    world = rewire.Bare(graph.space, weights=weights)
    _, first = rule.start(graph, world.signals(graph), rng_for(seed, "start"))
    edit, state = rule.update(
        graph, world.signals(graph), state or first, rng_for(seed, "cht"), Clock(1, 10)
    )
    return graph, graph.apply(edit), state


def test_cht_drops_the_smallest_and_grows_the_best_scored():
    space = space_of((8, 10), (6, 8))
    graph = random_graph(space, [30, 20], rewire.rng_for(1, "topology"))
    weights = torch.randn(space.possible, generator=torch.Generator().manual_seed(2))
    rule = rewire.CHT(fraction=0.3, chain=False)
    before, after, _ = cht(graph, weights, rule)
    for i, k in ((0, 9), (1, 6)):
        present = before.local(i).tolist()
        size = weights[before.keys[before.rows(i)]].abs().tolist()
        dropped = {key for _, key in sorted(zip(size, present, strict=True))[:k]}
        left = sorted(set(present) - dropped)
        keys = torch.tensor(left) + space.bounds[i]
        scores = ch3_l3_by_networkx(Graph(space, keys), i)
        grown = sorted(scores, key=lambda key: (-round(scores[key], 10), key))[:k]
        expected = set(left) | set(grown)
        assert set(after.local(i).tolist()) == expected
    assert after.counts().tolist() == [30, 20]


def test_what_is_left_of_a_dead_unit_goes_too():
    """A hidden unit whose last input goes loses its outputs, and a unit fed by it alone its own."""
    sizes = {"in": 2, "h": 3, "g": 3, "out": 2}
    names = list(sizes)
    space = Space(
        [Population(n, s) for n, s in sizes.items()],
        [Projection(f"{a}-{b}", a, b, "linear", (sizes[b], sizes[a]))
         for a, b in zip(names, names[1:], strict=False)],
    )  # fmt: skip
    # in0 -> h0 -> g0 -> out0, in1 -> h1 -> g1 -> out1, and what else there is
    keys = torch.tensor([0, 3, 6 + 0, 6 + 4, 15 + 0, 15 + 4])
    weights = torch.ones(space.possible)
    weights[0] = 0.1  # in0 -> h0 is the smallest
    rule = rewire.CHT(fraction=0.5)
    before, after, _ = cht(Graph(space, keys), weights, rule)
    staying = set(before.keys.tolist()) & set(after.keys.tolist())
    assert after.counts().tolist() == [2, 2, 2] and 3 in staying
    rests = {"rests": [0, 1, 1]}  # projections that rest are left alone
    _, after, _ = cht(Graph(space, keys), weights, rule, rests)
    assert set(keys[2:].tolist()) <= set(after.keys.tolist())


def test_a_projection_rests_once_the_dropped_ones_come_back():
    """Two blocks, each lacking a pair: what goes is what the topology predicts."""
    space = space_of((6, 6))
    inside = [r * 6 + c for r in range(6) for c in range(6) if (r < 3) == (c < 3)]
    weights = torch.ones(36)
    weights[[0, 28]] = 0.1
    rule = rewire.CHT(fraction=2 / 18 + 1e-9)
    before, after, state = cht(Graph(space, torch.tensor(inside)), weights, rule)
    assert torch.equal(before.keys, after.keys) and state["rests"] == [1]
    assert torch.equal(before["weight"], after["weight"])  # they never left
    again = weights.clone()
    again[[1, 2]] = 0.0
    assert torch.equal(cht(after, again, rule, state)[1].keys, after.keys)


def test_the_soft_form_draws_in_proportion_to_the_scores():
    space = space_of((5, 6))
    graph = random_graph(space, [14], rewire.rng_for(2, "topology"))
    weights = torch.ones(30)
    weights[graph.keys[0]] = 0.1
    rule = rewire.CHT(fraction=1 / 14 + 1e-9, soft=True, chain=False)
    left = Graph(space, graph.keys[1:])
    at, scores = ch3_l3(left, 0)
    times = np.zeros(30)
    for seed in range(3000):
        _, after, _ = cht(graph, weights, rule, seed=seed)
        grown = set(after.keys.tolist()) - set(left.keys.tolist())
        times[list(grown)] += 1
    assert times.sum() == 3000
    expected = 3000 * scores / scores.sum()
    chi2 = ((times[at] - expected) ** 2 / expected).sum()
    assert chi2 < len(at) + 4 * (2 * len(at)) ** 0.5


# -- Early-Bird -------------------------------------------------------------------------------


def test_early_bird_is_algorithm_1():
    """Masks as sets; the first tick whose mask is near each of the last five is the ticket."""
    steps, k = 60, 24
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Linear(12, 10, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.EarlyBird(when=when.every(2), distance=0.1, until=1.0)
    net = rewire.attach(model, optimizer, rule, density=0.2, steps=steps)
    past, drawn, x = [], None, torch.randn(50, 12, generator=g)
    y = x @ torch.randn(12, 10, generator=g)
    for t in range(1, steps + 1):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        net.optimise()
        if t % 2 == 0 and drawn is None:
            size = model.weight.detach().abs().flatten().tolist()
            mask = set(sorted(range(120), key=lambda i: (-size[i], i))[:k])
            near = [len(mask ^ other) / (2 * k) < 0.1 for other in past[-5:]]
            if (len(near) == 5 and all(near)) or t == steps:
                drawn, ticket = t, mask
            past.append(mask)
        net.rewire()
        assert net.edges == (120 if drawn is None else k)
    assert 12 <= drawn < steps and net.states[0]["drawn"] == drawn
    assert set(net.graph.keys.tolist()) == ticket


def test_the_papers_distance_is_small_at_low_density_whatever_the_masks():
    """Two masks without a common synapse: apart by 1, but by .1 of the network at density .05."""
    a, b = torch.arange(5), torch.arange(5, 10)
    assert rewire.EarlyBird()._distance(a, b, 100) == 1.0
    assert rewire.EarlyBird(of="network")._distance(a, b, 100) == 0.1
    half = torch.arange(50)
    for of in ("ticket", "network"):  # the same number at density .5
        assert rewire.EarlyBird(of=of)._distance(half, half + 10, 100) == 0.2


def test_fields_that_make_no_sense_are_refused():
    for make, message in (
        (lambda: rewire.EarlyBird(history=0), "one mask or more"),
        (lambda: rewire.EarlyBird(distance=0.0), r"distance is in \(0, 1\]"),
        (lambda: rewire.SRigL(min_salient=1.5), "fraction of the fan-in"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    space = Space([Population("a", 4)],
              [Projection("p", "a", "a", "spiking", (4, 4), multapses=True)])  # fmt: skip
    world = rewire.Bare(space, pairs={"growth": lambda k: k.float()})
    graph = Graph(space, torch.tensor([1, 1, 3]))
    for rule in (rewire.SRigL(), rewire.CHT()):
        with pytest.raises(ValueError, match="may join a pair twice"):
            rewire.Session(world, graph, rule, span=10)


@pytest.mark.parametrize("rule", [rewire.SRigL(), rewire.CHT()])
def test_rules_that_rank_absent_pairs_themselves_are_refused_under_limits(rule):
    model = nn.Linear(12, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=f"{rule.name} cannot live under"):
        rewire.attach(model, optimizer, rule, density=0.3, steps=200,
                      limits=[rewire.FanIn(most=5)])  # fmt: skip

"""Zhang et al. 2025 (arXiv:2501.19107): CHTs and CHTss against formulas written out anew."""

from itertools import permutations

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire import when
from rewire.budget import random_graph
from rewire.graph import Graph, Population, Projection, Space
from rewire.rules.shared.link_prediction import ch2_l3n
from rewire.streams import rng_for
from rewire.when import Clock


def ch2_l3n_by_networkx(mask):
    """Of each absent pair: every inner node of a path of three, its links inside and outside."""
    rows, columns = mask.shape
    net = nx.Graph()
    net.add_nodes_from(("row", r) for r in range(rows))
    net.add_nodes_from(("column", c) for c in range(columns))
    net.add_edges_from((("row", r), ("column", c)) for r, c in zip(*np.nonzero(mask), strict=True))
    out = np.zeros(mask.shape)
    for r, c in zip(*np.nonzero(~mask), strict=True):
        u, v = ("column", c), ("row", r)
        paths = [q for q in nx.all_simple_paths(net, u, v, cutoff=3) if len(q) == 4]
        inner = {node for q in paths for node in q[1:3]}
        for z in inner:
            inside = sum(n in inner for n in net[z])
            outside = sum(n not in inner | {u, v} for n in net[z])
            out[r, c] += (1 + inside) / (1 + outside)
    return out


@pytest.mark.parametrize(
    ("kind", "shape", "groups", "edges"),
    [("linear", (7, 9), 1, 20), ("linear", (9, 7), 1, 34), ("conv", (6, 2, 2, 2), 2, 17),
     ("embedding", (6, 8), 1, 20)],
)  # fmt: skip
def test_ch2_l3n_is_the_sum_over_the_inner_nodes_that_networkx_lists(kind, shape, groups, edges):
    size = shape[1] * groups if kind == "conv" else shape[0 if kind == "embedding" else 1]
    posts = shape[1] if kind == "embedding" else shape[0]
    space = Space(
        [Population("a", size), Population("b", posts)],
        [Projection("p", "a", "b", kind, shape, groups=groups)],
    )
    graph = random_graph(space, [edges], rng_for(3, "topology"))
    mask = graph.mask(0).numpy().reshape(shape[0], -1)
    parts = np.split(mask, groups)  # groups of a convolution share no units
    expected = np.concatenate([ch2_l3n_by_networkx(part) for part in parts]).ravel()
    at, scores = ch2_l3n(graph, 0)
    assert at.tolist() == np.flatnonzero(expected).tolist() and len(at) > 5
    np.testing.assert_allclose(scores, expected[at], rtol=1e-9)


def tick(mask, weight, fraction):
    """The limit of a sharp and greedy tick: the smallest go, the best scored come."""
    n = int(mask.sum())
    k = int(fraction * n)
    order = np.flatnonzero(mask)[np.argsort(np.abs(weight)[mask])]
    left = mask.copy()
    left.ravel()[order[:k]] = False
    scores = ch2_l3n_by_networkx(left).ravel()
    best = sorted(np.flatnonzero(scores), key=lambda i: (-round(scores[i], 9), i))[:k]
    left.ravel()[best] = True
    return left


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("seed", range(3))
def test_a_tick_is_the_papers_in_both_torch_worlds(world, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 6)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    rule = rewire.CHTs(
        fraction=0.3, sharpness=1e9, regrowth="largest", chain=False, when=when.every(1)
    )
    net = rewire.attach(model, optimizer, rule, density=0.4, seed=seed, world=world, steps=5)
    before, weights = net.graph, net.graph["weight"].numpy()
    model(torch.randn(4, 9).double()).square().sum().backward()
    net.step()
    assert net.world.name == world and net.history.dropped > 0
    for i in (0, 1):
        mask, weight = before.mask(i).numpy(), np.zeros(before.projections[i].shape)
        weight[mask] = weights[before.rows(i)]
        expected = tick(mask, weight, 0.3)
        assert np.array_equal(net.graph.mask(i).numpy(), expected)


def rewired(rule, graph, seed):
    edit, _ = rule.update(graph, None, {}, rng_for(seed, "chts"), Clock(1, 10))
    return edit, graph.apply(edit)


def one_projection(shape, keys, weights):
    space = Space(
        [Population("a", shape[1]), Population("b", shape[0])],
        [Projection("p", "a", "b", "linear", shape)],
    )
    graph = Graph(space, torch.tensor(keys))
    return graph.with_columns({"weight": torch.tensor(weights)})


def test_what_stays_is_drawn_without_replacement_by_the_power_of_the_weight():
    weights, power = np.array([0.5, -1.0, 2.0, 0.25]), 1.5
    graph = one_projection((2, 6), [0, 1, 2, 3], weights.astype(np.float32))
    rule = rewire.CHTs(fraction=0.5, sharpness=power, chain=False)
    p = np.abs(weights) ** power
    chance = {}
    for first, second in permutations(range(4), 2):  # two of four, one after the other
        pair = frozenset((first, second))
        share = p[first] / p.sum() * p[second] / (p.sum() - p[first])
        chance[pair] = chance.get(pair, 0) + share
    times = dict.fromkeys(chance, 0)
    for seed in range(1000):
        _, after = rewired(rule, graph, seed)
        stays = frozenset(after.keys[after["weight"] != 0].tolist())
        # one row has no path of three, so that growth is uniform; where a dropped one comes back,
        # with its weight, nothing tells it apart
        if len(stays) == 2:
            times[stays] += 1
    counted = sum(times.values())
    assert counted > 250 and abs(sum(chance.values()) - 1) < 1e-12
    for pair, n in times.items():
        assert abs(n / counted - chance[pair]) < 5 * (chance[pair] / counted) ** 0.5


def test_what_grows_is_drawn_in_proportion_to_the_scores():
    keys = [0, 1, 6, 7, 8, 13, 14, 16, 21, 22, 27, 28]
    graph = one_projection((5, 6), keys, [1.0] * 11 + [1e-3])
    rule = rewire.CHTs(fraction=1 / 12 + 1e-9, sharpness=1e6, chain=False)
    left = Graph(graph.space, graph.keys[:-1])
    at, scores = ch2_l3n(left, 0)
    times = np.zeros(30)
    for seed in range(1000, 1700):
        edit, after = rewired(rule, graph, seed)
        assert len(edit.drop) <= 1
        times[list(set(after.keys.tolist()) - set(left.keys.tolist()))] += 1
    expected = 700 * scores / scores.sum()
    assert times.sum() == 700
    assert ((times[at] - expected) ** 2 / expected).sum() < len(at) + 4 * (2 * len(at)) ** 0.5


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_chtss_follows_the_sigmoid_and_prunes_by_relative_importance(world):
    """The authors' schedule, from .5 to .1, and their importance |w| / column + |w| / row."""
    torch.manual_seed(0)
    model = nn.Linear(20, 12).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    rule = rewire.CHTss(fraction=0.0, chain=False, when=when.every(1, stop=0.75))
    net = rewire.attach(
        model, optimizer, rule, density=0.1, distribution="uniform", world=world, steps=12
    )
    first, last, ticks, k = 120, 24, 9, 6.0
    for t in range(1, 13):
        before, weights = net.graph.mask(0).numpy(), net.graph["weight"].numpy()
        model(torch.randn(4, 20).double()).square().sum().backward()
        net.step()
        half = ticks / 2
        grade, low = k / half, 1 / (1 + np.exp(k))
        shaped = 1 / (1 + np.exp(-grade * (min(t, ticks) - half))) - 0.5
        due = round(first + (last - first) * (shaped / (1 - 2 * low) + 0.5))
        assert net.edges == due
        size = np.zeros((12, 20))
        size[before] = np.abs(weights)
        worth = size / (size.sum(0) + 1e-5) + size / (size.sum(1)[:, None] + 1e-5)
        kept = np.sort(np.argsort(-worth.ravel(), kind="stable")[:due])
        assert np.array_equal(net.graph.keys.numpy(), kept)
    assert due == last

"""Topologies to start from: counts exact, what each promises, refusals before step 0."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire import starts
from rewire.budget import random_graph
from rewire.graph import Graph, Population, Projection, Space, square_sheet
from rewire.measures import measure
from rewire.rules import StructuralPlasticity
from rewire.starts import (
    BipartiteReceptiveField,
    Block,
    ReceptiveField,
    SmallWorld,
    StartingTopology,
)
from rewire.streams import rng_for

LINE = {"name": "receptive-field", "places": "line"}
RANDOM_FIELDS = {"name": "bipartite-receptive-field", "r": 0.5, "degrees": "random"}
NAMES = ["small-world", "scale-free", "regular", "ramanujan", LINE, "bipartite-receptive-field",
         RANDOM_FIELDS]  # fmt: skip


def layer(rows: int, columns: int, **more) -> Space:
    ends = [Population("a", columns, square_sheet(columns)), Population("b", rows, **more)]
    return Space(ends, [Projection("w", "a", "b", "linear", (rows, columns))])


def drawn(initial, space, *counts, seed=0) -> Graph:
    return starts.named(initial).graph(space, list(counts), seed)


def conv_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.Flatten(), nn.Linear(8 * 16, 40), nn.Linear(40, 10)
    )


def attached(initial, rule=None, density=0.3, model=None, **options):
    model = conv_net() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.SET(when=rewire.every(1)) if rule is None else rule
    return rewire.attach(model, optimizer, rule, density=density, initial=initial, **options)


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("initial", NAMES, ids=str)
def test_counts_are_the_budgets_and_the_run_trains(initial, world):
    net, random = attached(initial, world=world), attached("random", world=world)
    assert net.counts == random.counts and not torch.equal(net.topology, random.topology)
    again, other = attached(initial, world=world), attached(initial, world=world, seed=1)
    assert torch.equal(net.topology, again.topology)
    assert not torch.equal(net.topology, other.topology)
    for _ in range(3):
        net.optimizer.zero_grad()
        net.world.model(torch.randn(4, 4, 6, 6)).square().sum().backward()
        net.step()
    assert net.counts == random.counts and len(net.history) == 3


def test_both_worlds_start_from_the_same_topology():
    one, other = (attached("scale-free", world=world) for world in ("masked", "sparse"))
    assert torch.equal(one.topology, other.topology)


@pytest.mark.parametrize(
    "kind",
    [
        ("linear", (12, 20), 1), ("conv", (12, 10, 3, 3), 2), ("conv_transpose", (20, 6, 2, 2), 2),
        ("rnn", (48, 20), 4), ("embedding", (20, 12), 1), ("stacked", (3, 4, 5), 3),
        ("stacked_transposed", (3, 5, 4), 3), ("conv", (12, 1, 3, 3), 12),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("initial", NAMES, ids=str)
def test_every_kind_of_weight_gets_its_count(kind, initial):
    kind, shape, groups = kind
    size = 15 if kind.startswith("stacked") else 12 if groups == 12 else 20
    p = Projection("w", "a", "b", kind, shape, groups=groups)
    space = Space([Population("a", size), Population("b", 12)], [p])
    if initial == "ramanujan" and groups == 12:
        pytest.skip("a depthwise convolution has one input for each output")
    for count in (p.size // 2, p.size - 1, p.size):
        graph = drawn(initial, space, count)
        assert len(graph) == count and graph.keys.unique().numel() == count


def test_regular_degrees_differ_by_one_at_most():
    graph = drawn("regular", layer(30, 50), 437)
    for degrees, units in ((graph.fan_in("b"), 30), (graph.fan_out("a"), 50)):
        assert sorted(degrees.unique().tolist()) == [437 // units, 437 // units + 1]
    taps = Space(
        [Population("a", 6), Population("b", 8)],
        [Projection("w", "a", "b", "conv", (8, 6, 3, 3))],
    )
    fan_out = drawn("regular", taps, 100).fan_out("a")
    assert int(fan_out.max() - fan_out.min()) <= 1


def test_regular_forgets_the_order_it_was_dealt_in():
    space, hits = layer(4, 4), np.zeros(16)
    for seed in range(600):
        hits[drawn("regular", space, 8, seed=seed).keys.numpy()] += 1
    assert abs(hits / 600 - 0.5).max() < 0.1  # five standard deviations
    pairs = {tuple(drawn("regular", space, 8, seed=s).keys.tolist()) for s in range(600)}
    assert len(pairs) == 90  # every 2-regular graph of four and four units


def test_a_small_world_lies_between_the_lattice_and_chance():
    space = layer(60, 60)
    clustering = {}
    for beta in (0.0, 0.1, 1.0):
        graph = drawn(SmallWorld(beta=beta), space, 360)
        assert graph.fan_in("b").unique().tolist() == [6]
        clustering[beta] = measure(graph, "RobinsAlexander")["RobinsAlexander", "w"].value
    assert clustering[0.0] > clustering[0.1] > 2 * clustering[1.0]
    lattice = drawn(SmallWorld(beta=0), space, 360)
    assert lattice.fan_out("a").unique().tolist() == [6]
    moved = len(lattice) - len(np.intersect1d(lattice.keys, drawn("small-world", space, 360).keys))
    assert 18 <= moved <= 54  # a tenth of 360, three standard deviations
    _, pre, post = (x.numpy() for x in lattice.locate())
    apart = np.abs(pre - post)
    assert np.minimum(apart, 60 - apart).max() == 3


def test_scale_free_has_hubs_that_chance_does_not_have():
    space = layer(200, 300)
    graph, random = drawn("scale-free", space, 2000), random_graph(space, [2000], rng_for(0, "x"))
    in_, out = ([g.fan_in("b").double(), g.fan_out("a").double()] for g in (graph, random))
    for degrees, by_chance in zip(in_, out, strict=True):
        assert degrees.max() > 1.4 * by_chance.max() and degrees.var() > 1.7 * by_chance.var()
    assert in_[0].max() > 3 * out[0].max()


def test_receptive_fields_are_local_on_the_torus():
    sheet = square_sheet(144)
    space = layer(144, 144, positions=sheet)
    apart = {}
    for sigma in (0.05, 5.0):
        graph = drawn(ReceptiveField(sigma=sigma), space, 144 * 9)
        assert graph.fan_in("b").unique().tolist() == [9]
        _, pre, post = graph.locate()
        distance = (sheet[pre] - sheet[post]).abs()
        distance = torch.minimum(distance, 1 - distance)
        apart[sigma] = distance.square().sum(1).sqrt().mean().item()
    assert apart[0.05] < 0.12 and apart[5.0] == pytest.approx(0.38, abs=0.03)  # as uniform pairs


def test_a_line_of_fields_lies_along_the_diagonal():
    graph = drawn({**LINE, "sigma": 0.03}, layer(40, 80), 400)
    _, pre, post = (x.numpy() for x in graph.locate())
    assert np.abs((pre + 0.5) / 80 - (post + 0.5) / 40).mean() < 0.05


def test_bipartite_fields_are_drawn_by_the_ring_distance_of_the_paper():
    """Zhang et al. 2025: p of the larger side's units in proportion to (1 + d)^-((1 - r) / r)."""
    space, times = layer(1, 24), np.zeros(24)
    for seed in range(1500):
        times[drawn(BipartiteReceptiveField(r=0.4), space, 1, seed=seed).keys.numpy()] += 1
    ring = np.minimum(np.arange(24), 24 - np.arange(24))
    p = (1.0 + ring) ** -1.5
    expected = 1500 * p / p.sum()
    assert ((times - expected) ** 2 / expected).sum() < 24 + 4 * 48**0.5
    nearest = drawn(BipartiteReceptiveField(r=0.0), layer(24, 8), 8 * 5)
    assert nearest.fan_out("a").unique().tolist() == [5]
    _, pre, post = (x.numpy() for x in nearest.locate())
    apart = np.abs(pre * 3 - post)
    assert np.minimum(apart, 24 - apart).max() == 2
    dealt = drawn(BipartiteReceptiveField(degrees="random"), layer(8, 24), 40).fan_in("b")
    assert int(dealt.min()) >= 1 and len(dealt.unique()) > 2


def test_ramanujan_meets_the_bound_and_regular_need_not():
    space, bounds = layer(20, 20), {"ramanujan": [], "regular": []}
    for name, values in bounds.items():
        for seed in range(12):
            graph = drawn(name, space, 50, seed=seed)
            values.append(measure(graph, "RamanujanBound")["RamanujanBound", "w"].value)
            assert sorted(graph.fan_in("b").unique().tolist()) == [2, 3]
    assert min(bounds["ramanujan"]) >= 0 > min(bounds["regular"])
    with pytest.raises(ValueError, match="none of 100 random regular graphs of 69 edges of 'w'"):
        drawn("ramanujan", layer(30, 30), 69)


@pytest.mark.parametrize(
    ("initial", "options", "message"),
    [
        ("small_world", {}, r"got 'small_world' \(did you mean 'small-world'\?\)"),
        (3, {}, "initial must be 'random', 'magnitude' or a Graph.*; got 3"),
        ("receptive-field", {}, "places of the units that '0.weight' joins, and its postsynaptic"),
        ("ramanujan", {"density": 0.05}, "ramanujan needs 2 edges at each unit, and .*raise the"),
        ("regular", {"density": None}, "initial='regular' says where edges are, and every"),
        ("regular", {"rule": rewire.SNIP()}, "every projection begins with all of them"),
        ("regular", {"rule": rewire.GMP()}, "every projection begins with all of them"),
        (
            "scale-free", {"limits": [rewire.FanIn(most=40)]},
            "the ScaleFree topology to start from breaks a limit: .*initial='random'",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_had_is_refused_before_step_0(initial, options, message):
    with pytest.raises(ValueError, match=message):
        attached(initial, **options)


def test_fields_of_no_sense_are_refused():
    with pytest.raises(ValueError, match="SmallWorld.beta is a probability, got 1.5"):
        SmallWorld(beta=1.5)
    with pytest.raises(ValueError, match="did you mean 'beta'"):
        starts.named({"name": "small-world", "bet": 0.5})
    with pytest.raises(ValueError, match="sigma is a distance above 0"):
        ReceptiveField(sigma=0)
    with pytest.raises(ValueError, match="'sheet' or 'line'"):
        ReceptiveField(places="ring")


def test_regular_holds_under_a_limit_that_allows_it():
    net = attached("regular", limits=[rewire.FanIn(most=40)], density=0.3)
    assert int(max(net.graph.fan_in(p.name).max() for p in net.graph.populations)) <= 40


def test_a_topology_that_returns_a_cell_twice_is_refused():
    class Twice(StartingTopology):
        def cells(self, block: Block, count, rng):
            return np.zeros(count, int), np.zeros(count, int)

    with pytest.raises(ValueError, match="Twice chose 1 different edges of 'w', where 5 belong"):
        Twice().graph(layer(4, 4), [5], 0)


@pytest.mark.parametrize("view", ["units"])
def test_a_graph_of_networkx_is_taken_edge_by_edge(view):
    random = attached("random")
    net = attached(random.graph.to_networkx(view=view), density=None)
    assert torch.equal(net.topology, random.topology)
    with pytest.raises(ValueError, match="the initial graph joins .*, the model has"):
        attached(nx.karate_club_graph(), density=None)
    with pytest.raises(ValueError, match="leave density out"):
        attached(random.graph.to_networkx(), density=0.1)


@pytest.mark.parametrize(
    "rule",
    [
        rewire.SET(when=rewire.every(1)), rewire.DeepR(),
        StructuralPlasticity(slots=200, initial="given", partner="uniform"),
    ],
    ids=lambda rule: rule.name,
)  # fmt: skip
@pytest.mark.parametrize("initial", ["small-world", "regular"])
def test_rules_go_on_from_it_with_their_counts(rule, initial):
    net = attached(initial, rule)
    before = net.edges
    for _ in range(4):
        net.optimizer.zero_grad()
        net.world.model(torch.randn(4, 4, 6, 6)).square().sum().backward()
        net.step()
    assert net.history.replay(net.graph).keys.tolist() == net.topology.tolist()
    if rule.name != "StructuralPlasticity":
        assert net.edges == before


def test_train_takes_it_too():
    model = nn.Linear(40, 20)
    net = rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.01), rewire.Static(), density=0.2,
        loss=lambda m, x: m(x).square().mean(), data=[torch.randn(8, 40)], steps=3,
        initial="regular",
    )  # fmt: skip
    assert net.graph.fan_in("model").unique().tolist() == [8]

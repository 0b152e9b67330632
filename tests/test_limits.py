"""Limits that hold for any rule: on who connects, and on weights; exact counts all the same."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rewire
from rewire import limits, rng_for, when
from rewire.budget import random_graph
from rewire.graph import Edit, Graph, Population, Projection, Space
from rewire.limits import (
    Dale,
    Distance,
    FanIn,
    FanOut,
    FixedPoint,
    Memory,
    NoAutapses,
    limited,
)
from rewire.signals import Signals

SPACE = Space(
    [Population("x", 16), Population("h", 12), Population("y", 6)],
    [
        Projection("fc1", "x", "h", "linear", (12, 16)),
        Projection("fc2", "h", "y", "linear", (6, 12)),
    ],
)
RULES = {
    "deep-r": rewire.DeepR(noise=0.5, l1=0.02),
    "deep-r-global": rewire.DeepR(noise=0.5, l1=0.02, scope="global"),
    "set": rewire.SET(when=when.every(2), birth=0.2),
    "rigl": rewire.RigL(when=when.every(2), fraction=0.4),
    "mest": rewire.MEST(when=when.every(2), fraction=0.3),
    "random": rewire.RandomRewiring(when=when.every(2), fraction=0.5),
}
# 154 and 64 edges of a 24-32-10 net, 6.4 a unit where they are dense: many a move is in the way
TIGHT = {
    "fan-in": [FanIn(most=7)],
    "fan-out": [FanOut(most=7)],
    "both": [FanIn(most=7), FanOut(most=7)],
    "memory": [Memory(bytes=4 * 56, units=8)],
    "distance": [Distance(most=0.3)],
    "dale": [Dale(excitatory=0.7)],
    "fixed": [FixedPoint(bits=8, fraction=5)],
    "all": [FanIn(most=7), FanOut(most=7), Distance(most=0.4), Dale(), FixedPoint()],
}


def net(rule, limits, world="masked", density=0.2, **more):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(24, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    session = rewire.attach(
        model, optimizer, rule=rule, limits=limits, density=density, steps=20,
        distribution="uniform", world=world, **more,
    )  # fmt: skip
    return session, model


def train(session, model, steps=20):
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x, y = torch.randn(16, 24, generator=draw), torch.randint(10, (16,), generator=draw)
        session.world.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        session.step()
        yield session.graph


def broken(graph, limits, seed=0):
    """What is wrong with a graph, worked out edge by edge and not by the limits' own code."""
    which, pre, post = (x.tolist() for x in graph.locate())
    ends = [(p.source, p.target) for p in graph.projections]
    into, out, cores, sign = {}, {}, {}, {}
    for w, i, j, weight in zip(which, pre, post, graph["weight"].tolist(), strict=True):
        source, target = ends[w]
        into[target, j] = into.get((target, j), 0) + 1
        out[source, i] = out.get((source, i), 0) + 1
        for limit in limits:
            if isinstance(limit, Memory):
                core = target, j // limit.units
                cores[core] = cores.get(core, 0) + 4
            if isinstance(limit, Distance):
                at = [graph.space.population[n].positions for n in (source, target)]
                if at[0] is not None and at[1] is not None:
                    apart = (at[0][i] - at[1][j]).abs()
                    if torch.minimum(apart, 1 - apart).norm() > limit.most + 1e-6:
                        return f"{source} {i} and {target} {j} are too far apart"
            if isinstance(limit, FixedPoint):
                step, most = 2**-limit.fraction, 2 ** (limit.bits - 1 - limit.fraction)
                if weight / step != round(weight / step) or not -most <= weight < most:
                    return f"{weight} is no number of {limit}"
            if isinstance(limit, Dale) and weight:
                if sign.setdefault((source, i), weight > 0) != (weight > 0):
                    return f"unit {i} of {source} has both signs"
    for limit in limits:
        counts = {FanIn: into, FanOut: out}.get(type(limit), {})
        if counts and max(counts.values()) > limit.most:
            return f"{limit}: {max(counts.values())}"
        if isinstance(limit, Memory) and max(cores.values()) > limit.bytes:
            return f"{limit}: {max(cores.values())} bytes"
    return None


@pytest.mark.every_other
@pytest.mark.parametrize("kind", ["masked", "sparse"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("limits", TIGHT)
def test_rules_keep_limits_and_their_counts_at_every_step(rule, limits, kind):
    session, model = net(RULES[rule], TIGHT[limits], kind)
    counts, start = session.graph.counts(), session.graph.keys
    assert broken(session.graph, TIGHT[limits]) is None
    for graph in train(session, model):
        assert broken(graph, TIGHT[limits]) is None
        if rule == "deep-r-global":
            assert len(graph) == int(counts.sum())
        else:
            assert torch.equal(graph.counts(), counts)
    assert session.history.formed > 20 and not torch.equal(session.graph.keys, start)


def test_a_limited_run_is_the_same_twice_and_goes_on_from_its_state():
    limits = TIGHT["all"]
    session, model = net(RULES["deep-r"], limits)
    first = [graph for graph in train(session, model)]
    again, other = net(RULES["deep-r"], limits)
    for a, b in zip(first, train(again, other), strict=True):
        assert torch.equal(a.keys, b.keys) and torch.equal(a["weight"], b["weight"])
    one, model = net(RULES["deep-r"], limits)
    steps = train(one, model)
    for _ in range(7):
        next(steps)
    saved = copy.deepcopy((one.state_dict(), one.world.snapshot()))
    two, model = net(RULES["deep-r"], limits)
    two.world.load(saved[1])
    two.load_state_dict(saved[0])
    draw = torch.Generator().manual_seed(1)
    data = [(torch.randn(16, 24, generator=draw), torch.randint(10, (16,), generator=draw))
            for _ in range(20)]  # fmt: skip
    for x, y in data[7:]:
        two.world.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        two.step()
    assert torch.equal(two.graph.keys, first[-1].keys)
    assert torch.equal(two.graph["weight"], first[-1]["weight"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_growth_under_two_full_caps_gives_exactly_as_many_as_were_dropped(seed, many):
    """Every unit is full on both sides: what goes must make room for what comes."""
    space = limited(SPACE, [FanIn(most=4), FanOut(most=3)])
    rng = rng_for(seed, "start")
    graph = random_graph(space, [40, 18], rng)
    drop = torch.from_numpy(np.sort(rng.numpy.choice(58, many, replace=False)))
    counts = [int((drop < 40).sum()), int((drop >= 40).sum())]
    add = rewire.sample_absent(graph, counts, rng, without=drop)
    after = graph.apply(Edit(drop=drop, add=add))  # refuses what is over a cap
    assert after.counts().tolist() == [40, 18]
    scores = torch.from_numpy(rng.doubles(space.possible))
    world = rewire.Bare(space, pairs={"growth": lambda keys: scores[keys]})
    grown = Signals(world, graph).largest("growth", counts, without=drop)
    assert graph.apply(Edit(drop=drop, add=grown)).counts().tolist() == [40, 18]


def test_where_nothing_else_fits_what_was_dropped_returns():
    """Two units on each side, one synapse each: 0-0 and 1-1. Without 0-0 and with only room for
    its ends, no other pair is left."""
    space = Space(
        [Population("a", 2), Population("b", 2)], [Projection("p", "a", "b", "linear", (2, 2))]
    )
    space = limited(space, [FanIn(most=1), FanOut(most=1)])
    graph = Graph(space, torch.tensor([0, 3]))
    drawn = set()
    for seed in range(40):
        drop = torch.tensor([0, 1])
        add = rewire.sample_absent(graph, 2, rng_for(seed, "x"), without=drop)
        drawn.add(tuple(add.tolist()))
    assert drawn == {(0, 3), (1, 2)}
    one = rewire.sample_absent(graph, 1, rng_for(0, "x"), without=torch.tensor([0]))
    assert one.tolist() == [0]


def test_the_largest_that_fit_are_grown_in_order_of_their_score():
    space = limited(SPACE, [FanOut(most=1, of="x")])
    graph = Graph(space, torch.tensor([0, 17]))  # x 0 -> h 0, x 1 -> h 1
    scores = torch.zeros(space.possible)
    scores[[16, 2, 18, 3, 36]] = torch.tensor([9.0, 8.0, 7.0, 6.0, 5.0])  # from x 0, 2, 2, 3, 4
    world = rewire.Bare(space, pairs={"growth": lambda keys: scores[keys]})
    assert Signals(world, graph).largest("growth", [3, 0]).tolist() == [2, 3, 36]
    with pytest.raises(ValueError, match="cannot grow|cannot add 2 of 16 edges"):
        Signals(world, graph).largest("growth", [16, 0])


def test_draws_under_caps_are_uniform_among_what_still_fits():
    space = limited(SPACE, [FanOut(most=2, of="x"), FanIn(most=3, to="h")])
    graph = Graph(space, torch.tensor([0, 1, 2, 16, 17]))  # h 0 and x 0, x 1 are full
    count = np.zeros(space.sizes[0])
    for seed in range(4000):
        count[rewire.sample_absent(graph, [1, 0], rng_for(seed, "u"))] += 1
    fits = np.array([[j > 0 and i > 1 for i in range(16)] for j in range(12)]).ravel()
    assert count[~fits].sum() == 0
    expected = 4000 / fits.sum()  # 154
    chi2 = ((count[fits] - expected) ** 2 / expected).sum()
    assert chi2 < 153 + 5 * (2 * 153) ** 0.5


@pytest.mark.parametrize(
    ("rule", "limits", "density", "message"),
    [
        (rewire.Dense(), [FanIn(most=6)], None, r"Dense cannot live under FanIn.*would hold 24"),
        (rewire.IMP.one_shot(0.1), [FanOut(most=6)], None, "would hold more than 6 outgoing edges"),
        (rewire.GMP(when=when.every(2)), [Memory(bytes=64, units=8)], 0.2, "GMP cannot live under"),
        (rewire.SoftDeepR(), [FanOut(most=9)], 0.2, "SoftDeepR cannot live under FanOut"),
        (rewire.SynapticSampling(), [FanIn(most=9)], 0.2, "SynapticSampling cannot live under"),
        (rewire.HomeostaticGrowth(), [FanIn(most=9)], 0.2, "HomeostaticGrowth cannot live"),
        (rewire.DSR(), [FanIn(most=9)], 0.2, "DSR cannot live under FanIn"),
        (rewire.MEST(soft=True), [FanIn(most=9)], 0.2, "MEST cannot live under FanIn"),
        (rewire.StructuralPlasticity(), [Memory(bytes=640, units=8)], 0.2, "cannot live under M"),
        (rewire.DeepR(), [NoAutapses()], 0.2, "binds nothing|names no population"),
        (rewire.DeepR(), [FanIn(most=3)], 0.2, r"cannot add \d+ of \d+ edges .* allow more"),
        (rewire.DeepR(), [FanIn(most=9, to="zz")], 0.2, "'zz' names no population; there are"),
        (rewire.DeepR(), [Distance(most=-1.0)], 0.2, "Distance.most must be above 0, got -1.0"),
        (rewire.DeepR(), [Dale(excitatory=2.0)], 0.2, r"fraction in \[0, 1\], got 2.0"),
        (rewire.DeepR(), [FixedPoint(bits=40)], 0.2, "2 to 24 bits"),
        (rewire.DeepR(), [Memory(bytes=64, units=8, unit=9)], 0.2, "leaves no byte"),
    ],
)  # fmt: skip
def test_what_cannot_live_under_a_limit_says_so_before_step_0(rule, limits, density, message):
    with pytest.raises(ValueError, match=message):
        if rule.saves:
            model = torch.nn.Linear(24, 32)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            rewire.train(model, optimizer, rule, steps=5, loss=lambda m, b: m(b).sum(),
                         data=[torch.randn(4, 24)], limits=limits)  # fmt: skip
        else:
            net(rule, limits, density=density)


RECURRENT = RULES | {
    "structural plasticity": rewire.StructuralPlasticity(
        attempts=0.5, slots=4, partner="uniform", p_elim_dep=0.3, p_elim_pot=0.3,
        sigma_form_lateral=0.5),
    "homeostatic": rewire.HomeostaticGrowth(
        eta=-1.0, epsilon=1.5, growth=0.5, tau=5.0, when=when.every(1)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["masked", "sparse"])
@pytest.mark.parametrize("rule", RECURRENT)
def test_no_unit_connects_to_itself(rule, kind):
    torch.manual_seed(0)
    rnn = torch.nn.RNN(6, 16, batch_first=True)
    session = rewire.attach(
        rnn, torch.optim.SGD(rnn.parameters(), lr=0.3), rule=RECURRENT[rule], density=0.2, steps=12,
        limits=[NoAutapses()], world=kind,
    )  # fmt: skip
    recurrent = next(i for i, p in enumerate(session.graph.projections) if p.source == p.target)
    x = torch.randn(8, 5, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(12):
        session.world.optimizer.zero_grad()
        rnn(x)[0].square().mean().backward()
        session.step()
        which, pre, post = session.graph.locate()
        assert not ((which == recurrent) & (pre == post)).any()
    assert session.history.formed > 10


@pytest.mark.parametrize("rule", [
    rewire.StructuralPlasticity(attempts=0.5, slots=4, partner="uniform", sigma_form=0.5,
                                p_elim_dep=0.3, p_elim_pot=0.3),
    rewire.HomeostaticGrowth(eta=-1.0, epsilon=1.5, growth=0.5, tau=5.0, when=when.every(1)),
], ids=lambda rule: rule.name)  # fmt: skip
def test_rules_that_draw_pairs_keep_distances_from_the_start_on(rule):
    limits = [Distance(most=0.35)]
    session, model = net(rule, limits)
    for graph in train(session, model):
        assert broken(graph, limits) is None
    assert session.history.formed > 20


def test_an_edit_that_breaks_a_limit_is_refused_with_what_and_where():
    space = limited(SPACE, [FanOut(most=1), Memory(bytes=8, units=6)])
    graph = Graph(space, torch.tensor([0]))
    with pytest.raises(ValueError, match="unit 0 of 'x' would hold more than 1 outgoing edges"):
        graph.apply(Edit(add=torch.tensor([16])))
    with pytest.raises(ValueError, match="core 0 of 'h' would need more than the 8 bytes it has"):
        graph.apply(Edit(add=torch.tensor([17, 34])))
    places = torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.5, 0.0], [0.9, 0.0]])
    sheet = [Population("a", 4, positions=places),
             Population("b", 1, positions=torch.tensor([[0.0, 0.0]]))]  # fmt: skip
    near = limited(
        Space(sheet, [Projection("p", "a", "b", "linear", (1, 4))]), [Distance(most=0.2)]
    )
    graph = Graph(near, torch.tensor([0]))
    assert len(graph.apply(Edit(add=torch.tensor([3])))) == 2  # around the torus: .1 away
    with pytest.raises(ValueError, match="1 of 1 edges .first: key 2, in 'p'. are not allowed"):
        graph.apply(Edit(add=torch.tensor([2])))


def test_dales_signs_are_exact_in_number_and_deep_r_takes_them():
    session, model = net(rewire.DeepR(noise=0.3, l1=0.01), [Dale(excitatory=0.75)])
    signs = Dale(excitatory=0.75).signs(session.graph.space, 0)
    assert (signs[:24] > 0).sum() == 18 and (signs[24:56] > 0).sum() == 24
    for graph in train(session, model):
        _, pre, _ = graph.locate()
        units = pre + torch.tensor([0, 24])[graph.space.which(graph.keys)]
        assert torch.equal(graph["sign"], torch.from_numpy(signs)[units])


def test_stochastic_rounding_is_right_on_average_and_nearest_is_nearest():
    space = Space([Population("a", 1000), Population("b", 100)],
                  [Projection("p", "a", "b", "linear", (100, 1000))])  # fmt: skip
    weight = torch.full((space.possible,), 0.3 / 16)
    graph = Graph.full(space).with_columns({"weight": weight})
    out = FixedPoint(bits=8, fraction=4).held(graph, 0, rng_for(0, "r"))
    assert set(out.tolist()) == {0.0, 1 / 16}
    assert abs(out.mean() * 16 - 0.3) < 5 * (0.3 * 0.7 / len(graph)) ** 0.5
    nearest = FixedPoint(bits=8, fraction=4, rounding="nearest")
    assert (nearest.held(graph, 0, rng_for(0, "r")) == 0).all()
    far = graph.with_columns({"weight": weight * 1e5 * (-1) ** torch.arange(len(graph))})
    assert set(nearest.held(far, 0, rng_for(0, "r")).tolist()) == {127 / 16, -8.0}


def test_structural_plasticity_stays_at_its_density_under_a_limit_on_fan_in():
    rule = rewire.StructuralPlasticity(attempts=0.3, p_form=1.0, p_elim_dep=0.5)
    for most in (20, 7):
        session, model = net(rule, [FanIn(most=most)])
        start = session.edges
        assert all(len(graph) <= start for graph in train(session, model))
        assert session.history.formed > 20
    with pytest.raises(ValueError, match="asks for 32 slots, and units of '0' may hold 20"):
        net(rewire.StructuralPlasticity(slots=32, initial="given"), [FanIn(most=20)])


def test_limits_are_read_from_tables():
    read = limits.from_tables([{"limit": "FanIn", "most": 4, "to": "h"}, {"limit": "Dale"}])
    assert read == (FanIn(most=4, to="h"), Dale())
    for table, message in (
        ({"limit": "FanInn"}, "no limit 'FanInn' .did you mean 'FanIn'"),
        ({"limit": "FanIn"}, "FanIn.most is missing"),
        ({"limit": "FanIn", "mots": 4}, "FanIn has no parameter 'mots' .did you mean 'most'"),
    ):
        with pytest.raises(ValueError, match=message):
            limits.from_tables([table])


def test_the_page_on_limits_names_the_rules_that_choose_synapses_by_themselves():
    from pathlib import Path

    from rewire import rules

    page = (Path(__file__).parents[1] / "docs" / "limits.md").read_text(encoding="utf-8")
    row = page.partition("- rules that choose synapses by themselves")[2].partition("\n\n")[0]
    unlimited = [rule.__name__ for rule in rules.BUILT_IN if not rule().lives_under]
    assert [name for name in unlimited if f"`{name}`" not in row] == []

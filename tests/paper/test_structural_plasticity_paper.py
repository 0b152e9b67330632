"""Bogdan et al.'s rule on a bare graph: formation, elimination, slots, rates."""

from math import exp, sqrt

import numpy as np
import pytest
import torch
from scipy.stats import chi2

import rewire
from rewire.graph import Graph, Population, Projection, Space, square_sheet

SIDE, N = 16, 256


def sheet(*, lateral=True, multapses=True, slots=32, places=True):
    """The paper's network: 16 x 16 sources and targets, feed-forward and lateral."""
    where = square_sheet(N) if places else None
    projections = [Projection("ff", "in", "out", "spiking", (N, N), multapses)]
    if lateral:
        projections.append(Projection("lat", "out", "out", "spiking", (N, N), multapses))
    return Space([Population("in", N, where), Population("out", N, where, slots)], projections)


def session(space, rule, keys=None, weights=None, **world):
    keys = torch.empty(0, dtype=torch.int64) if keys is None else keys
    weights = torch.zeros(len(keys)) if weights is None else weights
    graph = Graph(space, keys, {"weight": weights})
    return rewire.Session(rewire.Bare(space, **world), graph, rule, span=10**6)


def distance_squared(pre, post):
    """In units of the grid, periodic, by trying all nine images."""
    out = np.full(len(pre), np.inf)
    for dx in (-SIDE, 0, SIDE):
        for dy in (-SIDE, 0, SIDE):
            d = (pre // SIDE - post // SIDE + dx) ** 2 + (pre % SIDE - post % SIDE + dy) ** 2
            out = np.minimum(out, d)
    return out


RULE = dict(slots=32, initial="given", partner="uniform", threshold=0.1, birth=0.2)


def test_the_published_parameters_are_bogdans():
    rule = rewire.StructuralPlasticity.bogdan()
    published = dict(
        rate=1e4, slots=32, p_form=0.16, p_form_lateral=1.0, p_elim_dep=0.0245,
        p_elim_pot=1.36e-4, threshold=0.1, birth=0.2, partner="spiked", initial="given",
    )  # fmt: skip
    assert {k: getattr(rule, k) for k in published} == published
    assert rule.sigma_form * SIDE == 2.5 and rule.sigma_form_lateral * SIDE == 1.0
    assert rule.needs == {"spiked"}
    assert rule.p_elim_pot != pytest.approx(
        1.36 * exp(-4)
    )  # the constant that neurogenesis mistyped


@pytest.fixture(scope="module")
def grown():
    """60 ticks that try every slot about once, without elimination, from an empty graph."""
    rule = rewire.StructuralPlasticity(attempts=1.0, p_elim_dep=0.0, p_elim_pot=0.0, **RULE)
    net = session(sheet(), rule)
    for _ in range(40):
        net.step()
    return net


@pytest.mark.parametrize(("projection", "p", "sigma"), [(0, 0.16, 2.5), (1, 1.0, 1.0)])
def test_partners_are_accepted_by_the_gaussian_of_their_distance(grown, projection, p, sigma):
    """Chi-square of squared distances against the kernel summed over the torus grid."""
    graph = grown.graph
    _, pre, post = (x[graph.rows(projection)].numpy() for x in graph.locate())
    squared = distance_squared(pre, post)
    offsets = distance_squared(np.arange(N), np.zeros(N, int))
    kernel = np.exp(-offsets / (2 * sigma**2))
    values = np.unique(offsets)
    expected = np.array([kernel[offsets == v].sum() for v in values]) * len(squared) / kernel.sum()
    observed = np.array([(squared == v).sum() for v in values])
    many = expected >= 8
    observed = np.append(observed[many], observed[~many].sum())
    expected = np.append(expected[many], expected[~many].sum())
    if expected[-1] < 5:  # too few to be a class of their own
        observed, expected = observed[:-1], expected[:-1]
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert statistic < chi2.ppf(0.999, len(expected) - 1)
    assert len(squared) > 1000


def test_feed_forward_and_lateral_form_at_nearly_equal_rates(grown):
    """The paper's two kernels have nearly equal sums: 0.16 x 39.3 against 1.0 x 6.3."""
    ff, lat = grown.counts
    offsets = distance_squared(np.arange(N), np.zeros(N, int))
    a = 0.16 * np.exp(-offsets / (2 * 2.5**2)).sum()
    b = np.exp(-offsets / 2).sum()
    share = a / (a + b)
    assert a / b == pytest.approx(73405 / 73728, abs=0.005)
    assert abs(ff / (ff + lat) - share) < 4 * sqrt(0.25 / (ff + lat))


def test_the_number_of_formations_is_attempts_times_kernel():
    """One tick on empty slots: 8192 draws hit S (1 - (1 - 1/S)^S) different slots."""
    rule = rewire.StructuralPlasticity(attempts=1.0, **RULE)
    nets = [rewire.Session(rewire.Bare(space), Graph.empty(space), rule, span=9, seed=s)
            for s in range(20) for space in [sheet()]]  # fmt: skip
    for net in nets:
        net.step()
    formed = sum(net.edges for net in nets)
    slots = N * 32
    tried = slots * (1 - (1 - 1 / slots) ** slots)
    offsets = distance_squared(np.arange(N), np.zeros(N, int))
    p = (0.16 * np.exp(-offsets / 12.5).mean() + np.exp(-offsets / 2).mean()) / 2
    expected = 20 * tried * p
    assert abs(formed - expected) < 4 * sqrt(expected)
    assert all((net.graph["weight"] == 0.2).all() for net in nets)


def test_slots_are_shared_and_never_exceeded():
    """Ten slots a unit over both projections, 300 busy ticks; parallel synapses do form."""
    rule = rewire.StructuralPlasticity(
        attempts=0.5, p_form=1.0, sigma_form=1.0, sigma_form_lateral=1.0, p_elim_dep=0.02,
        p_elim_pot=0.02, **{**RULE, "slots": 10},
    )  # fmt: skip
    space = Space(
        [Population("in", 6), Population("out", 8, slots=10)],
        [
            Projection("ff", "in", "out", "spiking", (8, 6), True),
            Projection("lat", "out", "out", "spiking", (8, 8), True),
        ],
    )
    net = session(space, rule)
    full = parallel = 0
    for _ in range(300):
        net.step()
        fan_in = net.graph.fan_in("out")
        assert fan_in.max() <= 10
        full += int((fan_in == 10).sum())
        parallel += int((net.graph.keys.diff() == 0).sum())
    assert full > 100 and parallel > 100 and net.history.dropped > 100
    assert net.edges == net.history.formed - net.history.dropped
    assert net.history.replay(net.graph).digest() == net.graph.digest()


def test_the_slot_is_chosen_before_the_partner():
    """A unit with 30 empty slots of 32 gains 15 times as often as one with 2."""
    space = Space(
        [Population("in", 200), Population("out", 2, slots=32)],
        [Projection("ff", "in", "out", "spiking", (2, 200), True)],
    )
    start = torch.cat([torch.arange(2), 200 + torch.arange(30)])
    rule = rewire.StructuralPlasticity(
        attempts=1 / 64, p_form=1.0, p_elim_dep=0.0, p_elim_pot=0.0, **RULE
    )
    gained = torch.zeros(2)
    for seed in range(1500):
        graph = Graph(space, start, {"weight": torch.zeros(32)})
        net = rewire.Session(rewire.Bare(space), graph, rule, span=5, seed=seed)
        net.step()
        gained += net.graph.fan_in("out") - torch.tensor([2, 30])
    total = int(gained.sum())
    assert abs(total - 750) < 4 * sqrt(375)  # half of all slots are empty
    assert abs(gained[1] - total / 16) < 4 * sqrt(total * 15 / 256)


def test_a_full_unit_gains_nothing():
    space = Space(
        [Population("in", 50), Population("out", 1, slots=4)],
        [Projection("ff", "in", "out", "spiking", (1, 50), True)],
    )
    rule = rewire.StructuralPlasticity(
        attempts=1.0, p_form=1.0, p_elim_dep=0.0, p_elim_pot=0.0, **{**RULE, "slots": 4}
    )
    net = session(space, rule)
    for _ in range(50):
        net.step()
    assert net.edges == 4


def test_depressed_and_potentiated_synapses_go_at_their_own_probability():
    """Full slots, half of them below the threshold; nothing can form (p_form = 0)."""
    space = sheet(lateral=False)
    rule = rewire.StructuralPlasticity(
        attempts=0.5, p_form=0.0, p_elim_dep=0.05, p_elim_pot=0.005, **RULE
    )
    keys = (torch.arange(N)[:, None] * N + torch.arange(32)).reshape(-1)
    weak = torch.arange(len(keys)) % 2 == 0
    net = session(space, rule, keys, torch.where(weak, 0.0999, 0.1))
    ticks, slots = 100, N * 32
    for _ in range(ticks):
        net.step()
    left = net.graph["weight"]
    tried = 1 - (1 - 1 / slots) ** (slots // 2)
    for value, p in ((0.0999, 0.05), (0.1, 0.005)):
        survive = (1 - tried * p) ** ticks
        n = int((left == torch.tensor(value)).sum())
        expected = slots / 2 * survive
        assert abs(n - expected) < 4 * sqrt(expected * (1 - survive))


@pytest.mark.parametrize(("dt", "steps"), [(1e-3, 400), (1e-4, 2000), (5e-5, 4000)])
def test_the_rate_is_attempts_a_second_on_the_whole_population_whatever_the_time_step(dt, steps):
    """10,000 a second: 10 in 1 ms, 1 in 0.1 ms, 1 in every other step of 0.05 ms."""
    space = sheet(lateral=False)
    keys = (torch.arange(N)[:, None] * N + torch.arange(32)).reshape(-1)
    rule = rewire.StructuralPlasticity.bogdan(
        partner="uniform", p_form=0.0, p_elim_dep=1.0, p_elim_pot=1.0
    )
    net = session(space, rule, keys, dt=dt)
    per_step = []
    while net.clock.total < steps and net.edges > 7000:
        before = net.edges
        net.step()
        per_step.append((before - net.edges) / (before / 8192))  # tries that met a full slot
    expected = 1e4 * dt * len(per_step)
    assert abs(sum(per_step) - expected) < 4 * sqrt(expected) + 0.01 * expected


def test_a_rate_in_a_world_without_time_is_refused_before_the_first_step():
    with pytest.raises(ValueError, match="stands for no time: give it a number per step"):
        session(sheet(), rewire.StructuralPlasticity.bogdan(partner="uniform"))


def test_only_units_that_spiked_become_partners_and_silence_forms_nothing():
    space = sheet(lateral=True)
    spiked = torch.zeros(N)
    rule = rewire.StructuralPlasticity.bogdan(rate=None, attempts=1.0)
    net = session(space, rule, nodes={"spiked": lambda population: spiked})
    net.step()
    assert net.edges == 0
    spiked[[7, 90]] = 1
    for _ in range(5):
        net.step()
    _, pre, _ = net.graph.locate()
    assert net.edges > 20 and set(pre.tolist()) == {7, 90}


def test_partners_are_drawn_in_proportion_to_activity():
    space = sheet(lateral=False, places=False)
    lively = torch.tensor([1.0] * 128 + [3.0] * 127 + [0.0])
    rule = rewire.StructuralPlasticity(
        attempts=1.0, p_form=0.5, p_elim_dep=0.0, **{**RULE, "partner": "activity"}
    )
    net = session(space, rule, nodes={"activity": lambda population: lively})
    net.step()
    _, pre, _ = net.graph.locate()
    n, share = len(pre), 128 / (128 + 3 * 127)
    assert abs(float((pre < 128).double().mean()) - share) < 4 * sqrt(share * (1 - share) / n)
    assert 255 not in pre


def test_a_connected_pair_is_a_rejected_formation_where_multapses_are_not_allowed():
    space = Space(
        [Population("in", 3), Population("out", 2, slots=8)],
        [Projection("ff", "in", "out", "linear", (2, 3))],
    )
    rule = rewire.StructuralPlasticity(
        attempts=1.0, p_form=1.0, p_elim_dep=0.0, p_elim_pot=0.0, **{**RULE, "slots": 8}
    )
    net = session(space, rule)
    for _ in range(30):
        net.step()
    assert net.graph.keys.tolist() == list(range(6))  # every pair once, slots stay empty


@pytest.mark.parametrize("initial", ["uniform", "kernel"])
def test_slots_are_filled_at_the_start_with_exactly_the_budget(initial):
    space = sheet(lateral=True, multapses=False, slots=None)
    graph = rewire.Graph(space, torch.cat([torch.arange(3000), N * N + torch.arange(1111)]))
    rule = rewire.StructuralPlasticity(initial=initial, partner="uniform")
    net = rewire.Session(rewire.Bare(space), graph, rule, span=10)
    assert net.counts == [3000, 1111]
    _, _, post = net.graph.locate()
    ff = torch.bincount(post[:3000], minlength=N)
    lat = torch.bincount(post[3000:], minlength=N)
    assert set(ff.tolist()) == {11, 12} and set(lat.tolist()) == {4, 5}
    _, pre, post = (x[net.graph.rows(0)].numpy() for x in net.graph.locate())
    mean = distance_squared(pre, post).mean()
    uniform = distance_squared(np.arange(N), np.zeros(N, int)).mean()
    if initial == "uniform":
        assert mean == pytest.approx(uniform, rel=0.05)
    else:
        assert mean < uniform / 3  # 2 sigma^2 = 12.5 against 42.5 of the whole sheet
    with pytest.raises(ValueError, match="possible synapses for each unit, fewer than the 300"):
        rule = rewire.StructuralPlasticity(initial=initial, partner="uniform", slots=600)
        rewire.Session(rewire.Bare(space), graph, rule, span=10)


def test_more_synapses_than_slots_at_the_start_are_refused():
    rule = rewire.StructuralPlasticity(**{**RULE, "slots": 3})
    with pytest.raises(ValueError, match="starts with 4 synapses, but has 3 slots"):
        session(sheet(slots=None), rule, torch.arange(4))


@pytest.mark.parametrize("rate", [None, 1e4])
def test_a_graph_without_a_single_slot_is_left_alone(rate):
    rule = rewire.StructuralPlasticity(**{**RULE, "slots": None}, rate=rate)
    net = session(sheet(slots=None), rule, dt=1e-3)
    net.step()
    assert net.edges == 0


def turnover(n, seed, steps=1000, **fields):
    """What 1,000 steps eliminate and form, at a tick every n steps, of 32 slots of 40 units."""
    space = Space([Population("a", 64), Population("b", 40)],
                  [Projection("p", "a", "b", "linear", (40, 64))])  # fmt: skip
    keys = (torch.arange(40)[:, None] * 64 + torch.arange(16)).flatten()
    graph = Graph(space, keys, {"weight": torch.ones(640)})
    rule = rewire.StructuralPlasticity(
        **{
            **RULE,
            "attempts": 0.01,
            "p_elim_pot": 0.05,
            "p_elim_dep": 0.1,
            "p_form": 0.05,
            **fields,
        },
        when=rewire.every(n, stop=1.0),
    )
    net = rewire.Session(rewire.Bare(space, weights=torch.ones(2560)), graph, rule, span=steps,
                         seed=seed)  # fmt: skip
    for _ in range(steps):
        net.step()
    return net.history.dropped, net.history.formed


@pytest.fixture(scope="module")
def often():
    return np.array([turnover(1, seed) for seed in range(3)])


@pytest.mark.parametrize("n", [100, 500])
def test_a_rare_tick_makes_the_attempts_of_all_its_steps(n, often):
    """It tried a slot once a tick: 196, 144 and 40 were eliminated at n = 1, 100 and 500."""
    rare = np.array([turnover(n, seed) for seed in range(3)])
    assert often.sum(0).min() > 500
    for one, other in zip(often.sum(0), rare.sum(0), strict=True):
        assert abs(one - other) < 5 * sqrt(one + other)
    assert turnover(n, 0) == turnover(n, 0)
    # results of the rule as it was do not stand for this one's
    assert rewire.StructuralPlasticity(when=rewire.every(n)).versions == {"StructuralPlasticity": 2}
    assert rewire.StructuralPlasticity().versions == {}


def test_within_a_tick_a_step_meets_what_the_one_before_left():
    """An emptied slot may be filled, and a synapse formed may go, before the tick is over."""
    space = Space([Population("a", 3), Population("b", 1)],
                  [Projection("p", "a", "b", "linear", (1, 3))])  # fmt: skip
    graph = Graph(space, torch.tensor([0]), {"weight": torch.ones(1)})
    rule = rewire.StructuralPlasticity(
        attempts=1.0, slots=1, initial="given", partner="uniform", threshold=0.1, birth=0.2,
        p_form=1.0, p_elim_dep=1.0, p_elim_pot=1.0, when=rewire.every(2, stop=1.0),
    )  # fmt: skip
    net = rewire.Session(rewire.Bare(space, weights=torch.ones(3)), graph, rule, span=400)
    seen = set()
    for step in range(1, 401):
        net.step()
        assert net.edges == 1  # dropped in the first of the two steps, and formed in the second
        assert net.history.formed == net.history.dropped == step // 2
        seen.add(int(net.graph.keys))
    assert seen == {0, 1, 2}


def test_sources_are_drawn_as_units_or_as_populations_first():
    """sPyNNaker's random selection draws a presynaptic population, then one of its neurons."""
    space = Space(
        [Population("a", 300), Population("b", 100), Population("c", 50)],
        [Projection("ac", "a", "c", "linear", (50, 300)),
         Projection("bc", "b", "c", "linear", (50, 100))],
    )  # fmt: skip
    shares = {}
    for partner in ("uniform", "population"):
        rule = rewire.StructuralPlasticity(
            attempts=1.0, slots=20, initial="given", partner=partner, p_form=1.0, threshold=0.1
        )
        graph = Graph(space, torch.empty(0, dtype=torch.int64))
        net = rewire.Session(rewire.Bare(space), graph, rule, span=10)
        net.step()
        counts = np.array(net.counts)
        shares[partner] = counts[1] / counts.sum(), counts.sum()
        inside = net.graph.keys[net.graph.keys >= space.bounds[1]] - space.bounds[1]
        assert len(set((inside % 100).tolist())) > 60  # units of it alike
    for partner, expected in (("uniform", 0.25), ("population", 0.5)):
        share, n = shares[partner]
        assert abs(share - expected) < 4.5 * sqrt(0.25 / n)


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("n", [1, 3])
def test_no_synapse_forms_in_a_full_row(n, world):
    """A core of SpiNNaker holds so many synapses of a presynaptic unit, and no more."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 10), torch.nn.ReLU(), torch.nn.Linear(10, 6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.StructuralPlasticity(
        attempts=1.0, slots=4, partner="uniform", p_form=0.9, p_elim_dep=0.2, p_elim_pot=0.2,
        when=rewire.every(n),
    )  # fmt: skip
    net = rewire.attach(model, optimizer, rule, density=0.3, world=world, steps=60,
                        limits=[rewire.limits.FanOut(most=4)])  # fmt: skip
    full = 0
    for _ in range(60):
        model(torch.randn(4, 12)).square().sum().backward()
        net.step()
        for i in (0, 1):
            out = net.graph.mask(i).sum(0)
            assert out.max() <= 4
            full += int((out == 4).sum())
    assert full > 20 and net.history.formed > 30


def test_slots_that_no_row_has_room_for_are_refused_at_the_start():
    model = torch.nn.Linear(4, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.StructuralPlasticity(slots=3, partner="uniform")
    with pytest.raises(ValueError, match="10 of 30 find no partner with room: allow more, ask for"):
        rewire.attach(model, optimizer, rule, density=0.5,
                      limits=[rewire.limits.FanOut(most=5)])  # fmt: skip

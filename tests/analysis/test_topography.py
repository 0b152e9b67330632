"""The topographic measures against loops written out, the papers' numbers, and known maps."""

import time

import numpy as np
import pytest
import torch

from rewire.analysis import topography as topo
from rewire.edit_log import History
from rewire.graph import Edit, Graph, Population, Projection, Space, square_sheet
from rewire.when import Clock

SIDE, FAN_IN = 16, 16
UNITS = SIDE**2


def space(side=SIDE, multapses=True, targets=None):
    n = side**2
    sheet = square_sheet(n)
    populations = [Population("source", n, sheet), Population("target", n, sheet)]
    return Space(populations, [Projection("ff", "source", "target", "spiking", (n, n), multapses)])


def graph(pre, post, weight=None, side=SIDE, multapses=True):
    keys = np.asarray(post, np.int64) * side**2 + np.asarray(pre, np.int64)
    order = np.argsort(keys, kind="stable")
    weight = np.ones(len(keys)) if weight is None else np.asarray(weight, float)
    return Graph(
        space(side, multapses),
        torch.from_numpy(keys[order]),
        {"weight": torch.from_numpy(weight[order])},
    )


def apart(side=SIDE):
    """Squared wrapped distances of all cells, written out on purpose."""
    k = np.arange(side**2)
    d = [np.abs(np.subtract.outer(axis, axis)) for axis in (k // side, k % side)]
    return sum(np.minimum(x, side - x) ** 2 for x in d)


def kernel_graph(seed, fan_in=FAN_IN, sigma=2.5):
    """Afferents as the formation rule draws them: accept a uniform partner with the kernel."""
    rng = np.random.default_rng(seed)
    chance = np.exp(-apart() / (2 * sigma**2))
    tried = rng.integers(UNITS, size=(UNITS, 40 * fan_in))
    accepted = rng.random(tried.shape) < np.take_along_axis(chance, tried, 1)
    first = accepted & (accepted.cumsum(1) <= fan_in)
    assert (first.sum(1) == fan_in).all()
    pre = tried[first]
    return graph(pre, np.repeat(np.arange(UNITS), fan_in), rng.random(len(pre)))


def by_hand(field, at, side=SIDE):
    """Location and spread of one receptive field, as the papers' authors search for them."""
    half = side // 2
    delta = np.arange(-half, half + 1)
    wide = np.tile(field.astype(float), (3, 3))
    spread, place = [], []
    for axis in (0, 1):
        profile = wide[side : 2 * side].sum(0) if axis else wide[:, side : 2 * side].sum(1)

        def std(coarse, fine, profile=profile):
            window = profile[side + coarse - half : side + coarse + half + 1].copy()
            window[0] *= 0.5 - fine
            window[-1] *= 0.5 + fine
            return np.sqrt(round((window * (delta - fine) ** 2).sum() / window.sum(), 9))

        coarse = int(np.argmin([std(c, 0.0) for c in range(side)]))
        fines = np.linspace(-0.5, 0.5, 11)
        found = [std(coarse, f) for f in fines]
        best = int(np.argmin(found))
        spread.append(found[best])
        place.append(coarse + fines[best])
    shift = [(p - a + half) % side - half for p, a in zip(place, at, strict=True)]
    return np.mean(spread), place, np.hypot(*shift)


# -- the papers' numbers ----------------------------------------------------------------------


def test_formation_kernel_has_the_published_spread_and_deviation():
    found = [topo.topography(kernel_graph(seed), "ff") for seed in range(10)]
    assert np.mean([t.sigma_aff for t in found]) == pytest.approx(2.35, abs=0.03)
    assert np.mean([t.ad for t in found]) == pytest.approx(0.82, abs=0.07)


@pytest.mark.parametrize("sigma", [2.5, 100])  # 100: afferents from anywhere, the border too
def test_the_search_finds_what_a_loop_over_the_authors_windows_finds(sigma):
    map_ = kernel_graph(0, sigma=sigma)
    for column in (None, "weight"):
        found = topo.topography(map_, "ff", column)
        fields = topo.receptive_fields(map_, "ff", column)
        for j in range(0, UNITS, 7):
            sigma, place, deviation = by_hand(fields[j], divmod(j, SIDE))
            assert found.sigma[j] == pytest.approx(sigma, rel=1e-7)
            assert found.preferred[j] == pytest.approx(place)
            assert found.deviation[j] == pytest.approx(deviation, abs=1e-5)


def test_all_units_take_well_under_a_second():
    map_ = kernel_graph(1)
    topo.topography(map_, "ff")
    began = time.process_time()
    topo.quality(map_, "ff")
    assert time.process_time() - began < 0.5


# -- maps whose answer is known ---------------------------------------------------------------


def test_a_one_to_one_map_is_perfect():
    ids = np.arange(UNITS)
    found = topo.topography(graph(ids, ids), "ff")
    assert found.sigma_aff == 0
    assert found.ad == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(3, 0), (0, -5), (9, 9)])
def test_a_displaced_map_deviates_by_the_wrapped_displacement(rows, columns):
    row, column = np.divmod(np.arange(UNITS), SIDE)
    pre = (row + rows) % SIDE * SIDE + (column + columns) % SIDE
    found = topo.topography(graph(pre, np.arange(UNITS)), "ff")
    wrapped = np.hypot(*(min(d % SIDE, -d % SIDE) for d in (rows, columns)))
    assert found.deviation == pytest.approx(np.full(UNITS, wrapped), abs=1e-5)
    assert found.sigma_aff == 0


def test_two_neighbours_are_preferred_half_way_between_across_the_border():
    pre = np.array([0, SIDE - 1])  # columns 0 and 15 of row 0: neighbours on the torus
    found = topo.topography(graph(pre, np.zeros(2, int)), "ff")
    assert found.preferred[0].tolist() == [0, -0.5]
    assert found.sigma[0] == pytest.approx((0 + 0.5) / 2)
    assert found.deviation[0] == pytest.approx(0.5)


def test_weights_pull_the_preferred_location_and_counts_do_not():
    pre, post = np.array([0, 4 * SIDE]), np.zeros(2, int)  # rows 0 and 4
    map_ = graph(pre, post, weight=[0.0, 1.0])
    by_count, by_weight = (topo.topography(map_, "ff", c) for c in (None, "weight"))
    assert by_count.preferred[0].tolist() == [2, 0]
    assert by_weight.preferred[0].tolist() == [4, 0]
    assert by_weight.sigma[0] == 0


def test_multapses_count_twice():
    pre, post = np.array([0, 3, 3]), np.zeros(3, int)
    assert topo.receptive_fields(graph(pre, post), "ff")[0, 0, 3] == 2
    assert topo.topography(graph(pre, post), "ff").preferred[0].tolist() == [0, 2]


def test_units_without_afferents_are_left_out_not_counted_as_perfect():
    map_ = graph([0, 2, 5], [0, 0, 9], weight=[1, 1, 0])
    found = topo.topography(map_, "ff")
    assert np.isfinite(found.sigma).sum() == 2
    assert found.sigma_aff == pytest.approx((1 / 2 + 0) / 2)
    weightless = topo.topography(map_, "ff", "weight")
    assert np.isfinite(weightless.sigma).sum() == 1
    empty = topo.topography(graph([], []), "ff")
    assert np.isnan(empty.sigma_aff) and np.isnan(empty.ad)


def test_odd_sides_have_no_cell_on_the_border():
    map_ = graph(np.array([0, 1, 4]), np.zeros(3, int), side=5)
    assert topo.topography(map_, "ff").preferred[0].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("populations", "says"),
    [
        ([Population("a", 15, square_sheet(15)), Population("b", 15, square_sheet(15))], "square"),
        ([Population("a", 16, None), Population("b", 16, square_sheet(16))], "square"),
        ([Population("a", 16, square_sheet(16)), Population("b", 16, None)], "no positions"),
    ],
)
def test_populations_without_a_sheet_are_refused_by_name(populations, says):
    n = populations[0].size
    where = Space(populations, [Projection("ff", "a", "b", "spiking", (n, n))])
    with pytest.raises(ValueError, match=says):
        topo.topography(Graph.full(where), "ff")


# -- controls ---------------------------------------------------------------------------------


@pytest.mark.parametrize("multapses", [True, False])
def test_connectivity_control_keeps_counts_and_has_the_kernels_spread(multapses):
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(UNITS), 12)
    pre = (ids + np.tile(np.arange(12), UNITS)) % UNITS
    keep = rng.random(len(ids)) < 0.9
    map_ = graph(pre[keep], ids[keep], multapses=multapses)
    control = topo.connectivity_control(map_, "ff", rng)
    assert (control.sum((1, 2)) == map_.fan_in("target").numpy()).all()
    assert (control.max() > 1) == multapses
    found = topo.locate(control, topo.places(map_, "ff"))
    assert found.sigma_aff == pytest.approx(2.33, abs=0.1)
    assert found.ad < 1.2


def test_connectivity_control_hands_out_each_units_own_weights():
    map_ = kernel_graph(2)
    rng = np.random.default_rng(0)
    control = topo.connectivity_control(map_, "ff", rng, column="weight")
    own = topo.receptive_fields(map_, "ff", "weight")
    assert control.sum((1, 2)) == pytest.approx(own.sum((1, 2)))


def test_weight_control_permutes_within_units_only():
    pre = np.tile(np.arange(3), 2)
    weight = np.array([1, 2, 4, 8, 16, 32])
    map_ = graph(pre, np.repeat([0, 5], 3), weight)
    seen = set()
    for seed in range(20):
        control = topo.weight_control(map_, "ff", np.random.default_rng(seed))
        assert sorted(control[0, 0, :3]) == [1, 2, 4] and sorted(control[5, 0, :3]) == [8, 16, 32]
        assert control.sum() == 63
        seen.add(tuple(control[0, 0, :3]))
    assert len(seen) == 6


def test_a_refined_map_differs_from_its_control_and_an_unrefined_one_does_not():
    rng = np.random.default_rng(3)
    sharp, blunt = kernel_graph(0, sigma=1.6), kernel_graph(0)
    p = {}
    for name, map_ in (("sharp", sharp), ("blunt", blunt)):
        control = topo.locate(topo.connectivity_control(map_, "ff", rng), topo.places(map_, "ff"))
        p[name] = topo.compare(topo.topography(map_, "ff").sigma, control.sigma)
    assert p["sharp"].p < 1e-20 and p["sharp"].mean < 0.75 * p["sharp"].control
    assert p["blunt"].p > 0.01
    assert p["blunt"].units == UNITS


def test_comparing_a_map_with_itself_finds_nothing():
    sigma = topo.topography(kernel_graph(0), "ff").sigma
    assert topo.compare(sigma, sigma) == topo.Comparison(sigma.mean(), sigma.mean(), 1.0, UNITS)


# -- weights and distances --------------------------------------------------------------------


def test_bimodality_tells_two_ends_from_one_hump():
    rng = np.random.default_rng(0)
    ends = topo.bimodality(rng.integers(0, 2, 10_000) * 0.2, 0.2)
    hump = topo.bimodality(rng.normal(0.1, 0.01, 10_000), 0.2)
    flat = topo.bimodality(rng.random(100_000) * 0.2, 0.2)
    assert ends.coefficient == pytest.approx(1, abs=1e-3)
    assert ends.low + ends.high == 1
    assert hump.coefficient == pytest.approx(1 / 3, abs=0.02)
    assert hump.low == hump.high == 0
    assert flat.coefficient == pytest.approx(5 / 9, abs=0.01)
    assert flat.high == pytest.approx(0.1, abs=0.01)
    assert np.isnan(topo.bimodality(np.full(9, 0.2), 0.2).coefficient)
    assert np.isnan(topo.bimodality(np.empty(0), 0.2).high)


def test_distances_wrap():
    map_ = graph([0, SIDE - 1, 8 * SIDE + 8], [0, 0, 0])
    assert topo.distances(map_, "ff") == pytest.approx([0, 1, 8 * 2**0.5], abs=1e-5)


def test_distance_histogram_of_the_full_graph_has_a_synapse_per_pair():
    found = topo.distance_histogram(Graph.full(space(multapses=False)), "ff")
    assert found.synapses.sum() == found.pairs.sum() == UNITS**2
    assert (found.per_pair[found.pairs > 0] == 1).all()
    assert found.pairs[0] == UNITS  # each unit and the cell at its own place


def test_distance_histogram_of_the_kernel_falls_as_the_kernel_does():
    found = topo.distance_histogram(kernel_graph(0), "ff")
    assert found.synapses.sum() == UNITS * FAN_IN
    bin_of = np.digitize(np.sqrt(apart()).ravel(), found.edges) - 1
    law = np.bincount(bin_of, np.exp(-apart().ravel() / 12.5)) / np.bincount(bin_of)
    expected = law * UNITS * FAN_IN / np.exp(-apart() / 12.5).sum()
    assert found.per_pair[:7] == pytest.approx(expected[:7], rel=0.15)


# -- change -----------------------------------------------------------------------------------


def history():
    start = graph([0, 1, 2], [0, 0, 1])
    log = History(start.keys)
    for total, drop, add in ((100, [1], [7]), (1000, [], [9, 9]), (1500, [0, 1], [])):
        clock = Clock(step=total, span=2000, round=0, total=total, dt=1e-3)
        log.note(clock, 0, Edit(drop=torch.tensor(drop), add=torch.tensor(add)))
    return log


def test_turnover_is_per_second_of_simulated_time():
    found = topo.turnover(history(), dt=1e-3, steps=2000, bins=2)
    assert found.edges.tolist() == [0, 1, 2]
    assert found.formed.tolist() == [3, 0]
    assert found.eliminated.tolist() == [1, 2]
    whole = topo.turnover(history(), dt=1e-3, steps=2000)
    assert whole.events.tolist() == [3.0]
    assert topo.turnover(History(torch.arange(3)), dt=1e-3, steps=10).events.tolist() == [0]


def test_synapse_lifetimes_are_in_seconds():
    lives = topo.synapse_lifetimes(history(), dt=1e-3, steps=2000)
    dead = sorted(lives.age[~lives.alive].tolist())
    assert dead == pytest.approx([0.1, 1.4, 1.5])
    assert lives.age[lives.alive].max() == 2.0

"""Densities become exact counts."""

from fractions import Fraction
from math import prod

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rewire.budget import DISTRIBUTIONS, apportion, counts_for, random_graph
from rewire.graph import Population, Projection, Space
from rewire.streams import rng_for

SHAPE = st.one_of(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4), st.integers(1, 4)),
)
LENET = [(300, 784), (100, 300), (10, 100)]


def space_of(shapes):
    """Projections of these shapes; who they join does not matter for counts."""
    a = Population("a", 1)
    kinds = {2: "linear", 3: "conv", 4: "conv"}
    return Space(
        [a], [Projection(f"fc{i}.weight", "a", "a", kinds[len(s)], s) for i, s in enumerate(shapes)]
    )


def shares(shapes, distribution):
    """Edges in proportion to what, from the papers' densities: ERK's is sum / product."""
    if distribution == "uniform":
        return [Fraction(prod(s)) for s in shapes]
    if distribution == "er":
        return [Fraction(s[0] + s[1], s[0] * s[1]) * prod(s) for s in shapes]
    if distribution == "balanced":
        return [Fraction(1) for _ in shapes]
    return [Fraction(sum(s), prod(s)) * prod(s) for s in shapes]


def resolved(shapes, total, distribution):
    """rules.md's procedure, in exact fractions: one epsilon, layers above 1 made dense, again.

    Then every layer keeps at least one edge, paid for by the others.
    """
    share, room = shares(shapes, distribution), [prod(s) for s in shapes]
    pinned = {}
    while True:
        free = [i for i in range(len(shapes)) if i not in pinned]
        if not free:
            return pinned
        epsilon = Fraction(total - sum(pinned.values())) / sum(share[i] for i in free)
        over = [i for i in free if epsilon * share[i] >= room[i]]
        under = [i for i in free if epsilon * share[i] < 1]
        if over:
            pinned |= {i: Fraction(room[i]) for i in over}
        elif under:
            pinned |= {i: Fraction(1) for i in under}
        else:
            return pinned | {i: epsilon * share[i] for i in free}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@given(shapes=st.lists(SHAPE, min_size=1, max_size=6), density=st.floats(1e-3, 1.0))
def test_totals_are_exact_and_each_count_is_its_share_to_rounding(distribution, shapes, density):
    space = space_of(shapes)
    total = round(density * space.possible)
    assume(total >= len(shapes))
    counts = counts_for(space, density, distribution)
    assert sum(counts) == total
    assert all(1 <= n <= prod(s) for n, s in zip(counts, shapes, strict=True))
    exact = resolved(shapes, total, distribution)
    for i, n in enumerate(counts):
        assert abs(n - exact[i]) <= 1 + 1e-9


def test_erk_gives_lenet_the_counts_of_the_formula():
    """epsilon = 13310 / (1084 + 400 + 110); no layer is full at 5 %."""
    counts = counts_for(space_of(LENET), 0.05, "erk")
    assert sum(counts) == 13310
    epsilon = 13310 / 1594
    exact = [epsilon * n for n in (1084, 400, 110)]
    assert [round(x) for x in exact] == counts == [9051, 3340, 919] or all(
        abs(a - b) < 1 for a, b in zip(exact, counts, strict=True)
    )


def test_a_layer_that_erk_would_overfill_is_dense_and_pays_for_itself():
    counts = counts_for(space_of(LENET), 0.2, "erk")
    assert counts[2] == 1000 and sum(counts) == 53240
    assert counts[0] / counts[1] == pytest.approx(1084 / 400, rel=1e-3)


def test_uniform_gives_every_layer_the_density():
    assert counts_for(space_of(LENET), 0.1, "uniform") == [23520, 3000, 100]
    assert counts_for(space_of(LENET), 1.0, "erk") == [235200, 30000, 1000]


def test_balanced_gives_every_layer_as_many_edges_and_fills_small_ones():
    assert counts_for(space_of(LENET), 0.01, "balanced") == [888, 887, 887]
    assert counts_for(space_of(LENET), 0.05, "balanced") == [6155, 6155, 1000]


@given(st.data())
def test_apportion_adds_up_within_room(data):
    room = data.draw(st.lists(st.integers(1, 50), min_size=1, max_size=8))
    share = data.draw(st.lists(st.floats(0, 1e6), min_size=len(room), max_size=len(room)))
    total = data.draw(st.integers(len(room), sum(room)))
    counts = apportion(share, total, room)
    assert sum(counts) == total
    assert all(1 <= n <= r for n, r in zip(counts, room, strict=True))
    assert counts == apportion(share, total, room)


def test_full_layers_leave_the_others_the_edge_that_each_keeps():
    """Sharing out to the full layer first once gave 4 edges of 3."""
    assert apportion([0.0, 0.0, 1.0], 3, [1, 1, 2]) == [1, 1, 1]
    assert apportion([1.0, 1.0, 1e-9], 50, [5, 5, 100]) == [5, 5, 40]


def test_a_larger_share_never_gets_less():
    room = [100] * 5
    for total in range(5, 500, 13):
        counts = apportion([1.0, 2.0, 2.5, 7.0, 30.0], total, room)
        assert counts == sorted(counts)


def test_density_tables_name_projections_by_pattern():
    space = space_of(LENET)
    assert counts_for(space, None, {"fc0": 0.01, "fc1.weight": 0.03, "fc2": 0.3}) == [
        2352, 900, 300,
    ]  # fmt: skip  # DEEP R's 3552 of 266200
    assert counts_for(space, None, {"fc2": 1.0, "*": 0.5}) == [117600, 15000, 1000]
    assert counts_for(space, None, {"*": 1e-9}) == [1, 1, 1]
    assert counts_for(space, None, [5, 6, 7]) == [5, 6, 7]
    assert counts_for(space, 18 / 266200, [5, 6, 7]) == [5, 6, 7]  # which comes to that density


@pytest.mark.parametrize(
    ("density", "distribution", "message"),
    [
        (0.0, "erk", r"density 0.0 is not in \(0, 1\]: it is the fraction of possible edges kept"),
        (1.5, "uniform", r"density 1.5 is not in \(0, 1\]"),
        (None, "erk", "density None is not in"),
        (float("nan"), "erk", "density nan is not in"),
        (0.1, "ERK", "distribution 'ERK' is not known; it is one of uniform, er, erk"),
        (None, {"fc0": 0.5}, "projection 'fc1.weight' needs a density in .* the table gives None"),
        (None, {"*": 2.0}, "the table gives 2.0"),
        (None, {"*": 0.5, "fc7": 0.5}, "'fc7' names no projection; there are fc0.weight"),
        (0.5, [5, 6, 7], "density=0.5 asks for 133,100 of .* edges, .* comes to 18"),
        (0.5, {"*": 0.1}, "density=0.5 asks for .* leave one of the two out"),
        (None, [1, 2], r"counts \[1, 2\] do not fit projections of sizes"),
        (None, [1, 2, 1001], "do not fit"),
        (1e-6, "erk", "cannot give 3 projections 0 edges in all: each keeps at least one"),
    ],
)
def test_what_cannot_be_is_refused(density, distribution, message):
    with pytest.raises(ValueError, match=message):
        counts_for(space_of(LENET), density, distribution)


def test_a_random_graph_has_exactly_its_counts():
    space = space_of([(7, 5), (3, 4, 2, 2), (2, 2)])
    for counts in ([1, 1, 1], [35, 48, 4], [20, 3, 0]):
        graph = random_graph(space, counts, rng_for(0, "topology"))
        assert graph.counts().tolist() == counts
        assert (graph.keys.diff() > 0).all()
    assert torch.equal(
        random_graph(space, [9, 9, 2], rng_for(1, "t")).keys,
        random_graph(space, [9, 9, 2], rng_for(1, "t")).keys,
    )

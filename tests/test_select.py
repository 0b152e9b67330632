"""Selectors: exact counts, ties by row, uniform draws, stable signs."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from rewire.graph import Graph, Population, Projection, Space
from rewire.select.choose import counts_by, groups, largest, smallest
from rewire.select.grow import sample_absent
from rewire.select.pairs import pair_hash, pair_sign
from rewire.streams import rng_for

SCORES = st.lists(
    st.sampled_from([0.0, -0.0, 1.0, 1.0, 2.5, -3.0, float("inf"), float("-inf")]), max_size=30
)


def space_of(*sizes):
    """Projections of these many keys."""
    a = Population("a", 1)
    return Space(
        [a], [Projection(f"p{i}", "a", "a", "linear", (n, 1)) for i, n in enumerate(sizes)]
    )


def by_sorting(scores, k, sign=1.0):
    return sorted(sorted(range(len(scores)), key=lambda i: (sign * scores[i], i))[:k])


@given(SCORES, st.data())
def test_smallest_and_largest_are_exact_with_ties(scores, data):
    """Also with zeros of both signs, infinities, k = 0 and k = n: as a stable sort says."""
    k = data.draw(st.integers(0, len(scores)))
    values = torch.tensor(scores)
    assert smallest(values, k).tolist() == by_sorting(scores, k)
    assert largest(values, k).tolist() == by_sorting(scores, k, -1.0)


@given(SCORES, st.data())
def test_each_group_gives_exactly_its_count(scores, data):
    n = len(scores)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2)))
    ranges = list(zip([0, *cuts], [*cuts, n], strict=True))
    k = [data.draw(st.integers(0, hi - lo)) for lo, hi in ranges]
    expected = [
        lo + row for n_g, (lo, hi) in zip(k, ranges, strict=True)
        for row in by_sorting(scores[lo:hi], n_g)
    ]  # fmt: skip
    values = torch.tensor(scores)
    assert smallest(values, k, ranges).tolist() == expected
    numbers = torch.repeat_interleave(torch.arange(3), torch.tensor([hi - lo for lo, hi in ranges]))
    assert smallest(values, k, numbers).tolist() == expected


def test_groups_by_number_may_lie_anywhere_and_may_be_empty():
    scores = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0])
    group = torch.tensor([2, 0, 2, 0, 2])
    assert smallest(scores, [1, 0, 2], group).tolist() == [1, 2, 4]
    assert smallest(scores, [1, 0, 2, 0], group).tolist() == [1, 2, 4]  # the last unit is dead
    nobody = torch.empty(0, dtype=torch.int64)
    assert smallest(torch.empty(0), [0, 0], nobody).tolist() == []


def test_all_equal_scores_give_the_first_rows():
    """open_lth deletes the whole layer here."""
    assert smallest(torch.zeros(100), 20).tolist() == list(range(20))
    assert largest(torch.ones(100), 20).tolist() == list(range(20))


def test_nan_is_refused_by_name_wherever_it_hides():
    scores = torch.tensor([1.0, float("inf"), float("nan"), float("-inf")])
    for choose in (smallest, largest):
        with pytest.raises(ValueError, match=r"\|w\| is NaN at 1 of 4 places \(first: row 2\)"):
            choose(scores, 1, what="|w|")
    assert smallest(torch.tensor([float("inf"), float("-inf")]), 1).tolist() == [1]


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="cannot choose the 3 smallest by score of 2 edges"):
        smallest(torch.zeros(2), 3)
    with pytest.raises(ValueError, match="cannot choose the -1 smallest"):
        smallest(torch.zeros(2), -1)
    with pytest.raises(ValueError, match="1 counts were given for 2 groups"):
        smallest(torch.zeros(4), 1, [(0, 2), (2, 4)])
    with pytest.raises(ValueError, match="2 counts were given for 1 groups"):
        smallest(torch.zeros(4), [1, 2])
    with pytest.raises(ValueError, match=r"of 1 edges \(group 1\)"):
        smallest(torch.zeros(3), [1, 2], torch.tensor([0, 0, 1]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64])
def test_scores_of_any_type_are_ranked(dtype):
    assert smallest(torch.tensor([3, 1, 2]).to(dtype), 2).tolist() == [1, 2]


def test_groups_are_projections_or_everything():
    graph = Graph(space_of(5, 5), torch.tensor([0, 1, 7]))
    assert groups(graph, "layer") == [(0, 2), (2, 3)]
    assert groups(graph, "global") == [(0, 3)]
    with pytest.raises(ValueError, match="must be 'layer' or 'global', got 'local'"):
        groups(graph, "local")
    assert counts_by(torch.tensor([0, 2]), groups(graph, "layer")) == [1, 1]


# -- absent synapses --------------------------------------------------------------------------


@given(st.data())
def test_absent_keys_are_free_distinct_sorted_and_exactly_as_many(data):
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    space = space_of(*sizes)
    bits = data.draw(st.lists(st.booleans(), min_size=sum(sizes), max_size=sum(sizes)))
    graph = Graph(space, torch.tensor(bits).nonzero().squeeze(1))
    leaving = data.draw(st.lists(st.booleans(), min_size=len(graph), max_size=len(graph)))
    without = torch.tensor(leaving, dtype=torch.bool).nonzero().squeeze(1)
    stays = set(graph.keys.tolist()) - set(graph.keys[without].tolist())
    free = [sum(k not in stays for k in range(lo, hi))
            for lo, hi in zip(space.bounds, space.bounds[1:], strict=False)]  # fmt: skip
    k = [data.draw(st.integers(0, n)) for n in free]
    rng = rng_for(data.draw(st.integers(0, 99)), "test")
    drawn = sample_absent(graph, k, rng, without=without)
    assert (drawn.diff() > 0).all()
    assert not stays & set(drawn.tolist())
    per = torch.bincount(space.which(drawn), minlength=len(sizes)).tolist()
    assert per == k
    anywhere = sample_absent(graph, sum(free), rng, without=without)
    assert sorted(stays | set(anywhere.tolist())) == list(range(space.possible))


@pytest.mark.parametrize(
    ("possible", "edges", "k"),
    [(40, 10, 4), (40, 34, 3), (40, 4, 30)],
    ids=["by drawing again", "near full", "nearly all that is free"],
)
def test_absent_keys_are_uniform(possible, edges, k):
    """Chi-square over the free keys at p = 0.001, corrected for draws without replacement."""
    graph = Graph(space_of(possible), torch.arange(edges) * (possible // edges))
    free = sorted(set(range(possible)) - set(graph.keys.tolist()))
    runs = 3000
    counts = Counter()
    for seed in range(runs):
        counts.update(sample_absent(graph, k, rng_for(seed, "uniform")).tolist())
    assert set(counts) <= set(free)
    expected = runs * k / len(free)
    statistic = sum((counts[f] - expected) ** 2 for f in free) / expected
    statistic *= (len(free) - 1) / (len(free) - k)  # k distinct of n vary less than k draws
    low, high = chi2.ppf([0.0005, 0.9995], len(free) - 1)
    assert low < statistic < high


def test_pairs_of_absent_keys_are_uniform():
    """Every pair of 6 free keys equally often: the keys are drawn independently, too."""
    graph = Graph(space_of(12), torch.arange(6))
    counts = Counter(
        tuple(sample_absent(graph, 2, rng_for(s, "pairs")).tolist()) for s in range(3000)
    )
    assert len(counts) == 15
    statistic = sum((n - 200) ** 2 for n in counts.values()) / 200
    assert statistic < chi2.ppf(0.999, 14)


def test_edges_about_to_go_may_come_back():
    graph = Graph.full(space_of(10, 10))
    without = torch.tensor([3, 14])
    drawn = sample_absent(graph, [1, 1], rng_for(0, "t"), without=without)
    assert drawn.tolist() == [3, 14]
    with pytest.raises(ValueError, match=r"cannot add 2 edges to keys \[0, 10\): only 1 are free"):
        sample_absent(graph, [2, 0], rng_for(0, "t"), without=without)


def test_a_pair_with_several_synapses_is_free_only_when_all_of_them_go():
    space = Space([Population("a", 2)], [Projection("p", "a", "a", "spiking", (2, 2), True)])
    graph = Graph(space, torch.tensor([0, 1, 1, 1, 3]))
    for leaving, free in (([1], [2]), ([1, 3], [2]), ([1, 2, 3], [1, 2]), ([0], [0, 2])):
        drawn = sample_absent(graph, len(free), rng_for(1, "t"), without=torch.tensor(leaving))
        assert drawn.tolist() == free
        with pytest.raises(ValueError, match=f"only {len(free)} are free"):
            sample_absent(graph, len(free) + 1, rng_for(1, "t"), without=torch.tensor(leaving))


def test_multapses_by_drawing_again_avoid_what_stays():
    space = Space([Population("a", 10)], [Projection("p", "a", "a", "spiking", (10, 10), True)])
    graph = Graph(space, torch.tensor([7] * 5 + [50] * 3))
    without = torch.tensor([0, 1, 2, 3, 5, 6, 7])  # all of pair 50, all but one of pair 7
    drawn = set()
    for seed in range(150):
        drawn |= set(sample_absent(graph, 10, rng_for(seed, "t"), without=without).tolist())
    assert drawn == set(range(100)) - {7}


def test_below_half_density_absent_positions_are_never_listed():
    """A thousand edges of a space of 1e9 keys, some about to go: under 4 MB."""
    space = space_of(700_000_000, 300_000_000)
    graph = Graph(space, torch.arange(1000) * 900_001)
    tracemalloc.start()
    drawn = sample_absent(graph, [500, 500], rng_for(0, "big"), without=torch.arange(100))
    anywhere = sample_absent(graph, 1000, rng_for(0, "big"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6
    assert len(drawn) == len(anywhere) == 1000
    assert not graph.find(anywhere)[1].any()
    assert graph.space.which(drawn).bincount().tolist() == [500, 500]


def test_the_same_stream_draws_the_same_keys_and_another_draws_others():
    graph = Graph.empty(space_of(1000))
    draw = [sample_absent(graph, 20, rng_for(*a)).tolist() for a in ((0, "a"), (0, "a"), (1, "a"),
            (0, "b"))]  # fmt: skip
    assert draw[0] == draw[1] != draw[2] and draw[0] != draw[3]
    assert sample_absent(graph, 0, rng_for(0, "a")).tolist() == []


# -- signs ------------------------------------------------------------------------------------


def test_pair_signs_have_golden_values():
    """Written once: a change of these is a change of every stored run."""
    keys = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 10**9, 2**40])
    assert pair_sign(keys, 0).tolist() == [-1, -1, -1, -1, 1, 1, -1, -1, 1, -1]
    assert pair_sign(keys, 1).tolist() == [-1, 1, -1, -1, -1, 1, -1, -1, -1, 1]
    assert pair_sign(keys, 0).dtype == torch.int8


def splitmix64(x):
    """The published generator (Steele, Lea & Flood 2014), in whole numbers of Python."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def test_the_hash_of_a_pair_is_splitmix64_of_key_and_seed():
    for seed in (0, 1, 12345, 2**40):
        for key in (0, 1, 99, 2**50):
            z = (key + 0x9E3779B97F4A7C15 * (2 * seed + 1)) % 2**64
            assert int(pair_hash(torch.tensor([key]), seed)) == splitmix64(z) >> 1


def test_pair_signs_are_fair_and_independent_of_neighbours_and_seeds():
    n = 200_000
    keys = torch.arange(n)
    signs = pair_sign(keys, 7).float()
    bound = 4 / n**0.5  # four standard deviations of a mean of +-1
    assert abs(signs.mean()) < bound
    assert abs((signs[1:] * signs[:-1]).mean()) < bound
    assert abs((signs * pair_sign(keys, 8)).mean()) < bound
    assert abs((signs[: n // 2] * signs[n // 2 :]).mean()) < bound


def test_a_sign_depends_on_its_own_key_alone():
    keys = torch.arange(1000)
    some = torch.from_numpy(np.random.default_rng(0).permutation(1000)[:50])
    assert torch.equal(pair_sign(keys, 3)[some], pair_sign(some, 3))

"""Growth under a cap on fan-in: exact counts, fair among units with room, none above its slots."""

import numpy as np
import pytest
import torch

import rewire
from rewire.graph import Edit, Graph, Population, Projection, Space
from rewire.signals import Signals


def space(slots=4, multapses=False):
    return Space(
        [Population("in", 12), Population("out", 6, slots=slots)],
        [
            Projection("ff", "in", "out", "spiking", (6, 12), multapses),
            Projection("lat", "out", "out", "spiking", (6, 6), multapses),
        ],
    )


def crowded(fan_in, slots=4):
    """Unit j holds the first fan_in[j] of its feed-forward pairs."""
    keys = torch.tensor([12 * j + i for j, n in enumerate(fan_in) for i in range(n)])
    return Graph(space(slots), keys)


def test_only_units_with_free_slots_gain_and_counts_are_exact():
    graph = crowded([4, 4, 3, 0, 2, 4])
    for seed in range(50):
        add = rewire.sample_absent(graph, [3, 4], rewire.rng_for(seed, "grow"))
        assert len(add) == 7 and (add.diff() > 0).all() and not graph.find(add)[1].any()
        after = graph.apply(Edit(add=add))  # refuses an overflow
        assert after.counts().tolist() == [len(graph) + 3, 4]
        assert after.fan_in("out")[[0, 1, 5]].tolist() == [4, 4, 4]


def test_slots_about_to_be_free_count_as_free_and_a_dropped_pair_may_return():
    graph = crowded([4, 4, 4, 4, 4, 4])
    drop = torch.tensor([0, 1])
    drawn = set()
    for seed in range(200):
        add = rewire.sample_absent(graph, 2, rewire.rng_for(seed, "grow"), without=drop)
        graph.apply(Edit(drop=drop, add=add))
        drawn |= set(add.tolist())
    assert {0, 1} <= drawn
    ff_of_unit_0, lateral_of_unit_0 = {*range(2), *range(4, 12)}, set(range(72, 78))
    assert drawn == ff_of_unit_0 | lateral_of_unit_0


def test_the_last_free_slot_is_found_and_one_more_is_refused():
    graph = crowded([4, 4, 4, 4, 4, 3])
    (key,) = rewire.sample_absent(graph, [1, 0], rewire.rng_for(0, "grow")).tolist()
    assert 60 <= key < 72
    with pytest.raises(ValueError, match="cannot add 1 of 2 edges .* have their slots full"):
        rewire.sample_absent(graph, [1, 1], rewire.rng_for(0, "grow"))


def test_draws_are_uniform_over_the_pairs_of_units_with_room():
    graph = crowded([4, 4, 0, 0, 4, 4])
    count = np.zeros(graph.possible)
    for seed in range(3000):
        count[rewire.sample_absent(graph, 1, rewire.rng_for(seed, "grow")).numpy()] += 1
    open_ = np.concatenate([np.arange(24, 48), np.arange(84, 96)])
    assert count.sum() == count[open_].sum() == 3000
    expected = 3000 / len(open_)
    assert ((count[open_] - expected) ** 2 / expected).sum() < 67  # chi-square, 35 d.o.f., .999


def orders(graph, k, free):
    """Every set of ``k`` feed-forward keys that a fair walk can take, and its probability."""
    allowed = [key for key in range(72) if key not in graph.keys and free[key // 12] > 0]
    if not k:
        return {frozenset(): 1.0}
    out = {}
    for key in allowed:
        less = [n - (unit == key // 12) for unit, n in enumerate(free)]
        after = graph.apply(Edit(add=torch.tensor([key])))
        for rest, p in orders(after, k - 1, less).items():
            out[rest | {key}] = out.get(rest | {key}, 0.0) + p / len(allowed)
    return out


@pytest.mark.parametrize("multapses", [False, True])
def test_sets_of_two_are_as_likely_as_in_a_fair_walk(multapses):
    """Unit 2 takes one, unit 3 one or two: sets are not alike in their chances."""
    keys = crowded([4, 4, 3, 2, 4, 4]).keys
    expected = orders(Graph(space(), keys), 2, [0, 0, 1, 2, 0, 0])
    graph = Graph(space(multapses=multapses), keys)
    assert len(expected) == 9 * 10 + 45 and sum(expected.values()) == pytest.approx(1)
    count, n = dict.fromkeys(expected, 0), 8000
    for seed in range(n):
        add = rewire.sample_absent(graph, [2, 0], rewire.rng_for(seed, "walk"))
        count[frozenset(add.tolist())] += 1
    chi = sum((count[s] - n * p) ** 2 / (n * p) for s, p in expected.items())
    assert chi < 190  # 134 d.o.f., .999


class Blind(rewire.streams.Stream):
    """A stream that cannot permute a list."""

    numpy = property(lambda self: pytest.fail("absent pairs were listed"))


def test_few_free_slots_among_many_full_ones_are_found_without_a_list():
    n, slots = 256, 32
    sheet = Space(
        [Population("in", n), Population("out", n, slots=slots)],
        [Projection("ff", "in", "out", "spiking", (n, n), True),
         Projection("lat", "out", "out", "spiking", (n, n), True)],
    )  # fmt: skip
    first = np.arange(n)[:, None] * n + np.arange(16)
    full = Graph(sheet, torch.from_numpy(np.concatenate([first.ravel(), n * n + first.ravel()])))
    assert (full.fan_in("out") == slots).all()
    for seed in range(100):
        drop = rewire.rng_for(seed, "drop").permutation(len(full))[:5].sort().values
        k = [int((drop < 4096).sum()), int((drop >= 4096).sum())]
        add = rewire.sample_absent(full, k, Blind(seed, "blind", 0), without=drop)
        after = full.apply(Edit(drop=drop, add=add))
        assert after.counts().tolist() == [4096, 4096] and (after.fan_in("out") == slots).all()


def test_the_last_absent_pair_is_found_where_slots_abound():
    keys = torch.tensor([key for key in range(72) if key != 41])
    graph = Graph(space(slots=20), keys)
    for seed in range(20):
        assert rewire.sample_absent(graph, [1, 0], rewire.rng_for(seed, "last")).tolist() == [41]
    with pytest.raises(ValueError, match="cannot add 1 of 2 edges to keys .0, 72."):
        rewire.sample_absent(graph, [2, 0], rewire.rng_for(0, "last"))


def test_pairs_that_are_not_stored_by_unit_respect_slots_too():
    words = Space(
        [Population("words", 9), Population("out", 5, slots=2)],
        [Projection("embed", "words", "out", "embedding", (9, 5))],
    )
    graph = Graph(words, torch.tensor([0, 5, 1, 6, 2]).sort().values)  # units 0 and 1 are full
    count = np.zeros(45)
    for seed in range(2000):
        (key,) = rewire.sample_absent(graph, 1, rewire.rng_for(seed, "embed")).tolist()
        count[key] += 1
    open_ = [key for key in range(45) if key % 5 > 1 and key != 2]
    assert count[open_].sum() == 2000
    assert ((count[open_] - 2000 / 26) ** 2 / (2000 / 26)).sum() < 53  # 25 d.o.f., .999
    assert len(rewire.sample_absent(graph, 5, rewire.rng_for(0, "embed"))) == 5  # all that fit


def signals(graph, scores):
    world = rewire.Bare(graph.space, pairs={"growth": lambda keys: scores[keys]})
    return Signals(world, graph)


@pytest.mark.parametrize("wide", [False, True])
def test_the_largest_under_the_cap_are_those_of_a_greedy_walk(wide):
    g = torch.Generator().manual_seed(3)
    for _ in range(30):
        fan_in = torch.randint(0, 5, (6,), generator=g).tolist()
        graph = crowded(fan_in)
        scores = torch.randint(0, 9, (graph.possible,), generator=g).float()  # many ties
        free = [4 - n for n in fan_in]
        k = 3 if wide else [2, 2]
        if sum(free) < 4:
            continue
        try:
            grown = signals(graph, scores).largest("growth", k).tolist()
        except ValueError:
            assert not wide  # the first projection has taken the last slots
            continue
        expected = []
        for lo, hi, n in [(0, 108, 3)] if wide else [(0, 72, 2), (72, 108, 2)]:
            for key in sorted(range(lo, hi), key=lambda key: (-scores[key], key)):
                unit = key // 12 if key < 72 else (key - 72) // 6
                if n and free[unit] and key not in graph.keys:
                    free[unit] -= 1
                    n -= 1
                    expected.append(key)
        assert sorted(grown) == sorted(expected)


def test_a_score_that_is_not_a_number_is_refused():
    scores = torch.zeros(108)
    scores[50] = torch.nan
    with pytest.raises(ValueError, match="'growth' is NaN at 1 of 72"):
        signals(crowded([1] * 6), scores).largest("growth", [1, 0])

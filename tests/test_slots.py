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
    seen = set()
    for seed in range(200):
        add = rewire.sample_absent(graph, 2, rewire.rng_for(seed, "grow"), without=drop)
        graph.apply(Edit(drop=drop, add=add))
        seen |= set(add.tolist())
    assert {0, 1} <= seen
    ff_of_unit_0, lateral_of_unit_0 = {*range(2), *range(4, 12)}, set(range(72, 78))
    assert seen == ff_of_unit_0 | lateral_of_unit_0


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
            got = signals(graph, scores).largest("growth", k).tolist()
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
        assert sorted(got) == sorted(expected)


def test_a_score_that_is_not_a_number_is_refused():
    scores = torch.zeros(108)
    scores[50] = torch.nan
    with pytest.raises(ValueError, match="'growth' is NaN at 1 of 72"):
        signals(crowded([1] * 6), scores).largest("growth", [1, 0])

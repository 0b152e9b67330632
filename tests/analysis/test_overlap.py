import math
from itertools import combinations

import numpy as np
import pytest
import torch

from rewire.analysis.overlap import WHOLE, overlap, pairwise

PROJECTIONS = [("fc1", 6), ("fc2", 4)]


def test_counts_and_jaccard_per_projection_and_whole():
    fc1, fc2, whole = overlap([0, 1, 2, 7], [1, 2, 3, 7, 9], PROJECTIONS)
    assert (fc1.edges_a, fc1.edges_b, fc1.shared, fc1.jaccard) == (3, 3, 2, 2 / 4)
    assert (fc2.edges_a, fc2.edges_b, fc2.shared, fc2.jaccard) == (1, 2, 1, 1 / 2)
    assert (whole.name, whole.shared, whole.possible) == (WHOLE, 3, 10)
    assert whole.jaccard == 3 / 6
    assert (fc1.hamming, fc2.hamming, whole.hamming) == (2, 1, 3)


def test_expectation_and_deviation_equal_an_enumeration_of_all_masks():
    one, n_a, n_b, possible = [0, 1, 2], 3, 2, 6
    shared = [len({*one} & {*other}) for other in combinations(range(possible), n_b)]
    found = overlap(one, [0, 1], [("p", possible)])[0]
    assert found.expected == pytest.approx(np.mean(shared)) == n_a * n_b / possible
    differing = [len({*one} ^ {*other}) for other in combinations(range(possible), n_b)]
    assert found.expected_hamming == pytest.approx(np.mean(differing))
    assert found.deviation == pytest.approx(np.std(shared))


def test_chance_over_the_whole_keeps_each_projections_counts():
    rng = np.random.default_rng(0)
    sizes = [("wide", 4000), ("narrow", 100)]

    def draw() -> np.ndarray:
        return np.sort(
            np.concatenate(
                [rng.choice(4000, 80, replace=False), 4000 + rng.choice(100, 50, replace=False)]
            )
        )

    drawn = [overlap(draw(), draw(), sizes)[-1] for _ in range(400)]
    expected, deviation = drawn[0].expected, drawn[0].deviation
    assert expected == 80 * 80 / 4000 + 50 * 50 / 100
    shared = np.array([o.shared for o in drawn])
    assert abs(shared.mean() - expected) < 4 * deviation / 20
    assert shared.std() == pytest.approx(deviation, rel=0.15)
    assert np.mean([o.jaccard for o in drawn]) == pytest.approx(drawn[0].expected_jaccard, rel=0.02)


def test_a_mask_with_itself_and_with_its_complement():
    same = overlap(torch.arange(3), torch.arange(3), PROJECTIONS)[-1]
    assert (same.jaccard, same.shared) == (1.0, 3)
    other = overlap([0, 1, 2], [3, 4, 5], PROJECTIONS)[0]
    assert (other.jaccard, other.against_chance) == (0.0, 0.0)
    assert other.z < 0


def test_empty_masks_have_no_ratio_and_full_masks_no_spread():
    assert math.isnan(overlap([], [], PROJECTIONS)[-1].jaccard)
    assert math.isnan(overlap([], [1], PROJECTIONS)[0].against_chance)
    full = overlap(range(6), range(6), PROJECTIONS)[0]
    assert (full.expected, full.deviation, full.against_chance) == (6, 0, 1)


def test_parallel_edges_count_once():
    assert overlap([1, 1, 2], [1, 2, 2], PROJECTIONS)[0].jaccard == 1


@pytest.mark.parametrize("keys", [[0, 10], [-1, 2]])
def test_keys_outside_are_refused(keys):
    with pytest.raises(ValueError, match="outside the projections, which hold 0 to 9"):
        overlap(keys, [1], PROJECTIONS)


def test_pairwise_is_overlap_of_every_pair():
    rng = np.random.default_rng(0)
    sizes = [("a", 50), ("b", 30), ("c", 5)]
    masks = [np.sort(rng.choice(85, k, replace=False)) for k in (40, 20, 3, 0)]
    found = pairwise(masks, sizes)
    assert found.names == ("a", "b", "c", WHOLE)
    for i, one in enumerate(masks):
        for j, other in enumerate(masks):
            for part, expected in enumerate(overlap(one, other, sizes)):
                assert found.shared[part, i, j] == expected.shared
                assert found.expected[part, i, j] == pytest.approx(expected.expected)
                for name in ("jaccard", "against_chance"):
                    value = getattr(found, name)[part, i, j]
                    assert value == pytest.approx(getattr(expected, name), nan_ok=True)

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from rewire.experiments import compare, statistics
from rewire.experiments.compare import Point, contrast, contrasts, points, summarise


def row(label, seed, accuracy, density=0.05, requested=0.05, level=0, **more):
    return {
        "label": label, "rule": label, "seed": seed, "level": level, "density": density,
        "requested_density": requested, "edges": round(density * 1000), "possible": 1000,
        "test_accuracy": accuracy, **more,
    }  # fmt: skip


def dense(seed, accuracy):
    return row("Dense", seed, accuracy, density=1.0, requested=None)


# --- points ---


def test_points_match_on_the_density_asked_for_not_the_one_achieved():
    rows = [row("SET", 0, 0.9, density=0.0501), row("SET", 1, 0.9, density=0.0497)]
    (point,) = points(rows)["SET"]
    assert point.seeds == (0, 1)
    assert point.density == pytest.approx(0.0499)
    assert point.requested == 0.05


def test_rungs_of_a_ladder_are_points_of_their_own():
    ladder = [
        row("IMP", s, 0.9, density=d, requested=r, level=level)
        for s in (0, 1)
        for level, (d, r) in enumerate([(1.0, None), (0.5, None), (0.05, 0.05)])
    ]
    found = points(reversed(ladder))["IMP"]
    assert [(p.requested, p.level, p.seeds) for p in found] == [
        (None, 0, (0, 1)),
        (None, 1, (0, 1)),
        (0.05, 2, (0, 1)),
    ]
    assert compare.requested_densities({"IMP": found}) == [0.05]


def test_two_rows_of_one_seed_are_refused():
    with pytest.raises(ValueError, match=r"'SET' has 2 rows for seed 0 at density 0.05"):
        points([row("SET", 0, 0.9), row("SET", 0, 0.8)])


def test_dense_stands_beside_every_density_and_other_points_do_not():
    by_label = points([dense(0, 0.9), row("SET", 0, 0.8)])
    assert compare.is_dense(by_label["Dense"])
    assert compare.at_density(by_label["Dense"], 0.2) is by_label["Dense"][0]
    assert compare.at_density(by_label["SET"], 0.2) is None


# --- summaries ---


def test_summary_is_bca_and_never_leaves_the_seeds():
    x = [0.93, 0.94, 0.945, 0.951, 0.96, 0.93]
    found = summarise(x)
    expected = stats.bootstrap(
        (x,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    assert (found.n, found.mean, found.method) == (6, pytest.approx(np.mean(x)), "BCa")
    assert (found.low, found.high) == (expected.low, expected.high)
    assert min(x) <= found.low < found.mean < found.high <= max(x)
    assert summarise(x) == found


def test_one_seed_has_no_interval_and_says_so():
    found = summarise([0.9])
    assert (found.low, found.high, found.deviation) == (None, None, None)
    assert found.method == "one seed: no interval"


def test_equal_seeds_and_no_seeds():
    assert (summarise([0.9, 0.9, 0.9]).low, summarise([0.9, 0.9, 0.9]).high) == (0.9, 0.9)
    assert summarise([]).n == 0
    assert math.isnan(summarise([]).mean)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_seeds_give_finite_intervals(n):
    found = summarise(np.linspace(0.9, 0.91, n))
    assert found.low < found.mean < found.high


def test_coverage_is_that_of_the_range_of_a_symmetric_sample():
    draws = np.random.default_rng(0).normal(size=(20_000, 3))
    held = ((draws.min(1) < 0) & (draws.max(1) > 0)).mean()
    assert held == pytest.approx(statistics.coverage(3), abs=0.01)


# --- contrasts ---


def pair(differences, base=0.9):
    rows = [row("A", s, base + d + 0.01 * s) for s, d in enumerate(differences)]
    rows += [row("B", s, base + 0.01 * s) for s in range(len(differences))]
    return rows


def test_contrast_pairs_by_seed_with_students_interval():
    d = [0.010, 0.014, 0.020, 0.008]
    (made,) = contrasts(pair(d), [("A", "B")])
    oracle = stats.ttest_1samp(d, 0).confidence_interval()
    assert made.differences == pytest.approx(d)
    assert (made.low, made.high) == (pytest.approx(oracle.low), pytest.approx(oracle.high))
    assert made.deviation == pytest.approx(np.std(d, ddof=1))


def test_contrast_takes_only_seeds_that_both_have():
    a = points([row("A", s, 0.9 + 0.01 * s) for s in (0, 1, 2)])["A"][0]
    b = points([row("B", s, 0.9) for s in (2, 1, 7)])["B"][0]
    made = contrast(a, b, 0.05)
    assert made.seeds == (1, 2)
    assert made.differences == pytest.approx((0.01, 0.02))
    with pytest.raises(ValueError, match="share no seed at density 0.05"):
        contrast(a, Point("C", "C", 0.05, 0, (row("C", 9, 0.9),)), 0.05)


def test_hedges_g_and_its_interval_invert_the_noncentral_t():
    d = np.array([0.010, 0.014, 0.020, 0.008, 0.012])
    g, low, high = statistics.hedges_g(d)
    correction = 1 - 3 / (4 * 4 - 1)
    assert g == pytest.approx(d.mean() / d.std(ddof=1) * correction, rel=0.01)
    t = stats.ttest_1samp(d, 0).statistic
    exact = g / (t / 5**0.5)
    assert stats.nct.cdf(t, 4, low / exact * 5**0.5) == pytest.approx(0.975, abs=1e-4)
    assert stats.nct.cdf(t, 4, high / exact * 5**0.5) == pytest.approx(0.025, abs=1e-4)
    mirrored = statistics.hedges_g(-d)
    assert mirrored == pytest.approx((-g, -high, -low))


def test_hedges_g_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth, held = 0.8, []
    for _ in range(800):
        g, low, high = statistics.hedges_g(rng.normal(truth, 1, size=6))
        scale = math.exp(math.lgamma(2.5) - math.lgamma(2)) / 2.5**0.5
        held.append(low < truth * scale < high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.025)


def test_sign_flip_test_is_exact():
    d = np.array([0.01, 0.02, -0.004, 0.03, 0.011, 0.006, 0.002])
    flipped = [abs(np.mean(d * s)) for s in itertools.product([1, -1], repeat=7)]
    assert statistics.sign_flip_test(d) == pytest.approx(
        np.mean(np.array(flipped) >= abs(d.mean()) - 1e-12)
    )


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.5, 0.9]) == [1.0, 1.0]
    assert statistics.holm([]) == []


@pytest.mark.parametrize(("n", "tested"), [(5, False), (6, True)])
def test_no_claim_below_six_seeds_however_clear(n, tested):
    (made,) = contrasts(pair(0.2 + 0.001 * np.arange(n)), [("A", "B")])
    assert (made.p is not None) == tested
    assert made.significant == tested
    assert ("p =" in made.verdict) == tested
    assert made.g is not None


def test_no_claim_for_a_contrast_that_was_not_named():
    (made,) = contrasts(pair(0.2 + 0.001 * np.arange(9)), [("A", "B")], named=False)
    assert made.p is None
    assert not made.significant
    assert made.verdict == "not a named contrast: no test"


def test_holm_is_over_all_pairs_and_densities():
    rows = []
    for density in (0.2, 0.05):
        for label, gain in (("A", 0.03), ("B", 0.0), ("C", 0.01)):
            rows += [
                row(label, s, 0.9 + gain + 0.001 * s * gain, density=density, requested=density)
                for s in range(6)
            ]
    made = contrasts(rows, [("A", "B"), ("C", "B")])
    assert [(c.a, c.density) for c in made] == [("A", 0.2), ("A", 0.05), ("C", 0.2), ("C", 0.05)]
    assert all(c.p == pytest.approx(2 / 64) and c.p_holm == pytest.approx(8 / 64) for c in made)
    assert not any(c.significant for c in made)
    assert "6 seeds cannot pass 4 tests" in made[0].verdict
    said = " ".join(compare.limits(made, 6))
    assert "6 seeds cannot reach p < 0.05 in all of 4 tests" in said
    assert "8 could" in said  # 2 / 2**8 * 4 < 0.05 <= 2 / 2**7 * 4


def test_contrasts_with_dense_and_with_what_is_not_there():
    rows = [dense(s, 0.95 + 0.001 * s) for s in range(3)]
    rows += [row("SET", s, 0.93 + 0.003 * s) for s in (1, 2)]
    made = contrasts(rows, [("SET", "Dense"), ("SET", "RigL")])
    assert [(c.a, c.b, c.density, c.n) for c in made] == [("SET", "Dense", 0.05, 2)]
    assert made[0].g is None  # two seeds have no Hedges' g
    assert made[0].low < made[0].mean < made[0].high


def test_equal_results_have_no_spread_and_one_seed_no_interval():
    (made,) = contrasts(pair([0.01] * 3), [("A", "B")])
    assert (made.deviation, made.low, made.g) == (0.0, None, None)
    (made,) = contrasts(pair([0.01]), [("A", "B")])
    assert (made.n, made.deviation, made.low) == (1, None, None)


# --- what the seeds cannot tell ---


def test_smallest_resolvable_is_found_with_the_power_it_promises():
    rng = np.random.default_rng(0)
    for n in (3, 6):
        delta = statistics.smallest_resolvable(0.4, n)
        samples = rng.normal(delta, 0.4, size=(4000, n))
        power = (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean()
        assert power == pytest.approx(statistics.POWER, abs=0.025)


def test_seeds_needed_is_the_first_number_that_resolves():
    n = statistics.seeds_needed(0.004, 0.005)
    assert (
        statistics.smallest_resolvable(0.004, n)
        <= 0.005
        < statistics.smallest_resolvable(0.004, n - 1)
    )
    assert statistics.seeds_needed(1.0, 1e-6) is None


def test_limits_speak_of_the_seeds_there_are():
    three = " ".join(compare.limits(contrasts(pair([0.01, 0.014, 0.02]), [("A", "B")]), 3))
    assert "With 3 seeds no difference is called significant; tests start at 6 seeds" in three
    assert "varies by 0.50 percentage points" in three
    assert "at most about 75 times in 100, not 95" in three
    one = compare.limits(contrasts(pair([0.01]), [("A", "B")]), 1)
    assert one[0].startswith("One seed says nothing about the spread")
    six = " ".join(compare.limits(contrasts(pair(0.2 + 0.001 * np.arange(6)), [("A", "B")]), 6))
    assert "tested by flipping the signs of the 6 paired differences" in six
    assert "times in 100" not in six


def test_points_know_whether_they_kept_to_their_budget():
    over, under, kept = (
        points([row("A", 0, 0.9, density=d)])["A"][0] for d in (0.08, 0.03, 0.0501)
    )
    assert (over.over_budget, over.under_budget) == (True, False)
    assert (under.over_budget, under.under_budget) == (False, True)
    assert (kept.over_budget, kept.under_budget) == (False, False)


def test_a_contrast_at_unequal_edges_says_so():
    rows = [row("A", s, 0.9 + 0.01 * s, density=0.08) for s in range(3)]
    rows += [row("B", s, 0.9) for s in range(3)] + [dense(s, 0.95) for s in range(3)]
    unequal, beside_dense = contrasts(rows, [("A", "B"), ("B", "Dense")])
    assert unequal.verdict == "not at equal edges: density 0.08 against 0.05; no test below 6 seeds"
    assert beside_dense.verdict == "no test below 6 seeds"

"""The columns' benchmark on small real digits: what it reports is what its networks are and do."""

import sys
from pathlib import Path

import numpy as np
import pytest

b2 = pytest.importorskip("brian2")

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import columns  # noqa: E402
from rewire.experiments import data  # noqa: E402

SMALL = {"side": 8, "p_random": 0.1, "g_max": 0.2}


@pytest.fixture(autouse=True)
def numpy_target():
    before = b2.prefs.codegen.target
    b2.prefs.codegen.target = "numpy"
    yield
    b2.prefs.codegen.target = before


def found(case, seconds, n, regressions=False):
    digits = data.load("digits", normalise="unit")
    images = digits.train.x[:, 0].numpy(), digits.train.y.numpy()
    train = images[0][:n], images[1][:n]
    test = digits.test.x[:n, 0].numpy(), digits.test.y[:n].numpy()
    train = train if regressions else None
    return columns.learned(case, images, train, test, seconds=seconds, rate=1e4, seed=1, **SMALL)


def test_without_stdp_columns_rewire_at_full_weights_and_feed_forward():
    row = found("32 slots, feed-forward, no STDP", seconds=1, n=60, regressions=True)
    assert row["mean_weight_over_g_max"] == pytest.approx(1)
    (forward,) = row["synapses_per_target"]
    assert forward > 0.1 * 64 and row["events_per_s"] > 100
    assert row["pixels"] > 0.6  # the logistic regression does learn
    by_class = np.array(row["test_rate_hz_by_class_and_column"])
    assert by_class.shape == (10, 10) and row["test_rate_hz"] > 0
    shown = np.bincount(data.load("digits").test.y[:60].numpy(), minlength=10) / 60
    assert shown @ by_class.mean(1) == pytest.approx(row["test_rate_hz"], abs=0.02)
    assert shown @ np.diag(by_class) == pytest.approx(row["test_rate_of_own_column_hz"], abs=0.02)


def test_cases_are_every_setting_with_and_without_lateral_synapses_and_stdp():
    assert len(columns.CASES) == 8
    for name, options in columns.CASES.items():
        p = columns.parameters(**options)
        assert p.slots == int(name[:2]) and p.sigma_form_lateral == {32: 1, 96: 2}[p.slots]
        assert p.lateral == ("lateral" in name) and p.stdp == ("no STDP" not in name)


@pytest.mark.slow
def test_columns_learn_real_digits_far_above_chance():
    row = found("32 slots, lateral, STDP", seconds=20, n=100)
    assert len(row["synapses_per_target"]) == 2 and row["mean_weight_over_g_max"] < 1
    assert row["columns"] > 0.25  # .41 when this was written; chance is .1, five deviations below

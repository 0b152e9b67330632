"""Data sets of spikes: how events are binned and how speech is encoded."""

import numpy as np
import pytest

from rewire.experiments import data
from rewire.experiments.data import spikes
from rewire.experiments.data.events import Events


def test_events_of_a_step_are_one_spike_and_late_ones_are_left_out():
    rng = np.random.default_rng(0)
    n, offset = 400, np.array([0, 150, 150, 400])
    x, y, p = (rng.integers(0, most, n).astype(np.uint8) for most in (34, 34, 2))
    t = np.concatenate([np.sort(rng.integers(0, 60, k)) for k in (150, 250)])
    events = Events(x, y, t, p, offset, np.zeros(3, int), np.zeros(3, int))
    frames = spikes.binned(events, steps=5, step=10)
    expected = np.zeros((3, 5, 2, 34, 34), np.uint8)
    for i in range(3):
        for e in range(offset[i], offset[i + 1]):
            if t[e] < 50:
                expected[i, t[e] // 10, p[e], y[e], x[e]] = 1
    assert (frames == expected).all() and frames.dtype == np.uint8
    assert not frames[1].any() and 0 < frames.sum() < n


def test_levels_follow_a_band_to_within_a_delta():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(3, 30, 4)).cumsum(1)
    up, down = np.moveaxis(spikes.send_on_delta(values, 0.5), 2, 0)
    for i, band in np.ndindex(3, 4):
        level = 0.0
        for t in range(30):
            away = values[i, t, band] - level
            assert up[i, t, band] == (away >= 0.5) and down[i, t, band] == (away <= -0.5)
            level += 0.5 * int(away / 0.5)
            assert abs(values[i, t, band] - level) < 0.5
    assert up.sum() > 50 and down.sum() > 50


def test_the_end_of_a_recording_is_silent():
    frames = np.ones((1, 100, 40), np.float32)
    frames[0, 50:] = 0  # as read_fsdd fills it up
    targets = np.full((1, 100), spikes.IGNORED)
    targets[0, :50] = 3
    made = spikes._of_speech(frames, targets)
    assert made.shape == (1, 25, 80) and made[0, 0, :40].all() and made.sum() == 40


@pytest.mark.parametrize(("name", "size"), [("nmnist-events", 1_000), ("fsdd-spikes", 2_700)])
def test_the_real_data_are_spikes(name, size):
    if not data.available()[name].present:
        pytest.skip(f"{name} is not on this machine: set $REWIRE_DATA")
    loaded = data.load(name)
    assert len(loaded.train) + len(loaded.validation) == size
    x = loaded.test.x
    assert x.shape[1:] == loaded.shape and set(x.unique().tolist()) == {0.0, 1.0}
    assert (x.flatten(2).sum((1, 2)) > 0).all() and len(loaded.test.y.unique()) == 10

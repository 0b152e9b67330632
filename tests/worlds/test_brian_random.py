"""Networks drawn at random are, rewired in Brian2, what an event-by-event simulation says."""

import sys
from pathlib import Path

import numpy as np
import pytest

b2 = pytest.importorskip("brian2")

sys.path.insert(0, str(Path(__file__).parent))
try:
    import random_nets as nets
finally:
    sys.path.pop(0)

QUICK = (0, 19)  # a generator with two time steps, and parts of one group
PADDED = (13,)  # connected without empty slots
SEEDS = [
    pytest.param(s, padded) if s in quick else pytest.param(s, padded, marks=pytest.mark.slow)
    for padded, quick in ((False, QUICK), (True, PADDED))
    for s in range(32)
]


@pytest.fixture(autouse=True)
def numpy_target():
    b2.prefs.codegen.target = "numpy"
    yield


@pytest.mark.parametrize("seed, padded", SEEDS)
def test_spikes_weights_and_traces_equal_those_of_single_events(seed, padded):
    drawn = nets.Drawn(seed, padded).in_brian().run()
    oracle, net = drawn.oracle, drawn.net
    assert drawn.session.done
    for monitor, spikes, dt in zip(drawn.monitors, oracle.spikes, (net.source_dt, net.target_dt),
                                   strict=True):  # fmt: skip
        time = np.rint(np.asarray(monitor.t) * 1e3 * nets.PARTS_OF_MS).astype(int) // dt * dt
        assert sorted(zip(time.tolist(), np.asarray(monitor.i).tolist(), strict=True)) == sorted(
            spikes
        )
    names = ["w", "u", "count"] + (["p", "q"] if net.kind != "neuron" else [])
    expected = sorted(
        (s.pre, s.post, *(getattr(s, name) for name in names)) for s in oracle.synapses
    )
    got = drawn.values(*names)
    assert [x[:2] for x in got] == [x[:2] for x in expected]
    assert np.abs(np.array(got) - np.array(expected)).max(initial=0) < 1e-13

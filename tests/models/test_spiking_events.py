"""Camera events as spikes: the arithmetic, and what a Brian2 group makes of it."""

import subprocess
import sys

import numpy as np
import pytest

from rewire.experiments import data
from rewire.models.spiking.events import spike_generator, spikes

b2 = pytest.importorskip("brian2")


def test_neurons_and_steps_by_hand():
    neuron, step = spikes([1, 0, 1], [2, 0, 2], [1999, 0, 2000], [1, 0, 1], shape=(2, 3, 4))
    assert neuron.tolist() == [0, 12 + 2 * 4 + 1, 12 + 2 * 4 + 1]
    assert step.tolist() == [0, 1, 2]


def test_a_pixels_events_in_one_step_are_one_spike():
    neuron, step = spikes([3, 3, 4], [0, 0, 0], [100, 900, 900], [0, 0, 0])
    assert (neuron.tolist(), step.tolist()) == ([3, 4], [0, 0])
    assert len(spikes([3, 3], [0, 0], [100, 900], [0, 0], dt=1e-4)[0]) == 2


def test_a_later_start_shifts_all_spikes():
    _, step = spikes([0, 0], [0, 0], [0, 1500], [0, 0], start=0.3)
    assert step.tolist() == [300, 301]
    with pytest.raises(ValueError, match="1 steps before"):
        spikes([0], [0], [0], [0], start=-1e-3)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (([34], [0], [0], [0]), r"x goes from 34 to 34, .* 0 to 33"),
        (([0], [-1], [0], [0]), "y goes from -1"),
        (([0], [0], [0], [2]), "polarity goes from 2 to 2"),
        (([0, 1], [0], [0], [0]), "differ in length"),
    ],
)
def test_events_that_no_neuron_stands_for_are_refused(event, says):
    with pytest.raises(ValueError, match=says):
        spikes(*event)


@pytest.mark.parametrize("dt", [1e-3, 1e-4])
def test_the_group_spikes_where_and_when_the_events_are(dt):
    rng = np.random.default_rng(0)
    n = 400
    t = np.sort(rng.integers(0, 50_000, n))
    event = rng.integers(0, 34, n), rng.integers(0, 34, n), t, rng.integers(0, 2, n)
    group = spike_generator(*event, dt=dt)
    monitor = b2.SpikeMonitor(group)
    b2.Network(group, monitor).run(0.051 * b2.second, namespace={})
    neuron, step = spikes(*event, dt=dt)
    found = np.round(np.asarray(monitor.t) / dt).astype(int)
    order = np.lexsort((monitor.i, found))
    assert np.asarray(monitor.i)[order].tolist() == neuron.tolist()
    assert found[order].tolist() == step.tolist()


def test_a_real_recording_drives_a_neuron():
    if not data.available()["nmnist"].present:
        pytest.skip("nmnist is not on this machine: set $REWIRE_DATA")
    train, _ = data.load_events()
    group = spike_generator(*train[0])
    clock = group.clock
    neuron = b2.NeuronGroup(1, "v : 1", threshold="v >= 100", reset="v -= 100", clock=clock)
    synapses = b2.Synapses(group, neuron, on_pre="v_post += 1", clock=clock)
    synapses.connect()
    monitor = b2.SpikeMonitor(neuron)
    b2.Network(group, neuron, synapses, monitor).run(0.35 * b2.second, namespace={})
    n_spikes = len(spikes(*train[0])[0])
    assert 0.8 * len(train[0].x) < n_spikes <= len(train[0].x)
    total = 100 * monitor.num_spikes + float(neuron.v[0])
    assert total == n_spikes


def test_the_module_is_imported_without_brian2():
    code = "import sys, rewire.models.spiking.events; sys.exit('brian2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""The columns that each learn a digit: what they see, and what a test leaves alone."""

import numpy as np
import pytest

b2 = pytest.importorskip("brian2")

from rewire.models.spiking.columns import Columns, image_rates, parameters  # noqa: E402

SIDE = 6


@pytest.fixture(autouse=True)
def _reproducible():
    before = b2.prefs.codegen.target
    b2.prefs.codegen.target = "numpy"
    b2.seed(0)
    yield
    b2.prefs.codegen.target = before


def bars():
    """Three classes of one image: a bar on the left, in the middle, on the right."""
    images = np.zeros((3, 1, SIDE, SIDE))
    for c in range(3):
        images[c, 0, :, 2 * c : 2 * c + 2] = 1
    return images


def small(**changes):
    return parameters(**{"side": SIDE, "p_random": 0.3, "slots": 24, "g_max": 0.2, **changes})


def seconds(t):
    return t * b2.second


def watched(net, neurons):
    monitor = b2.SpikeMonitor(neurons)
    net.network.add(monitor)
    return monitor


def test_rates_are_brightness_with_the_mean_asked_for_on_a_background():
    rates = image_rates(np.array([[0, 1, 3], [5, 5, 5]]), f_mean=20, f_base=5)
    assert rates[0] == pytest.approx([5, 20, 50])
    assert rates.mean(1) == pytest.approx([25, 25])


@pytest.mark.parametrize("image", [[0, 0, 0], [-1, 2, 2]])
def test_images_without_a_brightness_are_refused(image):
    with pytest.raises(ValueError, match="brightness must be 0 or more"):
        image_rates(np.array([image]), f_mean=20, f_base=5)


@pytest.mark.parametrize("images", [np.ones((3, 1, 5, 5)), np.ones((3, 0, SIDE, SIDE))])
def test_images_of_another_size_or_none_are_refused(images):
    with pytest.raises(ValueError, match="6 x 6 pixels, one at least"):
        Columns(list(images), small())


def test_each_column_sees_its_own_class_only():
    net = Columns(bars(), small())
    monitor = watched(net, net.neurons)
    net.network.run(seconds(4), namespace={})
    expected = image_rates(bars()[:, 0], f_mean=20, f_base=5)
    for column, rates in zip(net.sources, expected, strict=True):
        found = np.asarray(monitor.count)[column] / 4
        assert found == pytest.approx(rates, abs=6 * (rates.max() / 4) ** 0.5)
        assert found.mean() == pytest.approx(25, rel=0.1)


def test_images_change_every_t_stim():
    pictures = np.eye(SIDE**2)[:4].reshape(1, 4, SIDE, SIDE)  # one bright pixel each
    net = Columns(pictures, small(t_stim=50.0, f_base=0.0))
    monitor = watched(net, net.neurons)
    net.network.run(seconds(2), namespace={})
    sources = monitor.i < SIDE**2
    shown = [
        set(np.asarray(monitor.i)[sources & (np.asarray(monitor.t / b2.ms) // 50 == k)].tolist())
        for k in range(40)
    ]
    assert {len(s) for s in shown} == {1}
    assert set().union(*shown) == {0, 1, 2, 3}


def test_in_a_test_all_columns_see_the_same_spikes_and_nothing_learns():
    net = Columns(bars(), small())
    net.network.run(seconds(0.3), namespace={})
    before = np.array(net.synapses.w)
    monitor = watched(net, net.neurons)
    rates = net.test(bars()[:, 0], t_show=100.0)
    assert (np.array(net.synapses.w) == before).all()
    trains = monitor.spike_trains()
    for other in net.sources[1:]:
        for a, b in zip(range(SIDE**2), range(other.start, other.stop), strict=True):
            assert (trains[a] == trains[b]).all()
    counts = [
        [
            sum(((trains[i] >= at) & (trains[i] < at + seconds(0.1))).sum() for i in range(*column))
            for column in ((c.start, c.stop) for c in net.targets)
        ]
        for at in seconds(0.3) + seconds(0.1) * np.arange(3)
    ]
    assert rates == pytest.approx(np.array(counts) / (SIDE**2 * 0.1))
    assert rates.max() > 1


def test_after_a_test_training_goes_on_with_the_classes_own_images():
    net = Columns(bars(), small(t_stim=1000.0))  # no new stimulus is due for long
    net.network.run(seconds(0.1), namespace={})
    net.test(bars()[:1, 0], t_show=33.0)
    before, monitor = np.array(net.synapses.w), watched(net, net.neurons)
    net.network.run(seconds(0.5), namespace={})
    assert (np.array(net.synapses.w) != before).any()
    bright = bars()[:, 0].reshape(3, -1) > 0
    for column, own in zip(net.sources, bright, strict=True):
        count = np.asarray(monitor.count)[column] / 0.5
        assert count[own].mean() == pytest.approx(65, rel=0.3)
        assert count[~own].mean() == pytest.approx(5, rel=0.5)


def test_the_published_values_are_the_papers():
    p = parameters()
    assert (p.side, p.g_max, p.tau_minus, p.tau_inh, p.t_stim) == (28, 0.1, 20, 15, 20)
    assert p.a_minus == pytest.approx(0.12)
    assert (p.v_thr, p.slots, p.f_mean, p.f_base) == (-50, 32, 20, 5)
    later = parameters("96 slots", lateral=False)
    assert (later.slots, later.sigma_form_lateral, later.lateral) == (96, 2, False)
    with pytest.raises(ValueError, match="setting is one of 32 slots, 96 slots, got '64 slots'"):
        parameters("64 slots")


@pytest.mark.parametrize("options", [{"deferred": True, "dead_tick": True}])
def test_what_stdp_has_due_waits_for_the_end_of_a_test(options):
    net = Columns(bars(), small(**options))
    net.network.run(seconds(0.3), namespace={})
    due, weights = np.array(net.synapses.due), np.array(net.synapses.w)
    monitor = watched(net, net.neurons)
    net.test(bars()[:, 0], t_show=100.0)
    assert (np.array(net.synapses.due) == due).all() and due.any()
    assert (np.array(net.synapses.w) == weights).all()
    steps = np.rint(np.asarray(monitor.t / b2.ms)).astype(int)
    sources = np.asarray(monitor.i) < net.sources[-1].stop
    assert sources.any() and not (steps[sources] % 100 == 0).any()

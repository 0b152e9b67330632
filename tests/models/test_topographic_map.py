"""The topographic map: parameters, inputs, starts and dynamics, as Bamford and Bogdan have them."""

from math import exp

import numpy as np
import pytest

b2 = pytest.importorskip("brian2")
from brian2 import ms, second  # noqa: E402

from rewire.models.spiking.topographic_map import STARTS, TopographicMap  # noqa: E402


@pytest.fixture(autouse=True)
def numpy_target():
    b2.prefs.codegen.target = "numpy"


def test_the_defaults_are_those_of_bogdans_code():
    p = TopographicMap()
    assert (p.size, p.slots, p.dt, p.delay) == (256, 32, 1.0, 1.0)
    assert (p.v_rest, p.v_thr, p.e_ex, p.e_inh) == (-70.0, -50.0, 0.0, -80.0)
    assert (p.tau_m, p.tau_ex, p.t_ref, p.g_max) == (20.0, 5.0, 5.0, 0.2)
    assert p.a_minus == pytest.approx(0.0375) and p.a_plus == 0.1
    assert (p.f_base, p.f_mean, p.f_peak, p.sigma_stim, p.t_stim) == (5.0, 20.0, 152.8, 2.0, 20.0)
    factor = p.build().synapses.namespace["factor"]
    assert factor == pytest.approx(0.906, abs=5e-4)


def test_gaussian_input_has_the_published_peak_and_mean_and_wraps():
    p = TopographicMap()
    rates = p.rates(0).reshape(16, 16)
    assert rates.mean() == pytest.approx(20) and rates.max() == rates[0, 0]
    assert rates[0, 0] == pytest.approx(5 + 152.8, rel=2e-3)
    assert (
        rates[1, 0]
        == rates[15, 0]
        == rates[0, 15]
        == pytest.approx(5 + 152.8 * exp(-1 / 8), rel=2e-3)
    )
    moved = p.rates(3 * 16 + 5).reshape(16, 16)
    assert np.allclose(np.roll(rates, (3, 5), (0, 1)), moved, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "mean", "next_to_the_peak"),
    [("pointy", None, exp(-0.5)), ("scaled pointy", 20, exp(-0.5)), ("square", 20, 1.0)],
)
def test_other_input_shapes(shape, mean, next_to_the_peak):
    rates = TopographicMap(shape=shape).rates(0)
    assert mean is None or rates.mean() == pytest.approx(mean)
    above = (rates - 5) / (rates.max() - 5)
    assert above[1] == pytest.approx(next_to_the_peak)
    if shape == "square":
        assert (above > 0).sum() == 13  # grid points within 2 of one
    if shape == "pointy":
        assert rates.max() == pytest.approx(157.8)


def test_case_3_is_flat_and_case_2_is_the_same_network_as_case_1():
    assert (TopographicMap(case=3).rates(7) == 20).all()
    assert np.array_equal(TopographicMap(case=2).rates(7), TopographicMap(case=1).rates(7))


def tables(start, seed=0, **options):
    return STARTS[start](TopographicMap(start=start, **options), np.random.default_rng(seed))


def test_the_kernel_start_has_16_and_16_as_near_as_the_formation_rule_puts_them():
    p, pre = TopographicMap(), tables("kernel")
    assert ((0 <= pre[:, :16]) & (pre[:, :16] < 256)).all() and (pre[:, 16:] >= 256).all()
    post = np.repeat(np.arange(256), 16)
    ff = p.distance_squared(pre[:, :16].ravel(), post)
    lateral = p.distance_squared(pre[:, 16:].ravel() - 256, post)
    everywhere = p.distance_squared(np.arange(256), np.array(0))
    for seen, sigma in ((ff, 2.5), (lateral, 1.0)):
        chance = np.exp(-everywhere / (2 * sigma**2))
        mean = (everywhere * chance).sum() / chance.sum()
        spread = np.sqrt((everywhere**2 * chance).sum() / chance.sum() - mean**2)
        assert abs(seen.mean() - mean) < 4 * spread / np.sqrt(len(seen))
    assert any(len(set(row)) < 16 for row in pre[:, :16])  # parallel synapses


def test_the_other_starts():
    assert (tables("empty") == -1).all()
    one = tables("one-to-one")
    assert np.array_equal(one[:, 0], np.arange(256)) and (one[:, 1:] == -1).all()
    pre = tables("random")
    held = (pre >= 0).sum(1)
    assert held.max() <= 32 and abs(held.mean() - 25.6) < 1.5
    assert all(len(set(row[row >= 0])) == n for row, n in zip(pre, held, strict=True))
    ff, lateral = ((pre >= 0) & (pre < 256)).sum(), (pre >= 256).sum()
    assert abs(ff - lateral) < 4 * np.sqrt(ff + lateral)
    assert not np.array_equal(pre, tables("random", seed=1))


def test_copies_in_one_network_are_disjoint_and_start_as_their_seed_says():
    built = TopographicMap(side=4, slots=8).build(seed=5, replicates=3)
    pre = built.synapses.variables["_synaptic_pre"].get_value().reshape(3, 16, 8)
    for r, copy in enumerate(pre):
        ff, lateral = copy[:, :4], copy[:, 4:]
        assert (ff // 16 == r).all() and (lateral // 16 == 3 + r).all()
    alone = TopographicMap(side=4, slots=8).build(seed=5)
    first = alone.synapses.variables["_synaptic_pre"].get_value().reshape(16, 8)
    assert np.array_equal(first[:, :4], pre[0][:, :4])
    assert not np.array_equal(pre[1] - 16, pre[0])
    assert built.null == 96 == len(built.neurons) - 1


def run(duration=1000 * ms, **options):
    built = TopographicMap(**{"side": 8, **options}).build(seed=1)
    counter = b2.SpikeMonitor(built.neurons)
    built.network.add(counter)
    b2.seed(1)
    built.network.run(duration, namespace={})
    return built, counter


def test_sources_fire_at_their_mean_rate_and_the_null_neuron_never():
    built, spikes = run(4 * second)
    count = np.asarray(spikes.count)
    # at most one spike in a bin: its chance is 1 - exp(-rate dt), a little less than rate dt
    expected = 1e3 * (1 - np.exp(-built.parameters.rates(0) * 1e-3)).mean()
    spikes_seen = count[built.sources[0]].sum()
    assert abs(spikes_seen - 4 * 64 * expected) < 4 * np.sqrt(4 * 64 * expected)
    assert count[built.null] == 0


def test_a_target_rests_for_the_full_refractory_time():
    built, spikes = run(v_thr=-66.0)
    for neuron in range(64, 128):
        times = np.asarray(spikes.t[spikes.i == neuron] / ms)
        assert len(times) > 20 and np.diff(times).min() >= 6 - 1e-9


def test_empty_slots_keep_weight_0_and_without_stdp_no_weight_moves():
    built, _ = run(start="random", p_random=0.2)
    pre = built.synapses.variables["_synaptic_pre"].get_value()
    w = built.synapses.variables["w"].get_value()
    assert (w[pre == built.null] == 0).all() and (pre == built.null).any()
    assert 0 <= w.min() and w.max() <= 0.2 and (w[pre != built.null] != 0.2).any()
    built, _ = run(stdp=False)
    assert (built.synapses.variables["w"].get_value() == 0.2).all()


def test_weights_start_at_w_0_and_without_stdp_stay_there():
    net = TopographicMap(side=4, slots=8, start="random", p_random=0.2, stdp=False, w_0=0.15)
    built = net.build(seed=1)
    filled = np.asarray(built.synapses.i) != built.null
    assert 0 < filled.sum() < filled.size
    built.network.run(50 * b2.ms, namespace={})
    assert (np.asarray(built.synapses.w) == np.where(filled, 0.15, 0.0)).all()


def test_lateral_inhibition_lowers_the_rate_and_a_lower_threshold_raises_it():
    def rate(**options):
        built, spikes = run(**options)
        return np.asarray(spikes.count)[built.targets[0]].mean()

    usual = rate()
    assert rate(lateral_inhibition=True) < 0.8 * usual
    assert rate(v_thr=-54.0) > 1.2 * usual


def test_a_single_spike_makes_the_conductance_that_the_weight_and_the_factor_say():
    built = TopographicMap(side=2, slots=2, start="one-to-one", f_base=0, f_mean=0).build()
    neurons = built.neurons
    chance = neurons.variables["p"].get_value()
    built.network.run(1 * ms, namespace={})
    chance[2] = 1.0
    built.network.run(1 * ms, namespace={})
    chance[2] = 0.0
    built.network.run(1 * ms, namespace={})
    g = neurons.variables["ge"].get_value()
    assert g[6] == pytest.approx(0.2 * 5 * (1 - exp(-0.2))) and (np.delete(g, 6) == 0).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"case": 4}, "case is 1, 2 or 3, got 4"),
        ({"shape": "round"}, "shape is one of gaussian, .* got 'round'"),
        ({"start": "full"}, "start is one of kernel, .* got 'full'"),
        ({"delay": 0.5}, "delay = 0.5 ms is no multiple of 1.0"),
        ({"w_0": 0.3}, "w_0 is a weight from 0 to g_max = 0.2, got 0.3"),
    ],
)
def test_wrong_parameters_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TopographicMap(**wrong)

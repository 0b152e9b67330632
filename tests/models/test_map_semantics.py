"""The map's options of time and order, against a loop over all pairs of spikes, step by step."""

from math import exp

import numpy as np
import pytest

b2 = pytest.importorskip("brian2")

from rewire.models.spiking.topographic_map import TopographicMap  # noqa: E402

STEPS = 250
BUSY = {"side": 3, "slots": 8, "sigma_stim": 1.0, "v_thr": -62.0, "f_base": 30.0, "f_mean": 60.0}


@pytest.fixture(autouse=True)
def numpy_target():
    before = b2.prefs.codegen.target
    b2.prefs.codegen.target = "numpy"
    yield
    b2.prefs.codegen.target = before


def simulated(p):
    """Brian2's spikes in each step, of sources and of targets, and its weights in the end."""
    built = p.build(seed=2)
    start = np.array(built.synapses.i), np.array(built.synapses.w)
    spikes = b2.SpikeMonitor(built.neurons)
    built.network.add(spikes)
    b2.seed(3)
    built.network.run(STEPS * p.dt * b2.ms, namespace={})
    fired = np.zeros((STEPS, len(built.neurons)), bool)
    fired[np.rint(np.asarray(spikes.t / b2.ms) / p.dt).astype(int), np.asarray(spikes.i)] = True
    return start, fired, np.array(built.synapses.w)


def by_hand(p, start, fired):
    """The targets and weights of a map whose sources fire as ``fired`` says."""
    pre, w = start[0], start[1].copy()
    n, slots, late = p.size, p.slots, round(p.delay / p.dt)
    post = np.repeat(np.arange(n, 2 * n), slots)
    spiked = fired.copy()
    spiked[:, n:] = False
    v, g, rests_until = np.full(n, p.v_rest), np.zeros(n), np.full(n, -1)
    due = np.zeros(len(w))
    factor = p.tau_ex / p.dt * (1 - exp(-p.dt / p.tau_ex))

    def arrive(t):
        for k in np.flatnonzero(spiked[t - late, pre]) if t >= late else ():
            before = np.flatnonzero(spiked[:t, post[k]])
            down = p.a_minus * np.exp(-(t - before) * p.dt / p.tau_minus).sum()
            w[k] = np.clip(w[k] + p.g_max * (due[k] - down), 0, p.g_max)
            due[k] = 0
            g[post[k] - n] += factor * w[k]

    for t in range(STEPS):
        if p.early_input:
            arrive(t)
        rate = (1 + g) / p.tau_m
        aim = (p.v_rest + g * p.e_ex) / (1 + g)
        free = t >= rests_until
        v[free] = (aim + (v - aim) * np.exp(-rate * p.dt))[free]
        g *= exp(-p.dt / p.tau_ex)
        spiked[t, n : 2 * n] = free & (v >= p.v_thr)
        if not p.early_input:
            arrive(t)
        for k in np.flatnonzero(spiked[t, post]):
            arrivals = np.flatnonzero(spiked[: max(0, t + 1 - late), pre[k]]) + late
            lags = t - arrivals[arrivals < t + p.lag_0]
            up = p.a_plus * np.exp(-lags * p.dt / p.tau_plus).sum()
            if p.deferred:
                due[k] += up
            else:
                w[k] = np.clip(w[k] + p.g_max * up, 0, p.g_max)
        fires = spiked[t, n : 2 * n]
        v[fires] = p.v_rest
        rests_until[fires] = t + round(p.t_ref / p.dt) + 1
    return spiked, w


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lag_0": False},
        {"deferred": True},
        {"early_input": True},
        {"lag_0": False, "deferred": True, "early_input": True, "dead_tick": True},
        {"delay": 3.0},
        {"delay": 2.0, "lag_0": False},
    ],
)
def test_the_map_is_what_a_loop_over_pairs_of_spikes_gives(options):
    p = TopographicMap(**BUSY, **options)
    start, fired, weights = simulated(p)
    spiked, expected = by_hand(p, start, fired)
    targets = slice(p.size, 2 * p.size)
    assert fired[:, targets].sum() > 100 and (weights < p.g_max).any()
    assert np.array_equal(spiked[:, targets], fired[:, targets])
    assert weights == pytest.approx(expected, abs=1e-12)


def test_sources_are_silent_in_the_first_step_of_a_stimulus_where_asked_for():
    for case, silent in ((1, True), (3, False)):
        p = TopographicMap(**BUSY, case=case, dead_tick=True)
        _, fired, _ = simulated(p)
        by_step = fired[:, : p.size].reshape(-1, 10, p.size)[: STEPS // 20 * 2]
        first = by_step[::2, 0].sum()
        assert bool(first == 0) is silent and by_step[:, 1].sum() > 0

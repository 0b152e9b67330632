"""Trained sparse networks as spiking ones: accuracy, spikes and events, against loops by hand."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn
from torch.nn import functional as F

import rewire
from rewire import models
from rewire.experiments import data
from rewire.models.spiking import rate_coded
from rewire.models.spiking.rate_coded import activations, balanced, matrices, simulate

pytest.importorskip("brian2")


@pytest.fixture(scope="module")
def ticket():
    """A bias-free network trained by DEEP R on real digits, its images and its weights."""
    digits = data.load("digits", normalise="unit")
    model = models.build(
        "lenet-300-100",
        generator=torch.Generator().manual_seed(0),
        input_shape=digits.shape,
        classes=10,
        bias=False,
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    net = rewire.attach(model, optimiser, rule=rewire.DeepR(), density=0.1, seed=0)
    draws = torch.Generator().manual_seed(0)
    for _ in range(600):
        x, y = digits.train.batch(torch.randint(len(digits.train), (64,), generator=draws))
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        net.step()
    return digits, net, matrices(model)


def held_out(digits):
    x = torch.cat([digits.validation.x, digits.test.x])
    return x.numpy(), torch.cat([digits.validation.y, digits.test.y]).numpy()


def test_a_sparse_network_loses_less_than_a_point_in_spikes(ticket):
    digits, net, weights = ticket
    x, y = held_out(digits)
    assert sum(w.nnz for w in weights) == net.graph["weight"].count_nonzero()
    ann = (activations(weights, x)[-1].argmax(1) == y).mean()
    found = simulate(balanced(weights, digits.train.x.numpy()), x)
    assert ann > 0.9
    assert (found.predictions == y).mean() == pytest.approx(ann, abs=0.01)
    assert len(found.events) == 500 and found.images_per_second > 0


def test_poisson_input_is_noisier_but_close_and_reproducible(ticket):
    digits, _, weights = ticket
    x, y = held_out(digits)
    ready = balanced(weights, digits.train.x.numpy())
    found = [simulate(ready, x[:100], encoding="poisson", duration=0.2, seed=s) for s in (0, 0, 1)]
    assert (found[0].potentials == found[1].potentials).all()
    assert (found[0].spikes != found[2].spikes).any()
    assert (found[0].predictions == y[:100]).mean() > 0.85
    expected = 200 * 0.2 * x[:100].reshape(100, -1).sum(1)
    assert found[0].spikes[:, 0].sum() == pytest.approx(expected.sum(), rel=0.02)


def test_the_graphs_matrices_are_the_models(ticket):
    _, net, weights = ticket
    for i, w in enumerate(weights):
        assert abs(net.graph.to_scipy(i) - w).max() == 0


def test_balancing_changes_no_prediction_and_puts_the_percentile_at_one(ticket):
    digits, _, weights = ticket
    x = digits.train.x.numpy()
    before, after = activations(weights, x), activations(balanced(weights, x, 99), x)
    assert (before[-1].argmax(1) == after[-1].argmax(1)).all()
    assert [np.percentile(np.abs(a), 99) for a in after] == pytest.approx([1, 1, 1])


# -- against a loop by hand -------------------------------------------------------------------


def by_hand(weights, x, steps, gain):
    """Integrate-and-fire layers, step by step: neurons add up, fire, transmit, then reset."""
    v = [np.zeros((len(x), len(w))) for w in weights]
    counts = [np.zeros_like(u) for u in v[:-1]]
    for _ in range(steps):
        v[0] += x @ weights[0].T * gain
        fired = [u >= 1 for u in v[:-1]]
        for i, spikes in enumerate(fired):
            v[i + 1] += spikes @ weights[i + 1].T
            v[i] -= spikes
            counts[i] += spikes
    events = sum(c @ (w != 0).sum(0) for c, w in zip(counts, weights[1:], strict=True))
    return v[-1], np.stack([0 * events, *(c.sum(1) for c in counts)], 1), events


def dyadic(*shape, density=0.5, seed=0):
    """Random sixteenths, so that sums are exact in any order."""
    rng = np.random.default_rng(seed)
    return rng.integers(-16, 24, shape) / 16 * (rng.random(shape) < density)


@pytest.mark.parametrize("copies", [1, 3, 7, 100])
def test_spikes_events_and_potentials_are_those_of_a_loop(copies):
    weights = [dyadic(9, 6), dyadic(5, 9, seed=1), dyadic(3, 5, seed=2)]
    x = np.random.default_rng(3).integers(0, 5, (7, 6)) / 4
    expected = by_hand(weights, x, steps=40, gain=0.25)
    found = simulate(weights, x, duration=0.04, rate=250.0, copies=copies)
    for ours, theirs in zip((found.potentials, found.spikes, found.events), expected, strict=True):
        assert (ours == theirs).all()
    assert expected[2].min() > 0


def test_sparse_and_dense_weights_and_stored_zeros_are_the_same_network():
    weights = [dyadic(9, 6), dyadic(3, 9, seed=1)]
    x = np.random.default_rng(3).random((4, 6))
    stored_zero = sp.csr_array(np.ones((3, 9)))
    stored_zero.data[:] = weights[1].ravel()
    found = [
        simulate([weights[0], w], x) for w in (weights[1], sp.coo_matrix(weights[1]), stored_zero)
    ]
    for other in found[1:]:
        assert (other.potentials == found[0].potentials).all()
        assert (other.events == found[0].events).all()


def test_a_layer_that_lost_all_synapses_says_nothing():
    found = simulate([np.ones((4, 6)), np.zeros((3, 4))], np.full((2, 6), 0.5))
    assert (found.potentials == 0).all() and (found.events == 0).all()
    assert (found.spikes[:, 1] > 0).all()


def test_the_users_preferences_and_clock_stay():
    import brian2 as b2

    before = b2.prefs.codegen.target, float(b2.defaultclock.dt)
    simulate([dyadic(3, 6)], np.zeros((1, 6)), dt=5e-4, duration=0.01)
    assert (b2.prefs.codegen.target, float(b2.defaultclock.dt)) == before


@pytest.mark.slow
def test_cython_gives_the_same_as_numpy():
    weights = [dyadic(9, 6), dyadic(3, 9, seed=1)]
    x = np.random.default_rng(3).integers(0, 5, (4, 6)) / 4
    numpy, cython = (simulate(weights, x, rate=250.0, target=t) for t in ("numpy", "cython"))
    assert (numpy.potentials == cython.potentials).all()
    assert (numpy.events == cython.events).all()


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": np.full((2, 6), 1.5)}, r'to 1.5.*normalise="unit"'),
        ({"images": np.full((2, 6), -0.4)}, "from -0.4"),
        ({"images": np.full((2, 6), np.nan)}, "from nan"),
        ({"images": np.zeros((0, 6))}, "no images"),
        ({"images": np.zeros((2, 5))}, "take 6 inputs, but get 5"),
        ({"weights": [np.ones((4, 6)), np.ones((3, 5))]}, r"layer 1 .*take 5 inputs, but get 4"),
        ({"weights": []}, "there are no weights"),
        ({"rate": 1500.0}, "at most once a step, 1000 Hz"),
        ({"encoding": "latency"}, "current, poisson"),
        ({"target": "cpp"}, "numpy, cython"),
    ],
)
def test_what_cannot_be_simulated_is_refused_before_it_is_built(changes, says):
    asked = {"weights": [np.ones((3, 6))], "images": np.zeros((2, 6)), **changes}
    with pytest.raises(ValueError, match=says):
        simulate(**asked)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (nn.Linear(4, 2), "bias=False"),
        (nn.Conv2d(1, 2, 3), "is a Conv2d"),
        (nn.Tanh(), "is a Tanh"),
    ],
)
def test_models_that_are_no_bias_free_relu_networks_are_refused(layer, says):
    with pytest.raises(ValueError, match=says):
        matrices(nn.Sequential(nn.Linear(3, 4, bias=False), layer))


def test_brian2_is_imported_late_and_its_absence_says_what_to_install():
    code = """
import sys
import rewire, rewire.models
from rewire.models.spiking import rate_coded
assert "brian2" not in sys.modules and "torch" not in sys.modules
sys.modules["brian2"] = None
try:
    rate_coded.simulate([[[1.0]]], [[0.5]])
except ImportError as error:
    assert 'pip install "neurorewire[spiking]"' in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_example_of_the_module_runs():
    import doctest

    found = doctest.testmod(rate_coded)
    assert found.attempted and not found.failed

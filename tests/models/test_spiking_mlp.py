"""The spiking network of torch: its units by hand, what it refuses, and its rules on the digits."""

import numpy as np
import pytest
import torch

from rewire import models


def net_of(**options):
    generator = torch.Generator().manual_seed(0)
    return models.build(
        "spiking-mlp", generator=generator, input_shape=(1, 4, 4), classes=3,
        **{"hidden": [12, 6], "init": "fan_in_normal", **options},
    )  # fmt: skip


@pytest.mark.parametrize(("timesteps", "leak"), [(1, 0.5), (5, 0.5), (7, 0.9)])
def test_units_leak_spike_and_start_anew(timesteps, leak):
    net = net_of(timesteps=timesteps, leak=leak).double()
    x = 6 * torch.rand(20, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    w = [layer.weight.detach().numpy() for layer in (net.fc1, net.fc2, net.fc3)]
    first, second, out, spikes = np.zeros((20, 12)), np.zeros((20, 6)), np.zeros((20, 3)), 0
    for _ in range(timesteps):
        first = leak * first + x.flatten(1).numpy() @ w[0].T
        fired = first > 1
        first[fired] = 0
        second = leak * second + fired @ w[1].T
        fired = second > 1
        second[fired] = 0
        out += fired @ w[2].T / timesteps
        spikes += fired.sum()
    np.testing.assert_allclose(net(x).detach().numpy(), out, rtol=1e-12, atol=1e-14)
    assert spikes > 0
    net.timesteps = 2
    again = net(x)
    assert timesteps == 1 or not torch.equal(again, net_of(leak=leak).double()(x))


def test_the_gradient_is_that_of_the_surrogate_through_time():
    """One unit that spikes at 3 steps of 4: dL/dw by the chain rule, the restart held constant."""
    net = net_of(hidden=[1], timesteps=4, leak=0.5, bias=False, init="fan_in_normal").double()
    x = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    x[..., 0, 0] = 1
    with torch.no_grad():
        net.fc1.weight.zero_()[0, 0] = 0.8
        net.fc2.weight.fill_(1.0)
    net(x)[0, 0].backward()
    v, of_v, slope = 0.0, 0.0, 0.0  # the potential, and its derivative by the weight
    for _ in range(4):
        v, of_v = 0.5 * v + 0.8, 0.5 * of_v + 1
        slope += of_v / (1 + (np.pi * (v - 1)) ** 2) / 4
        if v > 1:
            v, of_v = 0.0, 0.0
    assert net.fc1.weight.grad[0, 0].item() == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": []}, "a spiking network has hidden"),
        ({"timesteps": 0}, "1 time step or more"),
        ({"leak": 1.5}, "leak = 1.5: the part of a potential that stays"),
    ],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        net_of(**options)

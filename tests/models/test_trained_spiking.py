"""Spiking networks that read events in time: units by hand, populations, and what is refused."""

import numpy as np
import pytest
import torch

import rewire
from rewire import models
from rewire.graph import Graph
from rewire.models.spiking.neurons import ALIF, LIF, Readout
from rewire.models.spiking.surrogates import SURROGATES, Spike


def net_of(name, shape=(6, 2, 5, 5), **options):
    generator = torch.Generator().manual_seed(0)
    return models.build(name, generator=generator, input_shape=shape, classes=3, **options)


def events(n, *shape):
    return (torch.rand(n, *shape, generator=torch.Generator().manual_seed(1)) < 0.3).double()


def simulated(net, x):
    """Logits by loops over steps and layers; and how many spikes there were."""
    layers = range(1, net.layers + 1)
    w = {name: p.detach().numpy() for name, p in net.named_parameters()}
    units = {i: net.get_submodule(f"lif{i}") for i in layers}
    v = {i: np.zeros((len(x), len(w[f"fc{i}.bias"]))) for i in layers}
    a, z = ({i: v[i].copy() for i in layers} for _ in "az")
    y, seen, spikes = np.zeros((len(x), 3)), [], 0
    for t in range(net.timesteps):
        s = x[:, t].reshape(len(x), -1).numpy()
        for i in layers:
            lif = units[i]
            v[i] = lif.leak * v[i] + s @ w[f"fc{i}.weight"].T + w[f"fc{i}.bias"]
            if net.recurrent:
                v[i] = v[i] + z[i] @ w[f"rec{i}.weight"].T
            rise = lif.adaptation.numpy() if isinstance(lif, ALIF) else 0.0
            z[i] = (v[i] > lif.threshold + rise * a[i]).astype(float)
            v[i] = v[i] * (1 - z[i]) if lif.reset == "zero" else v[i] - lif.threshold * z[i]
            if isinstance(lif, ALIF):
                a[i] = lif.recovery * a[i] + z[i]
            s, spikes = z[i], spikes + z[i].sum()
        last = net.layers + 1
        y = net.readout.leak * y + s @ w[f"fc{last}.weight"].T + w[f"fc{last}.bias"]
        seen.append(y)
    over = {"mean": np.mean, "max": np.max, "last": lambda y, axis: y[-1]}[net.readout.over]
    return over(np.stack(seen), axis=0), int(spikes)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("spiking-net", {"hidden": [12, 9], "leak": 0.7}),
        ("spiking-net", {"hidden": [12], "reset": "subtract", "readout": "last"}),
        ("spiking-rnn", {"hidden": [12, 9], "readout": "max", "readout_leak": 0.8}),
        ("lsnn", {"hidden": [12, 9], "adaptation": 0.6, "adaptive": 0.5, "readout_leak": 0.5}),
        ("lsnn", {"hidden": [12], "threshold": 0.6, "reset": "zero"}),
    ],
)
def test_networks_are_those_of_a_loop_over_steps(name, options):
    net = net_of(name, init="kaiming_normal", **options).double()
    with torch.no_grad():
        for p_name, p in net.named_parameters():
            if p_name.endswith("bias"):
                p.uniform_(-0.1, 0.2)
    x = events(8, 6, 2, 5, 5)
    logits, spikes = simulated(net, x)
    assert spikes > 20
    np.testing.assert_allclose(net(x).detach().numpy(), logits, rtol=1e-12, atol=1e-13)
    net.timesteps = 3
    np.testing.assert_allclose(net(x).detach().numpy(), simulated(net, x)[0], atol=1e-13)


def test_convolutions_spike_step_by_step_and_pool_spikes():
    net = net_of("spiking-conv", shape=(5, 2, 9, 9), channels=[4, 6]).double()
    x = events(3, 5, 2, 9, 9)
    states, outputs, seen = [(), ()], [], []
    for t in range(5):
        s = x[:, t]
        for i, (conv, lif) in enumerate([(net.conv1, net.lif1), (net.conv2, net.lif2)]):
            z, states[i] = lif(conv(s), states[i])
            s = torch.nn.functional.max_pool2d(z, 2)
            seen.append(s)
        outputs.append(net.fc(s.flatten(1)))
    torch.testing.assert_close(net(x), torch.stack(outputs).mean(0), rtol=1e-12, atol=1e-13)
    values = torch.cat([s.flatten() for s in seen])
    assert set(values.tolist()) == {0.0, 1.0}  # what the next layer takes are spikes


def test_whole_numbers_are_read_as_they_are_stored():
    net = net_of("spiking-net", hidden=[7])
    x = events(4, 6, 2, 5, 5)
    assert torch.equal(net(x.to(torch.uint8)), net(x.float()))


@pytest.mark.parametrize("name", SURROGATES)
def test_a_spikes_slope_is_its_surrogates(name):
    v = torch.tensor([-2.0, -0.5, 0.0, 0.25], dtype=torch.float64, requires_grad=True)
    Spike.apply(v, name, 2.0).backward(torch.full_like(v, 3.0))
    u = 2 * v.detach().numpy()
    shape = {
        "arctan": 1 / (1 + (np.pi * u) ** 2),
        "fast-sigmoid": 1 / (1 + np.abs(u)) ** 2,
        "triangle": 0.3 * np.maximum(0, 1 - np.abs(u)),
    }[name]
    np.testing.assert_allclose(v.grad.numpy(), 3 * shape, rtol=1e-14)


def test_recurrent_weights_run_among_the_units_that_they_add_to():
    graph = Graph.of(net_of("lsnn", hidden=[8, 7]), example=events(2, 6, 2, 5, 5).float())
    ends = {p.name: (p.source, p.target) for p in graph.projections}
    assert ends == {
        "fc1.weight": ("input", "fc1"), "fc2.weight": ("fc1", "fc2"), "fc3.weight": ("fc2", "fc3"),
        "rec1.weight": ("fc1", "fc1"), "rec2.weight": ("fc2", "fc2"),
    }  # fmt: skip
    assert graph.network.joined
    conv = Graph.of(net_of("spiking-conv"), example=events(2, 6, 2, 5, 5).float())
    assert conv.network.joined


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_activity_of_a_recurrent_layer_is_that_of_all_steps(world):
    model = net_of("spiking-rnn", hidden=[9], init="kaiming_normal")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.StructuralPlasticity(attempts=0.2)
    net = rewire.attach(model, optimizer, rule, density=0.5, steps=9, world=world)
    x = events(5, 6, 2, 5, 5).float()
    x[:, -1] = 0
    spikes = []
    model.lif1.register_forward_hook(lambda module, args, out: spikes.append(out[0].detach()))
    model(x).sum().backward()
    taps = net.world.taps
    seen = taps.activity(net.graph, "fc1")
    torch.testing.assert_close(seen, torch.cat(spikes).std(0, correction=0))
    assert (seen > 0).any()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("spiking-net", {"hidden": []}, "hidden layers of 1 unit or more"),
        ("spiking-net", {"hidden": [0]}, "hidden layers of 1 unit or more"),
        ("spiking-net", {"leak": 1.5}, "leak = 1.5: the part of a potential that stays"),
        ("spiking-net", {"leak": float("nan")}, "leak = nan: the part of a potential"),
        ("spiking-net", {"threshold": 0.0}, "threshold = 0.0: choose a number above 0"),
        ("spiking-net", {"threshold": float("nan")}, "threshold = nan: choose a number above 0"),
        ("spiking-net", {"steepness": -1.0}, "steepness = -1.0: choose a number above 0"),
        ("spiking-net", {"reset": "soft"}, "no reset 'soft'; there are zero, subtract"),
        ("spiking-net", {"surrogate": "relu"}, "no surrogate 'relu'; there are arctan"),
        ("spiking-net", {"neuron": "izhikevich"}, "no neuron 'izhikevich'; there are lif, alif"),
        ("spiking-net", {"readout": "sum"}, "no readout 'sum'; there are mean, max, last"),
        ("spiking-net", {"readout_leak": -0.1}, "readout_leak = -0.1: the part of an output"),
        ("lsnn", {"adaptation": -0.1}, "adaptation = -0.1: choose 0 or a number above it"),
        ("lsnn", {"recovery": 1.1}, "recovery = 1.1: the part of a raised threshold"),
        ("lsnn", {"adaptive": 2.0}, "adaptive = 2.0: the part of the units that adapts"),
        ("spiking-net", {"shape": (6,)}, r"of shape \(6,\): events in time have the shape"),
        ("spiking-conv", {"shape": (6, 5)}, r"of shape \(6, 5\): convolutions of events"),
        ("spiking-conv", {"channels": []}, r"channels = \[\]: choose 1 or more"),
        ("spiking-conv", {"channels": [4, 4, 4]}, "no more layers than"),
    ],
)
def test_senseless_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        net_of(name, **options)


def test_units_say_what_they_are():
    assert "leak=0.5" in repr(LIF(leak=0.5)) and "over='max'" in repr(Readout(over="max"))

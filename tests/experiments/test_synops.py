"""Spikes and synaptic operations, against loops over every spike and every synapse."""

import numpy as np
import pytest
import torch

import rewire
from rewire import models
from rewire.experiments.trainings.synops import COLUMNS, counted


def spiking(name, shape, **options):
    generator = torch.Generator().manual_seed(0)
    return models.build(name, generator=generator, input_shape=shape, classes=3, **options)


def attached(model, world):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.4, world=world, steps=9)
    return net.graph


def events(n, *shape):
    return (torch.rand(n, *shape, generator=torch.Generator().manual_seed(1)) < 0.8).float()


def inputs_of(model, names, x):
    """What each layer takes, call by call."""
    taken, hooks = {name: [] for name in names}, []
    for name in names:

        def hook(module, args, name=name):
            taken[name].append(args[0].detach().clone())

        hooks.append(model.get_submodule(name).register_forward_pre_hook(hook))
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return taken


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("name", ["spiking-net", "lsnn"])
def test_a_synapse_counts_once_for_each_spike_that_it_carries(name, world):
    model = spiking(name, (4, 6), hidden=[7, 5], init="kaiming_normal")
    x = events(3, 4, 6)
    graph = attached(model, world)
    taken = inputs_of(model, model.takes_spikes, x)
    operations = 0
    for i, p in enumerate(graph.projections):
        live = graph.mask(i).numpy()
        for calls in taken[p.name.removesuffix(".weight")]:
            for spikes in calls.reshape(-1, calls.shape[-1]).numpy():
                for pre in np.flatnonzero(spikes):
                    operations += int(live[:, pre].sum())
    with counted(model, graph) as counts, torch.no_grad():
        model(x[:2])
        model(x[2:])
    assert counts.examples == 3 and counts.operations == operations > 50
    hidden = sum(float(c.sum()) for n in ("fc2", "fc3") for c in taken[n])
    assert counts.spikes == hidden > 5
    assert counts.columns == dict(zip(COLUMNS, (hidden / 3, operations / 3), strict=True))
    with torch.no_grad():
        model(x)
    assert counts.examples == 3  # no hook is left


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_a_convolutions_synapse_counts_where_its_kernel_lies_on_the_picture(world):
    model = spiking("spiking-conv", (3, 2, 5, 4), channels=[3])
    x = events(2, 3, 2, 5, 4)
    graph = attached(model, world)
    live, head = (graph.mask(i).numpy() for i in (0, 1))
    operations, (pooled,) = 0, inputs_of(model, ["fc"], x)["fc"]
    for c, row, column in zip(*np.nonzero(x.flatten(0, 1).sum(0).numpy()), strict=True):
        spikes = int(x[:, :, c, row, column].sum())
        for _out, _, dy, dx in zip(*np.nonzero(live[:, c : c + 1]), strict=True):
            inside = 0 <= row - dy + 1 < 5 and 0 <= column - dx + 1 < 4
            operations += spikes * inside
    operations += int(pooled.reshape(-1, head.shape[1]).sum(0).numpy() @ head.sum(0))
    with counted(model, graph) as counts, torch.no_grad():
        model(x)
    assert counts.operations == operations > 50


def test_currents_are_no_spikes():
    """A picture shown as a current: its layer counts nothing, those after it do."""
    model = spiking("spiking-mlp", (1, 4, 4), hidden=[8])
    graph = attached(model, "masked")
    x = 3 * torch.rand(5, 1, 4, 4)
    taken = inputs_of(model, ["fc2"], x)["fc2"]
    fan_out = graph.mask(1).sum(0)
    with counted(model, graph) as counts, torch.no_grad():
        model(x)
    assert counts.operations == int(sum(spikes.sum(0) for spikes in taken) @ fan_out.float()) > 0
    with counted(model, None) as counts, torch.no_grad():
        model(x)
    assert counts.columns == {}


def test_a_model_without_spikes_counts_nothing():
    model = torch.nn.Linear(4, 2)
    with counted(model, attached(model, "masked")) as counts:
        model(torch.ones(3, 4))
    assert counts.columns == {}


def test_layers_whose_operations_are_not_known_are_refused():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LSTM(4, 4))
    model.takes_spikes = ("1",)
    graph = attached(model, "masked")
    with pytest.raises(ValueError, match="takes_spikes names '1', a LSTM"):
        with counted(model, graph):
            pass

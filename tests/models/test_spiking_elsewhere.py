"""One sparse network in torch, in Brian2 and in NIR: the same spikes, step by step."""

import numpy as np
import pytest
import torch

import rewire
from rewire import models
from rewire.files import read_graph
from rewire.models.spiking.nir_graphs import from_nir, to_nir

SHAPE = (9, 2, 7)
NETWORKS = {
    "spiking-net": {"hidden": [12, 8], "leak": 0.8, "readout_leak": 0.5},
    "spiking-rnn": {"hidden": [10], "reset": "subtract", "readout": "max"},
    "lsnn": {"hidden": [10, 8], "adaptive": 0.5, "adaptation": 0.4, "threshold": 0.7},
}


def events(n, seed=1):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed)) < 0.4


def net_of(name, **options):
    generator = torch.Generator().manual_seed(0)
    return models.build(name, generator=generator, input_shape=SHAPE, classes=3,
                        init="kaiming_normal", **options)  # fmt: skip


def trained(name, world="sparse", **options):
    """A network of a few steps under DEEP R, and its graph."""
    model = net_of(name, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    net = rewire.attach(model, optimizer, rewire.DeepR(l1=0.003, noise=0.02), density=0.4,
                        world=world, steps=20)  # fmt: skip
    x, y = events(8).float(), torch.arange(8) % 3
    for _ in range(10):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        net.step()
    return net.to_dense(), net.graph


def spikes_of(model, x):
    """Logits, and the spikes of each layer (N, T, units)."""
    steps, hooks = {}, []
    for name, module in model.named_modules():
        if name.startswith("lif"):

            def hook(module, args, out, name=name):
                steps.setdefault(name, []).append(out[0].detach())

            hooks.append(module.register_forward_hook(hook))
    with torch.no_grad():
        logits = model(x)
    for hook in hooks:
        hook.remove()
    return logits.numpy(), {name: torch.stack(z, 1).numpy() for name, z in steps.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_brian2_makes_every_spike_at_its_step(name):
    pytest.importorskip("brian2")
    from rewire.models.spiking.in_brian import simulate

    model, graph = trained(name, **NETWORKS[name])
    assert graph.density < 0.5
    model, x = model.double(), events(4, seed=2)
    logits, spikes = spikes_of(model, x.double())
    run = simulate(model, x.numpy())
    assert run.spikes.keys() == spikes.keys()
    for layer, raster in spikes.items():
        assert raster.sum() > 5
        np.testing.assert_array_equal(run.spikes[layer], raster)
    assert run.nearest > 1e-12  # no potential is so near a threshold that rounding decides
    np.testing.assert_allclose(run.outputs, logits, rtol=1e-12, atol=1e-14)


def test_brian2_begins_each_example_from_rest_and_runs_without_synapses():
    pytest.importorskip("brian2")
    from rewire.models.spiking.in_brian import simulate

    model = net_of("spiking-rnn", hidden=[6]).double()
    with torch.no_grad():
        model.rec1.weight.zero_()
        model.fc1.bias.fill_(0.3)
    x = events(3)
    x[1] = False
    run = simulate(model, x.numpy())
    np.testing.assert_allclose(run.outputs, model(x.double()).detach(), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(run.spikes["lif1"][1], simulate(model, x[1:2].numpy()).spikes["lif1"][0])  # fmt: skip  # noqa: E501
    model.timesteps = 4
    assert simulate(model, x.numpy()).spikes["lif1"].shape == (3, 4, 6)


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (lambda: torch.nn.Linear(3, 2), np.zeros((1, 9, 3)), "a Linear has no such form"),
        (lambda: net_of("spiking-net"), np.full((1, *SHAPE), 0.5), "of 0 and 1"),
        (lambda: net_of("spiking-net"), np.zeros((1, 9, 13)), "13 channels, the network takes 14"),
        (lambda: net_of("spiking-net"), np.zeros((9, 14)), "events are"),
    ],
)
def test_what_brian2_cannot_be_shown_is_refused(model, x, message):
    pytest.importorskip("brian2")
    from rewire.models.spiking.in_brian import simulate

    with pytest.raises(ValueError, match=message):
        simulate(model(), x)


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("spiking-net", NETWORKS["spiking-net"]), ("spiking-rnn", {"hidden": [10, 8], "leak": 0.75})],
)
def test_a_network_goes_through_a_nir_file_and_makes_the_same_spikes(
    name, options, world, tmp_path
):
    nir = pytest.importorskip("nir")
    model, graph = trained(name, world, **options)
    nir.write(tmp_path / "a.nir", to_nir(model, dt=1e-4))
    again = from_nir(nir.read(tmp_path / "a.nir"), steps=SHAPE[0], dt=1e-4)
    x = events(4, seed=2).float()
    logits, spikes = spikes_of(model, x)
    logits_again, spikes_again = spikes_of(again, x)
    for layer, raster in spikes.items():
        assert raster.sum() > 5
        np.testing.assert_array_equal(spikes_again[layer], raster)
    np.testing.assert_allclose(logits_again, logits, rtol=1e-5, atol=1e-6)
    read = read_graph(tmp_path / "a.nir")  # the ticket's edges, but for weights that are 0
    mine = {p.name.removesuffix(".weight"): i for i, p in enumerate(graph.projections)}
    for i, p in enumerate(read.projections):
        assert torch.equal(read.dense(i), graph.dense(mine[p.name]))
    assert read.network.joined


def test_what_nir_has_no_node_for_is_refused():
    pytest.importorskip("nir")
    for name, options, message in (
        ("lsnn", {}, "no neuron whose threshold adapts"),
        ("spiking-net", {"reset": "subtract"}, 'reset = "subtract" has no form'),
        ("spiking-net", {"leak": 1.0}, "never leaks"),
        ("spiking-conv", {}, "a SpikingConvNet has no such form"),
    ):
        shape = (4, 2, 8, 8) if name == "spiking-conv" else SHAPE
        model = models.build(name, generator=torch.Generator(), input_shape=shape, classes=3,
                             **options)  # fmt: skip
        with pytest.raises(ValueError, match=message):
            to_nir(model)
    with pytest.raises(ValueError, match="dt = 0.0"):
        to_nir(net_of("spiking-net"), dt=0.0)


def test_weights_of_the_sparse_world_are_refused_with_what_to_do():
    model = net_of("spiking-net", hidden=[40])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rewire.attach(model, optimizer, rewire.Static(), density=0.1, world="sparse")
    with pytest.raises(ValueError, match=r"list of edges, of the sparse world: take net.to_dense"):
        to_nir(model)


def test_nir_graphs_of_another_kind_are_refused():
    nir = pytest.importorskip("nir")
    whole = to_nir(net_of("spiking-rnn", hidden=[5, 4]))

    def changed(name, **values):
        copy = nir.NIRGraph(dict(whole.nodes), list(whole.edges))
        of = {**vars(whole.nodes[name]), **values}
        lif = whole.nodes[name]
        fields = ("tau", "r", "v_leak", "v_threshold", "v_reset")
        copy.nodes[name] = type(lif)(**{k: of[k] for k in fields})
        return copy

    for graph, options, message in (
        (whole, {"dt": 2e-3}, "by 2 in a step of 0.002 s, not by 1"),
        (changed("lif1", v_reset=np.full(5, 0.5)), {}, "rests at or resets to another potential"),
        (changed("lif1", v_threshold=np.full(5, 2.0)), {}, "layers differ in leak"),
        (changed("lif1", v_threshold=np.arange(1.0, 6)), {}, "differ in v_threshold"),
        (nir.NIRGraph(whole.nodes, [e for e in whole.edges if e != ("rec1", "lif1")]), {},
         "no chain of linear layers"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            from_nir(graph, steps=9, **options)

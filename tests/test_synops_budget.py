"""A bound on synaptic operations, held against counts of every spike in every layer."""

from itertools import pairwise

import pytest
import torch
from torch import nn

import rewire
from rewire import models, when
from rewire.experiments.trainings.synops import counted
from rewire.signals import Signals

EVENTS = {"spiking-net": (5, 12), "lsnn": (5, 12), "spiking-conv": (4, 2, 6, 6)}
OPTIONS = {
    "spiking-net": {"hidden": [10, 8]},
    "lsnn": {"hidden": [9], "adaptive": 0.5},
    "spiking-conv": {"channels": [4, 3]},
}
every_world = pytest.mark.parametrize("world", ["masked", "sparse"])
every_model = pytest.mark.parametrize("name", EVENTS)


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def events(name, n=16, seed=1):
    draw = torch.Generator().manual_seed(seed)
    x = (torch.rand(n, *EVENTS[name], generator=draw) < 0.4).to(torch.float64)
    return x, torch.randint(3, (n,), generator=draw)


def attached(name, rule, world="masked", density=0.6, steps=12, **options):
    generator = torch.Generator().manual_seed(0)
    model = models.build(name, generator=generator, input_shape=EVENTS[name], classes=3,
                         init="kaiming_normal", **OPTIONS[name]).double()  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    # batches of unlike sizes: means are over examples
    x, y = events(name)
    probe = rewire.Probe([(x[:3], y[:3]), (x[3:], y[3:])], loss)
    return rewire.attach(model, optimizer, rule, density=density, world=world, steps=steps,
                         probe=probe, **options)  # fmt: skip


def measured(net, name):
    """Synaptic operations of an example of the probe, counted in the layers' inputs."""
    with counted(net.world.model, net.graph) as counts, torch.no_grad():
        net.world.model(events(name)[0])
    return counts.operations / counts.examples


def trained(net, name, steps):
    for step in range(steps):
        net.optimizer.zero_grad()
        loss(net.world.model, events(name, seed=step)).backward()
        net.step()
        yield step + 1


@every_model
@every_world
def test_the_signal_is_what_the_layers_carry(name, world):
    net = attached(name, rewire.Static(), world)
    cost = Signals(net.world, net.graph).pair("synaptic_operations", net.graph.keys)
    assert cost.sum().item() == pytest.approx(measured(net, name), rel=1e-12)
    assert cost.sum() > 10 and (cost * 16).frac().abs().max() < 1e-9  # whole numbers, of 16


@pytest.mark.parametrize(
    ("name", "rule"),
    [("spiking-net", rewire.DeepR(noise=2.0, l1=0.1)), ("lsnn", rewire.SET(when=when.every(2))),
     ("spiking-conv", rewire.RigL(when=when.every(2)))],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
@every_world
def test_beside_another_rule_every_look_ends_within_the_budget(name, rule, world):
    first = measured(attached(name, rewire.Static(), world), name)
    most = when.linear(0.8 * first, 0.4 * first)
    net = attached(name, [rule, rewire.SynOpsBudget(most=most, when=when.every(3))], world,
                   steps=7)  # fmt: skip
    assert measured(net, name) <= 0.8 * first
    edges = [net.edges]
    for step in trained(net, name, 7):
        edges.append(net.edges)
        if step % 3 == 0:
            assert measured(net, name) <= most(net.clock) * (1 + 1e-9)
    assert all(a >= b for a, b in pairwise(edges)) and edges[-1] < edges[0]
    assert net.history.formed > 0 and min(net.counts) > 0


def test_both_worlds_drop_the_same():
    rules = [rewire.RigL(when=when.every(2)), rewire.SynOpsBudget(most=60.0, when=when.every(2))]
    nets = [attached("lsnn", rules, world) for world in ("masked", "sparse")]
    for _ in zip(*(trained(net, "lsnn", 5) for net in nets), strict=True):
        assert torch.equal(nets[0].graph.keys, nets[1].graph.keys)
    assert nets[0].history.dropped > nets[0].history.formed > 0


@pytest.mark.parametrize("by", ["per-operation", "magnitude"])
def test_synapses_go_in_order_and_no_more_than_it_takes(by):
    before = attached("spiking-net", rewire.Static())
    net = attached("spiking-net", rewire.SynOpsBudget(most=100.0, by=by))
    graph = before.graph
    signals = Signals(before.world, graph)
    cost = signals.pair("synaptic_operations", graph.keys)
    score = graph["weight"].abs() / (cost if by == "per-operation" else 1)
    gone = (~net.graph.find(graph.keys)[1]).nonzero().squeeze(1)
    assert measured(net, "spiking-net") <= 100 < cost.sum()
    assert len(gone) and (cost[gone] > 0).all()
    last = gone[score[gone].argmax()]
    stays = torch.ones(len(graph), dtype=torch.bool)
    stays[gone] = False
    assert score[stays & (cost > 0)].min() >= score[last]
    one_more = graph.apply(rewire.Edit(drop=gone[gone != last]))
    assert signals.at(one_more).pair("synaptic_operations", one_more.keys).sum() > 100


def test_a_network_within_its_budget_is_left_alone():
    net = attached("lsnn", rewire.SynOpsBudget(most=1e6, when=when.every(1)))
    edges = net.edges
    assert edges == attached("lsnn", rewire.Static()).edges
    assert [net.edges for _ in trained(net, "lsnn", 3)] == [edges] * 3


def test_synapses_that_carry_nothing_stay():
    model = nn.Sequential(nn.Linear(4, 3))
    model.takes_spikes = ("0",)
    probe = rewire.Probe([torch.tensor([[1.0, 1.0, 0.0, 0.0]])], lambda model, x: model(x).sum())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.SynOpsBudget(most=2), density=1.0, probe=probe)
    assert net.masks()["0.weight"].sum(0).tolist()[2:] == [3, 3] and net.edges == 2 + 6


@every_world
def test_what_cannot_be_bounded_is_refused_before_the_first_step(world):
    with pytest.raises(ValueError, match="SynOpsBudget cannot come to 0.5 synaptic operations"):
        attached("spiking-net", rewire.SynOpsBudget(most=0.5), world)
    with pytest.raises(ValueError, match="SynOpsBudget needs the synaptic operations that an exam"):
        attached("spiking-net", rewire.SynOpsBudget(), world)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = rewire.Probe([torch.ones(2, 4)], lambda model, x: model(x).sum())
    rule, how = rewire.SynOpsBudget(most=5), {"density": 1.0, "world": world, "steps": 9}
    with pytest.raises(ValueError, match="SynOpsBudget.*no layer here is known to take spikes"):
        rewire.attach(model, optimizer, rule, probe=probe, **how)
    with pytest.raises(ValueError, match="SynOpsBudget needs the signal 'synaptic_operations'"):
        rewire.attach(model, optimizer, rule, **how)


@pytest.mark.parametrize("most", [0, -3.0, float("nan"), float("inf"), when.linear(9.0, -1.0)])
def test_nonsense_is_refused(most):
    with pytest.raises(ValueError, match="SynOpsBudget.most"):
        rewire.SynOpsBudget(most=most)


def test_other_words_are_refused():
    with pytest.raises((TypeError, ValueError), match="SynOpsBudget.*most"):
        rewire.SynOpsBudget(most="many")
    with pytest.raises(ValueError, match="per-operation"):
        rewire.SynOpsBudget(most=5, by="age")

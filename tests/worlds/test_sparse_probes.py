"""What rules see of the sparse world in passes of their own: what they see of the masked one."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import every, signals
from rewire.budget import random_graph
from rewire.graph import Graph
from rewire.native import sparse as engine
from rewire.torch_loop import torch_world


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 7, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(14, 3)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(9, 12), nn.Tanh(), nn.Linear(12, 3)), (9,)),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 6, 2, groups=2),
            nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(54, 3),
        ),
        (2, 6, 6),
    ),
    "lstm": (Recurrent, (4, 5)),
}  # fmt: skip
no_engine = pytest.mark.skipif(engine is None, reason="the engine was not built")
HELD = ["mlp", pytest.param("conv", marks=no_engine), "lstm"]  # as lists of edges, without it too
SCORES = ("connection_sensitivity", "gradient_flow", "synaptic_flow", "meta_gradient")
CURVATURE = ("fisher", "example_gradients", "hessian_diag")
DENSE = ("grad", "growth", "weight", "probe_gradient")
PROBED = dict.fromkeys((*SCORES, *CURVATURE, *DENSE), {}) | {"gradient_flow": {"temperature": 2.0}}
RULES = {
    "snip": rewire.SNIP(),
    "iterative": rewire.SNIP(rounds=5),
    "force": rewire.FORCE(rounds=5),
    "prospr": rewire.ProsPr(),
    "grasp": rewire.GraSP(),
    "synflow": rewire.SynFlow(rounds=10),
    "snip-rigl": [rewire.SNIP(), rewire.RigL(when=every(4))],
}


def loss(model, batch):
    return cross_entropy(model(batch[0]), batch[1])


def batch(shape, n=15, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=g, dtype=torch.float64), torch.arange(n) % 3


def built(name):
    """A small model, its optimiser and a probe. Not Adam: it makes steps of what is rounding in the
    gradient of a bias before batch normalisation."""
    torch.manual_seed(0)
    build, shape = MODELS[name]
    model = build().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, optimizer, rewire.Probe([batch(shape, seed=i) for i in (1, 2)], loss)


def attached(name, kind, rule, density=0.3, **more):
    model, optimizer, probe = built(name)
    return rewire.attach(
        model, optimizer, rule, density=density, seed=0, world=kind, probe=probe, **more
    )


def world_of(name, kind, trained):
    """A world that holds no graph yet, or one after some steps; above auto's crossover in its
    first layer."""
    model, optimizer, probe = built(name)
    world = torch_world(model, optimizer, kind, probe=probe)
    names = [p.name for p in world.space.projections]
    first = [n.partition(".")[0] == names[0].partition(".")[0] for n in names]
    shares = zip(world.space.sizes, first, strict=True)
    counts = [int(n * (0.7 if of_first else 0.3)) for n, of_first in shares]
    graph = random_graph(world.space, counts, rewire.rng_for(0, "test"))
    if trained:
        net = rewire.Session(world, graph, rewire.Static())
        for i in range(5):
            optimizer.zero_grad()
            loss(model, batch(MODELS[name][1], seed=10 + i)).backward()
            net.step()
        dense = {
            "masked": names,
            "sparse": [],
            "auto": [n for n, d in zip(names, first, strict=True) if d],
        }
        assert [n for n, form in world.forms.items() if form == "masked"] == dense[kind]
    return world, graph


@pytest.mark.parametrize("trained", [False, True], ids=["before step 0", "after steps"])
@pytest.mark.parametrize("kind", ["sparse", "auto"])
@pytest.mark.parametrize("model", HELD)
def test_signals_at_any_graph_are_those_of_the_masked_world_to_1e_10(model, kind, trained):
    """Scores, gradients and curvature, at more edges than the world has and at fewer."""
    worlds = [world_of(model, s, trained) for s in ("masked", kind)]
    own = worlds[0][1]
    full = Graph.full(own.space)
    for graph in (own, full, Graph(own.space, own.keys[::3])):
        for name, how in PROBED.items():
            a, b = (w.signals(g).at(graph).pair(name, full.keys, **how) for w, g in worlds)
            most = float(a.abs().max())
            assert most > 0, name
            torch.testing.assert_close(b, a, rtol=0, atol=1e-10 * most)
            assert name in ("weight", "grad", "growth") or b.dtype is torch.float64
    if trained:  # and without naming a graph: what the world holds
        for name in SCORES:
            a, b = (w.signals(g).pair(name, full.keys) for w, g in worlds)
            torch.testing.assert_close(b, a, rtol=0, atol=1e-10 * float(a.abs().max()))
            assert (b[own.keys] != 0).any() and b.count_nonzero() <= len(own)


@pytest.mark.parametrize("model", HELD)
def test_a_probe_leaves_no_trace_in_the_sparse_world(model):
    """In weights, running statistics, moments, modes, kept gradients and units' activity."""
    runs = []
    for probes in (False, True):
        rule = [rewire.RigL(when=every(2), fraction=0.3), rewire.StructuralPlasticity()]
        net = attached(model, "auto", rule, steps=99)
        own, optimizer = net.world.model, net.world.optimizer
        for i in range(6):
            optimizer.zero_grad()
            loss(own, batch(MODELS[model][1], seed=20 + i)).backward()
            if probes:
                full = Graph.full(net.world.space)
                here = net.world.signals(net.graph)
                for name in PROBED:
                    here.at(full).pair(name, full.keys)
                said = here.node("activity", "input")
                assert torch.equal(here.at(full).node("activity", "input"), said) and said.any()
            net.step()
        assert own.training and net.edges > 0
        runs.append(
            (own.state_dict(), optimizer.state_dict()["state"], net.graph.keys, len(net.history))
        )
    assert runs[0][3] > 2
    torch.testing.assert_close(runs[1], runs[0], rtol=0, atol=0)


@no_engine
@pytest.mark.parametrize("kind", ["sparse", "auto"])
@pytest.mark.parametrize("model", ["mlp", "conv"])
@pytest.mark.parametrize("rule", RULES)
def test_what_is_left_at_the_start_is_held_as_edges_and_trained_by_the_plan(rule, model, kind):
    nets, losses = [], []
    for world in ("masked", kind):
        net = attached(model, world, RULES[rule], density=0.15, steps=99)
        assert net.world.name == ("masked" if world == "masked" else "sparse")
        losses.append([])
        for i in range(8):
            losses[-1].append(net.learn(*batch(MODELS[model][1], seed=30 + i)))
            net.rewire()
        nets.append(net)
    theirs, mine = nets
    assert set(mine.world.forms.values()) == {"edges"} and mine.world.plan is not None
    assert mine.edges == round(0.15 * mine.graph.possible)
    assert sum(w.parameter.numel() for w in mine.world.weights) == mine.edges
    assert (len(mine.history) > 0) == (rule == "snip-rigl")
    assert torch.equal(mine.graph.keys, theirs.graph.keys)
    torch.testing.assert_close(mine.graph["weight"], theirs.graph["weight"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-9, atol=0)
    full = Graph.full(mine.world.space)
    for name in SCORES:  # of what the plan has trained
        a, b = (n.world.signals(n.graph).at(full).pair(name, full.keys) for n in nets)
        torch.testing.assert_close(b, a, rtol=0, atol=1e-9 * float(a.abs().max()))


@pytest.mark.parametrize("rule", ["snip", "iterative", "grasp", "synflow"])
def test_a_model_on_the_meta_device_is_pruned_by_the_weights_that_it_would_start_with(rule):
    def meta(rule):
        with torch.device("meta"):
            model = MODELS["mlp"][0]().double()
        probe = rewire.Probe([batch((9,), seed=1)], loss)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        density = 1.0 if isinstance(rule, rewire.Static) else 0.15
        return rewire.attach(model, optimizer, rule, density=density, seed=4, world="sparse",
                             probe=probe)  # fmt: skip

    whole, net = meta(rewire.Static()), meta(RULES[rule])
    model = MODELS["mlp"][0]().double()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        for i, name in enumerate(("0.weight", "2.weight")):
            p = model.get_parameter(name)
            p.copy_(whole.graph["weight"][whole.graph.rows(i)].view_as(p))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    twin = rewire.attach(model, optimizer, RULES[rule], density=0.15, probe=net.world.probe)
    assert torch.equal(net.graph.keys, twin.graph.keys)
    assert torch.equal(net.graph["weight"], twin.graph["weight"])
    full = Graph.full(net.world.space)
    for name in SCORES:
        a, b = (n.world.signals(n.graph).at(full).pair(name, full.keys) for n in (twin, net))
        torch.testing.assert_close(b, a, rtol=0, atol=1e-10)


def test_a_model_too_wide_for_every_edge_is_refused_by_name():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(1 << 19, 1 << 19))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="every possible synapse has 274,877,906,944 .* 2,048 GiB"):
        rewire.attach(model, optimizer, rewire.SynFlow(input=(1,)), density=1e-6,
                      world="sparse")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Foreign(rewire.Rule):
    """A rule of a package that brings its signal for the masked world alone."""

    needs = frozenset({"foreign"})


def test_a_signal_of_the_masked_world_alone_is_found_there(monkeypatch):
    monkeypatch.setitem(signals._REGISTRY, "masked", dict(signals.registered("masked")))
    rewire.signal("masked", "foreign")(lambda world, graph, keys: torch.zeros(len(keys)))
    assert attached("mlp", "auto", Foreign()).world.name == "masked"
    with pytest.raises(ValueError, match="'foreign', which the sparse world does not offer here .* "
                       "The masked world does: use world='masked'"):  # fmt: skip
        attached("mlp", "sparse", Foreign())

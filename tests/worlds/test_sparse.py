"""The sparse world against the masked one: the same rules, the same graphs, the same weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import Edit, Rule, every
from rewire.native import sparse as engine

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),  # which the engine does not have
}
RULES = {
    "Static": rewire.Static(),
    "DeepR": rewire.DeepR(l1=1e-2, noise=1e-2),
    "DeepR global": rewire.DeepR(l1=1e-2, noise=1e-2, scope="global"),
    "SoftDeepR": rewire.SoftDeepR(l1=1e-2, noise=1e-2),
    "SET": rewire.SET(when=every(3)),
    "RigL": rewire.RigL(when=every(3), fraction=0.3),
    "GMP": rewire.GMP(when=every(3)),
    "GraNet": rewire.GraNet(when=every(3)),
    "SNFS": rewire.SNFS(rewires=every(3)),
    "plasticity": rewire.StructuralPlasticity(partner="uniform", attempts=0.2, p_elim_dep=0.5),
}


def mlp(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    layers = [nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5)]
    return nn.Sequential(*layers).to(dtype)


def batches(n=40, size=12, dtype=torch.float64):
    g = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 20, generator=g).to(dtype), torch.randint(5, (size,), generator=g))
        for _ in range(n)
    ]


def trained(world_name, rule, optimizer, *, whole=True, model=None, density=0.3, steps=40):
    model = mlp() if model is None else model
    net = rewire.attach(
        model, OPTIMIZERS[optimizer](model.parameters()), rule, density=density, seed=3,
        steps=steps, world=world_name,
    )  # fmt: skip
    losses = []
    for x, y in batches(steps, dtype=next(model.parameters()).dtype):
        if whole:
            losses.append(net.learn(x, y))
            losses.append(net.world.evaluate(x[:5], y[:5])[0])  # between a step and its rules
            net.rewire()
        else:
            model.zero_grad(set_to_none=True)
            loss = cross_entropy(model(x), y)
            loss.backward()
            net.step()
            losses.append(float(loss.detach()))
    return net, losses


def same(one, other, tolerance=1e-9):
    (a, losses_a), (b, losses_b) = one, other
    assert torch.equal(a.graph.keys, b.graph.keys)
    torch.testing.assert_close(a.graph["weight"], b.graph["weight"], rtol=tolerance, atol=1e-12)
    np.testing.assert_allclose(losses_a, losses_b, rtol=tolerance)


@pytest.mark.every_other
@pytest.mark.parametrize("whole", [True, False], ids=["plan", "layers"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rule", RULES)
def test_a_training_is_that_of_the_masked_world(rule, optimizer, whole):
    if whole and engine is None:
        pytest.skip("the engine was not built")
    sparse = trained("sparse", RULES[rule], optimizer, whole=whole)
    assert set(sparse[0].world.forms.values()) == {"edges"}
    assert (sparse[0].world.plan is not None) == whole
    same(trained("masked", RULES[rule], optimizer, whole=whole), sparse)


@pytest.mark.parametrize("world_name", ["masked", "sparse", "auto"])
def test_newborns_start_at_the_step_size_of_their_own_group(world_name):
    """Rprop's step sizes begin at the learning rate, which is each group's own."""
    model = mlp()
    rates = {"0.weight": 0.01, "2.weight": 0.02, "4.weight": 0.03}
    groups = [{"params": model.get_submodule(n[0]).parameters(), "lr": r} for n, r in rates.items()]
    net = rewire.attach(
        model, torch.optim.Rprop(groups), rewire.SET(when=every(2), fraction=0.5),
        seed=3, steps=9, world=world_name, distribution={"0": 0.2, "2": 0.9, "4": 0.5},
    )  # fmt: skip
    for x, y in batches(4):
        model.zero_grad(set_to_none=True)
        cross_entropy(model(x), y).backward()
        net.step()
    born = torch.from_numpy(net.history.records[-1].add)
    rows, there = net.graph.find(born)
    assert there.all()
    states = [s["step_size"] for p, s in net.world.optimizer.state.items() if "prev" in s]
    seen = 0
    for i, (name, rate) in enumerate(rates.items()):
        mine = rows[(rows >= net.graph.bounds[i]) & (rows < net.graph.bounds[i + 1])]
        size = states[2 * i]  # a weight's state comes before its bias's
        edges = net.world.forms[name] == "edges"
        at = mine - net.graph.bounds[i] if edges else net.graph.keys[mine] - net.graph.offsets[i]
        assert (size.reshape(-1)[at] == rate).all()
        seen += len(mine)
    assert seen == len(born) > 10


def test_no_dense_tensor_is_left():
    net, _ = trained("sparse", RULES["RigL"], "Adam")
    edges = dict(zip(["0.weight", "2.weight", "4.weight"], net.counts, strict=True))
    for name, p in net.world.model.named_parameters():
        assert p.numel() == edges.get(name, p.numel())
        for v in net.world.optimizer.state[p].values():
            assert v.dim() == 0 or v.shape == p.shape


def ticket(world_name, optimizer):
    model, data = mlp(), batches()
    net = rewire.train(
        model, OPTIMIZERS[optimizer](model.parameters()), rewire.IMP(fraction=0.4, rewind=5),
        loss=lambda m, b: cross_entropy(m(b[0]), b[1]), data=lambda step: data[step], steps=25,
        density=0.1, world=world_name,
    )  # fmt: skip
    return net, [0.0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("world_name", ["sparse", "auto"])
def test_tickets_and_their_rewinds_are_those_of_the_masked_world(world_name, optimizer):
    found = ticket(world_name, optimizer)
    same(ticket("masked", optimizer), found)
    assert found[0].edges == round(0.1 * found[0].graph.possible)


def test_auto_chooses_for_each_layer_by_its_density():
    model = mlp()
    net = rewire.attach(
        model, torch.optim.Adam(model.parameters()), Shrinking(), seed=0, world="auto",
        distribution={"0.weight": 0.2, "2.weight": 0.9, "4.weight": 1.0},
    )  # fmt: skip
    assert list(net.world.forms.values()) == ["edges", "masked", "masked"]
    for x, y in batches(8):
        net.learn(x, y)
        net.rewire()
    assert list(net.world.forms.values()) == ["edges", "edges", "masked"]
    assert net.world.plan is not None


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("whole", [True, False], ids=["plan", "layers"])
def test_layers_of_both_forms_train_as_masked_ones(whole, optimizer):
    """A layer goes from masked to edges on the way, with its moments."""
    runs = []
    for world_name in ("masked", "auto"):
        model = mlp()
        net = rewire.attach(
            model, OPTIMIZERS[optimizer](model.parameters()),
            [Shrinking(), rewire.SET(when=every(2))], seed=0, world=world_name,
            distribution={"0.weight": 0.2, "2.weight": 0.9, "4.weight": 1.0},
        )  # fmt: skip
        losses = []
        for x, y in batches(12):
            if whole:
                losses.append(net.learn(x, y))
                net.rewire()
            else:
                model.zero_grad()
                loss = cross_entropy(model(x), y)
                loss.backward()
                net.step()
                losses.append(float(loss.detach()))
        runs.append((net, losses))
    same(*runs)


class Shrinking(Rule):
    """Drops a tenth of the second layer at every step."""

    budget = "cap"
    when = every(1)

    def update(self, graph, signals, state, rng, clock):
        rows = graph.rows(1)
        drop = torch.arange(rows.start, rows.stop, 10)
        return Edit(drop=drop), state


def test_a_state_is_shown_and_taken_back():
    net, _ = trained("sparse", RULES["DeepR"], "Adam", steps=10)
    net.clock = net.clock._replace(span=100)
    world, (x, y) = net.world, batches(1)[0]
    early, before = world.model_state(), world.evaluate(x, y)
    for step in batches(20):
        net.learn(*step)
        net.rewire()
    now = world.evaluate(x, y)
    assert now != before
    with world.showing(early):
        assert world.evaluate(x, y) == before
        assert world.model(x).shape == (12, 5)
    assert world.evaluate(x, y) == now
    net.learn(x, y)  # and trains on
    net.rewire()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rule", ["DeepR", "RigL", "plasticity", "SoftDeepR"])
def test_resume_in_mid_run_is_bit_equal(rule, optimizer):
    def attached():
        model = mlp(dtype=torch.float32)
        return rewire.attach(
            model, OPTIMIZERS[optimizer](model.parameters()), RULES[rule], density=0.3, seed=3,
            steps=40, world="sparse",
        )  # fmt: skip

    data = batches(40, dtype=torch.float32)

    def run(net, steps):
        for x, y in steps:
            net.learn(x, y)
            net.rewire()
        return net

    whole = run(attached(), data)
    half = run(attached(), data[:17])
    saved = copy.deepcopy((half.world.snapshot(), half.state_dict()))
    later = attached()
    later.world.load(saved[0])
    later.load_state_dict(saved[1])
    run(later, data[17:])
    assert torch.equal(later.graph.keys, whole.graph.keys)
    assert torch.equal(later.graph["weight"], whole.graph["weight"])
    for name, v in whole.world.snapshot()["optimiser"]["edges"].items():
        assert torch.equal(later.world.snapshot()["optimiser"]["edges"][name], v)


def test_a_model_on_the_meta_device_gets_the_weights_of_its_edges_alone():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(1 << 18, 1 << 18), nn.ReLU(), nn.Linear(1 << 18, 3))
    net = rewire.attach(  # 69 billion possible synapses
        model, torch.optim.SGD(model.parameters(), lr=0.01), rewire.DeepR(l1=1e-3),
        distribution={"0.weight": 1e-7, "2.weight": 1e-2}, seed=1, world="sparse",
    )  # fmt: skip
    edges = net.edges
    assert edges == round(1e-7 * 2**36) + round(1e-2 * 3 * 2**18)
    weight = net.graph["weight"][: net.counts[0]]
    assert weight.std() == pytest.approx(2**0.5, rel=0.05)  # a fan-in of one, at the least
    x, y = torch.randn(4, 1 << 18), torch.tensor([0, 1, 2, 0])
    losses = []
    for _ in range(5):
        losses.append(net.learn(x, y))
        net.rewire()
    assert losses[-1] < losses[0] and net.edges == edges


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.rnn = kind(6, 7, batch_first=True, **options)
        self.out = nn.Linear(14 if options.get("bidirectional") else 7, 4)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
def test_recurrent_nets_train_as_masked_ones(kind, options):
    runs = []
    for world_name in ("masked", "sparse"):
        torch.manual_seed(0)
        model = Recurrent(kind, **options).double()
        net = rewire.attach(
            model, torch.optim.Adam(model.parameters(), lr=1e-2), rewire.RigL(when=every(2)),
            density=0.3, seed=0, world=world_name, steps=12,
        )  # fmt: skip
        g, losses = torch.Generator().manual_seed(0), []
        for _ in range(12):
            x = torch.randn(5, 9, 6, generator=g, dtype=torch.float64)
            losses.append(net.learn(x, torch.randint(4, (5,), generator=g)))
            net.rewire()
        runs.append((net, losses))
    assert "rnn" in runs[1][0].world.untraceable
    same(*runs)


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 4),
    ).double()  # fmt: skip


@pytest.mark.skipif(engine is None, reason="the engine was not built")
@pytest.mark.parametrize("whole", [True, False], ids=["plan", "layers"])
@pytest.mark.parametrize("rule", ["RigL", "DeepR", "SET"])
def test_convolutional_nets_train_as_masked_ones(rule, whole):
    runs = []
    for world_name in ("masked", "sparse"):
        model = convolutional()
        net = rewire.attach(
            model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), RULES[rule],
            density=0.3, seed=0, world=world_name, steps=12,
        )  # fmt: skip
        g, losses = torch.Generator().manual_seed(0), []
        for _ in range(12):
            x = torch.randn(5, 2, 8, 8, generator=g, dtype=torch.float64)
            y = torch.randint(4, (5,), generator=g)
            if whole:
                losses.append(net.learn(x, y))
                net.rewire()
            else:
                model.zero_grad()
                loss = cross_entropy(model(x), y)
                loss.backward()
                net.step()
                losses.append(float(loss.detach()))
        runs.append((net, losses))
        x = torch.randn(9, 2, 8, 8, generator=g, dtype=torch.float64)
        losses.append(net.world.evaluate(x, torch.arange(9) % 4)[0])  # running statistics too
    assert set(runs[1][0].world.forms.values()) == {"edges"}
    same(*runs)


def test_without_the_engine_layers_run_on_torchs_sparse_matrices(monkeypatch):
    monkeypatch.setattr("rewire.worlds.sparse.edge_layers.sparse", None)
    monkeypatch.setattr("rewire.worlds.sparse.edge_linear.sparse", None)
    monkeypatch.setattr("rewire.worlds.sparse.native_step.engine", None)
    net = trained("sparse", RULES["RigL"], "Adam")
    assert net[0].world.plan is None and "no sparse engine" in net[0].world.untraceable
    same(trained("masked", RULES["RigL"], "Adam"), net)


def test_what_cannot_be_held_as_edges_is_refused_before_step_0():
    model = mlp()
    muon = getattr(torch.optim, "Muon", None)
    if muon is not None:
        weights = [p for p in model.parameters() if p.dim() == 2]
        with pytest.raises(ValueError, match="mixes weights"):
            rewire.attach(model, muon(weights), rewire.Static(), world="sparse")
    with pytest.raises(ValueError, match="'masked', 'sparse' or 'auto'"):
        rewire.attach(model, torch.optim.SGD(model.parameters()), rewire.Static(), world="csr")
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    tied[1].weight = tied[0].weight
    with pytest.raises(ValueError, match="one shared weight"):
        rewire.attach(tied, torch.optim.SGD(tied.parameters()), rewire.Static(), world="sparse")


def test_layers_that_have_no_form_of_edges_stay_masked():
    class Tapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.taps = nn.Conv1d(8, 8, 3)
            self.out = nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.taps(x.transpose(1, 2)).relu().mean(2))

    runs = []
    for world_name in ("masked", "sparse"):
        torch.manual_seed(0)
        model = Tapped().double()
        net = rewire.attach(
            model, torch.optim.Adam(model.parameters(), lr=1e-2), rewire.SET(when=every(2)),
            density=0.4, seed=0, world=world_name, steps=8,
        )  # fmt: skip
        g, losses = torch.Generator().manual_seed(0), []
        for _ in range(8):
            x = torch.randn(6, 5, 8, generator=g, dtype=torch.float64)
            losses.append(net.learn(x, torch.randint(3, (6,), generator=g)))
            net.rewire()
        runs.append((net, losses))
    same(*runs)
    forms = runs[1][0].world.forms
    assert forms["out.weight"] == "edges" and forms["taps.weight"] == "masked"


@pytest.mark.skipif(engine is None, reason="the engine was not built")
def test_a_frozen_norm_runs_layer_by_layer():
    runs = []
    for world_name in ("masked", "sparse"):
        model = convolutional()
        model[1].eval()
        net = rewire.attach(
            model, torch.optim.SGD(model.parameters(), lr=0.05), rewire.Static(), density=0.3,
            seed=0, world=world_name,
        )  # fmt: skip
        g, losses = torch.Generator().manual_seed(0), []
        for _ in range(4):
            x = torch.randn(5, 2, 8, 8, generator=g, dtype=torch.float64)
            losses.append(net.learn(x, torch.randint(4, (5,), generator=g)))
            net.rewire()
        runs.append((net, losses))
    assert "frozen" in runs[1][0].world.untraceable
    same(*runs)


@pytest.mark.parametrize("world_name", ["masked", "sparse", "auto"])
@pytest.mark.parametrize("native", [True, False])
def test_a_signal_as_a_whole_is_that_of_all_keys(world_name, native):
    """Linear, convolutional and recurrent weights; of the magnitude too."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn, self.out = nn.Conv2d(1, 3, 2), nn.GRU(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.out(self.rnn(self.conv(x).flatten(2).transpose(0, 1))[0].sum(0))

    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3))
    model = (layers if native else Net()).double()
    x, y = torch.randn(6, *((9,) if native else (1, 3, 3))).double(), torch.arange(6) % 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.SNFS(rewires=every(9)), density=0.5,
                        steps=20, world=world_name)  # fmt: skip
    if native and world_name != "masked":
        net.learn(x, y)
        assert net.world.plan is not None
    else:
        nn.functional.cross_entropy(model(x), y).backward()
        net.optimise()
    signals, keys = net.world.signals(net.graph), torch.arange(net.graph.possible)
    for name in ("grad", "growth"):
        torch.testing.assert_close(
            signals.whole(name).double(), signals.pair(name, keys).double(), rtol=1e-6, atol=1e-12
        )
    assert (signals.whole("grad") < 0).any() and (signals.whole("growth") >= 0).all()

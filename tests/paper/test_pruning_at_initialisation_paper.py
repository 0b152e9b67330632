"""What the papers on pruning before training claim, each with its number."""

import warnings

import pytest
import torch
from torch import nn

import rewire
from rewire.graph import Graph


def relu_net(widths, seed=0):
    torch.manual_seed(seed)
    layers = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def probe(inputs, classes, seed=1):
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(100) % classes
    centre = torch.randn(classes, inputs, generator=g)
    return rewire.Probe([(centre[y] + torch.randn(100, inputs, generator=g), y)], loss)


def attach(model, rule, density, probe):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rewire.attach(model, optimizer, rule, density=density, probe=probe)


def pruned(widths, rule, density, seed=0):
    return attach(relu_net(widths, seed), rule, density, probe(widths[0], widths[-1]))


FUNNEL = (64, 256, 256, 32, 256, 256, 10)  # a narrow layer between wide ones


def test_what_enters_a_hidden_unit_leaves_it():
    """Tanaka et al., Theorem 1: the scores of the synapses into a unit and out of it add up to the
    same, in the whole network and in a pruned one; and so do those of whole layers (Theorem 2)."""
    model = relu_net((10, 16, 12, 14, 4))
    world = rewire.Masked(model, torch.optim.SGD(model.parameters(), lr=0.1))
    full = Graph.full(world.space)
    for graph in (full, Graph(world.space, full.keys[::3])):
        score = world.signals(full).at(graph).pair("synaptic_flow", full.keys, input=(10,))
        assert score.dtype is torch.float64 and (score[graph.keys] > 0).sum() > 100
        shapes = [p.shape for p in world.space.projections]
        parts = score.split(world.space.sizes)
        layers = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        for before, after in zip(layers, layers[1:], strict=False):
            torch.testing.assert_close(before.sum(1), after.sum(0), rtol=1e-12, atol=0)
        totals = torch.stack([s.sum() for s in layers])
        torch.testing.assert_close(totals, totals[:1].expand(4), rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_synflow_in_100_rounds_keeps_every_layer_where_one_round_loses_some(seed):
    """Tanaka et al., Figure 1: SynFlow alone reaches the density at which hardly one path is left.

    At 1e-3 of 166,400 edges, 166 for six layers: 100 rounds leave at least 19 in every layer and
    iterative SNIP 15; SNIP empties one, magnitude and one round empty five of the six.
    """
    counts = {
        name: pruned(FUNNEL, rule, 1e-3, seed).counts
        for name, rule in (
            ("synflow", rewire.SynFlow()), ("one", rewire.SynFlow.one_shot()),
            ("snip", rewire.SNIP()), ("iterative", rewire.SNIP(rounds=100)),
            ("magnitude", rewire.Magnitude()),
        )
    }  # fmt: skip
    assert {sum(c) for c in counts.values()} == {round(1e-3 * sum(counts_of(FUNNEL)))}
    assert min(counts["synflow"]) >= 19
    assert min(counts["iterative"]) >= 15 and min(counts["snip"]) == 0
    assert counts["one"].count(0) == counts["magnitude"].count(0) == 5


@pytest.mark.parametrize("bias", ["of torch", 0.0])
def test_biases_begin_paths_behind_the_first_layer(bias):
    """The authors' code takes them by magnitude too: torch's own let the first layers empty."""
    torch.manual_seed(0)
    widths = (20, 30, 30, 30, 30, 10)
    layers = [nn.Linear(i, o) for i, o in zip(widths, widths[1:], strict=False)]
    model = nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU())))[:-1]
    for layer in layers if bias == 0.0 else ():
        nn.init.zeros_(layer.bias)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        counts = attach(model, rewire.SynFlow(input=(20,)), 0.002, None).counts
    assert counts == ([0, 0, 0, 0, 7] if bias else [2, 1, 1, 1, 2])
    assert bool(told) == bool(bias)


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("waits", [False, True])
def test_a_layer_left_empty_is_warned_of_by_name(waits, world):
    model = relu_net((20, 30, 30, 6))
    with torch.no_grad():
        model[2].weight *= 1e-6  # the second layer, which a ranking of all gives up first
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-12)
    rule = rewire.Magnitude(when=rewire.at_end) if waits else rewire.Magnitude()
    with pytest.warns(UserWarning, match=r"Magnitude leaves no edge in '2.weight', of 336 in all"):
        net = rewire.attach(model, optimizer, rule, density=0.2, steps=4, world=world)
        for _ in range(4):
            model(torch.ones(2, 20)).sum().backward()
            net.step()
    assert net.counts[1] == 0 and net.edges == 336


def counts_of(widths):
    return [i * o for i, o in zip(widths, widths[1:], strict=False)]


def gradient_norm(net, data):
    gradients = net.world.signals(net.graph).at(net.graph).pair("grad", net.graph.keys)
    return float(gradients.double().square().sum())


def test_snip_finds_the_weights_whose_removal_moves_the_loss():
    """Lee et al., equation 3: the sensitivity stands for the change of the loss when a connection
    is taken away. Each of 8 x 12 weights is, by itself."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    data = probe(12, 3)
    batch = data.batches[0][0].double(), data.batches[0][1]
    world = rewire.Masked(
        model, torch.optim.SGD(model.parameters(), lr=0.1), probe=rewire.Probe([batch], loss)
    )
    score = world.signals(Graph.full(world.space)).pair("connection_sensitivity", torch.arange(96))
    change = []
    with torch.no_grad():
        whole, flat = float(loss(model, batch)), model[0].weight.view(-1)
        for i in range(96):
            value = float(flat[i])
            flat[i] = 0
            change.append(abs(float(loss(model, batch)) - whole))
            flat[i] = value
    correlation = torch.corrcoef(torch.stack([score, torch.tensor(change).double()]))[0, 1]
    assert correlation > 0.9


def test_grasps_score_is_how_much_gradient_a_weight_stands_for():
    """Wang et al., equations 7 and 8: taking away a share of weight q changes |g|^2 by twice that
    share of S_q, to first order. By finite differences, for the twelve largest."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(12, 8, bias=False), nn.Tanh(), nn.Linear(8, 3, bias=False))
    model, data = model.double(), probe(12, 3)
    batch = data.batches[0][0].double(), data.batches[0][1]
    world = rewire.Masked(
        model, torch.optim.SGD(model.parameters(), lr=0.1), probe=rewire.Probe([batch], loss)
    )
    keys = torch.arange(world.space.possible)
    signals = world.signals(Graph.full(world.space))
    score = -signals.pair("gradient_flow", keys, temperature=1.0)  # S = -w * Hg

    def norm():
        return sum(g.square().sum() for g in world.probe_gradients())

    share, flat = 1e-5, [p.detach().view(-1) for p in world.parameters]
    for key in score.abs().topk(12).indices.tolist():
        layer, at = (0, key) if key < 96 else (1, key - 96)
        value = float(flat[layer][at])
        ends = []
        for sign in (1, -1):
            flat[layer][at] = value * (1 - sign * share)
            ends.append(norm())
        flat[layer][at] = value
        assert float(ends[0] - ends[1]) / (4 * share) == pytest.approx(float(score[key]), rel=1e-6)


def test_grasp_keeps_more_of_the_gradient_than_chance_and_snip():
    """Wang et al., section 5: |g|^2 of what is left, at 10 % of the weights: 0.25 after GraSP, 0.39
    without its temperature, 0.016 after SNIP, 0.0018 of random weights."""
    widths, norms = (64, 128, 128, 10), {}
    data = probe(64, 10)
    for name, rule in (("grasp", rewire.GraSP()), ("grasp-1", rewire.GraSP(temperature=1.0)),
                       ("snip", rewire.SNIP()), ("random", rewire.Static())):  # fmt: skip
        norms[name] = gradient_norm(attach(relu_net(widths), rule, 0.1, data), data)
    assert norms["grasp-1"] > norms["grasp"] > 10 * norms["snip"] > 50 * norms["random"]

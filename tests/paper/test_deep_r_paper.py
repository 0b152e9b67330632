"""What Bellec et al. (2017) prove or claim of DEEP R and soft-DEEP R, with its numbers."""

from math import exp, sqrt

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

import rewire
from rewire.budget import random_graph
from rewire.graph import Graph, Population, Projection, Space


def one_layer(n, k):
    return Space(
        [Population("a", n), Population("b", k)], [Projection("p", "a", "b", "linear", (k, n))]
    )


def test_deep_r_keeps_the_authors_3552_synapses_at_every_step():
    """784-300-100-10 at (.01, .03, .3): 1.334 % of 266,200, per layer, whatever happens."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, 300, bias=False), nn.ReLU(), nn.Linear(300, 100, bias=False), nn.ReLU(),
        nn.Linear(100, 10, bias=False),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    net = rewire.attach(
        model,
        optimizer,
        rule=rewire.DeepR(noise=0.01),
        distribution={"0": 0.01, "2": 0.03, "4": 0.3},
    )
    assert net.counts == [2352, 900, 300]
    assert net.density == pytest.approx(0.01334, abs=5e-6)
    for step in range(10):
        g = torch.Generator().manual_seed(step)
        optimizer.zero_grad()
        x, y = torch.rand(10, 784, generator=g), torch.randint(10, (10,), generator=g)
        nn.functional.cross_entropy(model(x), y).backward()
        net.step()
        assert net.counts == [2352, 900, 300]
        assert [int(m.sum()) for m in net.masks().values()] == [2352, 900, 300]
    assert net.history.dropped == net.history.formed > 100


def test_cold_deep_r_is_masked_sgd_until_a_sign_flips():
    """T = 0, l1 = 0: bit-equal to fixed masks; the first edit comes with the first sign change."""

    def run(rule):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        net = rewire.attach(model, optimizer, rule=rule, density=0.3)
        return model, optimizer, net

    runs = [run(rewire.DeepR(l1=0.0, noise=0.0)), run(rewire.Static())]
    sign = runs[0][2].graph["weight"].sign()
    equal_steps = 0
    for step in range(300):
        g = torch.Generator().manual_seed(step)
        x, y = torch.randn(16, 10, generator=g), torch.randint(3, (16,), generator=g)
        for model, optimizer, net in runs:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            net.step()
        deep_r, static = runs[0][2], runs[1][2]
        flipped = (static.graph["weight"] * sign < 0).nonzero().squeeze(1)
        if len(flipped):
            assert deep_r.history.records[0].drop.tolist() == flipped.tolist()
            assert deep_r.history.records[0].total == step + 1
            break
        assert len(deep_r.history) == 0
        assert torch.equal(deep_r.graph["weight"], static.graph["weight"])
        equal_steps += 1
    assert 3 <= equal_steps < 299


# Without a gradient a synapse of DEEP R takes theta <- theta - mu + sigma nu, and one that turns
# negative is replaced by one at 0. That is Lindley's recursion theta <- max(0, theta - mu + sigma
# nu), whose stationary law is that of the maximum of the walk S_n ~ N(-n mu, n sigma^2). Spitzer:
#   P(theta = 0) = exp(-sum_n P(S_n > 0) / n),   E[theta] = sum_n E[max(S_n, 0)] / n,
# and Cramer-Lundberg: the tail decays as exp(-b x) with b = 2 mu / sigma^2 = alpha / T exactly,
# which is the exponential prior of the paper (section 3: the l1 term is -log of a Laplace law).
ETA, ALPHA, T = 0.1, 0.6, 0.2


@pytest.fixture(scope="module")
def walked():
    """theta of 20,000 synapses after 400 steps without gradient (relaxation takes about 50)."""
    space = one_layer(400, 200)
    rule = rewire.DeepR(l1=ALPHA, temperature=T)
    graph = Graph(space, torch.arange(0, 80_000, 4))
    net = rewire.Session(rewire.Bare(space, lr=ETA), graph, rule, span=400)
    for _ in range(400):
        net.step()
    return net


def test_the_stationary_law_of_deep_rs_walk_is_lindleys(walked):
    theta = (walked.graph["weight"] * walked.graph["sign"]).double().numpy()
    k = len(theta)
    assert k == 20_000 and theta.min() == 0
    mu, sigma = ETA * ALPHA, sqrt(2 * ETA * T)
    n = np.arange(1, 20_000)
    z = -mu * np.sqrt(n) / sigma
    silent = exp(-float((norm.cdf(z) / n).sum()))
    mean = float(((sigma * np.sqrt(n) * norm.pdf(z) - n * mu * norm.cdf(z)) / n).sum())
    assert abs((theta == 0).mean() - silent) < 4 * sqrt(silent * (1 - silent) / k)
    assert abs(theta.mean() - mean) < 4 * (T / ALPHA) / sqrt(k)  # deviation at most T / alpha
    tail = theta[theta > T / ALPHA] - T / ALPHA  # memoryless: mean T / alpha again
    assert abs(tail.mean() / (T / ALPHA) - 1) < 4 / sqrt(len(tail))
    assert abs((tail > T / ALPHA).mean() - exp(-1)) < 4 * sqrt(exp(-1) / len(tail))


def test_deep_rs_churn_is_the_share_of_newborns(walked):
    """Each step replaces the K P(theta = 0) synapses that turned negative."""
    churn = walked.history.churn()[-100:]
    assert (churn[:, 1] == churn[:, 2]).all()
    newborn = int((walked.graph["weight"] == 0).sum())
    assert newborn == churn[-1, 1]
    spread = 4 * sqrt(newborn)
    assert abs(churn[:, 1].mean() - newborn) < spread


def test_deep_rs_walk_visits_all_connections_alike(walked):
    """Without a gradient no connection is preferred: blocks of keys and residues alike."""
    keys = walked.graph.keys
    for place in (keys // 4000, keys % 20):
        counts = torch.bincount(place, minlength=20)
        assert (counts - 1000).abs().max() < 4.5 * sqrt(1000 * 0.75)


def test_deep_rs_signs_are_fair_and_fixed(walked):
    sign = walked.graph["sign"]
    assert torch.equal(sign, rewire.pair_sign(walked.graph.keys, 0))
    assert abs(sign.float().mean()) < 4 / sqrt(len(sign))


# soft-DEEP R without a gradient: the density of theta is flat on [theta_min, 0) and falls as
# exp(-alpha theta / T) above, so the share of active synapses is
#   (T / alpha) / (T / alpha + |theta_min|) = p_min   for   theta_min = -T (1 - p) / (alpha p).
# That is the law of small steps. A walk that is clamped at theta_min acts like one reflected at
# most 0.583 sigma further out (-zeta(1/2) / sqrt(2 pi)): less than 0.6 (alpha sigma / T) p^2.


@pytest.mark.parametrize("start", [0.2, 0.6])
def test_soft_deep_rs_density_goes_to_p_min_from_either_side(start):
    eta, alpha, T, p = 0.1, 0.4, 3.2, 0.35
    sigma = sqrt(2 * eta * T)
    assert alpha * sigma / T == pytest.approx(0.1)
    space = one_layer(100, 100)
    weights = torch.full((10_000,), 1e-3)
    rule = rewire.SoftDeepR(l1=alpha, temperature=T, theta_min=-T * (1 - p) / (alpha * p))
    graph = random_graph(space, [int(start * 10_000)], rewire.rng_for(0, "topology"))
    net = rewire.Session(rewire.Bare(space, lr=eta, weights=weights), graph, rule, span=10**6)
    densities = []
    for step in range(1500):
        net.step()
        if step >= 700 and step % 100 == 0:
            densities.append(net.density)
    error = 4 * sqrt(p * (1 - p) / 10_000)  # of one picture; the mean of eight is no worse
    assert abs(np.mean(densities) - p) < error + 0.6 * (alpha * sigma / T) * p**2
    theta = net.states[0]["theta"]
    assert float(theta.min()) == pytest.approx(rule.theta_min)
    active = theta[theta >= 0].double()
    assert abs(active.mean() / (T / alpha) - 1) < 4 / sqrt(len(active)) + 0.6 * alpha * sigma / T
    dormant = theta[theta < 0] / rule.theta_min  # flat between 0 and 1 but for the clamped ones
    middle = ((dormant > 0.25) & (dormant < 0.75)).double().mean()
    assert abs(middle - 0.5) < 0.04


def test_soft_deep_rs_floor_is_the_formula_of_each_projection():
    """T = eta noise^2 / 2 at the first rate; p the projection's own density."""
    space = Space(
        [Population("a", 10)],
        [Projection(n, "a", "a", "linear", (10, 10)) for n in ("p", "q")],
    )
    graph = Graph(space, torch.cat([torch.arange(5), torch.arange(100, 150)]))
    rule = rewire.SoftDeepR(l1=1e-5, noise=1e-2)
    net = rewire.Session(rewire.Bare(space, lr=0.05), graph, rule, span=5)
    T = 0.05 * 1e-4 / 2
    expected = [-T * 0.95 / (1e-5 * 0.05), -T * 0.5 / (1e-5 * 0.5)]
    assert net.states[0]["floor"] == pytest.approx(expected)
    theta = net.states[0]["theta"]
    assert theta[:100].min() >= expected[0] and theta[100:].min() >= expected[1]
    assert rewire.SoftDeepR(theta_min=-0.5).theta_min == -0.5
    net = rewire.Session(
        rewire.Bare(space, lr=0.05), graph, rewire.SoftDeepR(theta_min=-0.5), span=5
    )
    assert net.states[0]["floor"] == [-0.5, -0.5]


def soft_net(rates, rule, density=0.3):
    """Two layers without a gradient, each with a rate of its own."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(100, 80), nn.Linear(80, 60))
    optimizer = torch.optim.SGD([{"params": layer.parameters(), "lr": rate}
                                 for layer, rate in zip(model, rates, strict=True)])  # fmt: skip
    net = rewire.attach(model, optimizer, rule, density=density, distribution="uniform")
    return model, optimizer, net


def walk_on(model, optimizer, net, steps, factor=lambda step: 1.0):
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor(step)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        net.step()
    return [n / p.size for n, p in zip(net.counts, net.graph.projections, strict=True)]


SOFT = rewire.SoftDeepR(l1=0.4, noise=sqrt(2 * 3.2 / 0.1))  # T = 3.2 at a rate of 0.1


def test_soft_deep_rs_floor_has_the_rate_of_its_own_projection():
    """A layer at a tenth of the rate has a tenth of the floor, and both stay near their density."""
    model, optimizer, net = soft_net((0.1, 0.01), SOFT)
    floor = net.states[0]["floor"]
    assert floor[0] / floor[1] == pytest.approx(10)
    fast, slow = walk_on(model, optimizer, net, 300)
    assert fast == pytest.approx(0.3, abs=0.05)
    # it goes on from the start, far below its drift: nothing wakes but what the noise lifts
    assert slow < 0.35


@pytest.mark.parametrize("first", [0.01, 10.0])
def test_soft_deep_rs_floor_follows_a_schedule_of_the_rate(first):
    model, optimizer, net = soft_net((0.1, 0.1), SOFT)
    ramp = lambda step: first + (1 - first) * min(step / 100, 1)  # noqa: E731
    followed = walk_on(model, optimizer, net, 300, ramp)
    assert net.states[0]["floor"] == pytest.approx(soft_net((0.1, 0.1), SOFT)[2].states[0]["floor"])
    assert followed == pytest.approx([0.3, 0.3], abs=0.08)


def test_soft_deep_r_is_refused_at_a_rate_of_0_and_rests_at_one_later():
    with pytest.raises(ValueError, match="theta_min follows the learning rate.*'1.weight' is 0"):
        soft_net((0.1, 0.0), SOFT)
    soft_net((0.0, 0.0), rewire.SoftDeepR(theta_min=-0.5))
    soft_net((0.0, 0.0), rewire.SoftDeepR(temperature=1.0, l1=0.1))
    model, optimizer, net = soft_net((0.1, 0.1), SOFT)
    floor, counts = net.states[0]["floor"], net.counts
    walk_on(model, optimizer, net, 3, lambda step: 0.0)
    assert net.states[0]["floor"] == floor and net.counts == counts


def test_noise_and_temperature_are_the_same_thing():
    """The authors' gdnoise is T = eta noise^2 / 2: equal edits, step by step."""
    space = one_layer(20, 20)
    graph = Graph(space, torch.arange(0, 400, 3))
    nets = [
        rewire.Session(rewire.Bare(space, lr=0.2), graph, rule, span=50)
        for rule in (
            rewire.DeepR(l1=0.01, noise=0.3),
            rewire.DeepR(l1=0.01, temperature=0.2 * 0.3**2 / 2),
        )
    ]
    for _ in range(50):
        for net in nets:
            net.step()
    assert torch.equal(nets[0].graph.keys, nets[1].graph.keys)
    assert torch.allclose(nets[0].graph["weight"], nets[1].graph["weight"])


def test_a_pretrained_network_keeps_its_function_under_deep_r():
    """Signs of the weights that there are, so the first step moves nothing but by noise."""
    torch.manual_seed(0)
    model = nn.Linear(20, 20)
    before = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(
        model, optimizer, rule=rewire.DeepR(noise=0.0, l1=0.0), density=0.3, initial="magnitude"
    )
    largest = before.abs().reshape(-1).argsort(descending=True)[:120].sort().values
    assert torch.equal(net.graph.keys, largest)
    assert torch.equal(net.graph["weight"], before.reshape(-1)[largest])
    model.weight.grad, model.bias.grad = torch.zeros(20, 20), torch.zeros(20)
    net.step()
    assert torch.equal(net.graph["weight"], before.reshape(-1)[largest])


def two_layers(first=1200, second=600):
    """A small projection that starts dense beside a large one that starts sparse."""
    populations = [Population("a", 200), Population("b", 100), Population("c", 10)]
    space = Space(populations, [Projection("ab", "a", "b", "linear", (100, 200)),
                                Projection("bc", "b", "c", "linear", (10, 100))])  # fmt: skip
    keys = torch.cat([torch.arange(first) * (20_000 // first), 20_000 + torch.arange(second)])
    return space, Graph(space, keys)


@pytest.mark.parametrize(("draw", "expected"), [("layer", 600.0), ("synapse", 1800 / 21)])
def test_global_deep_r_wakes_by_synapse_or_by_the_layers_first_edges(draw, expected):
    """The authors' script draws a layer by N_l p_l, which keeps the layers' counts on average."""
    space, graph = two_layers()
    rule = rewire.DeepR(l1=ALPHA, temperature=T, scope="global", draw=draw)
    net = rewire.Session(rewire.Bare(space, lr=ETA), graph, rule, span=400)
    counts = []
    for _ in range(400):
        net.step()
        counts.append(net.counts)
        assert net.edges == 1800
    mean = float(np.array(counts[200:])[:, 1].mean())
    assert abs(mean - expected) < 0.06 * 600
    assert len({tuple(c) for c in counts}) > 20


def test_a_layer_without_room_leaves_its_share_to_the_others():
    space, graph = two_layers(first=2, second=999)
    rule = rewire.DeepR(l1=ALPHA, temperature=T, scope="global", draw="layer")
    net = rewire.Session(rewire.Bare(space, lr=ETA), graph, rule, span=50)
    for _ in range(50):
        net.step()
        assert net.edges == 1001 and net.counts[1] <= 1000


def test_a_layer_is_drawn_first_under_a_global_k_alone():
    with pytest.raises(ValueError, match="draw='layer' goes with scope='global'"):
        rewire.DeepR(draw="layer")


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("signs", ["fixed", "drawn"])
def test_a_sign_is_its_synapses_own_or_drawn_anew_at_each_waking(signs, world):
    """Fixed in the paper; the authors' C program draws it anew."""
    torch.manual_seed(0)
    model = nn.Linear(10, 8, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.DeepR(l1=0.5, temperature=0.5, signs=signs)
    net = rewire.attach(model, optimizer, rule, density=0.5, world=world, steps=60)
    of_key, woken, plus = {}, 0, 0
    for _ in range(60):
        before = net.graph
        model(torch.zeros(1, 10)).sum().backward()
        net.step()
        graph = net.graph
        assert len(graph) == 40
        born = net.history.records[-1].add if len(net.history) else []
        row = dict(zip(graph.keys.tolist(), graph["sign"].tolist(), strict=True))
        for key in (int(k) for k in born):
            of_key.setdefault(key, []).append(row[key])
            woken, plus = woken + 1, plus + (row[key] > 0)
        lived = before.keys[torch.isin(before.keys, graph.keys)]
        lived = lived[~torch.isin(lived, torch.tensor([int(k) for k in born]))]
        signs_before = before["sign"][before.find(lived)[0]]
        assert torch.equal(graph["sign"][graph.find(lived)[0]], signs_before)
    several = [signs for signs in of_key.values() if len(signs) > 2]
    assert len(several) > 20 and woken > 300
    turns = any(len(set(signs)) > 1 for signs in several)
    assert turns == (signs == "drawn")
    if signs == "drawn":
        assert abs(plus / woken - 0.5) < 4 * 0.5 / sqrt(woken)


def test_signs_are_not_drawn_where_units_have_theirs():
    model = nn.Linear(10, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="DeepR cannot live under Dale.*those of a unit share one"):
        rewire.attach(model, optimizer, rewire.DeepR(signs="drawn"), density=0.5,
                      limits=[rewire.limits.Dale()])  # fmt: skip

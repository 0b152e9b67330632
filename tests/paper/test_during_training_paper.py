"""Claims of the papers on pruning and rewiring while training, each with its number."""

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire import when
from rewire.analysis.exploration import exploration


def trained(rule, density, steps, *, seed=0, width=40, check=None, **options):
    """A small classifier of noisy prototypes; the session at the end."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(30, width), nn.ReLU(), nn.Linear(width, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    net = rewire.attach(
        model, optimizer, rule, density=density, steps=steps, seed=seed, **options
    )  # fmt: skip
    centres = torch.randn(5, 30)
    for _ in range(steps):
        y = torch.randint(5, (20,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(centres[y] + torch.randn(20, 30)), y).backward()
        net.step()
        if check is not None:
            check(net)
    return net


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_gmp_starts_dense_and_ends_at_exactly_the_density_asked_for(scope):
    counts = []
    rule = rewire.GMP(scope=scope)
    net = trained(rule, 0.05, 1000, check=lambda net: counts.append(net.edges))
    assert counts[0] == net.graph.possible == 1400 and net.edges == round(0.05 * 1400) == 70
    assert sorted(counts, reverse=True) == counts
    # Zhu & Gupta, figure 1: most is pruned early; half of the way, 1 - (1/2)^3 = .875 of it is gone
    ticks = counts[99::100]
    assert ticks[:8] == [round(70 + 1330 * (1 - j / 7) ** 3) for j in range(1, 8)] + [70]
    if scope == "layer":  # the same density in every layer
        assert net.counts == [60, 10]


def test_l1_shrinkage_rests_at_the_lasso_and_forgets_it_after_the_cut():
    """Tibshirani 1996, eq. 3: under orthonormal inputs the lasso is sign(b) max(|b| - l1, 0)."""
    n, l1 = 12, 0.5
    layer = nn.Linear(n, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.2)
    rule = rewire.L1Shrinkage(l1=l1, until=120)
    net = rewire.attach(layer, optimizer, rule, density=0.25, steps=200)
    best = torch.linspace(-2.0, 1.5, n)  # the weights of least error
    for step in range(200):
        optimizer.zero_grad()
        ((layer.weight - best).square().sum() / 2).backward()
        net.step()
        if step == 110:
            lasso = best.sign() * (best.abs() - l1).clamp(min=0)
            assert torch.allclose(layer.weight[0], lasso, atol=1e-6)
            assert (layer.weight == 0).sum() == (best.abs() <= l1).sum() == 3 and net.edges == n
    largest = best.abs() >= best.abs().sort().values[-3]
    assert net.edges == 3
    assert torch.allclose(layer.weight[0], best * largest, atol=1e-6)


@pytest.mark.parametrize("density", [0.05, 0.2])
def test_granet_starts_at_half_and_ends_at_the_density(density):
    counts = []
    net = trained(rewire.GraNet(when=when.every(20)), density, 400,
                  check=lambda net: counts.append(net.edges))  # fmt: skip
    assert counts[0] == 700 and counts[299] == counts[-1] == round(density * 1400)
    start, end = 700, round(density * 1400)
    assert counts[19::20] == [
        round(end + (start - end) * (1 - min(j / 15, 1)) ** 3) for j in range(1, 21)
    ]
    assert net.history.formed > 0  # it regenerates as well as prunes


def test_granet_asked_for_more_than_half_stays_there():
    net = trained(rewire.GraNet(when=when.every(20)), 0.6, 60)
    assert net.edges == round(0.6 * 1400)


def test_a_rule_that_prunes_says_why_it_cannot_serve():
    model = nn.Linear(20, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def attach(rule, density=0.1, steps=1000, **more):
        return rewire.attach(model, optimizer, rule, density=density, steps=steps, **more)

    with pytest.raises(ValueError, match="never prune in 90 steps"):
        attach(rewire.GMP(), steps=90)
    with pytest.raises(ValueError, match="pass steps="):
        attach(rewire.GMP(), steps=None)
    with pytest.raises(ValueError, match="pass steps="):
        attach(rewire.GMP(when=when.every(10)), steps=None)
    with pytest.raises(ValueError, match="GMP needs the density to end at"):
        attach(rewire.GMP(), density=None)
    with pytest.raises(ValueError, match="GMP cannot end at density 0.001, 0 of 200 edges"):
        attach(rewire.GMP(), density=0.001)
    with pytest.raises(ValueError, match="prunes from density 1 to 0.1 and shares that out itself"):
        attach(rewire.GMP(), distribution={"weight": 0.2})
    with pytest.raises(ValueError, match=r"when must be every\(n, first, stop\)"):
        rewire.GMP(when=when.at_end)
    assert attach(rewire.GMP(when=when.every(10, stop=100)), steps=None).density == 1


def test_train_takes_the_density_as_attach_does():
    torch.manual_seed(0)
    model = nn.Linear(20, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.train(
        model, optimizer, rewire.GMP(when=when.every(5)), steps=30, density=0.1,
        loss=lambda model, x: model(x).pow(2).sum(), data=lambda step: torch.ones(1, 20),
    )  # fmt: skip
    assert len(net.history.start) == 200 and net.edges == 20


def test_dsrs_threshold_settles_where_as_many_are_dropped_as_it_aims_at():
    """Within the factor 2 of its steps: 30 aimed at, so between 15 and 60 at each tick."""
    net = trained(rewire.DSR(aim=30, when=when.every(10)), 0.3, 600)
    late = net.history.churn()[-20:, 2]
    assert 15 <= np.median(late) <= 60
    assert net.edges == round(0.3 * 1400)


def test_dsr_and_snfs_move_synapses_between_layers():
    """From the same density in both layers; the total is kept."""
    for rule in (
        rewire.DSR(aim=30, when=when.every(10)),
        rewire.SNFS(rewires=when.every(10)),
    ):
        net = trained(rule, 0.2, 300, distribution="uniform")
        assert net.edges == 280 and min(net.counts) >= 1
        assert net.counts != [240, 40]


def test_snfs_gives_more_to_the_layer_with_the_larger_momentum():
    space = rewire.Space(
        [rewire.Population("a", 20)],
        [rewire.Projection(n, "a", "a", "linear", (20, 20)) for n in ("quiet", "loud")],
    )
    keys = torch.arange(0, 800, 4)  # 100 in each
    scale = torch.where(torch.arange(800) < 400, 1.0, 3.0)
    weights = torch.randn(800, generator=torch.Generator().manual_seed(0))
    world = rewire.Bare(space, pairs={"grad": lambda k: scale[k]}, weights=weights)
    graph = rewire.Graph(space, keys)
    rule = rewire.SNFS(fraction=0.2, rewires=when.every(1))
    net = rewire.Session(world, graph, rule, span=1)
    net.step()
    # 20 dropped in each; 40 grown as 1 : 3
    assert net.counts == [100 - 20 + 10, 100 - 20 + 30]


def test_itop_explores_more_than_the_static_network_and_more_with_more_updates():
    """Liu et al. 2021: R_s is the density without rewiring, and rises with updates."""
    rates = []
    for rule in (rewire.Static(), rewire.SET.itop(when=when.every(100)),
                 rewire.SET.itop(when=when.every(20))):  # fmt: skip
        net = trained(rule, 0.1, 400)
        rate = exploration(net.history.start, net.history, net.graph.possible)
        assert len(rate) == len(net.history) + 1 and rate[0] == 0.1
        assert (np.diff(rate) >= 0).all()
        union = set(net.history.start.tolist()).union(*(r.add.tolist() for r in net.history))
        assert rate[-1] == len(union) / 1400
        rates.append(rate[-1])
    assert rates[0] == 0.1 < rates[1] < rates[2] <= 1
    rigl, set_ = rewire.RigL.itop(), rewire.SET.itop()
    assert (rigl.when, set_.when) == (when.every(4000), when.every(1500))
    assert rigl.fraction == set_.fraction == when.cosine(0.5, 1.0)
    with pytest.raises(ValueError, match="do not fit 10 possible"):
        exploration([10], [], 10)

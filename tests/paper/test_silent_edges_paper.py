"""What the papers on masks over kept weights claim, each with its number."""

import math

import pytest
import torch
from torch import nn

import rewire
from rewire import when

STEPS, RATE = 30, 0.1


def task(classes=5, inputs=32, seed=0):
    """Noisy prototypes: step -> batch, and a test set."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, inputs, generator=g)

    def batch(step, size=20):
        g = torch.Generator().manual_seed(1000 + step)
        y = torch.randint(classes, (size,), generator=g)
        return centres[y] + torch.randn(size, inputs, generator=g), y

    return batch


def net_of(width=40, bias=False, dtype=None):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(32, width, bias=bias), nn.ReLU(), nn.Linear(width, 5, bias=bias)
    ).to(dtype)


def loss(model, batch):
    x, y = batch
    return nn.functional.cross_entropy(model(x.to(next(model.parameters()).dtype)), y)


def accuracy(model):
    x, y = task()(-1, 2000)
    return float((model(x).argmax(1) == y).float().mean())


def trained(rule, density=None, steps=STEPS, *, model=None, on_step=None, momentum=0.0, lr=RATE):
    model = net_of() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    net = rewire.train(
        model, optimizer, rule, loss=loss, data=task(), steps=steps, density=density,
        on_step=on_step,
    )  # fmt: skip
    return model, net


# -- supermasks -------------------------------------------------------------------------------


def test_a_subnetwork_of_untrained_weights_is_nearly_as_good_as_the_trained_network():
    """Ramanujan et al. 2020, figure 3: best at about half of the edges, near the dense network."""
    dense, _ = trained(rewire.Dense(), steps=200)
    start = net_of()
    model, net = trained(rewire.EdgePopup(), 0.5, steps=200)
    assert accuracy(model) > 0.95 * accuracy(dense) > 0.9
    assert net.counts == [640, 100]
    graph = net.graph
    for i, p in enumerate((start[0].weight, start[2].weight)):
        signed = torch.sign(p) * math.sqrt(2 / (0.5 * p.shape[1]))  # never trained
        torch.testing.assert_close(graph.dense(i), signed.detach(), rtol=1e-6, atol=0)
    few, _ = trained(rewire.EdgePopup(), 0.02, steps=200)
    assert accuracy(few) < accuracy(model)


def test_a_score_moves_straight_through_the_choice():
    """Its eq. 5, with the gradient written out: every edge, live or not, by dL/dI w."""
    shown = []

    def keep(net, _):
        shown.append((net.graph["score"].clone(), net.graph["gain"].clone()))

    rule = rewire.EdgePopup(rate=0.5, momentum=0.0, decay=0.0, ranks="value")
    _, net = trained(rule, 0.3, steps=3, on_step=keep)
    (first, gain), (second, _) = shown[:2]
    model = net_of()
    weights = [net.graph.dense(i) for i in range(2)]
    masks = [g.view(w.shape) for g, w in zip(gain.split([1280, 200]), weights, strict=True)]
    with torch.no_grad():
        for layer, w, m in zip((model[0], model[2]), weights, masks, strict=True):
            layer.weight.copy_(w * m)
    loss(model, task()(0)).backward()
    slope = torch.cat([
        (layer.weight.grad * w).reshape(-1)
        for layer, w in zip((model[0], model[2]), weights, strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(second, first - 0.5 * slope, rtol=1e-5, atol=1e-7)
    assert slope[gain == 0].abs().max() > 0


def test_a_mask_alone_carries_what_training_learnt():
    """Zhou et al. 2019, table 1: untrained weights under the right mask classify far above chance
    (20 % here), under a random one they do not; of its criteria movement is the weak one."""
    found = {
        c: accuracy(trained(rewire.Supermask(criterion=c), 0.3, steps=200)[0])
        for c in ("large_final", "large_final_same_sign", "magnitude_increase", "movement")
    }
    chance = trained(rewire.Static(), 0.3, steps=200, lr=0.0)[0]
    assert accuracy(chance) < 0.45
    assert found["movement"] == min(found.values())
    assert all(right > 0.9 for name, right in found.items() if name != "movement")
    model, net = trained(rewire.Supermask(weights="signed"), 0.3, steps=200)
    assert net.counts == [384, 60] and accuracy(model) > 0.9
    first = net_of()[0].weight
    assert torch.equal(model[0].weight != 0, net.masks()["0.weight"])
    size = model[0].weight[model[0].weight != 0].abs()
    torch.testing.assert_close(size, first.std(correction=0).expand(len(size)).detach())


def test_a_supermask_of_a_whole_model_takes_its_biases_back():
    start = net_of(bias=True)
    model, _ = trained(rewire.Supermask(), 0.3, model=net_of(bias=True))
    assert torch.equal(model[0].bias, start[0].bias)
    live = model[0].weight != 0
    assert torch.equal(model[0].weight[live], start[0].weight[live])
    with pytest.raises(ValueError, match="goes back to saved steps"):
        rewire.attach(model, torch.optim.SGD(model.parameters()), rewire.Supermask(), density=0.3)


# -- soft thresholds --------------------------------------------------------------------------


class Thresholded(nn.Module):
    """Kusupati et al., eq. 2 and 4, by autograd: sign(w) relu(|w| - sigmoid(s))."""

    def __init__(self, model, s):
        super().__init__()
        self.layers = nn.ModuleList([model[0], model[2]])
        self.s = nn.Parameter(torch.full((2,), s, dtype=torch.float64))

    def forward(self, x):
        for layer, s in zip(self.layers, self.s, strict=True):
            w = layer.weight
            x = x @ (torch.sign(w) * torch.relu(w.abs() - torch.sigmoid(s))).T
            x = torch.relu(x) if layer is self.layers[0] else x
        return x


def test_strs_thresholds_are_learnt_as_autograd_would():
    rule = rewire.STR(initial=-3.5, decay=0.05, rate=0.5)
    model, net = trained(rule, model=net_of(dtype=torch.float64))
    other = Thresholded(net_of(dtype=torch.float64), -3.5)
    for step in range(STEPS):
        # as here: the weights move under the thresholds, then thresholds by the same gradient
        other.zero_grad()
        loss(other, task()(step)).backward()
        with torch.no_grad():
            for layer in other.layers:
                layer.weight -= RATE * layer.weight.grad
            other.s -= 0.5 * (other.s.grad + 0.05 * other.s)
    torch.testing.assert_close(net.states[0]["s"], other.s.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        net.graph["weight"], torch.cat([p.weight.reshape(-1) for p in other.layers]).detach(),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip
    x = task()(99)[0].double()
    torch.testing.assert_close(model(x), other(x), rtol=1e-5, atol=1e-6)
    assert 0.2 < net.density < 0.9


def test_str_is_sparser_the_larger_its_decay_and_each_layer_has_a_density_of_its_own():
    """Kusupati et al., section 4: the decay of s sets the overall density, learning its spread."""
    ended = [trained(rewire.STR(decay=d), steps=200)[1] for d in (0.005, 0.03, 0.1)]
    densities = [net.density for net in ended]
    assert densities == sorted(densities, reverse=True) and densities[-1] < 0.5 < densities[0]
    first, last = (n / size for n, size in zip(ended[-1].counts, (1280, 200), strict=True))
    assert abs(first - last) > 0.05
    floored = trained(rewire.STR(decay=0.2), 0.2, steps=200)[1]
    assert floored.edges == round(0.2 * 1480)


def test_strs_thresholds_move_at_their_layers_rates():
    model = net_of()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters()}]
    optimizer = torch.optim.SGD(groups, lr=0.0)
    net = rewire.attach(model, optimizer, rewire.STR(initial=-8.0, decay=0.5), steps=5)
    loss(model, task()(0)).backward()
    net.step()
    first, second = net.states[0]["s"].tolist()
    assert second == -8.0 and first == pytest.approx(-8 + 0.1 * 0.5 * 8, abs=0.01)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_soft_threshold_leaves_the_cubics_count_and_takes_itself_from_every_weight(scope):
    counts = []
    rule = rewire.SoftThreshold(scope=scope, until=1.0)
    model, net = trained(rule, 0.05, 100, on_step=lambda net, _: counts.append(net.edges))
    wanted = [round(74 + 1406 * (1 - j / 100) ** 3) for j in range(101)]
    assert counts == wanted[:100] and net.edges == 74
    graph = net.graph
    for i, p in enumerate((model[0].weight, model[2].weight)):
        stored, silent = graph.dense(i), p == 0
        if scope == "layer":
            a = stored[silent].abs().max()
        else:
            a = graph["weight"][graph["gain"] == 0].abs().max()
        expected = torch.sign(stored) * torch.relu(stored.abs() - a)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-7)


# -- movement, Top-KAST -----------------------------------------------------------------------


def test_movement_keeps_what_moves_away_from_zero_and_not_what_is_large():
    """Sanh et al. 2020, eq. 7 and figure 1, on numbers that are known: large weights shrinking
    towards 0 go, small ones growing stay."""
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -2.0, 0.1, -0.1]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    slope = torch.tensor([[1.0, -1.0, -1.0, 1.0]])  # the first two shrink, the others grow
    net = rewire.attach(model, optimizer, rewire.MovementPruning(), density=0.5, steps=10)
    for _ in range(10):
        optimizer.zero_grad()
        (model.weight * slope).sum().backward()
        net.step()
    assert net.graph["gain"].tolist() == [0, 0, 1, 1]
    score = net.graph["score"]
    assert (score[:2] < 0).all() and (score[2:] > 0).all()
    weight = torch.tensor([[0.1 + 0.1, -0.1 - 0.1]])
    torch.testing.assert_close(model.weight[:, 2:].detach(), weight, rtol=1e-5, atol=0)
    # S = -rate sum of dL/dw w, with w after each step
    expected = sum(0.01 * (0.1 + 0.01 * t) for t in range(1, 11))
    torch.testing.assert_close(score[2:], torch.full((2,), expected), rtol=1e-5, atol=0)


def test_movement_ends_at_the_count_and_goes_on_choosing_by_score():
    model, net = trained(rewire.MovementPruning(), 0.1, 200)
    assert net.edges == 148 and accuracy(model) > 0.9
    graph = net.graph
    live = graph["gain"] != 0
    assert graph["score"][live].min() >= graph["score"][~live].max()


def test_top_kast_trains_a_larger_set_than_it_computes_with_and_nothing_else():
    """Jayakumar et al. 2020, section 3: D live, D + M trained, the others keep their values."""
    seen = []

    def keep(net, _):
        seen.append({n: v.clone() for n, v in net.graph.columns.items()})

    _, net = trained(rewire.TopKAST(more=0.2, decay=0.0), 0.1, STEPS, on_step=keep, momentum=0.9)
    for before, after in zip(seen, seen[1:], strict=False):
        live, trains = after["gain"] != 0, after["trained"] != 0
        assert int(live.sum()) == 148 and int(trains.sum()) == round(0.3 * 1480)
        assert (trains | ~live).all()
        moved = after["weight"] != before["weight"]
        assert not moved[~trains].any()
        assert moved[trains & ~live].sum() > 100  # silent, and trained
    assert net.counts == [128, 20]


def test_top_kast_pulls_silent_weights_the_harder_the_sparser_it_is():
    """Its eq. 3: by lambda where live, by lambda / D where trained and not live."""
    model = net_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    rule = rewire.TopKAST(more=0.2, decay=0.01, refresh=10)
    net = rewire.attach(model, optimizer, rule, density=0.1, steps=5)
    before = net.graph
    optimizer.zero_grad()
    (model(torch.zeros(1, 32)).sum() * 0).backward()
    net.step()
    live, trains = before["gain"] != 0, before["trained"] != 0
    factor = torch.ones(1480)
    factor[live], factor[trains & ~live] = 1 - 0.5 * 0.01, 1 - 0.5 * 0.01 / 0.1
    torch.testing.assert_close(net.graph["weight"], before["weight"] * factor, rtol=1e-6, atol=0)


# -- n of m, phases, Grad R -------------------------------------------------------------------


def flips(decay):
    """Edges that become live or silent after the first half of a training, at 2 of 4."""
    shown = []
    rule = rewire.SRSTE(decay=decay)
    _, net = trained(rule, steps=200, on_step=lambda net, _: shown.append(net.graph["gain"]))
    rows = net.graph["gain"].view(-1, 4)
    assert (rows.sum(1) == 2).all() and net.density == 0.5
    return sum(int((a != b).sum()) for a, b in zip(shown[100:], shown[101:], strict=False))


def test_sr_ste_changes_its_mind_less_often_than_the_plain_estimator():
    """Zhou et al. 2021, figure 4: the sparse-refined term lowers the divergence of the masks."""
    plain, refined = flips(0.0), flips(0.1)
    assert plain > 20 and refined < plain / 2


def test_sr_ste_pulls_what_was_silent():
    model = net_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    net = rewire.attach(model, optimizer, rewire.SRSTE(decay=0.02), steps=5)
    before = net.graph
    (model(torch.zeros(1, 32)).sum() * 0).backward()
    net.step()
    factor = torch.where(before["gain"] == 0, 1 - 0.5 * 0.02, 1.0)
    torch.testing.assert_close(net.graph["weight"], before["weight"] * factor, rtol=1e-6, atol=0)


def test_two_of_four_loses_nothing_of_a_trained_network():
    """Mishra et al. 2021, table 3: within a few tenths of a per cent of the dense accuracy."""
    dense, _ = trained(rewire.Dense(), steps=200)
    cut, net = trained(rewire.NM(), steps=200, model=dense)
    assert abs(accuracy(cut) - accuracy(trained(rewire.Dense(), steps=400)[0])) < 0.01
    assert (net.graph.mask(0).view(-1, 4).sum(1) == 2).all() and net.counts == [640, 100]


def test_ac_dc_alternates_between_all_edges_and_its_count_and_ends_compressed():
    counts = []
    rule = rewire.ACDC(when=when.every(20, stop=0.85))
    model, net = trained(rule, 0.1, 200, on_step=lambda net, _: counts.append(net.edges))
    phases = [counts[i] for i in range(10, 200, 20)]
    assert phases == [1480, 148, 1480, 148, 1480, 148, 1480, 148, 148, 148]
    assert net.edges == 148 and accuracy(model) > 0.9
    # what it wakes comes back at 0, and much of it is not what it dropped before
    cuts = [set(r.drop.tolist()) for r in net.history if len(r.drop)]
    assert len(cuts) == 4 and 0 < len(cuts[0] ^ cuts[-1]) < 1332


def test_grad_r_is_its_formula():
    """Chen et al. 2021, algorithm 1, written out: theta of every link by s dL/dw and the prior."""
    model, net = trained(rewire.GradR(alpha=0.05), 0.05, model=net_of(dtype=torch.float64))
    other = net_of(dtype=torch.float64)
    theta = [p.detach().abs() for p in other.parameters()]
    sign = [p.detach().sign() for p in other.parameters()]
    centre = math.log(2 * 0.05) / 0.05
    for step in range(STEPS):
        for p, t, s in zip(other.parameters(), theta, sign, strict=True):
            p.data = s * torch.relu(t)
        other.zero_grad()
        loss(other, task()(step)).backward()
        for p, t, s in zip(other.parameters(), theta, sign, strict=True):
            t -= RATE * s * p.grad
            t -= RATE * 0.05 * torch.sign(t - centre)
    stored = torch.cat([(t * s).reshape(-1) for t, s in zip(theta, sign, strict=True)])
    torch.testing.assert_close(net.graph["weight"], stored, rtol=1e-6, atol=1e-8)
    dormant = torch.cat([t.reshape(-1) for t in theta]) <= 0
    assert torch.equal(net.graph["gain"] == 0, dormant) and 0.2 < dormant.float().mean() < 0.95


def test_a_dormant_link_of_grad_r_comes_back_by_its_gradient():
    """Its point against DEEP R, where a dormant link has no memory and returns by chance."""
    lives = []
    rule = rewire.GradR(alpha=0.05)
    trained(rule, 0.05, 100, on_step=lambda net, _: lives.append(net.graph["gain"] != 0))
    pairs = list(zip(lives, lives[1:], strict=False))
    back = sum(int((after & ~before).sum()) for before, after in pairs)
    fallen = sum(int((before & ~after).sum()) for before, after in pairs)
    assert back > 20 and fallen > back

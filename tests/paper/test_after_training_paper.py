"""Wanda, SparseGPT, OWL and LAMP against their papers' formulas, written out by brute force."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

import rewire
from rewire import models
from rewire.rules.owl import densities_of
from rewire.rules.shared.blocks import blocks_of
from rewire.rules.shared.prune_at_start import even

WORLDS = pytest.mark.parametrize("world", ["masked", "sparse"])


def drawn(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained(inputs=10, last=9):
    """A float64 network, as if trained, and two batches of its inputs, of unlike scales."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs, 12), nn.ReLU(), nn.Linear(12, last), nn.Tanh(),
                          nn.Linear(last, 4)).double()  # fmt: skip
    scale = torch.linspace(0.1, 3, inputs, dtype=torch.float64)
    return model, [drawn(8, inputs, seed=s) * scale for s in (1, 2)]


def pruned(model, batches, rule, density=0.5, world="masked", distribution="uniform", **options):
    """The session of a copy of the model, and the pruned dense weights by name."""
    model = copy.deepcopy(model)
    probe = rewire.Probe(batches, lambda model, x: model(x).sum())
    net = rewire.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rule, density=density,
                        probe=probe, distribution=distribution, world=world, **options)  # fmt: skip
    graph = net.graph
    return net, {p.name: graph.dense(i) for i, p in enumerate(graph.projections)}


def ranked_least(scores, k):
    """Places of the k smallest numbers of a list, the first among equals."""
    return sorted(range(len(scores)), key=lambda j: (scores[j], j))[:k]


# -- Wanda ---------------------------------------------------------------------------------------


def wanda_by_hand(weight, x, keep):
    """|w_ij| ||x_j||_2, equation 1, the largest ``keep[i]`` of each row i."""
    out = weight.clone()
    norms = [sum(float(v) ** 2 for v in x[:, c]) ** 0.5 for c in range(x.shape[1])]
    for i, row in enumerate(weight):
        scores = [abs(float(w)) * n for w, n in zip(row, norms, strict=True)]
        out[i, ranked_least(scores, len(scores) - keep[i])] = 0.0
    return out


@WORLDS
@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("density", [0.5, 0.37])
def test_wanda_keeps_the_largest_products_of_each_row(sequential, density, world):
    model, batches = trained()
    net, weights = pruned(model, batches, rewire.Wanda(sequential=sequential), density, world)
    x, seen = torch.cat(batches), copy.deepcopy(model)
    for at, i in (0, 0), (2, 1), (4, 2):
        weight = model[at].weight.detach()
        inputs = (seen if sequential else model)[:at](x).detach()
        keep = even(net.counts[i], [weight.shape[1]] * len(weight))
        assert max(keep) - min(keep) <= 1 and sum(keep) == net.counts[i]
        expected = wanda_by_hand(weight, inputs, keep)
        torch.testing.assert_close(weights[f"{at}.weight"], expected, rtol=0, atol=0)
        seen[at].weight.data = expected  # later blocks see what is left of this one
    assert sum(net.counts) == round(density * sum(net.graph.space.sizes))


def test_wanda_of_a_whole_layer_ranks_its_products_together():
    model, batches = trained()
    net, weights = pruned(model, batches, rewire.Wanda(scope="layer", sequential=False), 0.4)
    norms = torch.cat(batches).norm(dim=0)
    scores = (model[0].weight.detach().abs() * norms).flatten()
    lost = ranked_least(scores.tolist(), 120 - net.counts[0])
    assert sorted(lost) == (weights["0.weight"].flatten() == 0).nonzero().squeeze(1).tolist()


def test_wanda_with_equal_norms_is_magnitude_by_row():
    model, _ = trained()
    ones = [torch.ones(3, 10, dtype=torch.float64)]
    _, by_products = pruned(model, ones, rewire.Wanda(), 0.3)
    net, by_size = pruned(model, ones, rewire.Magnitude(scope="row"), 0.3)
    assert torch.equal(by_products["0.weight"], by_size["0.weight"])
    for i, (at, width) in enumerate([(0, 10), (2, 12), (4, 9)]):
        keep = even(net.counts[i], [width] * len(model[at].weight))
        for row, (weight, k) in enumerate(zip(model[at].weight.detach(), keep, strict=True)):
            lost = ranked_least(weight.abs().tolist(), width - k)
            zero = (by_size[f"{at}.weight"][row] == 0).nonzero().squeeze(1).tolist()
            assert sorted(lost) == zero


@pytest.mark.parametrize("rule", [rewire.Wanda, rewire.SparseGPT])
def test_n_of_m_is_exact_in_every_group(rule):
    model, batches = trained(inputs=12)
    options = {"block": 6} if rule is rewire.SparseGPT else {}
    net, _ = pruned(model, batches, rule(n=2, m=3, **options), density=None)
    for name, mask in net.masks().items():
        assert (mask.view(-1, 3).sum(1) == 2).all(), name


def test_wandas_two_of_four_are_the_largest_products_of_four():
    model, batches = trained(inputs=12, last=8)
    _, weights = pruned(model, batches, rewire.Wanda(n=2, m=4), density=None)
    norms = torch.cat(batches).norm(dim=0)
    weight = model[0].weight.detach()
    for i, lo in itertools.product(range(12), (0, 4, 8)):
        scores = (weight[i, lo : lo + 4].abs() * norms[lo : lo + 4]).tolist()
        lost = ranked_least(scores, 2)
        zero = (weights["0.weight"][i, lo : lo + 4] == 0).nonzero().squeeze(1).tolist()
        assert sorted(lost) == zero


# -- SparseGPT -----------------------------------------------------------------------------------


def sparse_gpt_by_hand(weight, x, lose, block, damp=0.01, n_of_m=None):
    """Algorithm 1 by its meaning: at each column, OBS with the inverse of the Hessian of the
    columns that are not passed yet, each inverted anew.

    lose(block number, scores (rows, columns)) -> places to go, or n_of_m = (n, m).
    """
    w, columns = weight.clone(), weight.shape[1]
    hessian = x.T @ x
    for c in range(columns):
        if hessian[c, c] == 0:
            hessian[c, c], w[:, c] = 1.0, 0.0
    hessian += damp * hessian.diagonal().mean() * torch.eye(columns, dtype=torch.float64)
    inverse = [torch.linalg.inv(hessian[c:, c:]) for c in range(columns)]
    gone = torch.zeros_like(weight, dtype=torch.bool)
    for c in range(columns):
        if n_of_m is None and c % block == 0:
            hi = min(c + block, columns)
            scores = torch.stack([w[:, q] ** 2 / inverse[q][0, 0] for q in range(c, hi)], 1)
            for row, q in lose(c // block, scores):
                gone[row, c + q] = True
        if n_of_m is not None and c % n_of_m[1] == 0:
            n, hi = n_of_m[0], min(c + n_of_m[1], columns)
            for row in range(len(w)):
                scores = [float(w[row, q] ** 2 / inverse[q][0, 0]) for q in range(c, hi)]
                for q in ranked_least(scores, max(0, hi - c - n)):
                    gone[row, c + q] = True
        for row in range(len(w)):
            if gone[row, c]:
                w[row, c:] -= w[row, c] / inverse[c][0, 0] * inverse[c][0]
                w[row, c] = 0.0
    return w, ~gone


def shares_of_blocks(weight, count, block, by_row):
    """The places that go in each block, so that the shares of the blocks are even and exact."""
    rows, columns = weight.shape

    def upto(loss, c, whole):
        return loss * c // whole

    def lose(number, scores):
        lo, width = number * block, scores.shape[1]
        if by_row:
            for row, keep in enumerate(even(count, [columns] * rows)):
                loss = columns - keep
                k = upto(loss, lo + width, columns) - upto(loss, lo, columns)
                yield from ((row, q) for q in ranked_least(scores[row].tolist(), k))
        else:
            loss = rows * columns - count
            k = upto(loss, lo + width, columns) - upto(loss, lo, columns)
            for place in ranked_least(scores.flatten().tolist(), k):
                yield divmod(place, width)

    return lose


@WORLDS
@pytest.mark.parametrize("scope", ["layer", "row"])
@pytest.mark.parametrize(("block", "density"), [(128, 0.5), (4, 0.5), (3, 0.23), (1, 0.5)])
def test_sparse_gpt_is_optimal_brain_surgeon_column_by_column(scope, block, density, world):
    model, batches = trained()
    rule = rewire.SparseGPT(scope=scope, block=block)
    net, weights = pruned(model, batches, rule, density, world)
    x, seen = torch.cat(batches), copy.deepcopy(model)
    for i, at in enumerate((0, 2, 4)):
        weight = model[at].weight.detach()
        lose = shares_of_blocks(weight, net.counts[i], block, scope == "row")
        expected, kept = sparse_gpt_by_hand(weight, seen[:at](x).detach(), lose, block)
        assert torch.equal(net.masks()[f"{at}.weight"], kept)
        torch.testing.assert_close(weights[f"{at}.weight"], expected, rtol=1e-10, atol=1e-10)
        seen[at].weight.data = expected
    torch.testing.assert_close(net.world.model(x), seen(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("n", "m", "block"), [(2, 4, 8), (1, 3, 3), (2, 4, 128)])
def test_sparse_gpts_n_of_m_is_chosen_as_the_sweep_reaches_it(n, m, block):
    model, batches = trained(inputs=12, last=12)
    rule = rewire.SparseGPT(n=n, m=m, block=block)
    net, weights = pruned(model, batches, rule, density=None)
    x = torch.cat(batches)
    expected, kept = sparse_gpt_by_hand(model[0].weight.detach(), x, None, block, n_of_m=(n, m))
    assert torch.equal(net.masks()["0.weight"], kept)
    torch.testing.assert_close(weights["0.weight"], expected, rtol=1e-10, atol=1e-10)


def test_sparse_gpt_of_inputs_that_are_never_there():
    model, batches = trained()
    batches = [x.clone() for x in batches]
    for x in batches:
        x[:, [2, 7]] = 0.0
    net, weights = pruned(model, batches, rewire.SparseGPT(), 0.9)
    weight = model[0].weight.detach()
    lose = shares_of_blocks(weight, net.counts[0], 128, False)
    expected, kept = sparse_gpt_by_hand(weight, torch.cat(batches), lose, 128)
    assert not kept[:, [2, 7]].all() and kept[:, [0, 1, 3, 4, 5, 6, 8, 9]].all()
    torch.testing.assert_close(weights["0.weight"], expected, rtol=1e-10, atol=1e-10)


def test_sparse_gpt_of_a_convolution_in_groups_is_that_of_its_patches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=2)).double()
    x = drawn(3, 4, 5, 5)
    net, weights = pruned(model, [x], rewire.SparseGPT(), 0.4)
    weight = model[0].weight.detach().flatten(1)
    for g in range(2):
        rows = slice(3 * g, 3 * g + 3)
        patches = nn.functional.unfold(x[:, 2 * g : 2 * g + 2], 3, padding=1).mT.flatten(0, 1)
        count = even(net.counts[0], [54, 54])[g]
        lose = shares_of_blocks(weight[rows], count, 128, False)
        expected, _ = sparse_gpt_by_hand(weight[rows], patches, lose, 128)
        pieces = weights["0.weight"].flatten(1)[rows]
        torch.testing.assert_close(pieces, expected, rtol=1e-10, atol=1e-10)


def outputs_error(model, net, x):
    with torch.no_grad():
        return float((net.world.model(x) - model(x)).square().mean())


def test_on_a_gpts_inputs_sparse_gpt_loses_least_then_wanda_then_magnitude():
    """Outputs of a GPT whose features differ in scale by up to 30, as those of large ones do."""
    g = torch.Generator().manual_seed(0)
    model = models.build("gpt", generator=g, input_shape=(12,), classes=17, layers=2, heads=2,
                         width=24).double()  # fmt: skip
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.mul_(6)
        for block in model.blocks:
            for norm in (block.norm1, block.norm2):
                norm.weight.copy_(torch.logspace(-1, 0.5, 24))
    x = torch.randint(17, (24, 12), generator=g)
    losses = {}
    for name, rule in (("sparse-gpt", rewire.SparseGPT()), ("wanda", rewire.Wanda()),
                       ("magnitude", rewire.Magnitude(scope="row"))):  # fmt: skip
        net, _ = pruned(model, [x], rule, 0.5)
        assert net.edges == net.graph.possible // 2
        losses[name] = outputs_error(model, net, x)
    assert losses["sparse-gpt"] < 0.8 * losses["wanda"] < 0.8 * losses["magnitude"]


# -- budgets of layers ---------------------------------------------------------------------------


def lamp_by_hand(layers, total):
    """Equation 4 and the ranking of all scores; ties by place."""
    scores = []
    for layer, weights in enumerate(layers):
        squares = [float(w) ** 2 for w in weights.flatten()]
        for place, s in enumerate(squares):
            scores.append((-s / sum(v for v in squares if v >= s), layer, place))
    kept = sorted(scores)[:total]
    return [sum(layer == i for _, layer, _ in kept) for i in range(len(layers))]


@WORLDS
@pytest.mark.parametrize("density", [0.6, 0.2, 0.02])
def test_lamp_ranks_squares_over_the_squares_that_are_no_smaller(density, world):
    model, batches = trained()
    with torch.no_grad():
        model[2].weight.mul_(5)  # a layer's scale makes no difference
    rule = rewire.Magnitude(scope="layer", layers=rewire.LAMP())
    net, weights = pruned(model, batches, rule, density, world)
    layers = [model[at].weight.detach() for at in (0, 2, 4)]
    assert net.counts == lamp_by_hand(layers, net.edges)
    assert net.edges == round(density * net.graph.possible) and min(net.counts) >= 1
    for at, count in zip((0, 2, 4), net.counts, strict=True):
        size = model[at].weight.detach().abs().flatten()
        kept = (weights[f"{at}.weight"] != 0).flatten().nonzero().squeeze(1).tolist()
        assert kept == sorted(size.topk(count).indices.tolist())


def test_owls_densities_lie_around_the_mean_by_the_fractions_of_outliers():
    assert densities_of([0.0, 0.1, 0.3], 0.5, 0.06) == pytest.approx(
        [0.5 + d - (0 + 0.04 + 0.12) / 3 for d in (0, 0.04, 0.12)]
    )
    assert densities_of([0.2, 0.2], 0.3, 0.1) == [0.3, 0.3]
    with pytest.raises(ValueError, match="would go from -0.03 to 0.13.*spread below 0.08"):
        densities_of([0.0, 1.0], 0.05, 0.08)


@WORLDS
def test_owl_gives_blocks_with_more_outliers_more_edges(world):
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    model = models.build("gpt", generator=g, input_shape=(6,), classes=11, layers=3, heads=2,
                         width=8).double()  # fmt: skip
    with torch.no_grad():
        for k, scale in enumerate((1.0, 30.0, 6.0)):
            model.blocks[k].norm1.weight[:2] *= scale
    x = torch.randint(11, (8, 6), generator=g)
    rule = rewire.Wanda(layers=rewire.OWL(outlier=4.0, spread=0.1))
    net, _ = pruned(model, [x], rule, 0.4, world)
    projections = net.graph.projections
    fractions = []
    for k in range(3):
        scores = []
        for layer in model.blocks[k].modules():
            if isinstance(layer, nn.Linear):
                seen = []
                hook = layer.register_forward_pre_hook(lambda m, a, seen=seen: seen.append(a[0]))
                model(x)
                hook.remove()
                norm = seen[0].detach().flatten(0, 1).norm(dim=0)
                scores.append((layer.weight.detach().abs() * norm).flatten())
        scores = torch.cat(scores)
        fractions.append(float((scores > 4 * scores.mean()).double().mean()))
    assert fractions[0] < fractions[2] < fractions[1]
    spread = [0.2 * (f - min(fractions)) / (max(fractions) - min(fractions)) for f in fractions]
    for k in range(3):
        density = 0.4 + spread[k] - sum(spread) / 3
        counts = [
            n for n, p in zip(net.counts, projections, strict=True) if f"blocks.{k}." in p.name
        ]
        sizes = [p.size for p in projections if f"blocks.{k}." in p.name]
        assert counts == pytest.approx([density * s for s in sizes], abs=1)
    assert net.edges == round(0.4 * net.graph.possible)


def test_blocks_of_a_model_end_at_the_first_number_of_their_names():
    g = torch.Generator().manual_seed(0)
    options = {"layers": 2, "heads": 2, "width": 8, "tied": False}
    model = models.build("transformer", generator=g, input_shape=(6,), classes=11, **options)
    net = rewire.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static())
    names = [p.name for p in net.graph.projections]
    blocks = [{names[i] for i in block} for block in blocks_of(net.graph.space)]
    assert [len(b) for b in blocks] == [6, 6, 10, 10, 1]
    assert all(n.startswith("encoder.1.") for n in blocks[1]) and blocks[4] == {"head.weight"}


# -- whole units ---------------------------------------------------------------------------------


def without_units(model, masks):
    """The dense network of the units that are left, cut out by hand."""
    first, second, third = (masks[f"{at}.weight"] for at in (0, 2, 4))
    left, right = first.any(1), second.any(1)
    assert torch.equal(first, left[:, None].expand_as(first))
    assert torch.equal(second, left & right[:, None]) and torch.equal(third, right.expand_as(third))
    small = nn.Sequential(
        nn.Linear(10, int(left.sum())),
        nn.ReLU(),
        nn.Linear(int(left.sum()), int(right.sum())),
        nn.Tanh(),
        nn.Linear(int(right.sum()), 4),
    ).double()
    with torch.no_grad():
        for at, rows, columns in (
            (0, left, slice(None)), (2, right, left), (4, slice(None), right)
        ):  # fmt: skip
            small[at].weight.copy_(model[at].weight[rows][:, columns])
            small[at].bias.copy_(model[at].bias[rows])
    return small, left, right


@WORLDS
@pytest.mark.parametrize("keep", [0.5, 0.3, 0.01, 1.0])
def test_whole_units_go_and_a_smaller_dense_network_computes_the_same(keep, world):
    model, batches = trained()
    rule = rewire.UnitPruning(keep=keep)
    net, _ = pruned(model, batches, rule, None, world, "erk")
    small, left, right = without_units(model, net.masks())
    assert int(left.sum()) == max(1, round(keep * 12))
    assert int(right.sum()) == max(1, round(keep * 9))
    for units, at in ((left, 0), (right, 2)):  # the smallest sums of |w|, the paper's
        sums = model[at].weight.detach().abs().sum(1)
        lost = ranked_least(sums.tolist(), int((~units).sum()))
        assert sorted(lost) == (~units).nonzero().squeeze(1).tolist()
    x = torch.cat(batches)
    torch.testing.assert_close(net.world.model(x), small(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("density", [0.7, 0.4, 0.2])
def test_a_density_of_units_is_the_most_edges_that_whole_units_allow(scope, density):
    model, batches = trained()
    net, _ = pruned(model, batches, rewire.UnitPruning(scope=scope), density)
    _, left, right = without_units(model, net.masks())
    a, b = int(left.sum()), int(right.sum())
    most = round(density * net.graph.possible)
    assert net.edges == 10 * a + a * b + 4 * b <= most
    more = [10 * (a + 1) + (a + 1) * b + 4 * b, 10 * a + a * (b + 1) + 4 * (b + 1)]
    assert max(more) > most
    if scope == "global":
        means = torch.cat([model[at].weight.detach().abs().mean(1) for at in (0, 2)])
        lost = ranked_least(means.tolist(), int((~torch.cat([left, right])).sum()))
        assert sorted(lost) == (~torch.cat([left, right])).nonzero().squeeze(1).tolist()


@pytest.mark.parametrize("of", ["incoming", "outgoing", "both"])
def test_units_are_ranked_by_any_signal_of_their_synapses(of):
    model, batches = trained()
    rule = rewire.UnitPruning(keep=0.5, of=of, score="input_norm", times_weight=True)
    net, _ = pruned(model, batches, rule, None, distribution="erk")
    x = torch.cat(batches)
    products = [
        model[at].weight.detach().abs() * model[:at](x).detach().norm(dim=0) for at in (0, 2, 4)
    ]
    _, left, right = without_units(model, net.masks())
    for units, into, out_of in ((left, 0, 1), (right, 1, 2)):
        synapses = {
            "incoming": [products[into]], "outgoing": [products[out_of].T],
            "both": [products[into], products[out_of].T],
        }[of]  # fmt: skip
        means = torch.cat(synapses, 1).mean(1)
        lost = ranked_least(means.tolist(), int((~units).sum()))
        assert sorted(lost) == (~units).nonzero().squeeze(1).tolist()


@WORLDS
def test_recurrent_units_go_with_all_their_gates_and_channels_with_their_filters(world):
    g = torch.Generator().manual_seed(0)
    model = models.build("lstm", generator=g, input_shape=(1, 4, 5), classes=3, hidden=8)
    net, _ = pruned(model, [], rewire.UnitPruning(keep=0.5), None, world, "erk")
    masks = net.masks()
    out = masks["fc.weight"].any(0)
    assert int(out.sum()) == 4
    for gate in masks["rnn.weight_ih_l0"].chunk(4):
        assert torch.equal(gate, out[:, None].expand_as(gate))
    for gate in masks["rnn.weight_hh_l0"].chunk(4):
        assert torch.equal(gate, out & out[:, None])
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3))
    net, _ = pruned(model, [], rewire.UnitPruning(keep=0.5), None, world, "erk")
    masks = net.masks()
    out = masks["3.weight"].any(0).any(-1).any(-1)
    assert int(out.sum()) == 3 and net.counts == [3 * 2 * 9, 4 * 3 * 9]
    assert torch.equal(masks["0.weight"].flatten(1).any(1), out)


def test_units_of_a_gpt_are_those_of_values_and_of_hidden_layers():
    g = torch.Generator().manual_seed(0)
    model = models.build("gpt", generator=g, input_shape=(6,), classes=11, layers=1, heads=2,
                         width=8)  # fmt: skip
    net, _ = pruned(model, [], rewire.UnitPruning(keep=0.25), None, distribution="erk")
    sums = {n.removeprefix("blocks.0."): int(m.sum()) for n, m in net.masks().items()}
    assert sums == {
        "attention.query.weight": 64, "attention.key.weight": 64, "attention.value.weight": 16,
        "attention.out.weight": 16, "ff.0.weight": 64, "ff.2.weight": 64,
    }  # fmt: skip


def test_units_that_cannot_go_are_refused():
    model, batches = trained()
    with pytest.raises(ValueError, match="to 7 by whole units: one unit in each.*leaves 15. Ask"):
        pruned(model, batches, rewire.UnitPruning(to=0.025), None, distribution="erk")
    with pytest.raises(ValueError, match="keeps 0.5 of the units, and a density was asked"):
        pruned(model, batches, rewire.UnitPruning(keep=0.5), 0.3)
    with pytest.raises(ValueError, match="no population here is known to do both"):
        pruned(nn.Linear(4, 3), batches, rewire.UnitPruning(keep=0.5), None, distribution="erk")


# -- at the end of training -----------------------------------------------------------------------


@WORLDS
@pytest.mark.parametrize(
    "rule",
    [
        rewire.SparseGPT(), rewire.Wanda(n=1, m=2), rewire.UnitPruning(),
        rewire.SNIP(scope="layer"), rewire.Magnitude(scope="row", layers=rewire.LAMP()),
    ],
    ids=lambda rule: rule.name,
)  # fmt: skip
def test_at_the_end_a_rule_does_to_the_trained_model_what_it_does_when_attached_to_it(rule, world):
    """Trained dense, then pruned at the end; and trained alone, then attached."""

    def probe_of(batches):
        return rewire.Probe(batches, lambda model, x: model(x).square().mean())

    def train(model, optimizer, batches, step, steps=5):
        for k in range(steps):
            optimizer.zero_grad()
            model(batches[k % 2]).square().mean().backward()
            step()

    model, batches = trained(last=8)
    alone = copy.deepcopy(model)
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
    train(alone, optimizer, batches, optimizer.step)
    density = 0.5
    uniform = "uniform" if isinstance(rule, rewire.Wanda | rewire.SparseGPT) else "erk"
    at_once = rewire.attach(alone, optimizer, rule, density=density, distribution=uniform,
                            probe=probe_of(batches))  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, replace(rule, when=rewire.at_end), density=density,
                        steps=7, probe=probe_of(batches), world=world)  # fmt: skip
    train(model, optimizer, batches, net.step)
    assert net.edges == net.graph.possible
    train(model, optimizer, batches, net.step, 1)  # this one prunes, and moves no weight
    pruned_graph = net.graph
    assert len(pruned_graph) < net.graph.possible
    train(model, optimizer, batches, net.step, 1)  # nor does the last
    assert torch.equal(net.graph["weight"], pruned_graph["weight"])
    assert torch.equal(net.graph.keys, at_once.graph.keys)
    torch.testing.assert_close(net.graph["weight"], at_once.graph["weight"])
    assert 0 < net.edges < 0.6 * net.graph.possible  # a short group of m keeps n too


def test_what_cannot_be_done_at_the_end_is_refused_before_the_first_step():
    model = nn.Sequential(nn.LSTM(3, 4, proj_size=2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = rewire.Probe([torch.randn(2, 3)], lambda model, x: model(x)[0].sum())
    with pytest.raises(ValueError, match="belongs to a recurrent layer with projected states"):
        rewire.attach(model, optimizer, rewire.Wanda(when=rewire.at_end), density=0.5, steps=3,
                      probe=probe)  # fmt: skip
    flat = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(flat.parameters(), lr=0.1)
    for rule, message in (
        (rewire.UnitPruning(when=rewire.at_end, keep=0.5), "no population here is known"),
        (rewire.Magnitude(when=rewire.at_end), "Magnitude cuts to a density, and none was given"),
    ):
        with pytest.raises(ValueError, match=message):
            rewire.attach(flat, optimizer, rule, steps=3)
    model, batches = trained()
    rule = rewire.Wanda(when=rewire.at_end, layers=rewire.OWL(spread=0.1))
    with pytest.raises(ValueError, match="OWL's densities around .* would go from -0.03"):
        pruned(model, batches, rule, 0.1, steps=9)
    assert pruned(model, batches, rule, 0.14, steps=9)[0].edges == 264
    rule = rewire.Magnitude(when=rewire.at_end)
    with pytest.raises(ValueError, match="its last two steps move no weight, and there are 2"):
        rewire.attach(flat, optimizer, rule, density=0.5, steps=2)
    with pytest.raises(ValueError, match="whose length is not known: pass steps="):
        rewire.attach(flat, optimizer, rule, density=0.5)


# -- what is refused, and tables -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rewire.Wanda(scope="global"), "Wanda compares weights within a layer or a row"),
        (lambda: rewire.SparseGPT(n=2), "SparseGPT keeps n of every m: give both, or neither"),
        (lambda: rewire.SparseGPT(n=2, m=4, block=6), "block=6 is no multiple of m=4"),
        (lambda: rewire.SparseGPT(block=0), "block has one column or more, got 0"),
        (lambda: rewire.SparseGPT(damp=0.0), r"damp must be above 0, got 0\.0"),
        (lambda: rewire.Wanda(n=5, m=4), "1 <= n <= m; got n=5, m=4"),
        (lambda: rewire.Wanda(n=2, m=4, layers=rewire.LAMP()), "leave out layers= and to="),
        (lambda: rewire.Magnitude(layers=rewire.OWL()), "OWL shares its edges out over them"),
        (lambda: rewire.OWL(spread=1.0), r"spread in \[0, 1\), got outlier=5.0, spread=1.0"),
        (lambda: rewire.SNIP(when=rewire.every(5)), r"SNIP cuts once, .* got Every\(n=5"),
        (lambda: rewire.SNIP(when=rewire.at_end, to=(3, 4)), "at a density, not at counts, got"),
        (lambda: rewire.UnitPruning(scope="row"), "drops whole rows: choose scope='layer'"),
        (
            lambda: rewire.UnitPruning(of="all"),
            "of = 'all': expected 'incoming', 'outgoing' or 'both'",
        ),
        (lambda: rewire.UnitPruning(keep=0.0), r"keeps a fraction in \(0, 1\], got keep=0.0"),
        (lambda: rewire.UnitPruning(keep=0.5, to=0.5), "takes keep= or to=, not both"),
        (lambda: rewire.OWL(per="head"), "per = 'head': expected 'block' or 'layer'"),
    ],
)
def test_settings_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_n_of_m_has_one_density_and_no_other():
    model, batches = trained()
    with pytest.raises(ValueError, match="Wanda keeps 2 of every 4 weights, density 0.5"):
        pruned(model, batches, rewire.Wanda(n=2, m=4), 0.3)


def of_three_channels():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(),
                         nn.Linear(32, 12)).double()  # fmt: skip


N_OF_M = [rewire.NM, rewire.SRSTE, rewire.Wanda, rewire.SparseGPT]


@WORLDS
@pytest.mark.parametrize("rule", N_OF_M, ids=lambda rule: rule.__name__)
def test_layers_that_n_of_m_does_not_divide_are_refused_or_dense(rule, world):
    """NVIDIA's ASP leaves layers dense that its tensor cores cannot run."""
    if rule is rewire.SRSTE and world == "sparse":
        pytest.skip("the sparse world holds no silent edges")
    batches = [drawn(4, 3, 6, 6)]
    with pytest.raises(ValueError, match="'0.weight' has 3, '1.weight' has 1, no multiple of 4"):
        pruned(of_three_channels(), batches, rule(n=2, m=4), None, world)
    named = rule(n=2, m=4, undivided="dense")
    net, _ = pruned(of_three_channels(), batches, named, None, world)
    assert net.counts == [216, 72, 192] and net.density == 480 / 672
    model = of_three_channels()
    net, _ = pruned(model, batches, rule(n=2, m=4), 0.5, world, exclude=["0*", "1*"])
    assert net.density == 0.5
    if rule is not rewire.SRSTE:  # before step 0 as well where it waits for the end
        with pytest.raises(ValueError, match="no multiple of 4"):
            waits = {} if rule is rewire.NM else {"when": rewire.at_end}
            pruned(of_three_channels(), batches, rule(n=2, m=4, **waits), None, world, steps=9)


def test_inputs_that_are_not_finite_are_refused():
    model, batches = trained()
    batches[0][0, 0] = torch.inf
    with pytest.raises(ValueError, match="the inputs of '0.weight' are not finite"):
        pruned(model, batches, rewire.SparseGPT())


@pytest.mark.parametrize(
    "rule",
    [
        rewire.Wanda(layers=rewire.OWL(spread=0.05), sequential=False),
        rewire.SparseGPT(n=2, m=4, block=64),
        rewire.Magnitude(scope="row", layers=rewire.LAMP()),
    ],
)
def test_rules_are_written_to_tables_and_read_back(rule):
    table = rule.to_table()
    assert type(rule).from_table(table) == rule
    assert isinstance(table.get("layers", {}), dict)


def test_a_rule_on_some_layers_prunes_those_alone_and_sees_their_inputs():
    model, batches = trained()
    part = rewire.On(rule=rewire.SparseGPT(to=0.5), projections=("2", "4"))
    net, weights = pruned(model, batches, part, density=None)
    assert net.counts[0] == 120 and torch.equal(weights["0.weight"], model[0].weight.detach())
    x, seen = torch.cat(batches), copy.deepcopy(model)
    for i, at in ((1, 2), (2, 4)):
        weight = model[at].weight.detach()
        lose = shares_of_blocks(weight, net.counts[i], 128, False)
        expected, _ = sparse_gpt_by_hand(weight, seen[:at](x).detach(), lose, 128)
        torch.testing.assert_close(weights[f"{at}.weight"], expected, rtol=1e-10, atol=1e-10)
        seen[at].weight.data = expected


def test_a_rule_by_rows_keeps_even_shares_whatever_it_scores_by():
    model, batches = trained()
    net, _ = pruned(model, batches, rewire.SNIP(scope="row"), 0.5)
    for mask, count in zip(net.masks().values(), net.counts, strict=True):
        assert mask.sum(1).tolist() == even(count, [mask.shape[1]] * len(mask))

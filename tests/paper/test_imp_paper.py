"""Frankle & Carbin's ladder: what is left after each round, and exact cuts to asked densities."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import rewire
from rewire import when

LENET, NAMES = [235_200, 30_000, 1_000], ["fc1.weight", "fc2.weight", "fc3.weight"]


def levels(rule, counts, names=NAMES):
    """Edges left after each round, per projection (or in all, under scope "global")."""
    have, out = list(counts), []
    if rule.scope == "global":
        have = [sum(counts)]
    for drop in rule.ladder(counts, names):
        have = [n - d for n, d in zip(have, drop, strict=True)]
        out.append(have)
    return out


def test_lenets_rates_of_20_20_and_10_per_cent_give_powers_of_08_and_09():
    """Figure 1's 100 %, 51.3 %, 21.1 %, 7.0 %, 3.6 %, 1.9 %. Rounding at a level adds at most half
    an edge, which the later levels shrink: 0.5 / (1 - 0.8) = 2.5 and 5 in all."""
    rule = rewire.IMP(scope="layer", fraction=0.2, rates={"fc3": 0.1}, rounds=18)
    ladder = levels(rule, LENET)
    assert len(ladder) == 18
    for n, have in enumerate(ladder, 1):
        for left, start, rate, slack in zip(
            have, LENET, (0.8, 0.8, 0.9), (2.5, 2.5, 5), strict=True
        ):
            assert abs(left - start * rate**n) <= slack
    density = [sum(have) / 266_200 for have in ladder]
    for n, percent in ((3, 51.3), (7, 21.1), (12, 7.0), (15, 3.6), (18, 1.9)):
        assert 100 * density[n - 1] == pytest.approx(percent, abs=0.06)


@pytest.mark.parametrize("scope", ["global", "layer"])
@given(data=st.data())
def test_the_ladder_hits_every_requested_density_exactly(scope, data):
    counts = data.draw(st.lists(st.integers(5, 400), min_size=1, max_size=4))
    names = [f"fc{i}.weight" for i in range(len(counts))]
    to = data.draw(st.lists(st.floats(0.02, 0.99), min_size=1, max_size=4, unique=True))
    fraction = data.draw(st.sampled_from([0.1, 0.2, 0.5, 0.9]))
    assume(min(round(d * sum(counts)) for d in to) >= len(counts))
    rule = rewire.IMP(scope=scope, fraction=fraction, to=tuple(to))
    ladder = levels(rule, counts, names)
    totals = [sum(have) for have in ladder]
    targets = {round(d * sum(counts)) for d in to} - {sum(counts)}
    assert targets <= set(totals)
    assert totals == sorted(set(totals), reverse=True)
    assert totals[-1:] == ([min(targets)] if targets else [])
    assert all(n >= 1 for have in ladder for n in have)
    before = sum(counts)
    for have, after in zip(ladder, totals, strict=True):  # a round never drops more than asked
        assert before - after <= sum(
            max(1, round(fraction * n)) for n in ([before] if scope == "global" else [before])
        ) + len(have)
        before = after


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("density", [0.5, 0.2, 0.05, 0.01])
def test_one_shot_prunes_once_and_exactly(scope, density):
    ladder = levels(rewire.IMP.one_shot(density, scope=scope), LENET)
    assert len(ladder) == 1
    assert sum(ladder[0]) == round(density * 266_200)
    if scope == "layer":  # every layer at the same rate
        for left, start in zip(ladder[0], LENET, strict=True):
            assert left == pytest.approx(density * start, abs=1)


def test_a_partial_round_scales_every_rate_alike():
    """The cut to a density takes n (1 - rate)^x of each layer, one x for all."""
    rule = rewire.IMP(scope="layer", fraction=0.2, rates={"fc3": 0.1}, to=(0.9,))
    (have,) = levels(rule, LENET)
    assert sum(have) == round(0.9 * 266_200)
    x = torch.tensor([n / s for n, s in zip(have, LENET, strict=True)]).log()
    expected = torch.tensor([0.8, 0.8, 0.9]).log()
    assert torch.allclose(x / expected, (x / expected)[0].expand(3), rtol=2e-2)


def test_a_layer_at_rate_0_stays_whole():
    layer = rewire.IMP(scope="layer", rates={"fc3": 0.0}, to=(0.3, 0.1))
    assert {have[2] for have in levels(layer, LENET)} == {1000}
    space = rewire.Space(
        [rewire.Population("a", 10)],
        [rewire.Projection(n, "a", "a", "linear", (10, 10)) for n in ("p", "q", "r")],
    )
    world = rewire.Bare(space, weights=torch.rand(300))
    rule = rewire.IMP(rates={"q": 0.0}, to=(0.5,), fraction=0.9)
    net = rewire.Session(world, rewire.Graph.full(space), rule, span=3, rewinds=True)
    while not net.done:
        net.step()
    assert net.counts[1] == 100 and net.edges == 150


def test_the_smallest_weights_of_all_layers_or_of_each_go():
    space = rewire.Space(
        [rewire.Population("a", 4)],
        [rewire.Projection(n, "a", "a", "linear", (2, 4)) for n in ("p", "q")],
    )
    weights = torch.tensor([1.0, -2, 3, -4, 5, -6, 7, -8, 0.1, -0.2, 0.3, -0.4, 9, -10, 11, -12])
    masks = {}
    for scope in ("global", "layer"):
        world = rewire.Bare(space, weights=weights)
        rule = rewire.IMP(scope=scope, fraction=0.5, rounds=1)
        net = rewire.Session(world, rewire.Graph.full(space), rule, span=1, rewinds=True)
        while not net.done:
            net.step()
        masks[scope] = net.graph.keys.tolist()
    assert masks == {"global": [4, 5, 6, 7, 12, 13, 14, 15], "layer": [4, 5, 6, 7, 12, 13, 14, 15]}
    world = rewire.Bare(space, weights=weights)
    net = rewire.Session(
        world, rewire.Graph.full(space), rewire.IMP(fraction=0.75, rounds=1), span=1, rewinds=True
    )
    while not net.done:
        net.step()
    assert net.graph.keys.tolist() == [12, 13, 14, 15]  # global: layer p is gone


def test_default_and_asked_rounds():
    assert len(rewire.IMP().ladder(LENET, NAMES)) == 5
    with pytest.raises(ValueError, match="cannot reach density 0.01 in 3 rounds: they end at 136,"):
        rewire.IMP(rounds=3, to=(0.01,)).ladder(LENET, NAMES)
    assert rewire.IMP(to=(1.0,)).ladder(LENET, NAMES) == []
    for rule, densities in ((rewire.IMP(), (0.2, 0.05)), (rewire.IMP(to=(0.1,)), (0.1,))):
        assert rule.budget.towards(rule, (0.05, 0.2)).to == densities


@given(data=st.data())
def test_the_smallest_legal_graph_is_reached_exactly_and_anything_below_refused(data):
    """One edge per pruned layer (one in all under "global"), and the layers at rate 0 whole."""
    counts = data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=4))
    names = [f"fc{i}.weight" for i in range(len(counts))]
    whole = data.draw(st.sets(st.sampled_from(names[1:]))) if names[1:] else set()
    scope = data.draw(st.sampled_from(["global", "layer"]))
    fraction = data.draw(st.sampled_from([0.2, 0.9, 0.999]))
    rates = dict.fromkeys(whole, 0.0)
    pruned = len(counts) - len(whole)
    fixed = sum(n for n, name in zip(counts, names, strict=True) if name in whole)
    least, possible = fixed + (pruned if scope == "layer" else 1), sum(counts)

    def ladder(edges):
        to = (edges / possible,)
        rule = rewire.IMP(scope=scope, rates=rates, fraction=fraction, to=to)
        return rule.ladder(counts, names)

    drops = ladder(least)
    assert possible - sum(map(sum, drops)) == least
    assert all(d >= 0 for drop in drops for d in drop)
    if scope == "layer":
        for i, name in enumerate(names):
            assert counts[i] - sum(d[i] for d in drops) == (counts[i] if name in whole else 1)
    if least > 1:
        with pytest.raises(ValueError, match=rf"cannot reach .*\({least:,} edges\) or more"):
            ladder(least - 1)


def test_a_density_below_one_edge_a_layer_is_refused_before_step_0():
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match="cannot reach density 0.025, 1 of 40 edges.* 0.05 "):
        rewire.train(
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            rewire.IMP(scope="layer", to=(0.5, 0.025)),
            loss=lambda model, x: model(x).sum(),
            data=[torch.ones(2, 8)],
            steps=3,
        )
    assert all(map(torch.equal, before, model.parameters()))


# -- schedules that cannot work ------------------------------------------------------------------


def short_training(rule, steps=6, **more):
    model = torch.nn.Linear(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rewire.train(
        model, optimizer, rule, steps=steps, data=lambda step: torch.ones(2, 8),
        loss=lambda m, batch: m(batch).square().mean(), **more,
    )  # fmt: skip


@pytest.mark.parametrize("restore", ["weights", "learning_rate"])
@pytest.mark.parametrize("rewind", [6, 7, 1000])
def test_a_rewind_to_the_end_of_a_round_is_refused(restore, rewind):
    with pytest.raises(ValueError, match=f"be trained so: it goes back to step {rewind} of"):
        short_training(rewire.IMP(rewind=rewind, restore=restore))
    assert short_training(rewire.IMP(rewind=5, restore=restore, rounds=1)).clock.round == 1


def test_a_round_ends_where_imp_is_due():
    early = dict(rounds=1, when=when.at_steps(3))
    with pytest.raises(ValueError, match="back to step 3 of a round that it ends at step 3"):
        short_training(rewire.IMP(rewind=3, **early))
    with pytest.raises(ValueError, match="is never due in 6 steps: it would never prune"):
        short_training(rewire.IMP(when=when.at_steps(7)))


def test_rounds_that_do_not_reach_the_density_are_refused():
    with pytest.raises(ValueError, match="cannot reach density 0.1 in 2 rounds: .* 0.656"):
        short_training(rewire.IMP(rounds=2), density=0.1)
    assert short_training(rewire.IMP(rounds=2, fraction=0.7), density=0.1).edges == 3
    assert short_training(rewire.IMP.one_shot(0.1)).edges == 3
    assert short_training(rewire.IMP(rounds=2)).edges == 21  # where no density is asked for


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize(("optimiser", "velocity"), [("rewound", 1 + 0.9 + 0.81), ("fresh", 1.0)])
def test_moments_after_a_late_rewind_are_those_of_its_step_or_none(optimiser, velocity, world):
    """open_lth begins each level with a new optimiser: its first step has no momentum."""
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 4, bias=False)
    first, shown = model.weight.detach().clone(), {}

    def note(net, loss):
        shown.setdefault((net.clock.round, net.clock.step), net.graph)

    rule = rewire.IMP(rounds=2, fraction=0.5, rewind=2, optimiser=optimiser)
    rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), rule, world=world,
        loss=lambda model, x: model(x).sum(), data=lambda step: torch.ones(1, 6), steps=5,
        on_step=note,
    )  # fmt: skip
    rewound = first.flatten() - 0.01 * (1 + 1.9)  # the gradient is 1 everywhere
    for round_ in (1, 2):
        graph = shown[round_, 3]
        expected = rewound[graph.keys] - 0.01 * velocity
        torch.testing.assert_close(graph["weight"], expected)
        assert len(graph) == 24 // 2**round_


def test_half_a_weight_is_rounded_to_the_even_number():
    """As numpy rounds in the authors' code; open_lth rounds up."""
    assert rewire.IMP(fraction=0.5, rounds=2).ladder([5], ["*"]) == [[2], [2]]
    assert rewire.IMP(fraction=0.5, rounds=1).ladder([7], ["*"]) == [[4]]


def test_one_cut_and_rounds_differ_in_the_counts_of_layers_where_rates_do():
    rates, names, counts = {"fc3": 0.1}, ["fc1", "fc3"], [8000, 1000]
    rounds = rewire.IMP(scope="layer", rates=rates, to=(0.2,))
    once = rewire.IMP.one_shot(0.2, scope="layer", rates=rates)
    left = []
    for rule in (rounds, once):
        drops = zip(*rule.ladder(counts, names), strict=True)
        left.append([n - sum(part) for n, part in zip(counts, drops, strict=True)])
    assert [sum(part) for part in left] == [1800, 1800]
    assert left == [[1366, 434], [895, 905]]

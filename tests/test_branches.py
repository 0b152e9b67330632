"""Branches of a ticket as functions: what each keeps, what it changes, and by how much."""

import pytest
import torch

from rewire import rng_for
from rewire.branches import operations
from rewire.branches.kinds import (
    MaskAlgebra,
    OneShot,
    Pretrained,
    RandomMask,
    RandomReinit,
    Shuffle,
    Signs,
    Ticket,
    WeightNoise,
)
from rewire.budget import random_graph
from rewire.graph import Graph, Population, Projection, Space

SPACE = Space(
    [Population("x", 40), Population("h", 30), Population("y", 10)],
    [
        Projection("fc1", "x", "h", "linear", (30, 40)),
        Projection("fc2", "h", "y", "linear", (10, 30)),
    ],
)


def ticket() -> Ticket:
    torch.manual_seed(1)
    graph = random_graph(SPACE, [300, 60], rng_for(0, "ticket"))
    initial, fresh = torch.randn(2, SPACE.possible)
    early = initial + 0.3 * torch.randn(SPACE.possible)
    other = random_graph(SPACE, [300, 60], rng_for(1, "ticket"))
    return Ticket(graph, initial, early, fresh, early * 2, other)


@pytest.mark.parametrize(
    ("scope", "counts"), [("layer", [300, 60]), ("global", None), ("even", [288, 72])]
)
def test_a_random_mask_has_exactly_the_edges_that_its_scope_promises(scope, counts):
    t = ticket()
    mask = operations.random_mask(t.graph, rng_for(0, "mask"), scope)
    assert len(mask) == 360 and (mask.keys.diff() > 0).all()
    if counts is not None:
        assert mask.counts().tolist() == counts
    again = operations.random_mask(t.graph, rng_for(0, "mask"), scope)
    assert torch.equal(mask.keys, again.keys) and not torch.equal(mask.keys, t.graph.keys)
    if scope == "global":  # each of 1,500 pairs in 400 draws: 96 times, give or take 5 x 8.5
        drawn = torch.zeros(SPACE.possible)
        for i in range(400):
            drawn[operations.random_mask(t.graph, rng_for(i, "mask"), scope).keys] += 1
        assert (drawn - 96).abs().max() < 5 * 8.55


def test_shuffles_keep_the_weights_of_each_part_and_move_them_within_it():
    t = ticket()
    weight = t.early[t.graph.keys]
    which, _, post = t.graph.locate()
    parts = {"network": which * 0, "layer": which, "filter": which * 100 + post}
    for scope, part in parts.items():
        out = operations.shuffled(t.graph, weight, rng_for(3, "s"), scope)
        for value in part.unique():
            mine = part == value
            assert torch.equal(out[mine].sort().values, weight[mine].sort().values), scope
        assert (out != weight).float().mean() > 0.85  # 1 - 1/n of an edge among n stays
    in_layer = operations.shuffled(t.graph, weight, rng_for(3, "s"), "layer")
    assert not torch.equal(in_layer[:12].sort().values, weight[:12].sort().values)
    with pytest.raises(ValueError, match="'network', 'layer' or 'filter', got 'unit'"):
        operations.shuffled(t.graph, weight, rng_for(3, "s"), "unit")


def test_signs_and_magnitudes_come_from_where_the_branch_says():
    t = ticket()
    at = t.graph.keys
    out = Signs().weights(t, t.graph, rng_for(0, "x"))
    assert torch.equal(out.sign(), t.early[at].sign())
    assert torch.equal(out.abs(), t.fresh[at].abs())
    out = Signs(magnitudes="early", signs="initial").weights(t, t.graph, rng_for(0, "x"))
    assert torch.equal(out.sign(), t.initial[at].sign())
    assert torch.equal(out.abs(), t.early[at].abs())


def test_noise_has_the_standard_deviation_of_each_layer():
    t = ticket()
    t.initial[SPACE.bounds[1] :] *= 5  # the second layer is five times as wide
    t.early[SPACE.bounds[1] :] = t.initial[SPACE.bounds[1] :]
    noise = []
    for i in range(200):
        w = WeightNoise(times=2.0).weights(t, t.graph, rng_for(i, "noise"))
        noise.append(w - t.early[t.graph.keys])
    noise = torch.stack(noise)
    for lo, hi, first, last in ((0, 300, *SPACE.bounds[:2]), (300, 360, *SPACE.bounds[1:])):
        asked = 2 * t.initial[first:last].std()
        n = 200 * (hi - lo)
        assert abs(noise[:, lo:hi].std() / asked - 1) < 5 * (2 * n) ** -0.5
    still = WeightNoise(times=1.0, sigma="change").weights(t, t.graph, rng_for(0, "noise"))
    change = still - t.early[t.graph.keys]
    assert change[:300].std() > 0.2 and (change[300:] == 0).all()  # where nothing has changed


def test_one_shot_keeps_the_largest_and_as_many_as_the_ticket():
    t = ticket()
    mask = OneShot().mask(t, rng_for(0, "x"))
    cut = t.final.abs().sort(descending=True).values[359]
    assert torch.equal(mask.keys, (t.final.abs() >= cut).nonzero().squeeze(1))
    assert OneShot(scope="layer").mask(t, rng_for(0, "x")).counts().tolist() == [300, 60]


def test_masks_are_sets():
    t = ticket()
    a, b = set(t.graph.keys.tolist()), set(t.other.keys.tolist())
    mine = {
        op: MaskAlgebra(operation=op, other="" if op == "complement" else "b")
        for op in ("union", "intersection", "complement")
    }
    found = {op: m.mask(t, rng_for(0, "x")).keys.tolist() for op, m in mine.items()}
    assert found["union"] == sorted(a | b) and found["intersection"] == sorted(a & b)
    assert found["complement"] == sorted(set(range(SPACE.possible)) - a)
    other = Graph.full(Space(SPACE.populations, SPACE.projections[:1]))
    with pytest.raises(ValueError, match="masks of two models cannot be joined"):
        operations.union(t.graph, other)
    with pytest.raises(ValueError, match="union and intersection take other="):
        MaskAlgebra(operation="union")


def test_images_are_turned_exactly_and_all_four_ways():
    x = torch.arange(64 * 2 * 5 * 5, dtype=torch.float32).view(64, 2, 5, 5)
    turned, turns = operations.rotated(x, rng_for(0, "turn"))
    assert turns.bincount(minlength=4).min() > 5
    for before, after, quarter in zip(x, turned, turns.tolist(), strict=True):
        assert torch.equal(after, torch.rot90(before, quarter, (1, 2)))  # to the bit
        assert sorted(after.flatten().tolist()) == sorted(before.flatten().tolist())
    with pytest.raises(ValueError, match="only square images"):
        operations.rotated(x[..., :4], rng_for(0, "turn"))


def test_blurring_keeps_flat_images_and_loses_what_is_finer_than_its_blocks():
    flat = torch.full((2, 1, 28, 28), 0.7)
    torch.testing.assert_close(operations.blurred(flat), flat)
    fine = (torch.arange(28)[:, None] + torch.arange(28)) % 2 * 1.0
    out = operations.blurred(fine[None, None])
    torch.testing.assert_close(out, torch.full_like(out, 0.5))
    assert operations.blurred(torch.rand(3, 1, 30, 30)).shape == (3, 1, 30, 30)
    with pytest.raises(ValueError, match=r"can be blurred; these inputs have the shape \(3, 8\)"):
        operations.blurred(torch.rand(3, 8))


def test_random_labels_are_uniform_and_know_nothing_of_the_true_ones():
    y = torch.arange(10).repeat(400)
    drawn = operations.random_labels(y, 10, rng_for(0, "labels"))
    table = torch.zeros(10, 10).index_put_((y, drawn), torch.ones(4000), accumulate=True)
    chi2 = ((table - 40) ** 2 / 40).sum()
    assert chi2 < 99 + 5 * (2 * 99) ** 0.5


def test_a_branch_says_what_it_cannot_start_from():
    import rewire

    assert "needs the end of a dense training" in OneShot().unfit(rewire.DeepR())
    assert OneShot().unfit(rewire.IMP()) is None
    assert "needs a rewind above 0" in WeightNoise(sigma="change").unfit(rewire.IMP())
    assert WeightNoise(sigma="change").unfit(rewire.IMP(rewind=5)) is None
    assert "needs steps=" in Pretrained().unfit(rewire.IMP())
    with pytest.raises(ValueError, match="kept no final weights"):
        OneShot().mask(Ticket(ticket().graph), rng_for(0, "x"))
    for rule in (RandomReinit(), RandomMask(), Shuffle()):
        with pytest.raises(ValueError, match=f"{rule.name} is a branch, not a rule"):
            rewire.Session(rewire.Bare(SPACE), ticket().graph, rule)

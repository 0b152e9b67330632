"""RigL by blocks and diagonals (GroupRigL), written out anew with dense masks."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import when

AT, STEPS = (0, 2), 13


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(14, 12), nn.ReLU(), nn.Linear(12, 6)).double()


def batch(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(20, 14, generator=g).double(), torch.randint(6, (20,), generator=g)


def gradients(net, graph, step):
    model = network()
    with torch.no_grad():
        for i, at in enumerate(AT):
            model[at].weight.copy_(graph.dense(i))
            model[at].bias.copy_(net.world.model[at].bias)
    x, y = batch(step)
    cross_entropy(model(x), y).backward()
    return [model[at].weight.grad.abs().numpy() for at in AT]


def places(groups, rows, columns):
    """The cells of each group."""
    cells = {}
    for r in range(rows):
        for c in range(columns):
            if groups == "diagonal":
                number = (r - c) % rows if rows >= columns else (c - r) % columns
            else:
                number = (r // 4, c // 3)
            cells.setdefault(number, []).append((r, c))
    return [tuple(np.array(of).T) for of in cells.values()]


@pytest.mark.parametrize("world", ["masked", "sparse"])
@pytest.mark.parametrize("groups", ["block", "diagonal"])
def test_every_tick_exchanges_whole_groups_of_one_size(groups, world):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    rule = rewire.GroupRigL(groups=groups, block=(4, 3), fraction=0.5, when=when.every(3))
    net = rewire.attach(model, optimizer, rule, density=0.4, world=world, steps=STEPS)
    counts, exchanged = net.counts, 0
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        x, y = batch(step)
        cross_entropy(model(x), y).backward()
        before = net.graph
        net.step()
        assert net.counts == counts
        for i, gradient in enumerate(gradients(net, before, step)):
            weight, mask = before.dense(i).abs().numpy(), before.mask(i).numpy()
            cells = places(groups, *mask.shape)
            assert all(mask[of].all() or not mask[of].any() for of in cells)
            if step % 3:
                continue
            for length in {len(of[0]) for of in cells}:
                alike = [of for of in cells if len(of[0]) == length]
                there = [of for of in alike if mask[of].all()]
                absent = [of for of in alike if not mask[of].any()]
                k = int(0.5 * len(there))
                there.sort(key=lambda of: weight[of].mean())
                free = sorted(absent + there[:k], key=lambda of: -gradient[of].mean())
                for of in there[:k]:
                    mask[of] = False
                for of in free[:k]:
                    mask[of] = True
            exchanged += int((mask != before.mask(i).numpy()).sum())
            assert np.array_equal(net.graph.mask(i).numpy(), mask)
    assert exchanged > 0 and net.world.name == world


def test_blocks_of_one_are_rigl():
    runs = []
    for rule in (rewire.GroupRigL(block=(1, 1), fraction=0.3, when=when.every(3)),
                 rewire.RigL(fraction=0.3, when=when.every(3))):  # fmt: skip
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
        net = rewire.attach(model, optimizer, rule, density=0.4, steps=STEPS)
        for step in range(1, STEPS + 1):
            optimizer.zero_grad()
            x, y = batch(step)
            cross_entropy(model(x), y).backward()
            net.step()
        runs.append(net)
    assert torch.equal(runs[0].topology, runs[1].topology)
    assert torch.equal(runs[0].graph["weight"], runs[1].graph["weight"])


@pytest.mark.parametrize("density", [0.1, 0.37, 0.8, 1.0])
@pytest.mark.parametrize("groups", ["block", "diagonal"])
def test_a_density_is_met_to_within_a_group(groups, density):
    model = nn.Sequential(nn.Conv2d(4, 10, 3, groups=2), nn.Flatten(), nn.Linear(40, 7))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.GroupRigL(groups=groups, when=when.every(5))
    weights = [model[at].weight.clone() for at in (0, 2)]
    net = rewire.attach(model, optimizer, rule, density=density, distribution="uniform",
                        steps=20)  # fmt: skip
    for i, (count, size) in enumerate(zip(net.counts, (180, 280), strict=True)):
        asked = round(density * size)
        assert asked - 16 <= count <= asked + 1
        held = net.graph.mask(i)
        assert torch.equal(net.graph.dense(i)[held], weights[i][held])  # the model's own


def test_what_cannot_be_had_is_refused_before_step_0():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.GroupRigL(block=(12, 14), when=when.every(5))
    with pytest.raises(ValueError, match="cannot keep .* edges of '0.weight' in blocks of 168"):
        rewire.attach(model, optimizer, rule, density=0.4, steps=20)
    with pytest.raises(ValueError, match="block is the rows and columns of a block"):
        rewire.GroupRigL(block=(4,))

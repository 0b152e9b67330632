"""Rows with the same edges, as those of a block, are computed two at a time: the same numbers."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import native
from rewire.worlds.sparse.plan.plan import trace
from rewire.worlds.sparse.plan.tracing import Edges

pytestmark = pytest.mark.skipif(native.sparse is None, reason="the sparse engine was not built")
engines = pytest.mark.parametrize(
    "engine", native.engines().values(), ids=lambda e: e.__name__.rsplit(".", 1)[1]
)


def blocks(rows, columns, block, density, seed=0):
    """A mask of whole blocks, cut off at the edges of the matrix."""
    down, across = -(-rows // block[0]), -(-columns // block[1])
    held = torch.rand(down, across, generator=torch.Generator().manual_seed(seed)) < density
    whole = held.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    return whole[:rows, :columns].contiguous()


def edges_of(weight, mask):
    indptr = torch.zeros(len(mask) + 1, dtype=torch.int64)
    indptr[1:] = mask.sum(1).cumsum(0)
    value = weight.detach()[mask].clone()
    return Edges(indptr, mask.nonzero()[:, 1].int(), value, torch.full_like(value, torch.nan))


def single(mask):
    """Some rows of a mask get one edge more or less than those beside them."""
    mask = mask.clone()
    mask[::5, 1] ^= True
    return mask


MASKS = {
    "4 x 4": blocks(24, 40, (4, 4), 0.4),
    "odd sizes": blocks(19, 37, (4, 4), 0.4),
    "3 x 5": blocks(20, 23, (3, 5), 0.5),
    "pairs with a hole": single(blocks(22, 30, (2, 3), 0.4)),
    "empty rows": blocks(20, 16, (4, 4), 0.15, seed=3),
    "no edge": blocks(6, 5, (2, 2), 0.0),
    "all edges": blocks(9, 7, (1, 1), 1.0),
    "no pair": torch.eye(12, 9).bool(),
    "blocks of columns": blocks(8, 3000, (8, 8), 0.5),  # x and dx do not fit into the cache
}


@engines
@pytest.mark.parametrize("name", MASKS)
def test_a_layer_is_the_dense_one(engine, name):
    mask = MASKS[name]
    for batch in (64,) if mask.numel() > 10_000 else (1, 16, 50, 64, 150):
        g = torch.Generator().manual_seed(batch)
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            weight = torch.randn(mask.shape, generator=g, dtype=dtype) * mask
            bias = torch.randn(len(mask), generator=g, dtype=dtype)
            dy = torch.randn(batch, len(mask), generator=g, dtype=dtype)
            x = torch.randn(batch, mask.shape[1], generator=g, dtype=dtype)
            indptr, index, value, _ = edges_of(weight, mask).arrays()
            y, kept = engine.linear_forward(indptr, index, value, bias.numpy(), x.numpy())
            found = [y]
            for by_column in (None, engine.ByColumn(indptr, index, mask.shape[1])):
                made = engine.linear_backward(
                    indptr, index, value, kept, dy.numpy(), True, True, by_column
                )
                found += made
            want = [(dy.T @ x)[mask], dy.sum(0), dy @ weight]
            for a, b in zip(found, [x @ weight.T + bias, *want, *want], strict=True):
                scale = max(float(b.abs().max()), 1.0) if len(b) else 1.0
                assert np.allclose(a, b.numpy(), rtol=0, atol=tolerance * scale)


@engines
def test_which_rows_are_paired(engine):
    def paired(mask):
        indptr, index, *_ = edges_of(torch.zeros(mask.shape), mask).arrays()
        return engine.paired_rows(indptr, index, mask.shape[1])

    assert paired(MASKS["4 x 4"]) == 24
    assert paired(MASKS["odd sizes"]) == 18  # of 19
    assert paired(MASKS["no pair"]) == 0
    assert paired(blocks(15, 40, (3, 3), 0.4)) == 10  # two of three
    assert 0 < paired(MASKS["pairs with a hole"]) < 22
    assert paired(MASKS["no edge"]) == 0


@engines
def test_a_plan_is_the_dense_net(engine):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(21, 18), nn.ReLU(), nn.Linear(18, 13), nn.ReLU(),
                          nn.Linear(13, 6)).double()  # fmt: skip
    shapes = {f"{at}.weight": model[at].weight.shape for at in (0, 2, 4)}
    masks = {
        name: blocks(*shape, (4, 4), 0.5, at) for at, (name, shape) in enumerate(shapes.items())
    }
    edges = {}
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
            edges[name] = edges_of(model.get_parameter(name), mask)
    plan = trace(model, edges, (21,), dtype=torch.float64, engine=engine)
    x, y = torch.randn(33, 21).double(), torch.randint(6, (33,))
    for _ in range(2):
        loss = plan.train_step(x, y, step=False)
        model.zero_grad()
        want = cross_entropy(model(x), y)
        want.backward()
        assert loss == pytest.approx(float(want.detach()), abs=1e-12)
        for name, mask in masks.items():
            slope = model.get_parameter(name).grad[mask]
            assert torch.allclose(edges[name].gradient, slope, rtol=0, atol=1e-12)
            masks[name] = mask = mask.roll(4, 0)  # other edges
            with torch.no_grad():
                model.get_parameter(name).copy_(torch.randn(mask.shape) * mask)
            edges[name] = edges_of(model.get_parameter(name), mask)
            plan.rewire(name, edges[name])


@pytest.mark.parametrize("mode", ["LSTM", "GRU"])
def test_a_recurrent_layer_is_the_dense_one(mode):
    rule = rewire.GroupRigL(block=(2, 3), fraction=0.5, when=rewire.every(2))
    x = torch.randn(4, 7, 6).double()
    ends = {}
    for world in ("masked", "sparse"):
        torch.manual_seed(1)
        layer = getattr(nn, mode)(6, 5).double()
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        net = rewire.attach(layer, optimizer, rule, density=0.5, world=world, seed=0, steps=6)
        for _ in range(5):
            optimizer.zero_grad()
            layer(x)[0].square().sum().backward()
            net.step()
        ends[world] = net.graph
    _same(ends["masked"], ends["sparse"])


def _same(one, other):
    assert torch.equal(one.keys, other.keys)
    assert torch.allclose(one["weight"], other["weight"], rtol=0, atol=1e-12)


RULES = {
    "blocks": rewire.GroupRigL(block=(4, 4), fraction=0.5, when=rewire.every(3)),
    "diagonals": rewire.GroupRigL(groups="diagonal", fraction=0.5, when=rewire.every(3)),
}


def session(world, rule, conv=False):
    torch.manual_seed(0)
    if conv:
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(),
                              nn.Linear(8 * 16, 6))  # fmt: skip
    else:
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, 22), nn.ReLU(), nn.Linear(22, 14),
                              nn.ReLU(), nn.Linear(14, 6))  # fmt: skip
    model.double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    net = rewire.attach(model, optimizer, rule, density=0.4, world=world, seed=0, steps=12)
    return net, model, optimizer


def train(net, first, end):
    for step in range(first, end):
        g = torch.Generator().manual_seed(step)
        x = torch.randn(20, 3, 4, 4, generator=g).double()
        net.learn(x, torch.randint(6, (20,), generator=g))


@pytest.mark.parametrize("conv", [False, True], ids=["linear", "conv"])
@pytest.mark.parametrize("name", RULES)
def test_both_worlds_hold_the_same_graph_after_edits(name, conv):
    masked, sparse = (session(world, RULES[name], conv)[0] for world in ("masked", "sparse"))
    for step in range(12):
        train(masked, step, step + 1)
        train(sparse, step, step + 1)
        assert masked.edges == sparse.edges
    _same(masked.graph, sparse.graph)


def test_rows_stay_paired_under_the_rule():
    net, model, _ = session("sparse", RULES["blocks"])
    for step in range(12):
        train(net, step, step + 1)
        for layer in (model[1], model[3], model[5]):
            wires = layer.wires["weight"]
            paired = native.sparse.paired_rows(
                wires.indptr.numpy(), wires.index.numpy(), wires.width
            )
            assert len(wires.index) == 0 or paired >= len(wires.indptr) - 2


def test_a_session_goes_on_from_where_it_was_saved():
    net, model, optimizer = session("sparse", RULES["blocks"])
    train(net, 0, 7)
    saved = copy.deepcopy((net.state_dict(), model.state_dict(), optimizer.state_dict()))
    again, other, second = session("sparse", RULES["blocks"])
    again.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    second.load_state_dict(saved[2])
    for one in (net, again):
        train(one, 7, 12)
    assert torch.equal(net.graph.keys, again.graph.keys)
    assert torch.equal(net.graph["weight"], again.graph["weight"])

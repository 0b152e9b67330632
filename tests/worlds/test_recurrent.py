"""Recurrent layers on edges against torch's dense ones under masks, and against their own loop."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire import native
from rewire.worlds.sparse import edge_layers, edge_linear
from rewire.worlds.sparse.edge_layers import Wires

ENGINES = list(native.engines().values())
pytestmark = pytest.mark.skipif(not ENGINES, reason="the engine was not built")
KINDS = {
    "lstm": lambda *a, **k: nn.LSTM(*a, **k),
    "gru": lambda *a, **k: nn.GRU(*a, **k),
    "tanh": lambda *a, **k: nn.RNN(*a, **k),
    "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
}


@pytest.fixture(params=ENGINES, ids=lambda e: e.__name__.rpartition(".")[2])
def engine(request, monkeypatch):
    for module in (edge_layers, edge_linear):
        monkeypatch.setattr(module, "sparse", request.param)
    return request.param


def pair(kind, inputs=6, units=7, *, dtype=torch.float64, dense=(), density=0.4, **options):
    """A layer of torch's under masks, and one of the same edges; those in ``dense`` stay."""
    torch.manual_seed(0)
    plain = KINDS[kind](inputs, units, **options).to(dtype)
    ours, masks = copy.deepcopy(plain), {}
    for name, p in list(plain.named_parameters()):
        if not name.startswith("weight"):
            continue
        masks[name] = mask = torch.rand(p.shape) < density
        p.data.mul_(mask)
        if name.startswith(dense or "none"):
            getattr(ours, name).data.copy_(p.data)
            continue
        row, column = mask.nonzero(as_tuple=True)
        pointers = torch.zeros(len(p) + 1, dtype=torch.int64)
        pointers[1:] = torch.bincount(row, minlength=len(p)).cumsum(0)
        wires = Wires(tuple(p.shape), pointers, column.to(torch.int32))
        setattr(ours, name, nn.Parameter(p.data[mask]))
        edge_layers.wire(ours, name, wires)
    return plain, ours, masks


def gradients(layer, x, state, weigh):
    """What comes out, and the gradients of a loss of all of it, by name."""
    x = x.clone().requires_grad_()
    state = tuple(s.clone().requires_grad_() for s in state)
    given = () if not state else (state if len(state) == 2 else state[0],)
    out, end = layer(x, *given)
    ends = end if isinstance(end, tuple) else (end,)
    loss = sum((weigh(i, y) * y).sum() for i, y in enumerate((out, *ends)))
    loss.backward()
    found = {f"d{i}": s.grad for i, s in enumerate(state)} | {"dx": x.grad}
    made = {f"out{i}": y.detach() for i, y in enumerate((out, *ends))}
    return made | found | {n: p.grad for n, p in layer.named_parameters()}


def agree(plain, ours, masks, x, state, tolerance):
    def weigh(i, y):
        return torch.randn(y.shape, generator=torch.Generator().manual_seed(i)).to(y)

    theirs, mine = gradients(plain, x, state, weigh), gradients(ours, x, state, weigh)
    assert theirs.keys() == mine.keys()
    for name, value in theirs.items():
        if name in masks:
            value = value[masks[name]] if mine[name].dim() == 1 else value
        torch.testing.assert_close(mine[name], value, rtol=tolerance, atol=tolerance, msg=name)


def first_state(kind, rows, batch, units, dtype):
    g = torch.Generator().manual_seed(7)
    shape = (rows, batch, units) if batch else (rows, units)
    return tuple(torch.randn(shape, generator=g, dtype=dtype) for _ in range(1 + (kind == "lstm")))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [
    {}, {"bias": False}, {"bidirectional": True}, {"num_layers": 2, "batch_first": True},
    {"num_layers": 2, "bidirectional": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("batch", [0, 1, 5, 16, 37])
def test_float64_gradients_are_those_of_the_layer_under_masks(engine, kind, options, batch):
    plain, ours, masks = pair(kind, **options)
    x = torch.randn(9, batch or 1, 6, generator=torch.Generator().manual_seed(1)).double()
    x = x.squeeze(1) if not batch else x.transpose(0, 1) if options.get("batch_first") else x
    rows = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    for state in ((), first_state(kind, rows, batch, 7, torch.float64)):
        plain.zero_grad()
        ours.zero_grad()
        agree(plain, ours, masks, x, state, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_of_many_lanes_and_units(engine, kind):
    plain, ours, masks = pair(kind, 40, 70, dtype=torch.float32, density=0.1)
    agree(plain, ours, masks, torch.randn(12, 150, 40), (), 2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_is_a_sequence_too(engine, kind):
    plain, ours, masks = pair(kind)
    agree(plain, ours, masks, torch.randn(1, 3, 6).double(), (), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dense", ["weight_ih", "weight_hh"])
def test_one_of_the_two_weights_may_stay_dense(engine, kind, dense):
    plain, ours, masks = pair(kind, dense=dense, bidirectional=True)
    state = first_state(kind, 2, 5, 7, torch.float64)
    agree(plain, ours, masks, torch.randn(9, 5, 6).double(), state, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_loop_without_the_engine_is_the_same(monkeypatch, kind, bidirectional):
    for module in (edge_layers, edge_linear):
        monkeypatch.setattr(module, "sparse", None)
    plain, ours, masks = pair(kind, bidirectional=bidirectional)
    state = first_state(kind, 1 + bidirectional, 5, 7, torch.float64)
    agree(plain, ours, masks, torch.randn(9, 5, 6).double(), state, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_without_gradients_nothing_is_kept_and_the_same_comes_out(engine, kind):
    plain, ours, _ = pair(kind, bidirectional=True)
    x = torch.randn(9, 5, 6).double()
    with torch.no_grad():
        (a, end), (b, other) = plain(x), ours(x)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end, other, rtol=1e-12, atol=1e-12)
    assert ours(x)[0].requires_grad and not b.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_end_or_only_what_comes_out_may_be_derived(engine, kind):
    for pick in (lambda y: y[0], lambda y: y[1] if kind != "lstm" else y[1][1]):
        plain, ours, masks = pair(kind)
        x = torch.randn(4, 3, 6).double()
        for layer in (plain, ours):
            pick(layer(x)).square().sum().backward()
        torch.testing.assert_close(
            ours.weight_hh_l0.grad, plain.weight_hh_l0.grad[masks["weight_hh_l0"]]
        )


def test_a_second_backward_pass_gives_the_same_and_a_second_derivative_is_refused(engine):
    for kind in KINDS:
        _, ours, _ = pair(kind)
        loss = ours(torch.randn(5, 3, 6).double())[0].square().sum()
        first = torch.autograd.grad(loss, ours.weight_hh_l0, retain_graph=True)[0]
        assert torch.equal(
            first, torch.autograd.grad(loss, ours.weight_hh_l0, retain_graph=True)[0]
        )
        again = torch.autograd.grad(loss, ours.weight_hh_l0, create_graph=True)[0]
        with pytest.raises(RuntimeError, match="derived once"):
            again.sum().backward()


def test_lanes_beyond_the_batch_cannot_blow_up(engine):
    """They have no input: in a net that a bias drives and its input holds down, they would grow."""
    plain, ours, masks = pair("relu", 1, 3, density=1.1)
    for layer in (plain, ours):
        layer.weight_ih_l0.data.fill_(1)
        layer.weight_hh_l0.data.fill_(3)
        layer.bias_ih_l0.data.fill_(1)
        layer.bias_hh_l0.data.fill_(0)
    agree(plain, ours, masks, torch.full((900, 3, 1), -5.0).double(), (), 1e-10)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_at_absent_synapses_are_those_of_the_layer_under_masks(
    engine, kind, bidirectional
):
    plain, ours, _ = pair(kind, bidirectional=bidirectional)
    x = torch.randn(9, 5, 6).double()
    for wires in ours.wires.values():
        wires.keeping = True
    for layer in (plain, ours):
        layer(x)[0].square().sum().backward()
    for name, wires in ours.wires.items():
        found = edge_layers.dense_gradient(wires)
        torch.testing.assert_close(found, getattr(plain, name).grad, rtol=1e-10, atol=1e-10)


def test_a_deep_net_of_known_form_trains_at_the_pace_of_its_edges():
    """The whole sequence is one call: no node of the graph of derivatives for each step."""
    _, ours, _ = pair("lstm")
    out, _ = ours(torch.randn(200, 2, 6).double())
    nodes, todo = set(), [out.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            todo += [n for n, _ in node.next_functions]
    assert len(nodes) < 20


@pytest.mark.parametrize("wrong", ["cells", "rows", "gates", "type"])
def test_what_does_not_fit_is_refused(engine, wrong):
    csr = np.array([0, 1, 1, 1, 1]), np.array([0], np.int32), np.ones(1), None
    x, h = np.zeros((3, 2, 1)), np.zeros((2, 1))
    given = {"mode": "LSTM", "x": x, "input": csr, "state": csr, "h": h, "c": h}
    given |= {
        "cells": {"c": None},
        "rows": {"state": (np.array([0, 1]), *csr[1:])},
        "gates": {"input": None},
        "type": {"state": (*csr[:2], np.ones(1, np.float32), None)},
    }[wrong]
    said = {"cells": "cells", "rows": "each of 4 gates", "gates": "each gate", "type": "float64"}
    with pytest.raises(ValueError, match=said[wrong]):
        engine.recurrent_forward(**given, backwards=False, keep=True)


def test_rigl_on_an_lstm_makes_the_edits_of_the_masked_world():
    """Through attach, with rules that look at absent synapses, layers and directions."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(6, 8, num_layers=2, bidirectional=True)
            self.out = nn.Linear(16, 3)

        def forward(self, x):
            return self.out(self.rnn(x.transpose(0, 1))[0][-1])

    keys = []
    for world_name in ("masked", "sparse"):
        torch.manual_seed(0)
        model = Net().double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        net = rewire.attach(model, optimizer, rewire.RigL(when=rewire.every(3)), density=0.2,
                            seed=1, steps=15, world=world_name)  # fmt: skip
        g = torch.Generator().manual_seed(2)
        for _ in range(15):
            net.learn(
                torch.randn(6, 7, 6, generator=g).double(), torch.randint(3, (6,), generator=g)
            )
            net.rewire()
        keys.append(net.graph)
    assert torch.equal(keys[0].keys, keys[1].keys)
    torch.testing.assert_close(keys[0]["weight"], keys[1]["weight"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("density", "form"), [(0.3, "edges"), (0.4, "masked")])
def test_auto_chooses_one_form_for_a_whole_layer(density, form):
    """Its weights may differ in density: the input's is dense here, or nearly none."""
    model = nn.Sequential(nn.LSTM(6, 20))
    sizes = {"0.weight_ih_l0": 480, "0.weight_hh_l0": 1600}
    for dense in sizes:
        other = next(name for name in sizes if name != dense)
        counts = {dense: min(sizes[dense], int(density * 2080))}
        counts[other] = int(density * 2080) - counts[dense]
        held = copy.deepcopy(model)
        net = rewire.attach(
            held, torch.optim.SGD(held.parameters(), lr=0.1), rewire.Static(), world="auto",
            distribution=[counts[name] for name in sizes],
        )  # fmt: skip
        assert net.edges == int(density * 2080)
        assert net.world.forms == dict.fromkeys(sizes, form)

"""Second derivatives in the sparse world are refused where they are taken, and nowhere else."""

import pytest
import torch
from small_nets import Last
from torch import nn

import rewire
from rewire.native import sparse as engine
from rewire.worlds.sparse import edge_layers, edge_linear

CASES = {
    "linear": (lambda: nn.Linear(6, 5), (4, 6)),
    "conv": (lambda: nn.Conv2d(3, 4, 3), (2, 3, 6, 6)),
    "LSTM": (lambda: nn.LSTM(6, 5), (3, 4, 6)),
    "GRU": (lambda: nn.GRU(6, 5), (3, 4, 6)),
    "RNN": (lambda: nn.RNN(6, 5), (3, 4, 6)),
}
NATIVE = pytest.mark.skipif(engine is None, reason="the engine was not built")


def sparse(kind):
    torch.manual_seed(0)
    make, shape = CASES[kind]
    model = Last(make())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.Static(), density=0.5, world="sparse")
    return net, model, torch.randn(shape, requires_grad=True)


@NATIVE
@pytest.mark.parametrize("squared", [False, True], ids=["sum", "squares"])
@pytest.mark.parametrize("kind", CASES)
def test_a_gradient_penalty_is_refused_by_name(kind, squared):
    _, model, x = sparse(kind)
    out = model(x)
    loss = out.square().sum() if squared else out.sum()
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="derived once.*world='masked'"):
        (loss + slope.square().sum()).backward()


def test_it_is_refused_on_torchs_sparse_matrices_as_well(monkeypatch):
    for module in (edge_layers, edge_linear):
        monkeypatch.setattr(module, "sparse", None)
    _, model, x = sparse("linear")
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="derived once"):
        slope.square().sum().backward()


@NATIVE
@pytest.mark.parametrize("kind", CASES)
def test_a_graph_that_is_made_and_not_derived_gives_the_same_gradients(kind):
    _, model, x = sparse(kind)
    tensors = [x, *model.parameters()]
    plain = torch.autograd.grad(model(x).square().sum(), tensors)
    kept = torch.autograd.grad(model(x).square().sum(), tensors, create_graph=True)
    for a, b in zip(plain, kept, strict=True):
        assert torch.equal(a, b) and a.abs().sum() > 0

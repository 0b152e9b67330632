"""What optimisers do to absent synapses."""

import pytest
import torch

import rewire
from rewire.worlds.masked import memory

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def numbers_that_a_product_leaves(p):
    """NaN, and both infinities, in a tensor like p."""
    each = torch.tensor([float("nan"), float("inf"), -float("inf"), -1.0], dtype=p.dtype)
    return each.repeat(p.numel() // 4 + 1)[: p.numel()].view_as(p).clone()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("compiled", (True, False))
@pytest.mark.parametrize("density", (0.03, 0.4))
def test_numbers_that_are_not_finite_are_cleared_where_nothing_is(
    dtype, compiled, density, monkeypatch
):
    if not compiled:
        monkeypatch.setattr(memory, "kernels", None)
    model = torch.nn.Linear(30, 20).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    net = rewire.attach(model, optimizer, rewire.Static(), density=density, seed=0)
    weight, mask = model.weight, net.masks()["weight"]
    for step in range(2):
        weight.grad = torch.zeros_like(weight) if step else numbers_that_a_product_leaves(weight)
        weight.grad[mask] = 1.0
        net.step()
        assert weight.isfinite().all() and (weight[~mask] == 0).all()
        moments = optimizer.state[weight]["momentum_buffer"]
        assert moments.isfinite().all() and (moments[~mask] == 0).all()
    for tensor in (weight.data, moments, moments.double(), moments.bfloat16()):
        tensor.copy_(numbers_that_a_product_leaves(weight))
        before = tensor[mask].clone()
        net.world.weights.mask([tensor], [0])
        assert (tensor[~mask] == 0).all() and torch.equal(tensor[mask].isnan(), before.isnan())

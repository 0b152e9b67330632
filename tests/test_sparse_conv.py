"""Sparse convolutions against torch's own with masked dense weights."""

import pytest
import torch
from torch.nn.functional import conv2d

from rewire import native
from rewire.worlds.sparse.edge_conv import sparse_conv2d

if not native.engines():
    pytest.skip("the sparse engine was not built", allow_module_level=True)

ENGINES = list(native.engines().values())
PASSES = {torch.float32: "Conv2dFloat32", torch.float64: "Conv2dFloat64"}


def edges_of(weight):
    """CSR by output channel of a weight's non-zeros: indptr, index, value."""
    flat = weight.detach().flatten(1)
    rows, columns = flat.nonzero(as_tuple=True)
    indptr = torch.zeros(len(flat) + 1, dtype=torch.int64)
    indptr[1:] = torch.bincount(rows, minlength=len(flat)).cumsum(0)
    return indptr.numpy(), columns.int().numpy(), flat[rows, columns].numpy()


def sparse_pass(engine, x, weight, bias, stride, padding, groups, want_x=True):
    kind = getattr(engine, PASSES[x.dtype])
    made = kind(
        *edges_of(weight),
        None if bias is None else bias.detach().numpy(),
        x.detach().numpy(),
        tuple(weight.shape[2:]),
        stride,
        padding,
        groups,
        want_x,
    )
    made.forward()
    return made


def gradients(made, slope):
    made.load_slope(slope)
    made.backward()
    return made.gradients()


def problem(batch, channels, size, kernel, groups, dtype=torch.float64, density=0.2, seed=0):
    g = torch.Generator().manual_seed(seed)
    n_pre, n_post = channels
    weight = torch.randn(n_post, n_pre // groups, *kernel, generator=g, dtype=dtype)
    weight *= torch.rand(weight.shape, generator=g) < density
    bias = torch.randn(n_post, generator=g, dtype=dtype)
    x = torch.randn(batch, n_pre, *size, generator=g, dtype=dtype)
    return [t.requires_grad_() for t in (x, weight, bias)]


def relative(found, expected):
    return float((torch.as_tensor(found) - expected).abs().max() / expected.abs().max())


CASES = [
    # batch, (in, out), (height, width), kernel, stride, padding, groups
    (1, (3, 8), (9, 7), (3, 3), (1, 1), (1, 1), 1),
    (7, (4, 6), (8, 8), (3, 3), (2, 2), (1, 1), 1),
    (7, (4, 6), (9, 11), (3, 3), (2, 2), (0, 0), 1),
    (60, (6, 4), (5, 5), (5, 5), (1, 1), (2, 2), 2),
    (60, (8, 8), (7, 7), (3, 3), (1, 1), (1, 1), 8),
    (128, (3, 16), (10, 10), (3, 3), (1, 1), (1, 1), 1),
    (128, (8, 12), (8, 8), (1, 1), (2, 2), (0, 0), 1),
    (128, (8, 12), (9, 9), (1, 1), (1, 1), (1, 1), 4),
    (130, (4, 4), (6, 33), (3, 3), (1, 1), (0, 0), 1),
    (130, (4, 8), (7, 9), (5, 5), (2, 2), (2, 2), 2),
    (16, (2, 3), (12, 10), (2, 4), (3, 1), (0, 2), 1),
    (16, (2, 3), (11, 11), (2, 2), (3, 3), (1, 1), 1),
    (33, (5, 2), (4, 4), (4, 4), (1, 1), (3, 3), 1),
    (100, (4, 4), (6, 6), (3, 3), (1, 1), (1, 1), 1),
    (112, (4, 4), (6, 6), (3, 3), (1, 1), (1, 1), 1),
]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.__name__.rpartition(".")[2])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_convolution_and_its_gradients_equal_those_of_the_masked_dense_one(case, engine):
    batch, channels, size, kernel, stride, padding, groups = case
    x, weight, bias = problem(batch, channels, size, kernel, groups)
    y = conv2d(x, weight, bias, stride, padding, 1, groups)
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    dx, dense, dbias = torch.autograd.grad(y, (x, weight, bias), slope)

    done = sparse_pass(engine, x, weight, bias, stride, padding, groups)
    found_dw, found_dbias, found_dx = gradients(done, slope.numpy())
    assert relative(done.output(), y.detach()) < 1e-13
    assert relative(found_dw, dense[weight != 0]) < 1e-12
    assert relative(found_dbias, dbias) < 1e-12
    assert relative(found_dx, dx) < 1e-12
    rows, columns = (weight == 0).flatten(1).nonzero(as_tuple=True)
    absent = done.gradient_at(rows.numpy(), columns.numpy())
    assert relative(absent, dense[weight == 0]) < 1e-12


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.__name__.rpartition(".")[2])
def test_single_precision_errs_by_rounding_only(engine):
    x, weight, _ = problem(128, (16, 16), (32, 32), (3, 3), 1, torch.float32, density=0.05)
    exact = [t.detach().double().requires_grad_() for t in (x, weight)]
    y = conv2d(*exact, padding=1)
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    dx, dense = torch.autograd.grad(y, exact, slope.double())
    done = sparse_pass(engine, x, weight, None, (1, 1), (1, 1), 1)
    found_dw, no_bias, found_dx = gradients(done, slope.numpy())
    assert no_bias is None
    assert relative(done.output(), y.detach()) < 1e-6
    assert relative(found_dw, dense[weight != 0]) < 3e-6
    assert relative(found_dx, dx) < 1e-6


def test_channels_without_edges_put_out_the_bias_and_pass_no_gradient_back():
    x, weight, bias = problem(5, (3, 4), (6, 6), (3, 3), 1)
    with torch.no_grad():
        weight[2] = 0
        weight[:, 1] = 0
    done = sparse_pass(ENGINES[0], x, weight, bias, (2, 2), (1, 1), 1)
    y = torch.from_numpy(done.output())
    assert torch.equal(y[:, 2], bias[2].detach().expand_as(y[:, 2]))
    assert not gradients(done, y.numpy())[2][:, 1].any()


def test_no_gradient_of_the_input_where_none_is_wanted():
    x, weight, bias = problem(5, (3, 4), (6, 6), (3, 3), 1)
    done = sparse_pass(ENGINES[0], x, weight, bias, (1, 1), (1, 1), 1, want_x=False)
    assert gradients(done, done.output())[2] is None


def test_errors_say_what_was_asked_and_what_was_found():
    x, weight, bias = problem(2, (4, 4), (3, 3), (5, 5), 1)
    with pytest.raises(ValueError, match="makes pictures of 0 x 0"):
        sparse_pass(ENGINES[0], x, weight, bias, (1, 1), (0, 0), 1)
    with pytest.raises(ValueError, match="groups must divide the channels: 3 groups of 4 and 4"):
        sparse_pass(ENGINES[0], x, weight, bias, (1, 1), (2, 2), 3)


@pytest.mark.parametrize("biased", [True, False])
def test_the_function_of_autograd_is_that_of_torch_with_a_masked_weight(biased):
    x, weight, bias = problem(20, (4, 6), (9, 7), (3, 3), 2)
    indptr, index, value = (torch.from_numpy(a) for a in edges_of(weight))
    value.requires_grad_()
    expected = conv2d(torch.tanh(x), weight, bias if biased else None, (2, 1), (1, 0), 1, 2)
    slope = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).double()
    wanted = torch.autograd.grad((expected * slope).sum(), (x, weight))
    y = sparse_conv2d(
        torch.tanh(x), indptr, index, value, bias if biased else None,
        kernel_size=(3, 3), stride=(2, 1), padding=(1, 0), groups=2,
    )  # fmt: skip
    dx, dvalue = torch.autograd.grad((y * slope).sum(), (x, value), retain_graph=True)
    assert relative(y.detach(), expected.detach()) < 1e-13
    assert relative(dx, wanted[0]) < 1e-12
    assert relative(dvalue, wanted[1][weight != 0]) < 1e-12
    if biased:
        assert relative(torch.autograd.grad(y.sum(), bias)[0], y[:, 0].numel() * torch.ones(6)) == 0


def test_gradients_of_one_function_by_finite_differences():
    x, weight, bias = problem(2, (2, 2), (4, 4), (3, 3), 1, density=0.5)
    indptr, index, value = (torch.from_numpy(a) for a in edges_of(weight))
    value.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *t: sparse_conv2d(t[0], indptr, index, t[1], t[2], kernel_size=(3, 3)),
        (x, value, bias),
    )


def test_the_function_refuses_types_that_differ():
    x, weight, _ = problem(2, (2, 2), (4, 4), (3, 3), 1)
    indptr, index, value = (torch.from_numpy(a) for a in edges_of(weight))
    with pytest.raises(ValueError, match="got torch.float64 and torch.float32"):
        sparse_conv2d(x, indptr, index, value.float(), kernel_size=(3, 3))

"""The sparse engine against torch on masked dense weights: gradients, steps, growth, refusals."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from rewire import models, native
from rewire.worlds.sparse.plan.plan import trace
from rewire.worlds.sparse.plan.tracing import Edges, NotTraceable

pytestmark = pytest.mark.skipif(native.sparse is None, reason="the sparse engine was not built")
ENGINES = list(native.engines().values())
BATCHES = (1, 7, 60, 64, 100, 128, 130)


def edges_of(weight: torch.Tensor, mask: torch.Tensor) -> Edges:
    """The edges of a dense weight where the mask is 1, as CSR."""
    mask = mask.reshape(len(mask), -1)
    indptr = torch.zeros(len(mask) + 1, dtype=torch.int64)
    indptr[1:] = mask.sum(1).cumsum(0)
    value = weight.detach().reshape(len(mask), -1)[mask].clone()
    return Edges(indptr, mask.nonzero()[:, 1].int(), value, torch.full_like(value, torch.nan))


class Pair:
    """One net twice: dense under masks for autograd, and as a plan on edges of its own."""

    def __init__(
        self, model, shape, density=0.2, dtype=torch.float64, dense=(), seed=0, engine=native.sparse
    ):
        g = torch.Generator().manual_seed(seed)
        self.model = model.to(dtype)
        with torch.no_grad():
            for p in self.model.parameters():
                p.copy_(torch.randn(p.shape, generator=g, dtype=dtype) / p[0].numel() ** 0.5)
        self.masks, self.edges = {}, {}
        for name, p in self.model.named_parameters():
            if p.dim() < 2 or name in dense:
                continue
            mask = torch.rand(p.shape, generator=g) < density
            if density < 1:
                mask[1] = False  # a row without edges
            with torch.no_grad():
                p.mul_(mask)
            self.masks[name], self.edges[name] = mask, edges_of(p, mask)
        self.twin = copy.deepcopy(self.model)
        self.plan = trace(self.twin, self.edges, shape, dtype=dtype, engine=engine)

    def autograd(self, x, y):
        """Loss and gradients of the dense twin, masked."""
        self.model.zero_grad()
        loss = cross_entropy(self.model(x), y)
        loss.backward()
        for name, p in self.model.named_parameters():
            if name in self.masks:
                p.grad.mul_(self.masks[name])
        return loss.detach()

    def gradient(self, name):
        return self.edges[name].gradient if name in self.edges else self.plan.gradients[name]

    def parameters(self):
        """What an optimiser of the plan's net moves: edge arrays for sparse weights."""
        return {
            name: nn.Parameter(self.edges[name].value) if name in self.edges else p
            for name, p in self.twin.named_parameters()
        }

    def at_edges(self, name, dense):
        return dense[self.masks[name]] if name in self.masks else dense

    def largest_error(self):
        """Of the gradients, relative to the largest of each parameter."""
        worst = 0.0
        for name, p in self.model.named_parameters():
            want = self.at_edges(name, p.grad)
            if want.numel():
                error = (self.gradient(name) - want).abs().max()
                worst = max(worst, float(error / want.abs().max().clamp(min=1e-30)))
        return worst


def batch(n, shape, classes, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *shape, generator=g, dtype=dtype)
    return x, torch.randint(0, classes, (n,), generator=g)


def net(bias=True, activation=nn.ReLU):
    return nn.Sequential(
        nn.Linear(37, 29, bias=bias), activation(), nn.Linear(29, 23, bias=bias), activation(),
        nn.Linear(23, 11, bias=bias),
    )  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.__name__.rsplit(".", 1)[1])
@pytest.mark.parametrize("n", BATCHES)
def test_gradients_are_those_of_autograd(engine, n):
    for bias, activation, density, dense in (
        (True, nn.ReLU, 0.2, ()),
        (False, nn.Tanh, 0.5, ()),
        (True, nn.ReLU, 1.0, ("2.weight",)),
        (False, nn.ReLU, 0.3, ("0.weight", "4.weight")),
    ):
        pair = Pair(net(bias, activation), (37,), density, dense=dense, engine=engine)
        x, y = batch(n, (37,), 11)
        for _ in range(4):  # edges that stay take another way from the fourth pass on
            loss = pair.plan.train_step(x, y, step=False)
            assert loss == pytest.approx(float(pair.autograd(x, y)), rel=1e-12)
            assert pair.largest_error() < 1e-10


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.__name__.rsplit(".", 1)[1])
def test_float32_gradients(engine):
    for n in BATCHES:
        pair = Pair(net(activation=nn.Tanh), (37,), dtype=torch.float32, engine=engine)
        x, y = batch(n, (37,), 11, torch.float32)
        pair.plan.train_step(x, y, step=False)
        pair.autograd(x, y)
        assert pair.largest_error() < 2e-6


def test_both_ways_back_give_the_same_bits():
    pair = Pair(net(), (37,), dtype=torch.float32)
    x, y = batch(60, (37,), 11, torch.float32)
    pair.plan.train_step(x, y, step=False)
    scattered = [e.gradient.clone() for e in pair.edges.values()]
    for _ in range(4):
        pair.plan.train_step(x, y, step=False)
    assert all(map(torch.equal, scattered, (e.gradient for e in pair.edges.values())))


def test_wide_layers_are_scattered_in_blocks():
    model = nn.Sequential(nn.Linear(8, 4096), nn.ReLU(), nn.Linear(4096, 50), nn.Linear(50, 8))
    pair = Pair(model, (8,), 0.1)
    x, y = batch(130, (8,), 8)
    pair.plan.train_step(x, y, step=False)
    pair.autograd(x, y)
    assert pair.largest_error() < 1e-10


def test_an_empty_projection_and_an_empty_input():
    pair = Pair(net(), (37,), density=0.0)
    x, y = batch(60, (37,), 11)
    loss = pair.plan.train_step(x, y, step=False)
    assert loss == pytest.approx(float(pair.autograd(x, y)), rel=1e-12)
    assert pair.largest_error() < 1e-10


OPTIMISERS = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.05),
    "decay": lambda ps: torch.optim.SGD(ps, lr=0.05, weight_decay=1e-3),
    "momentum": lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda ps: torch.optim.Adam(ps, lr=1e-3, weight_decay=1e-3),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=1e-3, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_200_steps_follow_torch(name, dtype):
    model = models.build(
        "lenet-300-100",
        generator=torch.Generator().manual_seed(0),
        input_shape=(1, 8, 8),
        classes=10,
    )
    pair = Pair(model, (1, 8, 8), 0.1, dtype)
    mine, theirs = pair.parameters(), OPTIMISERS[name](pair.model.parameters())
    optimizer = OPTIMISERS[name](mine.values())
    pair.plan.adopt(optimizer, mine)
    schedules = [
        torch.optim.lr_scheduler.StepLR(o, 100, 0.1) for o in (theirs, optimizer)
    ]  # fmt: skip
    optimizer._opt_called = True  # the plan steps: silences the scheduler's warning
    x, y = batch(500, (1, 8, 8), 10, dtype)
    tolerance = 1e-4 if dtype is torch.float32 else 1e-10
    for step in range(200):
        rows = torch.randperm(500, generator=torch.Generator().manual_seed(step))[: 60 + step % 2]
        want = float(pair.autograd(x[rows], y[rows]))
        theirs.step()
        assert pair.plan.train_step(x, y, rows) == pytest.approx(want, rel=tolerance)
        for s in schedules:
            s.step()
        pair.plan.follow(optimizer)
    if "adam" in name:
        assert float(optimizer.state[mine["fc1.weight"]]["step"]) == 200
    for key, p in pair.model.named_parameters():
        assert torch.allclose(mine[key].detach(), pair.at_edges(key, p.detach()), atol=1e-3)


def test_slices_of_one_flat_parameter_step_like_parameters():
    runs = []
    for flat in (False, True):
        pair = Pair(net(), (37,), dtype=torch.float32)
        mine, slices, at = pair.parameters(), {}, 0
        whole = nn.Parameter(torch.cat([e.value for e in pair.edges.values()]))
        if flat:
            for name, e in pair.edges.items():
                slices[name] = slice(at, at + len(e.value))
                held = Edges(e.indptr, e.index, whole.detach()[slices[name]], e.gradient)
                pair.plan.rewire(name, held)
                mine[name], at = whole, at + len(e.value)
        optimizer = torch.optim.Adam(dict.fromkeys(mine.values()), lr=1e-2)
        pair.plan.adopt(optimizer, mine, slices)
        x, y = batch(60, (37,), 11, torch.float32)
        runs.append([pair.plan.train_step(x, y) for _ in range(5)])
        if flat:
            assert float(optimizer.state[whole]["step"]) == 5
    assert runs[0] == runs[1]


def test_parts_of_a_step_are_the_step():
    x, y = batch(60, (37,), 11)
    losses = []
    for whole in (True, False):
        pair = Pair(net(), (37,))
        mine = pair.parameters()
        optimizer = torch.optim.Adam(mine.values(), lr=1e-2)
        pair.plan.adopt(optimizer, mine)
        for _ in range(3):
            if whole:
                losses.append(pair.plan.train_step(x, y))
            else:
                pair.plan.forward(x, training=True)
                losses.append(pair.plan.loss_and_backward(y))
                pair.plan.step()
    assert losses[:3] == losses[3:]


@pytest.mark.parametrize("n", [1, 7, 128, 130, 300])
def test_evaluation(n):
    pair = Pair(net(), (37,))
    x, y = batch(300, (37,), 11)
    rows = torch.arange(n).flip(0)
    want = pair.model(x[rows]).detach()
    assert torch.allclose(pair.plan.forward(x, rows), want, rtol=1e-12)
    assert torch.allclose(pair.plan.forward(x[rows], training=True), want, rtol=1e-12)
    loss, right = pair.plan.evaluate(x, y, rows)
    assert loss == pytest.approx(float(cross_entropy(want, y[rows])), rel=1e-12)
    assert right == int((want.argmax(1) == y[rows]).sum())


def test_pictures_of_bytes_are_scaled_by_channel():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 7))
    pair = Pair(model, (3, 4, 5), 0.3)
    pixels = torch.randint(0, 256, (70, 3, 4, 5), dtype=torch.uint8)
    scale, offset = [0.1, 0.2, 0.3], [1.0, -1.0, 0.5]
    pair.plan.scale(scale, offset)
    by, plus = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (scale, offset))
    x = pixels * by + plus
    y = torch.arange(70) % 7
    assert torch.allclose(pair.plan.forward(pixels), pair.model(x).detach(), atol=1e-10)
    pair.plan.train_step(pixels, y, step=False)
    pair.autograd(x, y)
    assert pair.largest_error() < 1e-10


def test_float32_examples_in_a_float64_plan():
    pair = Pair(net(), (37,))
    x, _ = batch(60, (37,), 11, torch.float32)
    assert torch.allclose(pair.plan.forward(x), pair.model(x.double()).detach(), rtol=1e-12)


def test_another_graph_is_taken_over():
    pair = Pair(net(), (37,))
    x, y = batch(60, (37,), 11)
    for _ in range(5):
        pair.plan.train_step(x, y, step=False)
    g = torch.Generator().manual_seed(9)
    for name, p in pair.model.named_parameters():
        if name in pair.masks:
            pair.masks[name] = torch.rand(p.shape, generator=g) < 0.4
            with torch.no_grad():
                p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype) * pair.masks[name])
            pair.edges[name] = edges_of(p, pair.masks[name])
            pair.plan.rewire(name, pair.edges[name])
    pair.autograd(x, y)
    for _ in range(5):
        pair.plan.train_step(x, y, step=False)
        assert pair.largest_error() < 1e-10


def test_a_step_with_state_of_other_edges_is_refused():
    pair = Pair(net(), (37,))
    mine = pair.parameters()
    pair.plan.adopt(torch.optim.Adam(mine.values()), mine)
    x, y = batch(60, (37,), 11)
    held = pair.edges["4.weight"]
    fewer = held.indptr.clamp(max=3)
    pair.plan.rewire("4.weight", Edges(fewer, held.index[:3], held.value[:3], held.gradient[:3]))
    with pytest.raises(ValueError, match="set the optimiser again"):
        pair.plan.train_step(x, y)


# -- gradients at absent synapses ---------------------------------------------------------------


def dense_gradient(pair, name, x, y):
    pair.model.zero_grad()
    cross_entropy(pair.model(x), y).backward()
    return dict(pair.model.named_parameters())[name].grad


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.__name__.rsplit(".", 1)[1])
@pytest.mark.parametrize("name", ["0.weight", "2.weight", "4.weight"])
def test_gradients_at_absent_synapses(engine, name):
    for n in BATCHES:
        pair = Pair(net(), (37,), 0.05, engine=engine)
        x, y = batch(n, (37,), 11)
        pair.plan.train_step(x, y, step=False)
        want = dense_gradient(pair, name, x, y)
        rows, columns = torch.ones_like(want).nonzero().T.contiguous()
        got = pair.plan.sddmm(name, rows, columns)
        assert torch.allclose(got.view_as(want), want, rtol=1e-10, atol=1e-14)
        whole = pair.plan.dense_gradient(name)
        assert torch.allclose(whole, want, rtol=1e-10, atol=1e-14)
        for k in (0, 1, 5, 40):
            keys, scores, absent, nan = pair.plan.top_absent(name, k)
            score = want.abs().flatten().masked_fill(pair.masks[name].flatten(), -1)
            assert absent == int((~pair.masks[name]).sum()) and nan == 0
            best = score.sort(descending=True, stable=True).indices[:k]
            assert keys.tolist() == best.sort().values.tolist()
            assert torch.allclose(scores, score[keys], rtol=1e-10)


def test_the_smaller_key_is_chosen_among_equals():
    pair = Pair(nn.Sequential(nn.Linear(2000, 5, bias=False)), (2000,), 0.0)
    x = torch.ones(3, 2000, dtype=torch.float64)  # every input unit has the same gradient
    pair.plan.train_step(x, torch.zeros(3, dtype=torch.int64), step=False)
    keys, *_ = pair.plan.top_absent("0.weight", 700)
    assert keys.tolist() == list(range(700))


def test_leaving_edges_count_as_absent():
    pair = Pair(net(), (37,), 0.5)
    x, y = batch(60, (37,), 11)
    pair.plan.train_step(x, y, step=False)
    want = dense_gradient(pair, "0.weight", x, y).abs().flatten()
    leaving = torch.arange(len(pair.edges["0.weight"].value)) % 3 == 0
    free = ~pair.masks["0.weight"].flatten()
    free[pair.masks["0.weight"].flatten().nonzero()[leaving]] = True
    keys, _, absent, _ = pair.plan.top_absent("0.weight", 10**6, leaving)
    assert absent == int(free.sum()) and torch.equal(keys, free.nonzero().flatten())
    keys, *_ = pair.plan.top_absent("0.weight", 20, leaving)
    assert torch.equal(keys, want.masked_fill(~free, -1).topk(20).indices.sort().values)


def test_nan_gradients_are_counted():
    pair = Pair(net(), (37,), 0.5)
    x, y = batch(60, (37,), 11)
    x[3, 5] = torch.nan
    pair.plan.train_step(x, y, step=False)
    *_, nan = pair.plan.top_absent("4.weight", 3)
    assert nan == int((~pair.masks["4.weight"]).sum())


def test_no_gradient_at_absent_synapses_after_another_forward_pass():
    pair = Pair(net(), (37,))
    x, y = batch(60, (37,), 11)
    pair.plan.train_step(x, y, step=False)
    pair.plan.evaluate(x, y)
    with pytest.raises(ValueError, match="after a backward pass"):
        pair.plan.top_absent("0.weight", 3)


@pytest.mark.slow
def test_growth_in_a_wide_layer_takes_little_memory():
    code = """
import resource, torch
from torch import nn
from rewire.worlds.sparse.plan.plan import trace
from rewire.worlds.sparse.plan.tracing import Edges
n, per_row = 65536, 65
with torch.device("meta"):
    model = nn.Sequential(nn.Linear(n, n, bias=False))
index = torch.randint(0, n // per_row, (n, per_row)) + torch.arange(per_row) * (n // per_row)
value = torch.randn(n * per_row) / 8
edges = Edges(torch.arange(0, n * per_row + 1, per_row), index.flatten().int(), value,
              torch.zeros_like(value))
plan = trace(model, {"0.weight": edges}, (n,))
plan.train_step(torch.randn(64, n), torch.arange(64), step=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
keys, scores, absent, nan = plan.top_absent("0.weight", 10000)
assert len(keys) == 10000 and absent == n * n - n * per_row and nan == 0
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(grown.stdout) < 40  # MB


# -- layers by themselves -------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.__name__.rsplit(".", 1)[1])
@pytest.mark.parametrize("n", BATCHES)
def test_a_layer_by_itself(engine, n):
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        g = torch.Generator().manual_seed(n)
        mask = torch.rand(21, 53, generator=g) < 0.2
        weight = (torch.randn(21, 53, generator=g, dtype=dtype) * mask).requires_grad_()
        bias = torch.randn(21, generator=g, dtype=dtype, requires_grad=True)
        x = torch.randn(n, 53, generator=g, dtype=dtype, requires_grad=True)
        dy = torch.randn(n, 21, generator=g, dtype=dtype)
        y = nn.functional.linear(x, weight, bias)
        want = torch.autograd.grad(y, (weight, bias, x), dy)
        indptr, index, value, _ = edges_of(weight, mask).arrays()
        found, kept = engine.linear_forward(
            indptr, index, value, bias.detach().numpy(), x.detach().numpy()
        )
        assert torch.allclose(torch.from_numpy(found), y.detach(), rtol=tolerance, atol=tolerance)
        for by_column in (None, engine.ByColumn(indptr, index, 53)):
            dw, db, dx = engine.linear_backward(
                indptr, index, value, kept, dy.numpy(), True, True, by_column
            )
            for a, b in zip((dw, db, dx), (want[0][mask], want[1], want[2]), strict=True):
                assert torch.allclose(torch.from_numpy(a), b, rtol=tolerance, atol=tolerance)
        none = engine.linear_backward(indptr, index, value, kept, dy.numpy(), False, False)
        assert none[1] is None and none[2] is None


# -- what is refused ------------------------------------------------------------------------------


def test_what_cannot_be_traced_is_named():
    def tracing(model, edges=(), **options):
        return trace(model, dict(edges), (6,), **options)

    with pytest.raises(NotTraceable, match=r"1 \(GELU\)"):
        tracing(nn.Sequential(nn.Linear(6, 3), nn.GELU()))
    dropping = nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5), nn.Linear(3, 2))
    with pytest.raises(NotTraceable, match="dropout"):
        tracing(dropping)
    assert torch.allclose(
        tracing(dropping, training=False).forward(torch.ones(4, 6)),
        dropping.eval()(torch.ones(4, 6)).detach(),
    )
    with pytest.raises(NotTraceable, match="6 inputs|of 7 inputs"):
        tracing(nn.Linear(7, 3))
    hooked = nn.Sequential(nn.Linear(6, 3))
    hooked[0].register_forward_hook(lambda *a: None)
    with pytest.raises(NotTraceable, match="hooks"):
        tracing(hooked)

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    with pytest.raises(NotTraceable, match="does not know 0.weight"):
        tracing(nn.Sequential(Doubled(6, 3)))

    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(NotTraceable, match="torch.fx cannot trace Branching"):
        tracing(Branching())
    with pytest.raises(NotTraceable, match="bfloat16"):
        tracing(nn.Linear(6, 3), dtype=torch.bfloat16)
    weight = edges_of(torch.ones(3, 6), torch.ones(3, 6, dtype=torch.bool))
    with pytest.raises(NotTraceable, match="other.weight"):
        tracing(nn.Linear(6, 3), {"other.weight": weight})


def test_unknown_optimisers_are_refused():
    pair = Pair(net(), (37,))
    mine = pair.parameters()
    for make, message in (
        (lambda ps: torch.optim.RMSprop(ps), "no RMSprop"),
        (lambda ps: torch.optim.Adam(ps, amsgrad=True), "amsgrad"),
        (lambda ps: torch.optim.SGD(ps, lr=1.0, maximize=True), "maximize"),
        (lambda ps: torch.optim.SGD(ps, lr=1.0, momentum=0.5, dampening=0.1), "dampening"),
    ):
        with pytest.raises(NotTraceable, match=message):
            pair.plan.adopt(make(mine.values()), mine)


def test_wrong_arrays_are_refused():
    pair = Pair(net(), (37,))
    x, y = batch(60, (37,), 11)
    plan, held = pair.plan, pair.edges["0.weight"]
    for call, message in (
        (lambda: plan.train_step(x[:, :36].contiguous(), y), "37 numbers"),
        (lambda: plan.train_step(x, y + 10), "labels"),
        (lambda: plan.train_step(x, y[:59]), "60 items"),
        (lambda: plan.train_step(x, y.int()), "int64"),
        (lambda: plan.train_step(x, y, torch.tensor([60])), r"\[0, 60\)"),
        (lambda: plan.train_step(x[:0], y[:0]), "an example"),
        (lambda: plan.loss_and_backward(y), "forward pass in training mode"),
        (lambda: plan.sddmm("0.weight", torch.tensor([0]), torch.tensor([0])), "backward pass"),
        (
            lambda: plan.rewire(
                "0.weight", Edges(held.indptr, held.index + 37, held.value, held.gradient)
            ),
            "index must lie",
        ),
        (
            lambda: plan.rewire(
                "0.weight", Edges(held.indptr, held.index.flip(0), held.value, held.gradient)
            ),
            "rise within row",
        ),
        (
            lambda: plan.rewire(
                "0.weight", Edges(held.indptr, held.index, held.value.float(), held.gradient)
            ),
            "float64",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    plan.train_step(x, y, step=False)  # it still works
    pair.autograd(x, y)
    assert pair.largest_error() < 1e-10


def test_everything_imports_without_the_engine():
    code = (
        "from rewire import native; import rewire.worlds.sparse.plan.plan;"
        "assert native.sparse is None"
    )
    environment = {**os.environ, "REWIRE_NATIVE": "0"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)

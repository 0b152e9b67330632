"""Speed of the sparse engine, as ratios: ``python -m benchmarks.sparse [--json] [--quick]``.

========================================= ================================================ ====
name                                      what is divided by what                          bar
========================================= ================================================ ====
``lenet_21_masked_over_sparse``           a training step under masks / one on edges, at   4.4
``lenet_107_masked_over_sparse``          density .21, .107 and .055: Adam, mnist5k,       7
``lenet_055_masked_over_sparse``          batch 60, masks by Static in the masked world    9.5
``lenet_dense_over_plan``                 a dense step of torch / the same by a plan
``lenet_055_evaluation_dense_over_sparse`` 1,000 examples without gradients
``layer_2048_01_dense_over_sparse``       2048 x 2048, batch 128, forward and backward:    30
``layer_2048_05_dense_over_sparse``       dense products / ours, at density .01, .05, .1   11
``layer_2048_10_dense_over_sparse``                                                        6
``layer_300_05_sparseprop_over_ours``     784 -> 300, batch 64, density .05                2.2
``layer_2048_05_sparseprop_over_ours``    2048 -> 2048, batch 128, density .05             2.2
``lstm_256_05_dense_over_sparse``         a training step of an LSTM that reads mnist5k    3
``lstm_1024_05_dense_over_sparse``        row by row, batch 64, SGD: dense / on edges      5
``encoder_256_05_dense_over_sparse``      a training step of two encoder layers, 4 heads,
``encoder_256_10_dense_over_sparse``      width 256, 16 sequences of 64: dense / on edges
========================================= ================================================ ====

Layers are batch-first, with the way to and from the engine's layout in their time, and both
gradients; against SparseProp both sides go through autograd. ``wide_65536`` is an MLP 784-65536-
65536-10 at density .001, batch 64: ``..._step_ms`` with edges that stay, ``..._rewired_step_ms``
with edges that are handed over anew before each step, ``..._growth_s`` the search for the 10,000
largest of 4.3e9 gradients at absent synapses. Bars are the least that is wanted. Losses and
gradients are compared in the same run. SparseProp is in the extra ``bench``; without it its ratios
are null and ``sparseprop`` says why.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rewire
from benchmarks import peers
from benchmarks.core import BATCH, Step, _adam
from benchmarks.suite import Result, at_least, command, unmeasured
from benchmarks.timing import interleaved, ratio
from rewire import models, rules
from rewire.experiments import data
from rewire.native import sparse
from rewire.worlds.sparse.plan.plan import Plan, trace
from rewire.worlds.sparse.plan.tracing import Edges

BARS = {
    "lenet_21_masked_over_sparse": at_least(4.4),
    "lenet_107_masked_over_sparse": at_least(7.0),
    "lenet_055_masked_over_sparse": at_least(9.5),
    "layer_2048_01_dense_over_sparse": at_least(30.0),
    "layer_2048_05_dense_over_sparse": at_least(11.0),
    "layer_2048_10_dense_over_sparse": at_least(6.0),
    "layer_300_05_sparseprop_over_ours": at_least(2.2),
    "layer_2048_05_sparseprop_over_ours": at_least(2.2),
    "lstm_256_05_dense_over_sparse": at_least(3.0),
    "lstm_1024_05_dense_over_sparse": at_least(5.0),
}


def edges_where(weight: Tensor, mask: Tensor) -> Edges:
    """The edges of a weight (n_post, n_pre) where the mask is True."""
    indptr = torch.zeros(len(mask) + 1, dtype=torch.int64)
    indptr[1:] = mask.sum(1).cumsum(0)
    value = weight.detach()[mask].clone()
    return Edges(indptr, mask.nonzero()[:, 1].int(), value, torch.zeros_like(value))


# -- LeNet-300-100 --------------------------------------------------------------------------------


class SparseStep:
    """One training step of LeNet-300-100 as a plan on each call, from the weights of a Step."""

    def __init__(self, like: Step, batches: Callable[[], tuple[Tensor, Tensor]]):
        self.batches = batches
        self.model = models.build(
            "lenet-300-100",
            generator=torch.Generator().manual_seed(0),
            input_shape=(1, 28, 28),
            classes=10,
        )
        self.model.load_state_dict(like.model.state_dict())
        masks = like.net.masks() if like.net is not None else {}
        named = dict(self.model.named_parameters())
        edges = {name: edges_where(named[name], mask) for name, mask in masks.items()}
        self.plan = trace(self.model, edges, (1, 28, 28))
        self.parameters = {
            name: nn.Parameter(edges[name].value) if name in edges else p
            for name, p in named.items()
        }
        self.optimizer = _adam(iter(self.parameters.values()))
        self.plan.adopt(self.optimizer, self.parameters)
        self.loss = math.nan

    def __call__(self) -> None:
        x, y, rows = self.batches()
        self.loss = self.plan.train_step(x, y, rows)


def lenet_ratios(repetitions: int, calls: int) -> Result:
    """Ratios of training steps and of an evaluation; batches are gathered in every step."""
    split = data.load("mnist5k").train
    g = torch.Generator().manual_seed(0)
    drawn = [torch.randint(0, len(split), (BATCH,), generator=g) for _ in range(50)]

    def gathered() -> Callable[[], tuple[Tensor, Tensor]]:
        rows = cycle(drawn)
        return lambda: (split.x.index_select(0, r := next(rows)), split.y.index_select(0, r))

    def by_rows() -> Callable[[], Any]:
        rows = cycle(drawn)
        return lambda: (split.x, split.y, next(rows))

    variants: dict[str, Callable[[], object]] = {"dense": Step(_adam, gathered())}
    variants["plan"] = SparseStep(Step(_adam, gathered()), by_rows())
    densities = {"21": 0.21, "107": 0.107, "055": 0.055}
    for name, density in densities.items():
        masked = Step(_adam, gathered(), rules.get("Static")(), density)
        variants[f"sparse_{name}"] = SparseStep(masked, by_rows())
        variants[f"masked_{name}"] = masked
    times = interleaved(variants, repetitions, calls)
    for name in densities:
        _check_losses(variants[f"masked_{name}"], variants[f"sparse_{name}"], split)
    out: Result = {
        f"lenet_{name}_masked_over_sparse": ratio(times, f"masked_{name}", f"sparse_{name}")
        for name in densities
    }
    out["lenet_dense_over_plan"] = ratio(times, "dense", "plan")
    for name in variants:
        out[f"lenet_{name}_step_us"] = float(np.median(times[name])) * 1e6
    x, y = split.x[:1000].contiguous(), split.y[:1000].contiguous()
    model, plan = variants["masked_055"].model, variants["sparse_055"].plan
    seen = interleaved(
        {
            "dense": torch.no_grad()(lambda: cross_entropy(model(x), y)),
            "sparse": lambda: plan.evaluate(x, y),
        },
        repetitions,
        2,
    )
    out["lenet_055_evaluation_dense_over_sparse"] = ratio(seen, "dense", "sparse")
    return out


def _check_losses(masked: Step, sparse_step: SparseStep, split: Any) -> None:
    """Both have made as many steps on the same batches: their losses agree."""
    x, y = split.x[:1000].contiguous(), split.y[:1000].contiguous()
    with torch.no_grad():
        want = float(cross_entropy(masked.model(x), y))
    found, _ = sparse_step.plan.evaluate(x, y)
    if abs(found - want) > 0.02 * want:
        raise AssertionError(f"the loss is {found} on edges, {want} under masks.")


# -- one layer ------------------------------------------------------------------------------------


class Product(torch.autograd.Function):
    """x W^T by the engine, as a layer that is not part of a plan would call it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, arrays: tuple[Any, ...]) -> Tensor:
        assert sparse is not None
        y, kept = sparse.linear_forward(
            arrays[0], arrays[1], value.detach().numpy(), None, x.detach().numpy()
        )
        ctx.kept, ctx.arrays, ctx.value = kept, arrays, value.detach().numpy()
        return torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        assert sparse is not None
        indptr, index, by_column = ctx.arrays
        dvalue, _, dx = sparse.linear_backward(
            indptr, index, ctx.value, ctx.kept, grads[0].numpy(), False, True, by_column
        )
        return torch.from_numpy(dx), torch.from_numpy(dvalue), None


def layer_ratios(n_post: int, n_pre: int, batch: int, repetitions: int, calls: int) -> Result:
    """Ratios of forward and backward pass through one linear layer, by its name's n_post."""
    assert sparse is not None
    out: Result = {}
    peer, said = peers.sparseprop()
    for label, density in (("01", 0.01), ("05", 0.05), ("10", 0.1)):
        g = torch.Generator().manual_seed(0)
        mask = torch.rand(n_post, n_pre, generator=g) < density
        weight = torch.randn(n_post, n_pre, generator=g) * mask
        x = torch.randn(batch, n_pre, generator=g)
        dy = torch.randn(batch, n_post, generator=g)
        held, live, dw = edges_where(weight, mask), mask.float(), torch.empty(n_post, n_pre)
        indptr, index, value, _ = held.arrays()
        by_column = sparse.ByColumn(indptr, index, n_pre)
        leaf, edges = x.clone().requires_grad_(), held.value.requires_grad_()

        def dense(x=x, dy=dy, weight=weight, live=live, dw=dw) -> Any:
            y = x @ weight.t()
            torch.mm(dy.t(), x, out=dw)
            return y, dw.mul_(live), dy @ weight

        def kernels(i=indptr, j=index, v=value, x=x, dy=dy, c=by_column) -> Any:
            y, kept = sparse.linear_forward(i, j, v, None, x.numpy())
            return y, *sparse.linear_backward(i, j, v, kept, dy.numpy(), False, True, c)

        def ours(leaf=leaf, edges=edges, dy=dy, arrays=(indptr, index, by_column)) -> Any:
            y = Product.apply(leaf, edges, arrays)
            return y, *torch.autograd.grad(y, (edges, leaf), dy)

        _check_layer(dense(), ours(), mask)
        variants: dict[str, Callable[[], object]] = {
            "dense": dense, "kernels": kernels, "ours": ours,
        }  # fmt: skip
        if peer is not None:
            variants["sparseprop"] = _sparseprop(peer, weight, leaf, dy)
        times = interleaved(variants, repetitions, calls)
        name = f"layer_{n_post}_{label}"
        out[f"{name}_dense_over_sparse"] = ratio(times, "dense", "kernels")
        out[f"{name}_sparseprop_over_ours"] = (
            None if peer is None else ratio(times, "sparseprop", "ours")
        )
        out[f"{name}_us"] = float(np.median(times["kernels"])) * 1e6
    out["sparseprop"] = said
    return out


def _check_layer(want: Any, found: Any, mask: Tensor) -> None:
    for name, a, b in zip(("y", "dw", "dx"), want, found, strict=True):
        a = a[mask] if name == "dw" else a
        if float((a - b.detach()).abs().max() / a.abs().max()) > 1e-5:
            raise AssertionError(f"{name} of the sparse layer is not that of the dense one.")


def _sparseprop(peer: Any, weight: Tensor, leaf: Tensor, dy: Tensor) -> Callable[[], object]:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=True)
    with torch.no_grad():
        layer.weight.copy_(weight)
    other = peer.SparseLinear.from_dense(layer)

    def run() -> Any:
        y = other(leaf)
        return y, *torch.autograd.grad(y, (other.W_val, leaf), dy)

    return run


# -- wide nets ------------------------------------------------------------------------------------


def random_edges(n_post: int, n_pre: int, density: float, seed: int) -> Edges:
    """Edges at random, without a matrix; a little fewer than asked, since pairs may repeat."""
    g = torch.Generator().manual_seed(seed)
    n = int(density * n_post * n_pre)
    keys = torch.randint(0, n_post * n_pre, (n,), generator=g).unique()
    indptr = torch.zeros(n_post + 1, dtype=torch.int64)
    indptr[1:] = torch.bincount(keys // n_pre, minlength=n_post).cumsum(0)
    value = torch.randn(len(keys), generator=g) * math.sqrt(2 * n_post / max(len(keys), 1))
    return Edges(indptr, (keys % n_pre).int(), value, torch.zeros_like(value))


def wide_plan(hidden: int, density: float) -> tuple[Plan, dict[str, Edges]]:
    """An MLP 784-hidden-hidden-10 without biases, whose dense weights exist nowhere."""
    sizes, densities = [784, hidden, hidden, 10], [max(density, 0.01), density, 0.1]
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for n_pre, n_post in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(n_pre, n_post, bias=False), nn.ReLU()]
    edges = {
        f"{2 * i}.weight": random_edges(sizes[i + 1], sizes[i], densities[i], seed=i)
        for i in range(3)
    }
    return trace(nn.Sequential(*layers[:-1]), edges, (784,)), edges


def wide_times(hidden: int, density: float, repetitions: int) -> Result:
    """Milliseconds of a step without an optimiser, batch 64, and seconds of a search for growth."""
    plan, edges = wide_plan(hidden, density)
    other, others = wide_plan(hidden, density)
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(64, 784, generator=g), torch.randint(0, 10, (64,), generator=g)

    def step() -> None:
        plan.train_step(x, y, step=False)

    def rewired() -> None:
        for name, held in others.items():
            other.rewire(name, held)
        other.train_step(x, y, step=False)

    for _ in range(5):  # edges that stay long are sorted by column then
        step()
    grown = interleaved({"growth": lambda: plan.top_absent("2.weight", 10_000)}, 1)
    times = interleaved({"step": step, "rewired": rewired}, repetitions)
    return {
        f"wide_{hidden}_edges": sum(len(e.value) for e in edges.values()),
        f"wide_{hidden}_step_ms": float(np.median(times["step"])) * 1e3,
        f"wide_{hidden}_rewired_step_ms": float(np.median(times["rewired"])) * 1e3,
        f"wide_{hidden}_growth_s": float(np.median(grown["growth"])),
    }


# -- recurrent nets -------------------------------------------------------------------------------


def lstm_ratios(units: int, repetitions: int, calls: int) -> Result:
    """Training steps of a dense LSTM over those on edges, at density .01, .05 and .1."""
    split = data.load("mnist5k").train
    x, y = split.x[:64].contiguous(), split.y[:64].contiguous()

    def built() -> tuple[nn.Module, torch.optim.Optimizer]:
        g = torch.Generator().manual_seed(0)
        model = models.build("lstm", generator=g, input_shape=(1, 28, 28), classes=10, hidden=units)
        return model, torch.optim.SGD(model.parameters(), lr=0.05, fused=True)

    def stepping(kind: Literal["masked", "sparse"], density: float) -> Callable[[], float]:
        model, optimizer = built()
        net = rewire.attach(
            model, optimizer, rules.get("Static")(), density=density, world=kind, seed=0
        )
        return lambda: net.learn(x, y)

    model, optimizer = built()

    def dense() -> None:
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(model(x), y).backward()
        optimizer.step()

    variants: dict[str, Callable[[], object]] = {"dense": dense}
    for name, density in {"01": 0.01, "05": 0.05, "10": 0.1}.items():
        step = variants[name] = stepping("sparse", density)
        want, found = stepping("masked", density)(), step()
        if abs(want - found) > 1e-4 * want:
            raise AssertionError(f"the first loss is {found} on edges, {want} under masks.")
    times = interleaved(variants, repetitions, calls)
    out: Result = {
        f"lstm_{units}_{n}_dense_over_sparse": ratio(times, "dense", n)
        for n in variants
        if n != "dense"
    }
    return out | {f"lstm_{units}_dense_step_ms": float(np.median(times["dense"])) * 1e3}


# -- transformers ---------------------------------------------------------------------------------


def encoder_ratios(width: int, repetitions: int, calls: int) -> Result:
    """Training steps of a dense encoder over those on edges, at density .05 and .1: two layers of
    four heads, feed-forward four times as wide, 16 sequences of 64, SGD."""
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.randn(16, 64, width, generator=draw) for _ in range(2))

    def stepping(density: float | None, world: str = "sparse") -> Callable[[], float]:
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, fused=True)
        if density is not None:
            static = rules.get("Static")()
            rewire.attach(model, optimizer, static, density=density, world=world, seed=0)

        def step() -> float:
            optimizer.zero_grad(set_to_none=True)
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        return step

    variants: dict[str, Callable[[], object]] = {"dense": stepping(None)}
    for name, density in {"05": 0.05, "10": 0.1}.items():
        step = variants[name] = stepping(density)
        reference = stepping(density, "masked")
        for _ in range(3):
            want, measured = reference(), step()
            if abs(want - float(measured)) > 1e-4 * want:
                raise AssertionError(f"a loss is {measured} on edges, {want} under masks.")
    times = interleaved(variants, repetitions, calls)
    out: Result = {
        f"encoder_{width}_{n}_dense_over_sparse": ratio(times, "dense", n) for n in ("05", "10")
    }
    return out | {f"encoder_{width}_dense_step_ms": float(np.median(times["dense"])) * 1e3}


# -- all of it ------------------------------------------------------------------------------------


def measure(quick: bool = False) -> Result:
    """Every ratio.

    quick: seconds instead of minutes: shows that it runs, measures nothing.
    """
    if sparse is None:
        return unmeasured(BARS, f"there is no sparse engine: {rewire.native.missing}")
    wide = [(512, 0.01, 2)] if quick else [(8192, 0.01, 7), (65536, 0.001, 5)]
    out: Result = {
        **lenet_ratios(*((2, 2) if quick else (15, 40))),
        **layer_ratios(300, 784, 64, *((2, 2) if quick else (15, 40))),
        **layer_ratios(2048, 2048, 128, *((1, 1) if quick else (9, 4))),
        **lstm_ratios(256, *((1, 1) if quick else (9, 4))),
        **lstm_ratios(1024, *((1, 1) if quick else (7, 2))),
        **encoder_ratios(64 if quick else 256, *((1, 1) if quick else (9, 4))),
    }
    for hidden, density, repetitions in wide:
        out |= wide_times(hidden, density, repetitions)
    return {
        **out,
        "engine": sparse.__name__.rsplit(".", 1)[1],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    return command("sparse", __doc__, measure, BARS, arguments)


if __name__ == "__main__":
    sys.exit(main())

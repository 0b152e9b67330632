"""Speed of layers whose edges are whole blocks: ``python -m benchmarks.sparse_blocks [--quick]``.

================================================= ============================================ ====
name                                              what is divided by what                      bar
================================================= ============================================ ====
``blocks_4_784_300_64_10_rows_over_ours``         forward and backward pass of a layer 784 ->  BARS
``blocks_4_1024_1024_128_10_rows_over_ours``      300 (..) whose edges are blocks of 4 x 4, at
``blocks_4_4096_1024_128_10_rows_over_ours``      batch 64 (128) and density .1: row by row /
                                                  as it is
``blocks_.._forward_rows_over_ours``              the forward pass alone
``blocks_.._dense_over_ours``                     dense products / as it is
``diagonals_.._dense_over_ours``                  dense products / the same on whole diagonals
``step_lenet_10_rows_over_ours``                  a training step of LeNet-300-100 by blocks of
``step_wide_10_rows_over_ours``                   4 x 4 (Adam, batch 64), and of an MLP 784-
                                                  1024-1024-10 (batch 128), density .1: row by
                                                  row / as it is
``step_.._dense_over_ours``                       dense in torch / as it is
================================================= ============================================ ====

Row by row: the same edges between units in another order, in which no row has the edges of the one
before it, so that the engine computes every row by itself. Layers are batch-first, with the way to
and from the engine's layout in their time. Names: rows and columns of a block, inputs, outputs,
batch, density in hundredths (5, 10, 20; blocks of 16 x 16 at 10). Diagonals are computed edge by
edge. The step's last layer is dense. Results are compared in the same run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.sparse import edges_where
from benchmarks.suite import Result, at_least, command, unmeasured
from benchmarks.timing import interleaved, ratio
from rewire import native
from rewire.graph import Projection
from rewire.rules.shared.groups_of_keys import GroupsOfKeys, blocks_of, diagonals_of
from rewire.worlds.sparse.plan.plan import trace

BARS = {
    "blocks_4_784_300_64_10_rows_over_ours": at_least(1.1),
    "blocks_4_1024_1024_128_10_rows_over_ours": at_least(1.3),
    "blocks_4_4096_1024_128_10_rows_over_ours": at_least(1.3),
    "step_wide_10_rows_over_ours": at_least(1.2),
}
SHAPES = {(784, 300, 64): 8, (1024, 1024, 128): 2, (4096, 1024, 128): 1}  # calls in a row


def whole(groups: GroupsOfKeys, shape: tuple[int, int], density: float, seed: int) -> Tensor:
    """A mask (n_post, n_pre) of whole groups, drawn at random."""
    rng = np.random.default_rng(seed)
    many = len(groups.lengths)
    chosen = np.zeros(many, bool)
    chosen[rng.permutation(many)[: max(1, round(density * many))]] = True
    return torch.from_numpy(chosen[groups.number].reshape(shape))


def in_blocks(n_post: int, n_pre: int, side: int, density: float, seed: int = 0) -> Tensor:
    p = Projection("", "", "", "linear", (n_post, n_pre))
    return whole(blocks_of(p, side, side), (n_post, n_pre), density, seed)


def apart(n: int, side: int) -> Tensor:
    """An order of n units in which those of a block do not follow each other."""
    return torch.argsort(torch.arange(n) % side, stable=True)


# -- one layer ------------------------------------------------------------------------------------


def passes(weight: Tensor, mask: Tensor, x: Tensor, dy: Tensor) -> dict[str, Callable[[], Any]]:
    """Forward, and forward and backward pass on the edges of a weight, as a layer runs them."""
    engine = native.sparse
    assert engine is not None
    indptr, index, value, _ = edges_where(weight, mask).arrays()
    inputs, slopes = x.numpy(), dy.numpy()

    def forward() -> Any:
        return engine.linear_forward(indptr, index, value, None, inputs)

    def both() -> Any:
        y, kept = forward()
        return y, *engine.linear_backward(indptr, index, value, kept, slopes, False, True)

    return {"forward": forward, "both": both}


def layer_ratios(mask: Tensor, side: int, batch: int, repetitions: int, calls: int) -> Result:
    """Ratios of one layer's passes; with ``side`` 1 its rows are not put apart."""
    n_post, n_pre = mask.shape
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(n_post, n_pre, generator=g) * mask
    x = torch.randn(batch, n_pre, generator=g)
    dy = torch.randn(batch, n_post, generator=g)
    live, dw = mask.float(), torch.empty(n_post, n_pre)

    def dense() -> Any:
        y = x @ weight.t()
        torch.mm(dy.t(), x, out=dw)
        return y, dw.mul_(live), dy @ weight

    ours = passes(weight, mask, x, dy)
    y, dvalue, _, dx = ours["both"]()
    want = dense()
    _check(("y", y, want[0]), ("dw", dvalue, want[1][mask]), ("dx", dx, want[2]))
    variants: dict[str, Callable[[], object]] = {"dense": dense, "ours": ours["both"]}
    if side > 1:
        order = apart(n_post, side)
        rows = passes(weight[order], mask[order], x, dy[:, order].contiguous())
        y_rows, _, _, dx_rows = rows["both"]()
        _check(("y", y_rows, y[:, order]), ("dx", dx_rows, dx))
        variants |= {"rows": rows["both"], "rows_forward": rows["forward"]}
        variants["forward"] = ours["forward"]
    times = interleaved(variants, repetitions, calls)
    out: Result = {"dense_over_ours": ratio(times, "dense", "ours")}
    if side > 1:
        out["rows_over_ours"] = ratio(times, "rows", "ours")
        out["forward_rows_over_ours"] = ratio(times, "rows_forward", "forward")
    return out | {"us": float(np.median(times["ours"])) * 1e6}


def _check(*results: tuple[str, Any, Any]) -> None:
    for name, found, want in results:
        a, b = torch.as_tensor(found), torch.as_tensor(want)
        if not float((a - b).abs().max()) <= 1e-5 * float(b.abs().max()):
            raise AssertionError(f"{name} of the sparse layer is not that of the other one.")


# -- whole steps ----------------------------------------------------------------------------------


def mlp(sizes: Sequence[int], seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for n_pre, n_post in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(n_pre, n_post), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def planned(model: nn.Sequential, masks: dict[str, Tensor]) -> Callable[[Tensor, Tensor], float]:
    """A training step of this model on the edges of its masks, in one native call."""
    named = dict(model.named_parameters())
    edges = {name: edges_where(named[name], mask) for name, mask in masks.items()}
    plan = trace(model, edges, (model[0].in_features,))
    parameters = {n: nn.Parameter(edges[n].value) if n in edges else p for n, p in named.items()}
    plan.adopt(torch.optim.Adam(parameters.values(), lr=1e-3), parameters)
    return plan.train_step


def step_ratios(sizes: Sequence[int], batch: int, density: float, repetitions: int,
                calls: int) -> Result:  # fmt: skip
    """Ratios of training steps of an MLP whose hidden layers are blocks of 4 x 4."""
    model, other, dense_model = (mlp(sizes) for _ in range(3))
    hidden = range(len(sizes) - 2)
    masks = {f"{2 * i}.weight": in_blocks(sizes[i + 1], sizes[i], 4, density, i) for i in hidden}
    moved = {}  # the same net, its hidden units in another order
    with torch.no_grad():
        before = torch.arange(sizes[0])
        for i in range(len(sizes) - 1):
            layer = other[2 * i]
            after = apart(sizes[i + 1], 4) if i in hidden else torch.arange(sizes[i + 1])
            layer.weight.copy_(layer.weight[after][:, before])
            layer.bias.copy_(layer.bias[after])
            if i in hidden:
                moved[f"{2 * i}.weight"] = masks[f"{2 * i}.weight"][after][:, before]
            before = after
    g = torch.Generator().manual_seed(1)
    x = torch.randn(batch, sizes[0], generator=g)
    y = torch.randint(sizes[-1], (batch,), generator=g)
    ours, rows = planned(model, masks), planned(other, moved)
    for _ in range(3):
        found, want = ours(x, y), rows(x, y)
        if not abs(found - want) <= 1e-4 * want:
            raise AssertionError(f"a loss is {found} by blocks, {want} row by row.")
    optimizer = torch.optim.Adam(dense_model.parameters(), lr=1e-3, fused=True)

    def dense() -> None:
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(dense_model(x), y).backward()
        optimizer.step()

    times = interleaved(
        {"dense": dense, "ours": lambda: ours(x, y), "rows": lambda: rows(x, y)}, repetitions, calls
    )
    return {
        "rows_over_ours": ratio(times, "rows", "ours"),
        "dense_over_ours": ratio(times, "dense", "ours"),
        "us": float(np.median(times["ours"])) * 1e6,
    }


# -- all of it ------------------------------------------------------------------------------------


def measure(quick: bool = False) -> Result:
    """Every ratio.

    quick: seconds instead of minutes, small: shows that it runs, measures nothing.
    """
    if native.sparse is None:
        return unmeasured(BARS, f"there is no sparse engine: {native.missing}")
    out: Result = {}
    densities = {"10": 0.1} if quick else {"05": 0.05, "10": 0.1, "20": 0.2}

    def keep(name: str, found: Result) -> None:
        out.update({f"{name}_{what}": value for what, value in found.items()})

    for (n_pre, n_post, batch), calls in SHAPES.items():
        shape = (24, 40) if quick else (n_post, n_pre)
        times = (2, 2) if quick else (9, calls)
        for label, density in densities.items():
            name = f"{n_pre}_{n_post}_{batch}_{label}"
            for side in (4, 16) if label == "10" and not quick else (4,):
                found = layer_ratios(in_blocks(*shape, side, density), side, batch, *times)
                keep(f"blocks_{side}_{name}", found)
            p = Projection("", "", "", "linear", shape)
            mask = whole(diagonals_of(p), shape, density, 0)
            keep(f"diagonals_{name}", layer_ratios(mask, 1, batch, *times))
    sizes = {"lenet": (784, 300, 100, 10), "wide": (784, 1024, 1024, 10)}
    for name, batch, calls in (("lenet", 64, 10), ("wide", 128, 2)):
        layers = (20, 16, 12, 5) if quick else sizes[name]
        times = (2, 2) if quick else (9, calls)
        keep(f"step_{name}_10", step_ratios(layers, batch, 0.1, *times))
    return {**out, "engine": native.sparse.__name__.rpartition(".")[2]}


def main(arguments: Sequence[str] | None = None) -> int:
    return command("sparse_blocks", __doc__, measure, BARS, arguments)


if __name__ == "__main__":
    sys.exit(main())

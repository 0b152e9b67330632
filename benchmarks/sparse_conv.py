"""Speed of sparse convolutions on a CPU: ``python -m benchmarks.sparse_conv [--json] [--quick]``.

====================================== ==================================================== ======
name                                   what is divided by what                              bar
====================================== ==================================================== ======
``conv_16_32_dense_over_ours``         dense, channels_last / ours, in the engine's layout  2.3
``conv_16_32_sparseprop_over_ours``    SparseProp's faster mode / ours                      1.7
``conv_16_32_sparseprop_over_nchw``    the same / ours from and to NCHW, as SparseProp does
``resnet_20_dense_over_ours``          a step, dense in channels_last / ours                1.5
``resnet_20_masked_over_ours``         a step, masked in channels_last / ours
====================================== ==================================================== ======

and the first three for 3 x 3 convolutions of 16 channels on 32 x 32 (as named above), 32 on
16 x 16, 64 on 8 x 8 and 64 on 32 x 32 pixels; forward and backward pass, batch 128, density .05. A
step of ResNet-20 is forward pass, cross-entropy, backward pass and SGD with momentum .9, batch 128,
3 x 32 x 32, all layers at density .05. Every variant's results are compared before it is timed.
SparseProp (Nikdan et al. 2023, arXiv:2302.04852) is ``pip install sparseprop``; without it its
ratios are null and ``sparseprop`` says why. Numbers above 1 are times by which ours is faster.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy

import rewire
from benchmarks import peers
from benchmarks.suite import Result, at_least, command, unmeasured
from benchmarks.timing import Times, interleaved, ratio
from rewire import models, native
from rewire.worlds.sparse.plan.plan import trace
from rewire.worlds.sparse.plan.tracing import Edges

DENSITY, BATCH = 0.05, 128
SHAPES = {"16_32": (16, 32), "32_16": (32, 16), "64_8": (64, 8), "64_32": (64, 32)}
BARS = {
    **{f"conv_{shape}_dense_over_ours": at_least(2.3) for shape in SHAPES},
    **{f"conv_{shape}_sparseprop_over_ours": at_least(1.7) for shape in SHAPES},
    "resnet_20_dense_over_ours": at_least(1.5),
}


def edges_of(weight: Tensor, mask: Tensor) -> Edges:
    """The edges of a masked weight, as a plan takes them."""
    rows, columns = mask.flatten(1).nonzero(as_tuple=True)
    indptr = torch.zeros(len(mask) + 1, dtype=torch.int64)
    indptr[1:] = torch.bincount(rows, minlength=len(mask)).cumsum(0)
    value = weight.detach()[mask].clone()
    return Edges(indptr, columns.int(), value, torch.zeros_like(value))


def _check(name: str, found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    worst = float((found - expected).abs().max() / expected.abs().max())
    if not worst < tolerance:
        raise AssertionError(f"{name} differs by {worst:.1e} of the largest value.")


# -- one convolution ----------------------------------------------------------------------------


class Convolution:
    """Forward and backward pass of one 3 x 3 convolution that keeps channels and pixels."""

    def __init__(self, channels: int, size: int, batch: int, peer: Any | None):
        g = torch.Generator().manual_seed(0)
        self.weight = torch.randn(channels, channels, 3, 3, generator=g)
        self.mask = torch.rand(self.weight.shape, generator=g) < DENSITY
        self.weight.mul_(self.mask)
        self.x = torch.randn(batch, channels, size, size, generator=g)
        self.slope = torch.randn(batch, channels, size, size, generator=g)
        dense = {
            order: tuple(t.to(memory_format=layout) for t in (self.x, self.weight, self.slope))
            for order, layout in (("nchw", torch.contiguous_format),
                                  ("channels_last", torch.channels_last))
        }  # fmt: skip
        self.variants: dict[str, Callable[[], Any]] = {
            f"dense_{order}": self._dense(*parts) for order, parts in dense.items()
        }
        self.variants["ours"] = self._ours()
        self.variants["ours_nchw"] = self._ours_nchw
        if peer is not None:
            for mode in (False, True):
                self.variants[f"sparseprop_{mode}"] = self._sparseprop(peer, mode)
        self._check_all()

    @staticmethod
    def _dense(x: Tensor, weight: Tensor, slope: Tensor) -> Callable[[], tuple[Tensor, ...]]:
        x, weight = x.requires_grad_(), weight.requires_grad_()

        def step() -> tuple[Tensor, ...]:
            y = conv2d(x, weight, padding=1)
            return y, *torch.autograd.grad(y, (x, weight), slope)

        return step

    def _pass(self) -> Any:
        assert native.sparse is not None
        e = edges_of(self.weight, self.mask)
        return native.sparse.Conv2dFloat32(
            *e.arrays()[:3], None, self.x.detach().numpy(), (3, 3), (1, 1), (1, 1), 1, True
        )

    def _ours(self) -> Callable[[], Any]:
        done = self._pass()
        done.load_slope(self.slope.numpy())

        def step() -> Any:
            done.forward()
            done.backward()
            return done

        return step

    def _ours_nchw(self) -> Any:
        done = self._pass()
        done.forward()
        y = done.output()
        done.load_slope(self.slope.numpy())
        done.backward()
        return y, done.gradients()

    def _sparseprop(self, peer: Any, mode: bool) -> Callable[[], tuple[Tensor, ...]]:
        layer = nn.Conv2d(*self.weight.shape[1::-1], 3, padding=1, bias=False)
        layer.weight.data.copy_(self.weight)
        sparse = peer.SparseConv2d.from_dense(layer, vectorizing_over_on=mode)
        x = self.x.detach().clone().requires_grad_()

        def step() -> tuple[Tensor, ...]:
            y = sparse(x)
            return y, *torch.autograd.grad(y, (x, sparse.W_val), self.slope)

        return step

    def _check_all(self) -> None:
        y, dx, dw = self.variants["dense_nchw"]()
        found, (dvalue, _, dx_found) = self.variants["ours_nchw"]()
        _check("our output", torch.from_numpy(found), y.detach())
        _check("our dx", torch.from_numpy(dx_found), dx)
        _check("our dw", torch.from_numpy(dvalue), dw[self.mask])
        for name, variant in self.variants.items():
            if name.startswith("sparseprop"):
                y_peer, dx_peer, _ = variant()
                _check(f"the output of {name}", y_peer.detach(), y.detach())
                _check(f"dx of {name}", dx_peer, dx)


def conv_ratios(shapes: dict[str, tuple[int, int]], batch: int, repetitions: int) -> Result:
    """Ratios of single convolutions; ``shapes`` are (channels, height and width)."""
    out: Result = {}
    peer, out["sparseprop"] = peers.sparseprop()
    for name, (channels, size) in shapes.items():
        times = interleaved(Convolution(channels, size, batch, peer).variants, repetitions, 2)
        out |= {
            f"conv_{name}_dense_over_ours": ratio(times, "dense_channels_last", "ours"),
            f"conv_{name}_dense_over_nchw": ratio(times, "dense_channels_last", "ours_nchw"),
            f"conv_{name}_dense_nchw_over_ours": ratio(times, "dense_nchw", "ours"),
            f"conv_{name}_sparseprop_over_ours": _best_peer(times, "ours"),
            f"conv_{name}_sparseprop_over_nchw": _best_peer(times, "ours_nchw"),
            f"conv_{name}_ms": float(np.median(times["ours"])) * 1e3,
        }
    return out


def _best_peer(times: Times, ours: str) -> float | None:
    modes = [name for name in times if name.startswith("sparseprop")]
    return min((ratio(times, mode, ours) for mode in modes), default=None)


# -- a whole step -------------------------------------------------------------------------------


class Step:
    """One training step of ResNet-20 on each call: dense, or masked at DENSITY."""

    def __init__(self, x: Tensor, y: Tensor, density: float | None):
        self.x, self.y = x.contiguous(memory_format=torch.channels_last), y
        model = models.build(
            "resnet-20",
            generator=torch.Generator().manual_seed(0),
            input_shape=tuple(x.shape[1:]),
            classes=10,
        )
        self.model = model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
        self.advance: Callable[[], Any] = self.optimizer.step
        self.net = None
        if density is not None:
            self.net = rewire.attach(self.model, self.optimizer, rewire.Static(), density=density,
                                     distribution="uniform", steps=10**6, seed=0)  # fmt: skip
            self.advance = self.net.step

    def __call__(self) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(self.model(self.x), self.y)
        loss.backward()
        self.advance()
        return float(loss.detach())


def plan_of(step: Step, x: Tensor, y: Tensor) -> Callable[[], float]:
    """The same step of the same net as a plan, on memory of its own."""
    assert step.net is not None
    model = models.ResNet(20, generator=torch.Generator().manual_seed(0))
    model.load_state_dict(step.model.state_dict())
    edges = {
        name: edges_of(model.get_parameter(name), mask) for name, mask in step.net.masks().items()
    }
    flat = {name: e.value.requires_grad_() for name, e in edges.items()}
    others = {n: p for n, p in model.named_parameters() if n not in edges}
    optimizer = torch.optim.SGD([*others.values(), *flat.values()], lr=0.01, momentum=0.9)
    plan = trace(model, edges, tuple(x.shape[1:]))
    plan.adopt(optimizer, others | flat)
    return lambda: plan.train_step(x, y)


def resnet_ratios(batch: int, size: int, repetitions: int) -> Result:
    """Ratios of whole steps of ResNet-20 on ``batch`` pictures of ``size`` x ``size``."""
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(batch, 3, size, size, generator=g), torch.randint(10, (batch,), generator=g)
    masked = Step(x, y, DENSITY)
    variants = {"ours": plan_of(masked, x, y), "masked": masked, "dense": Step(x, y, None)}
    for _ in range(3):
        ours, theirs = variants["ours"](), masked()
        if not abs(ours - theirs) < 1e-3 * theirs:
            raise AssertionError(f"a sparse step has loss {ours}, the masked one {theirs}.")
    times = interleaved(variants, repetitions)
    return {
        "resnet_20_dense_over_ours": ratio(times, "dense", "ours"),
        "resnet_20_masked_over_ours": ratio(times, "masked", "ours"),
        **{f"resnet_20_{n}_ms": float(np.median(t)) * 1e3 for n, t in times.items()},
    }


# -- all of it ----------------------------------------------------------------------------------


def measure(quick: bool = False) -> Result:
    """Every ratio.

    quick: seconds instead of minutes, on small layers: shows that it runs, measures nothing.
    """
    if native.sparse is None:
        return unmeasured(BARS, f"there is no sparse engine: {native.missing}")
    shapes = {name: (4, 6) for name in SHAPES} if quick else SHAPES
    return {
        **conv_ratios(shapes, 16 if quick else BATCH, 2 if quick else 9),
        **resnet_ratios(*((16, 8, 2) if quick else (BATCH, 32, 9))),
        "engine": native.sparse.__name__.rpartition(".")[2],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    return command("sparse_conv", __doc__, measure, BARS, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""The sparse world as one attaches it: ``python -m benchmarks.wide [--json] [--quick]``.

================================== ==================================================== ======
name                               what it is                                           bar
================================== ==================================================== ======
``deep_r_65536_resident_gb``       most memory that the process has held, 10^9 bytes    1
``deep_r_65536_rewiring_share``    rewiring / the whole step                            .10
``deep_r_8192_dense_over_sparse``  DEEP R written plainly on dense weights / on edges   100
``deep_r_8192_masked_over_sparse`` ours under masks / on edges
``step_slope_static``              log time / log edges of a step, 1e4 to 1e7 edges     1.1
``step_slope_deep_r``              the same with DEEP R                                 1.1
================================== ==================================================== ======

DEEP R, SGD, batch 64, mnist5k, MLPs 784-H-H-10 whose layers have density .01, .001 (.01 for 8,192
units) and .1. ``attach`` gets a model on the meta device; a step is ``net.learn`` and
``net.rewire``, rewiring at every one. The nets of 8,192 start from the same edges and weights, and
the losses of their first steps are compared; the plain one moves, masks and shakes every weight of
a dense matrix, as Algorithm 1 reads, where our masked world visits its edges only. The slopes are
of one layer of density .1, as wide as it has to be, and an output layer. Memory includes that of
Python and torch.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from math import isqrt
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import rewire
from benchmarks.suite import Result, at_least, at_most, command, unmeasured
from benchmarks.timing import interleaved, quiet, ratio
from rewire import native
from rewire.experiments import data

BATCH = 64
BARS = {
    "deep_r_65536_resident_gb": at_most(1.0),
    "deep_r_65536_rewiring_share": at_most(0.10),
    "deep_r_8192_dense_over_sparse": at_least(100.0),
    "step_slope_static": at_most(1.1),
    "step_slope_deep_r": at_most(1.1),
}


def deep_r(
    hidden: int, density: float, kind: Literal["masked", "sparse"], like: rewire.Graph | None
) -> rewire.Session:
    """DEEP R on 784-hidden-hidden-10; ``like`` gives edges and weights to begin with."""
    with torch.device("meta" if kind == "sparse" else "cpu"):
        model = _mlp(hidden)
    if like is not None:
        _give([layer for layer in model if isinstance(layer, nn.Linear)], like)
    return rewire.attach(
        model,
        torch.optim.SGD(model.parameters(), lr=0.05),
        rewire.DeepR(l1=1e-5, noise=1e-5),
        distribution={"0.weight": 0.01, "2.weight": density, "4.weight": 0.1},
        initial="random" if like is None else like,
        world=kind,
    )


def _mlp(hidden: int) -> nn.Sequential:
    inner = nn.Linear(hidden, hidden)
    return nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), inner, nn.ReLU(), nn.Linear(hidden, 10))


@torch.no_grad()
def _give(layers: Sequence[nn.Linear], graph: rewire.Graph) -> None:
    """Weights of the graph's edges, and biases of 0, which is how the sparse world begins."""
    for i, layer in enumerate(layers):
        layer.bias.zero_()
        layer.weight.zero_().view(-1)[graph.local(i)] = graph["weight"][graph.rows(i)]


def digits() -> Callable[[], tuple[Tensor, Tensor]]:
    """Batches of mnist5k, over and over."""
    split = data.load("mnist5k", normalise="unit").train
    n = len(split) // BATCH
    batches = zip(split.x.flatten(1).split(BATCH)[:n], split.y.split(BATCH)[:n], strict=True)
    return cycle([(x.contiguous(), y) for x, y in batches]).__next__


def resident_gb() -> float:
    """The most memory that this process has held, in 10^9 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss also counts what a parent held when it forked
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1.024e-6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit * 1e-9


def rewiring(hidden: int, steps: int) -> Result:
    """Memory of DEEP R on edges at density .001, and the share of the step that is rewiring."""
    net, batches = deep_r(hidden, 1e-3, "sparse", None), digits()
    edges, spent = net.edges, np.empty((steps, 2))
    with quiet():
        for t in range(-3, steps):
            x, y = batches()
            start = time.process_time()
            net.learn(x, y)
            learned = time.process_time()
            net.rewire()
            if t >= 0:
                spent[t] = learned - start, time.process_time() - learned
    if net.edges != edges or (net.topology.diff() <= 0).any():
        raise AssertionError("DEEP R has changed the number of edges, or their order.")
    return {
        "deep_r_65536_resident_gb": resident_gb(),
        "deep_r_65536_rewiring_share": float(np.median(spent[:, 1] / spent.sum(1))),
        "deep_r_65536_step_ms": float(np.median(spent.sum(1))) * 1e3,
        "deep_r_65536_edges": edges,
        "deep_r_65536_dropped_a_step": net.history.dropped / (steps + 3),
    }


class DenseDeepR:
    """DEEP R (Bellec et al. 2017, Algorithm 1) on dense weights with masks, in plain torch.

    Every weight gets its noise, every tensor is of the size of the weight, and nothing is allocated
    twice. ``like`` gives the edges, weights and signs to begin with.
    """

    def __init__(self, model: nn.Sequential, like: rewire.Graph, rate: float = 0.05):
        self.model, self.rate = model, rate
        layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        _give(layers, like)
        self.biases = [layer.bias for layer in layers]
        self.weights = [layer.weight for layer in layers]
        self.masks = [like.mask(i) for i in range(len(layers))]
        self.signs = [torch.where(torch.rand_like(w) < 0.5, -1.0, 1.0) for w in self.weights]
        for w, mask, sign in zip(self.weights, self.masks, self.signs, strict=True):
            sign[mask] = w.detach().sign()[mask]
        self.noise = [torch.empty_like(w) for w in self.weights]

    def __call__(self, x: Tensor, y: Tensor) -> float:
        """One step; its loss."""
        loss = cross_entropy(self.model(x), y)
        loss.backward()
        with torch.no_grad():
            for bias in self.biases:
                bias.sub_(bias.grad, alpha=self.rate)  # type: ignore[arg-type]
            self._walk()
        self.model.zero_grad(set_to_none=False)
        return float(loss.detach())

    def _walk(self) -> None:
        rate, l1, noise = self.rate, 1e-5, 1e-5
        for w, mask, sign, into in zip(
            self.weights, self.masks, self.signs, self.noise, strict=True
        ):
            assert w.grad is not None
            w.sub_(w.grad, alpha=rate).sub_(sign, alpha=rate * l1)
            w.add_(into.normal_(), alpha=rate * noise).mul_(mask)
            dead = torch.mul(w, sign, out=into).lt(0)
            mask.logical_and_(dead.logical_not())
            w.mul_(mask)
            self._wake(mask.view(-1), int(dead.count_nonzero()))

    @staticmethod
    def _wake(mask: Tensor, k: int) -> None:
        """Set ``k`` more places of a flat mask, drawn from those that are not."""
        while k:
            drawn = torch.randint(len(mask), (k,)).unique()
            drawn = drawn[~mask[drawn]]
            mask[drawn] = True
            k -= len(drawn)


def against_dense(hidden: int, repetitions: int) -> Result:
    """Steps of DEEP R at density .01, on dense weights and under our masks, over one on edges."""
    on_edges = deep_r(hidden, 0.01, "sparse", None)
    graph = on_edges.graph
    plain = DenseDeepR(_mlp(hidden), graph)
    masked = deep_r(hidden, 0.01, "masked", graph)

    def stepping(net: rewire.Session) -> Callable[[Tensor, Tensor], float]:
        def step(x: Tensor, y: Tensor) -> float:
            loss = net.learn(x, y)
            net.rewire()
            return loss

        return step

    steps = {"sparse": stepping(on_edges), "masked": stepping(masked), "dense": plain}
    _check_losses({name: step(*digits()()) for name, step in steps.items()})
    batches = {name: digits() for name in steps}
    times = interleaved(
        {name: lambda name=name: steps[name](*batches[name]()) for name in steps},
        repetitions,
        calls=2,  # after an uncounted one: in training no dense step evicts the caches between two
    )
    edges = sum(int(mask.count_nonzero()) for mask in plain.masks)
    if not edges == masked.edges == on_edges.edges == len(graph):
        raise AssertionError(f"{edges}, {masked.edges} and {on_edges.edges} of {len(graph)} edges.")
    return {
        "deep_r_8192_dense_over_sparse": ratio(times, "dense", "sparse"),
        "deep_r_8192_masked_over_sparse": ratio(times, "masked", "sparse"),
        **{f"deep_r_8192_{n}_step_ms": float(np.median(t)) * 1e3 for n, t in times.items()},
    }


def _check_losses(losses: dict[str, float]) -> None:
    """All have made their first step from the same weights on the same batch."""
    if max(losses.values()) - min(losses.values()) > 1e-4 * losses["dense"]:
        raise AssertionError(f"the first losses differ: {losses}.")


def step_slopes(edges: Sequence[int], repetitions: int) -> Result:
    """Milliseconds of a step at each number of edges, and the slope of their logarithms."""
    rules = {"static": rewire.Static(), "deep_r": rewire.DeepR(noise=1e-5)}
    cost: dict[str, list[float]] = {name: [] for name in rules}
    counts, out = [], Result()
    for n in edges:
        nets = {name: _layer(n, rule) for name, rule in rules.items()}
        counts.append(nets["static"].edges)
        calls = {name: _stepping(net) for name, net in nets.items()}
        times = interleaved(calls, repetitions, calls=max(2, 10**5 // n))
        for name in rules:
            cost[name].append(float(np.median(times[name])))
            out[f"step_{name}_1e{round(np.log10(n))}_ms"] = cost[name][-1] * 1e3
    for name, seconds in cost.items():
        slope = np.polyfit(np.log(counts), np.log(seconds), 1)[0]
        out[f"step_slope_{name}"] = float(slope)
    return out


def _layer(edges: int, rule: rewire.Rule) -> rewire.Session:
    side = isqrt(edges * 10)
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(side, side), nn.ReLU(), nn.Linear(side, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return rewire.attach(
        model, optimizer, rule, density=0.1, distribution="uniform", world="sparse"
    )


def _stepping(net: rewire.Session) -> Callable[[], None]:
    g = torch.Generator().manual_seed(0)
    wide = net.graph.projections[0].shape[1]
    x, y = torch.rand(BATCH, wide, generator=g), torch.randint(10, (BATCH,), generator=g)

    def step() -> None:
        net.learn(x, y)
        net.rewire()

    return step


def measure(quick: bool = False) -> Result:
    """Every number; memory first, since its peak stays.

    quick: seconds instead of minutes, on small nets: shows that it runs, measures nothing.
    """
    if native.sparse is None:
        return unmeasured(BARS, f"there is no sparse engine: {native.missing}")
    return {
        **rewiring(*((256, 3) if quick else (65_536, 25))),
        **against_dense(*((128, 2) if quick else (8192, 5))),
        **step_slopes([10**e for e in ((2, 3) if quick else (4, 5, 6, 7))], 2 if quick else 7),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    return command("wide", __doc__, measure, BARS, arguments)


if __name__ == "__main__":
    sys.exit(main())

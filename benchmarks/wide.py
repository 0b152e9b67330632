"""The sparse world as one attaches it: ``python -m benchmarks.wide [--json] [--quick]``.

================================== ==================================================== ======
name                               what it is                                           bar
================================== ==================================================== ======
``deep_r_65536_resident_gb``       most memory that the process has held, 10^9 bytes    1
``deep_r_65536_rewiring_share``    rewiring / the whole step                            .10
``deep_r_8192_masked_over_sparse`` a step under masks / on edges, density .01           100
``step_slope_static``              log time / log edges of a step, 1e4 to 1e7 edges     1.1
``step_slope_deep_r``              the same with DEEP R                                 1.1
================================== ==================================================== ======

DEEP R, SGD, batch 64, mnist5k, MLPs 784-H-H-10 whose layers have density .01, .001 (.01 for 8,192
units) and .1. ``attach`` gets a model on the meta device; a step is ``net.learn`` and
``net.rewire``, rewiring at every one. The masked nets of 8,192 start from the same edges and
weights, and the losses of the first step are compared. The slopes are of one layer of density .1,
as wide as it has to be, and an output layer. Memory includes that of Python and torch.
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

import rewire
from benchmarks.suite import Result, at_least, at_most, command
from benchmarks.timing import interleaved, quiet, ratio
from rewire.experiments import data

BATCH = 64
BARS = {
    "deep_r_65536_resident_gb": at_most(1.0),
    "deep_r_65536_rewiring_share": at_most(0.10),
    "deep_r_8192_masked_over_sparse": at_least(100.0),
    "step_slope_static": at_most(1.1),
    "step_slope_deep_r": at_most(1.1),
}


def deep_r(
    hidden: int, density: float, substrate: Literal["masked", "sparse"], like: rewire.Graph | None
) -> rewire.Session:
    """DEEP R on 784-hidden-hidden-10; ``like`` gives edges and weights to begin with."""
    sizes = [784, hidden, hidden, 10]
    with torch.device("meta" if substrate == "sparse" else "cpu"):
        layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    if like is not None:
        _give(layers, like)
    return rewire.attach(
        model,
        torch.optim.SGD(model.parameters(), lr=0.05),
        rewire.DeepR(l1=1e-5, noise=1e-5),
        distribution={"0.weight": 0.01, "2.weight": density, "4.weight": 0.1},
        initial="random" if like is None else like,
        substrate=substrate,
    )


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


def against_masks(hidden: int, repetitions: int) -> Result:
    """A step of DEEP R at density .01 under masks, dense weights and noise, over one on edges."""
    on_edges = deep_r(hidden, 0.01, "sparse", None)
    masked = deep_r(hidden, 0.01, "masked", on_edges.graph)
    nets, losses = {"sparse": on_edges, "masked": masked}, {}
    for name, net in nets.items():
        losses[name] = net.learn(*digits()())
        net.rewire()
    if abs(losses["sparse"] - losses["masked"]) > 1e-4 * losses["masked"]:
        raise AssertionError(f"the first losses differ: {losses}.")

    def stepping(net: rewire.Session) -> Callable[[], None]:
        batches = digits()

        def step() -> None:
            net.learn(*batches())
            net.rewire()

        return step

    times = interleaved({name: stepping(net) for name, net in nets.items()}, repetitions)
    return {
        "deep_r_8192_masked_over_sparse": ratio(times, "masked", "sparse"),
        **{f"deep_r_8192_{n}_step_ms": float(np.median(t)) * 1e3 for n, t in times.items()},
    }


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
        model, optimizer, rule, density=0.1, distribution="uniform", substrate="sparse"
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
    return {
        **rewiring(*((256, 3) if quick else (65_536, 25))),
        **against_masks(*((128, 2) if quick else (8192, 3))),
        **step_slopes([10**e for e in ((2, 3) if quick else (4, 5, 6, 7))], 2 if quick else 7),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    return command("wide", __doc__, measure, BARS, arguments)


if __name__ == "__main__":
    sys.exit(main())

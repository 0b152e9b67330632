"""How the cost of rewiring grows with the number of edges, and what single selections cost.

Part of ``python -m benchmarks.core``. Updates run in a world that holds nothing but the weights
of the edges there are: what is timed is the rule, the graph and, in a tick, the session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt

import numpy as np
import torch
from torch import Tensor

import rewire
from benchmarks.timing import interleaved, ratio
from rewire.budget import random_graph
from rewire.graph import Graph, Population, Projection, Space
from rewire.rule import births_of
from rewire.select.choose import smallest
from rewire.select.grow import sample_absent
from rewire.signals import blockwise, signal
from rewire.streams import rng_for
from rewire.when import Clock
from rewire.world import World

DENSITY, GROWN = 0.1, 1e-3
RULES: Mapping[str, rewire.Rule] = {
    "deep_r": rewire.DeepR(noise=4e-5),
    "set": rewire.SET(),
    "rigl": rewire.RigL(when=rewire.every(1)),
    "imp": rewire.IMP(rounds=1),
}


class Edges(World):
    """A world of O(edges) memory: the weights lie in the graph, and a step moves none.

    grad: of every possible synapse, (possible,), for rules that ask for growth.
    """

    name = "edges"
    can_skip = True

    def __init__(self, space: Space, weight: Tensor, grad: Tensor | None = None):
        self.space, self.weight, self.grad = space, weight, grad

    def begin(self, graph: Graph) -> None:
        self.weight = graph["weight"]

    def read(self, graph: Graph) -> Graph:
        return graph.with_columns({"weight": self.weight})

    def lr(self, graph: Graph, keys: Tensor | None) -> float:
        return 0.05


def _grad_block(world: Edges, graph: Graph, i: int) -> Tensor:
    assert world.grad is not None
    return world.grad[slice(*graph.space.bounds[i : i + 2])]


@signal("edges", "growth")
@blockwise(_grad_block, magnitude=True)
def _growth(world: Edges, graph: Graph, keys: Tensor) -> Tensor:
    assert world.grad is not None
    return world.grad[keys].abs()


def _layer(possible: int) -> Space:
    side = isqrt(possible)
    layers = [Projection("w", "a", "b", "linear", (possible // side, side))]
    return Space([Population("a", side), Population("b", possible // side)], layers)


def _weights(n: int, scale: float) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(1)) * scale


def selections(possible: int, repetitions: int) -> dict[str, float]:
    """Choosing the smallest 20 % of |weight|, and a thousandth of the absent synapses at density
    .5: the plain torch ways over ours."""
    weight, k = _weights(possible, 1.0), possible // 5
    space = _layer(possible)
    graph = random_graph(space, [space.possible // 2], rng_for(0, "half"))
    mask, grown = graph.mask(0).reshape(-1), int(GROWN * space.possible)
    tick = iter(range(10**6))

    def by_list() -> Tensor:
        absent = mask.logical_not().nonzero().squeeze(1)
        return absent[torch.randperm(len(absent))[:grown]]

    variants: dict[str, Callable[[], Tensor]] = {
        "prune": lambda: smallest(weight, k, magnitude=True),
        "kthvalue": lambda: weight.abs().kthvalue(k).values,
        "grow": lambda: sample_absent(graph, grown, rng_for(next(tick), "grow")),
        "randperm": by_list,
    }
    rows, cut = variants["prune"](), variants["kthvalue"]()
    if len(rows) != k or weight[rows].abs().max() != cut:
        raise AssertionError("the weights pruned are not those up to torch.kthvalue's.")
    added = variants["grow"]()
    if mask[added].any() or len(added.unique()) != grown:
        raise AssertionError("the synapses grown are not absent, or not distinct.")
    times = interleaved(variants, repetitions)
    return {
        "prune_1e7_kthvalue_over_ours": ratio(times, "kthvalue", "prune"),
        "growth_1e7_randperm_over_ours": ratio(times, "randperm", "grow"),
    }


def deep_r_tick(width: int, repetitions: int) -> dict[str, float]:
    """A session's step under DEEP R: 784 - width - width - 10 at densities .01, .001 and .1.

    Beside it: a copy of what an edge's row holds, key, weight and sign.
    """
    sizes = {"in": 784, "h1": width, "h2": width, "out": 10}
    names = list(sizes)
    space = Space(
        [Population(n, s) for n, s in sizes.items()],
        [
            Projection(f"{a}-{b}", a, b, "linear", (sizes[b], sizes[a]))
            for a, b in zip(names, names[1:], strict=False)
        ],
    )
    counts = [max(1, int(d * n)) for d, n in zip((0.01, 0.001, 0.1), space.sizes, strict=True)]
    graph = random_graph(space, counts, rng_for(0, "wide"))
    world = Edges(space, _weights(len(graph), 0.01))
    net = rewire.Session(world, graph, rewire.DeepR(noise=2e-5), span=10**6)
    held = [net.topology.numpy(), world.weight.numpy(), net.graph["sign"].numpy()]
    into = [np.empty_like(a) for a in held]

    def copy() -> None:
        for source, target in zip(held, into, strict=True):
            np.copyto(target, source)

    for _ in range(3):
        net.step()
    before = net.history.dropped
    times = interleaved({"tick": net.step, "copy": copy}, repetitions)
    if len(net.topology) != len(graph) or (net.topology.diff() <= 0).any():
        raise AssertionError("DEEP R has changed the number of edges, or their order.")
    return {
        "deep_r_tick_5e6_edges": float(len(graph)),
        "deep_r_tick_5e6_dropped": (net.history.dropped - before) / (repetitions + 1),
        "deep_r_tick_5e6_ms": float(np.median(times["tick"])) * 1e3,
        "deep_r_tick_5e6_copy_ms": float(np.median(times["copy"])) * 1e3,
        "deep_r_tick_5e6_over_copy": ratio(times, "tick", "copy"),
    }


def update_slopes(edges: list[int], repetitions: int) -> dict[str, float]:
    """Slope of log CPU time over log edges of one update of each rule, its edit applied.

    One layer at density .1; RigL reads a gradient of ten times as many numbers.
    """
    cost: dict[str, list[float]] = {name: [] for name in RULES}
    for n in edges:
        space = _layer(round(n / DENSITY))
        graph = random_graph(space, [n], rng_for(0, "slope"))
        grad = _weights(space.possible, 1.0)
        calls = {name: _update(rule, graph, grad) for name, rule in RULES.items()}
        times = interleaved(calls, repetitions, calls=max(1, 10**5 // n))
        for name in RULES:
            cost[name].append(float(np.median(times[name])))
    out = {}
    for name, seconds in cost.items():
        out[f"update_slope_{name}"] = float(np.polyfit(np.log(edges), np.log(seconds), 1)[0])
        out[f"update_ns_an_edge_{name}"] = seconds[-1] / edges[-1] * 1e9
    return out


def _update(rule: rewire.Rule, graph: Graph, grad: Tensor) -> Callable[[], Graph]:
    """One update of the rule, always from the same graph."""
    world = Edges(graph.space, _weights(len(graph), 0.01), grad)
    shown = world.read(graph)
    for name, birth in births_of(rule, 0).items():
        shown = shown.with_birth(name, birth)
    signals = world.signals(shown)
    edit, state = rule.start(shown, signals, rng_for(0, "start"))
    shown = shown.apply(edit)
    tick = iter(range(10**6))

    def update() -> Graph:
        t = next(tick)
        rng = rng_for(0, rule.name, t)
        edit, _ = rule.update(shown, signals, state, rng, Clock(1, 10**6, 0, t))
        return shown.apply(edit)

    return update

"""Small random graphs of every kind that measures meet, as strategies of hypothesis.

All have weights, signed or positive. Layers are linear, linear with multapses, or convolutions
(several taps join a pair); some projections are empty, and units without edges are common.
"""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st

from rewire.graph import Graph, Population, Projection, Space, square_sheet
from rewire.graph.wiring import Joint, Link, Wiring

SMALL = st.integers(1, 6)
KINDS = ("linear", "linear", "multapses", "conv")


def projection(name: str, source: Population, target: Population, kind: str) -> Projection:
    shape = (target.size, source.size, *((2, 2) if kind == "conv" else ()))
    stored = "conv" if kind == "conv" else "linear"
    return Projection(name, source.name, target.name, stored, shape, multapses=kind == "multapses")


def with_edges(draw: st.DrawFn, space: Space) -> Graph:
    """A graph of the space: each projection at a density of its own, weights of one sign or two."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    signed = draw(st.booleans())
    keys = []
    for i, p in enumerate(space.projections):
        density = draw(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
        chosen = np.flatnonzero(rng.random(p.size) < density) + space.bounds[i]
        if p.multapses:
            chosen = np.sort(np.concatenate([chosen, chosen[rng.random(len(chosen)) < 0.5]]))
        keys.append(chosen)
    graph = Graph(space, torch.from_numpy(np.concatenate(keys)))
    # steps of 1/4: sums are exact, and ties are common
    weights = (
        rng.integers(1, 9, len(graph)) / 4 * (rng.choice([-1, 1], len(graph)) if signed else 1)
    )
    return graph.with_columns({"weight": torch.from_numpy(weights)})


@st.composite
def layered(draw: st.DrawFn, pieces: bool = True, units: st.SearchStrategy[int] = SMALL) -> Graph:
    """A chain of populations; with ``pieces`` sometimes another chain that nothing joins to it."""
    sizes = draw(st.lists(units, min_size=2, max_size=4))
    populations = [Population(f"layer{i}", size) for i, size in enumerate(sizes)]
    ends = list(zip(populations, populations[1:], strict=False))
    if pieces and draw(st.booleans()):
        other = [Population("left", draw(st.integers(1, 4))), Population("right", 3)]
        populations += other
        ends.append((other[0], other[1]))
    projections = [
        projection(f"fc{i}", source, target, draw(st.sampled_from(KINDS)))
        for i, (source, target) in enumerate(ends)
    ]
    return with_edges(draw, Space(populations, projections))


@st.composite
def recurrent(draw: st.DrawFn) -> Graph:
    """An input, a sheet of units that project to themselves, and another sheet, both ways."""
    sizes = {name: draw(st.integers(1, 6)) for name in ("input", "sheet", "other")}
    populations = {
        name: Population(name, size, None if name == "input" else square_sheet(size))
        for name, size in sizes.items()
    }
    ends = [("input", "sheet"), ("sheet", "sheet"), ("sheet", "other"), ("other", "sheet")]
    projections = [
        projection(f"{s}_{t}", populations[s], populations[t], draw(st.sampled_from(KINDS[:3])))
        for s, t in ends[: draw(st.integers(2, 4))]
    ]
    return with_edges(draw, Space(list(populations.values()), projections))


@st.composite
def wired(draw: st.DrawFn) -> Graph:
    """Layers with a residual sum, a flattening and a population that repeats another.

    input -> first -> (sum of input and first) -> flat -> output, and first -> again -> output.
    """
    width = draw(st.integers(1, 4))
    sizes = {"input": width, "first": width, "again": width, "flat": 2 * width}
    populations = {name: Population(name, size) for name, size in sizes.items()}
    populations["output"] = Population("output", draw(st.integers(1, 4)))
    ends = [("input", "first"), ("flat", "output"), ("again", "output")]
    projections = [
        projection(f"{s}_{t}", populations[s], populations[t], draw(st.sampled_from(KINDS)))
        for s, t in ends
    ]
    unit, half = np.arange(width), np.arange(2 * width)
    links = [
        Link("first", "again", unit, unit),
        Link("input", "sum", unit, unit),
        Link("first", "sum", unit, unit),
        Link("sum", "flat", half // 2, half),
    ]
    if draw(st.booleans()):  # a connection past everything
        populations["output"] = Population("output", width)
        links.append(Link("input", "output", unit, unit))
        projections = [p for p in projections if p.target != "output"]
    wiring = Wiring([Joint("sum", width)], links, ["input"], ["output"])
    return with_edges(draw, Space(list(populations.values()), projections, wiring=wiring))


def with_ends() -> st.SearchStrategy[Graph]:
    """Networks with inputs and outputs: layered, wired, and recurrent ones."""
    ended = recurrent().filter(lambda graph: all(graph.network.ends))
    return layered(pieces=False) | wired() | ended


def fitting(needs: frozenset[str]) -> st.SearchStrategy[Graph]:
    """Graphs that have what a measure needs."""
    if needs & {"recurrent", "positions"}:
        return recurrent()
    return layered(pieces="joined" not in needs)


def permuted(graph: Graph, rng: np.random.Generator) -> Graph:
    """The same graph with the units of each population numbered in another order.

    Those of populations that links join keep their numbers: a link from i to i is no other one.
    """
    wiring = graph.space.wiring
    linked = {name for k in (wiring.links if wiring else ()) for name in (k.source, k.target)}
    order = {  # old number -> new
        p.name: np.arange(p.size) if p.name in linked else rng.permutation(p.size)
        for p in graph.populations
    }
    populations = [
        Population(p.name, p.size, None if p.positions is None else p.positions[np.argsort(o)])
        for p, o in zip(graph.populations, order.values(), strict=True)
    ]
    space = Space(populations, graph.projections, wiring=wiring)
    which, pre, post = (x.numpy() for x in graph.locate())
    keys = np.empty(len(graph), np.int64)
    for row in range(len(graph)):
        i = which[row]
        p = graph.projections[i]
        tap = int(graph.keys[row]) - space.bounds[i] - p.key_of(pre[row], post[row])
        local = p.key_of(order[p.source][pre[row]], order[p.target][post[row]], tap)
        keys[row] = local + space.bounds[i]
    by_key = np.argsort(keys, kind="stable")
    columns = {name: column[by_key] for name, column in graph.columns.items()}
    return Graph(space, torch.from_numpy(keys[by_key]), columns)


def _two_pieces() -> Graph:
    populations = [Population(name, 2) for name in "abcd"]
    first, second = populations[:2], populations[2:]
    projections = [projection("ab", *first, "linear"), projection("cd", *second, "linear")]
    full = Graph.full(Space(populations, projections))
    return full.with_columns({"weight": torch.ones(len(full))})


def _one_sheet(positions: bool, weights: bool, recurrent: bool) -> Graph:
    place = square_sheet(4) if positions else None
    sheet, other = Population("sheet", 4, place), Population("other", 4, place)
    ends = (sheet, sheet if recurrent else other)
    full = Graph.full(Space([sheet, other], [projection("p", *ends, "linear")]))
    return full.with_columns({"weight": torch.ones(len(full))}) if weights else full


def _ring(ends: bool) -> Graph:
    names = ["a", "b", "end"] if ends else ["a", "b"]
    a, b, *end = (Population(name, 2) for name in names)
    projections = [projection("ab", a, b, "linear"), projection("ba", b, a, "linear")]
    wiring = None
    if ends:
        projections.append(projection("out", b, end[0], "linear"))
        wiring = Wiring(inputs=["a"], outputs=["end"])
    full = Graph.full(Space([a, b, *end], projections, wiring=wiring))
    return full.with_columns({"weight": torch.ones(len(full))})


#: A graph that lacks one thing that a measure may need, by the need, and has all others.
LACKING = {
    "joined": _two_pieces(),
    "weight": _one_sheet(positions=True, weights=False, recurrent=True),
    "positions": _one_sheet(positions=False, weights=True, recurrent=True),
    "recurrent": _one_sheet(positions=True, weights=True, recurrent=False),
    "ends": _ring(ends=False),
    "acyclic": _ring(ends=True),
}

"""Random networks: bytes counted row by row in plain loops, and cores that hold their limits."""

from collections import Counter
from math import ceil, log2

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewire.graph import Graph, Population, Projection, Space
from rewire.hardware import GENERIC, LOIHI1, SPINNAKER1, SPINNAKER1_STDP, fit
from rewire.hardware.placing import Placement

SMALL = settings(max_examples=20, deadline=None)


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Chains and loops of up to four populations, some projections with multapses."""
    sizes = draw(st.lists(st.integers(1, 90), min_size=2, max_size=3))
    slots = draw(st.sampled_from([None, None, 200]))
    populations = [Population(f"p{i}", n, slots=slots if i else None) for i, n in enumerate(sizes)]
    ends = [(i, i + 1) for i in range(len(sizes) - 1)]
    if draw(st.booleans()):
        ends.append((len(sizes) - 1, len(sizes) - 1))
    projections = [
        Projection(f"w{i}", f"p{a}", f"p{b}", "linear", (sizes[b], sizes[a]),
                   multapses=draw(st.booleans()))
        for i, (a, b) in enumerate(ends)
    ]  # fmt: skip
    space = Space(populations, projections)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    keys = []
    for p, first in zip(projections, space.bounds, strict=False):
        some = np.flatnonzero(rng.random(p.size) < draw(st.sampled_from([0, 0.02, 0.5, 1])))
        most = 0.4 if p.multapses and slots is None else 0
        again = some[rng.random(len(some)) < most]
        keys.append(np.sort(np.concatenate([some, again])) + first)
    return Graph(space, torch.from_numpy(np.concatenate(keys)))


def rows(graph: Graph, i: int, per_core: int):
    """(first neuron of a core, neurons on it, synapses by presynaptic unit) of a projection."""
    p = graph.projections[i]
    n_post, n_pre = p.shape
    _, pre, post = (x[graph.rows(i)].tolist() for x in graph.locate())
    for begin in range(0, n_post, per_core):
        end = min(n_post, begin + per_core)
        counts = Counter(a for a, b in zip(pre, post, strict=True) if begin <= b < end)
        yield end - begin, n_pre, counts


@SMALL
@given(networks(), st.sampled_from([7, 64, 256]))
def test_rows_of_spinnaker(graph, per_core):
    for target, words in (
        (SPINNAKER1, lambda n: 3 + n),
        (SPINNAKER1_STDP, lambda n: 3 + 2 + 2 * ceil(n / 2)),
    ):
        limits = {"neurons_per_core": per_core, "row_bytes": None}
        placed = fit(graph, target.with_limits(limits))
        for i, p in enumerate(placed.projections):
            slots = graph.space.population[p.target].slots or 0
            total = 0
            for _, n_pre, counts in rows(graph, i, per_core):
                longest = max([*counts.values(), slots])
                total += ceil(n_pre * 4 * words(longest) / 16) * 16 if longest else 0
            assert p.bytes == total
            assert p.bytes >= 4 * p.synapses + 12 * (p.synapses > 0) + p.padding


@SMALL
@given(networks(), st.sampled_from([1, 7, 80]))
def test_axons_of_loihi_1(graph, per_core):
    limits = {"neurons_per_core": per_core, "core_bytes": None, "output_axons": None}
    placed = fit(graph, LOIHI1.with_limits(limits))
    for i, p in enumerate(placed.projections):
        total = 0
        for neurons, _, counts in rows(graph, i, per_core):
            multiple = graph.projections[i].multapses
            dense = not multiple and all(n == neurons for n in counts.values())
            index = 0 if dense else max(6, ceil(log2(neurons)))
            for n in counts.values():
                groups = [min(64, n - first) for first in range(0, n, 64)]
                total += sum(ceil((10 + k * (8 + index)) / 64) * 64 for k in groups)
        assert p.bytes == total / 8


LIMITS = {
    "neurons_per_core": st.none() | st.integers(1, 100),
    "cores_per_chip": st.none() | st.integers(1, 5),
    "neurons_per_chip": st.none() | st.integers(1, 200),
    "synapses_per_chip": st.none() | st.integers(1, 5000),
    "core_bytes": st.none() | st.integers(1, 5000),
    "chip_bytes": st.none() | st.integers(1, 9000),
    "row_bytes": st.none() | st.integers(1, 300),
    "input_axons": st.none() | st.integers(1, 90),
    "output_axons": st.none() | st.integers(1, 90),
    "padded": st.booleans(),
    "header_bits": st.integers(0, 64),
}


@SMALL
@given(networks(), st.fixed_dictionaries(LIMITS))
def test_every_core_holds_its_limits_or_one_neuron(graph, limits):
    target = GENERIC.with_limits(limits)
    placement = Placement(graph, target)
    for p in graph.populations:
        cores = [core for core in placement.cores if core.population == p.name]
        ends = [0, *(core.end for core in cores)]
        assert [core.begin for core in cores] == ends[:-1]
        assert ends[-1] == (p.size if graph.space.into[p.name] else 0)
    for core in placement.cores:
        assert not core.over(target) or core.neurons == 1
        assert target.neurons_per_core is None or core.neurons <= target.neurons_per_core
    placed = fit(graph, target)
    broken = {o.limit for o in placed.overflows}
    assert broken == {name for core in placement.cores for name, *_ in core.over(target)}
    assert sum(core.synapses for core in placement.cores) == len(graph)


@SMALL
@given(networks(), st.integers(2, 90))
def test_axons_that_leave_a_core_are_those_of_the_final_placement(graph, most):
    placement = Placement(graph, GENERIC.with_limits({"output_axons": most, "input_axons": 40}))
    ends = {p.name: [] for p in graph.populations}
    for core in placement.cores:
        ends[core.population].append(core.end)
    which, pre, post = (x.tolist() for x in graph.locate())
    reached = {
        (i, a, int(np.searchsorted(ends[graph.projections[i].target], b, "right")))
        for i, a, b in zip(which, pre, post, strict=True)
    }
    for core in placement.cores:
        axons = sum(
            core.begin <= a < core.end and graph.projections[i].source == core.population
            for i, a, _ in reached
        )
        assert core.output_axons == axons

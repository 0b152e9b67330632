"""Rules of a constant and of a falling number of edges under weights meant to break them."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import rewire
from rewire import when
from rewire.graph import Graph, Population, Projection, Space

SPACE = Space(
    [Population("a", 8), Population("b", 6), Population("c", 4)],
    [Projection("ab", "a", "b", "linear", (6, 8)), Projection("bc", "b", "c", "linear", (4, 6))],
)
SIZES, STEPS = SPACE.sizes, 6
EACH = when.every(1)
EXACT = {  # per projection
    "set": rewire.SET(fraction=0.5, when=EACH),
    "set-magnitude": rewire.SET(fraction=0.5, drop="magnitude", when=EACH),
    "rigl": rewire.RigL(fraction=0.5, when=EACH),
    "mest": rewire.MEST(fraction=0.5, when=EACH),
    "random-rewiring": rewire.RandomRewiring(fraction=0.5, when=EACH),
    "deep-r": rewire.DeepR(noise=0.5, l1=0.1),
    "age-limit": rewire.AgeLimit(when=EACH),
}
WHOLE = {  # over all projections
    "deep-r-global": rewire.DeepR(noise=0.5, l1=0.1, scope="global"),
    "dsr": rewire.DSR(threshold=0.1, when=EACH),
    "snfs": rewire.SNFS(rewires=EACH),
}
FREE = {  # legal, and reported
    "soft-deep-r": rewire.SoftDeepR(noise=0.5, l1=0.1, theta_min=-0.5),
    "synaptic-sampling": rewire.SynapticSampling(prior=0.3),
    "homeostatic": rewire.HomeostaticGrowth(curve="linear", growth=0.5, tau=2.0, when=EACH),
    "stdp-pruning": rewire.STDPPruning(threshold=0.5, to=0.1, when=EACH),
    "plasticity": rewire.StructuralPlasticity(partner="uniform", attempts=0.5, initial="given"),
}
FALLING = {
    "gmp": rewire.GMP(to=0.2, when=when.every(1, stop=1.0)),
    "gmp-global": rewire.GMP(to=0.2, when=when.every(1, stop=1.0), scope="global"),
    "granet": rewire.GraNet(to=0.2, when=when.every(1, stop=1.0)),
}

NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-30, -1e30, 3.4e38, 0.5])
LAYER = st.one_of(
    st.lists(NUMBERS, min_size=48, max_size=48),  # ties, zeros, the largest and the least
    st.just([0.0] * 48),  # a layer that is all equal
    st.lists(st.floats(-2, 2, width=32), min_size=48, max_size=48),
)
COUNTS = st.tuples(
    st.sampled_from([1, 2, 17, 47, 48]), st.sampled_from([1, 3, 12, 23, 24])
)  # one edge left, full, and between


def session(rule, weights, counts, seed):
    rng = np.random.default_rng(seed)
    keys = np.concatenate([
        np.sort(rng.choice(n, k, replace=False)) + low
        for n, k, low in zip(SIZES, counts, SPACE.bounds[:-1], strict=True)
    ])  # fmt: skip
    values = np.concatenate([weights[0], weights[1][:24]]).astype(np.float32)
    graph = Graph(SPACE, torch.from_numpy(keys), {"weight": torch.from_numpy(values[keys])})
    world = rewire.Bare(
        SPACE,
        pairs={"grad": lambda k: (k % 5).float() - 2, "growth": lambda k: (k % 3).float()},
        nodes={"activity": lambda p: torch.linspace(0, 1, SPACE.population[p].size)},
    )
    return rewire.Session(world, graph, rule, span=STEPS, seed=seed)


def driven(net):
    """Counts after each step; every edit is legal, and the log replays."""
    counts_at = []
    for _ in range(STEPS):
        net.step()
        keys = net.topology
        assert (keys.diff() > 0).all() and (not len(keys) or keys[-1] < SPACE.possible)
        assert not net.graph["weight"].isnan().any()
        counts_at.append(net.counts)
    assert net.history.replay(net.graph).digest() == net.graph.digest()
    return counts_at


@pytest.mark.parametrize("name", [*EXACT, *WHOLE, *FREE])
@given(first=LAYER, second=LAYER, counts=COUNTS, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_counts_hold_whatever_the_weights(name, first, second, counts, seed):
    rule = {**EXACT, **WHOLE, **FREE}[name]
    for now in driven(session(rule, (first, second), counts, seed)):
        if name in EXACT:
            assert now == list(counts)
        elif name in WHOLE:
            assert sum(now) == sum(counts)
        elif name == "plasticity":
            assert sum(now) <= sum(counts)
        elif name == "stdp-pruning":
            assert min(sum(counts), round(0.1 * SPACE.possible)) <= sum(now) <= sum(counts)


@pytest.mark.parametrize("name", FALLING)
@given(first=LAYER, second=LAYER, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_falling_counts_end_exactly_whatever_the_weights(name, first, second, seed):
    totals = [sum(c) for c in driven(session(FALLING[name], (first, second), SIZES, seed))]
    assert totals == sorted(totals, reverse=True) and totals[-1] == round(0.2 * SPACE.possible)


@pytest.mark.parametrize("name", ["set", "set-magnitude", "rigl", "dsr", "gmp", "stdp-pruning"])
def test_weights_that_are_not_numbers_are_named(name):
    rule = {**EXACT, **WHOLE, **FREE, **FALLING}[name]
    net = session(rule, ([float("nan")] * 48, [1.0] * 48), (48, 24), 0)
    with pytest.raises(ValueError, match="NaN|nan"):
        for _ in range(STEPS):
            net.step()
    assert net.edges == 72  # nothing was lost

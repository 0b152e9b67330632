"""Rules whose edges fall silent, and N of M, on adversarial weights: ties, zeros, NaN, extremes."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rewire
from rewire.graph import Graph, Population, Projection, Space
from rewire.rule import births_of
from rewire.rules.shared.n_of_m import chosen
from rewire.rules.shared.silencing import FAINTEST
from rewire.when import Clock

SPACE = Space(
    [Population("a", 6), Population("b", 5)],
    [
        Projection("ff", "a", "b", "linear", (5, 6)),
        Projection("conv", "b", "a", "conv", (6, 5, 3)),
        Projection("table", "a", "b", "embedding", (6, 5)),
    ],
)
SIZE = SPACE.possible
NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1e-38, 1e-45, -1e-45, 1e30, 3.0])


@st.composite
def weights(draw):
    """Few different numbers, one layer all equal, all zero, or numbers of every size."""
    kind = draw(st.sampled_from(["ties", "equal layer", "zeros", "any"]))
    if kind == "zeros":
        return torch.zeros(SIZE)
    if kind == "ties":
        return torch.tensor(draw(st.lists(NUMBERS, min_size=SIZE, max_size=SIZE)))
    seed = draw(st.integers(0, 2**16))
    drawn = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
    if kind == "equal layer":
        i = draw(st.integers(0, 2))
        drawn[SPACE.bounds[i] : SPACE.bounds[i + 1]] = draw(NUMBERS)
    return drawn


class Given:
    """Signals of which the gradient is given."""

    def __init__(self, grad):
        self.grad = grad

    def pair(self, name, keys):
        return self.grad[keys]

    def lr(self, keys):
        return 0.1


def run(rule, weight, grad=None, ticks=3, span=3):
    """The graphs that a rule makes: at the start and after each of a few ticks."""
    graph = Graph.full(SPACE).with_columns({"weight": weight})
    for name, birth in {"weight": 0.0, **births_of(rule, 0)}.items():
        graph = graph.with_birth(name, birth)
    signals = Given(torch.zeros(SIZE) if grad is None else grad)
    rng = rewire.rng_for(0, "test")
    edit, state = rule.start(graph, signals, rng)
    graph = graph.apply(edit)
    out = [graph]
    for step in range(1, ticks + 1):
        edit, state = rule.update(graph, signals, state, rng, Clock(step, span, 0, step))
        graph = graph.apply(edit)
        out.append(graph)
    return out


EXACT = {
    "edge-popup": lambda **k: rewire.EdgePopup(**k),
    "edge-popup-given": lambda **k: rewire.EdgePopup(weights="given", ranks="value", **k),
    "top-kast": lambda **k: rewire.TopKAST(**k),
}
FALLING = {
    "soft": lambda **k: rewire.SoftThreshold(until=1.0, **k),
    "movement": lambda **k: rewire.MovementPruning(until=1.0, **k),
    "continuous": lambda **k: rewire.ContinuousSparsification(until=1.0, initial=3.0, **k),
    "power": lambda **k: rewire.Powerpropagation(until=1.0, **k),
}
LIVE = st.integers(3, SIZE)  # one edge left in each layer, up to all of them


@pytest.mark.parametrize(("rule", "scope"), [*product([*EXACT, *FALLING], ["layer", "global"])])
@given(weight=weights(), slope=weights(), live=LIVE)
def test_exactly_as_many_are_live_as_the_budget_says(rule, scope, weight, slope, live):
    make = EXACT.get(rule) or FALLING[rule]
    graphs = run(make(to=live / SIZE, scope=scope), weight, slope.clamp(-10, 10))
    for graph in graphs[1:] if rule in FALLING else graphs:
        counts, gain = graph.live_counts(), graph["gain"]
        assert torch.isfinite(gain).all() and gain.min() >= 0
        assert gain.max() <= 1 or "slope" in graph.columns  # a gain that follows the weight
        assert scope == "global" or min(counts) >= 1
        if rule in EXACT:
            assert sum(counts) == live
    assert sum(graphs[-1].live_counts()) == live


@given(weight=weights(), live=LIVE)
def test_strs_floor_holds_exactly_and_no_gain_is_wild(weight, live):
    for graph in run(rewire.STR(to=live / SIZE, initial=3.0), weight):
        above = int((weight.abs() > torch.sigmoid(torch.tensor(3.0))).sum())
        assert sum(graph.live_counts()) >= live
        if above < live:
            assert sum(graph.live_counts()) == live
        gain = graph["gain"]
        assert torch.isfinite(gain).all() and gain.min() >= 0 and gain.max() <= 1
        assert gain[gain != 0].min() >= FAINTEST


@given(weight=weights(), live=LIVE)
def test_a_soft_threshold_is_a_shrinkage(weight, live):
    """No carried weight is larger than the weight, or of another sign; larger ones carry more."""
    graph = run(rewire.SoftThreshold(to=live / SIZE, scope="global", until=1.0), weight)[-1]
    carried = weight * graph["gain"]
    assert (carried.abs() <= weight.abs()).all() and (carried * weight >= 0).all()
    order = weight.abs().argsort(stable=True)
    sizes, room = carried.abs()[order], 4 * FAINTEST * weight.abs()[order]  # of ties, some live
    assert (sizes.diff() >= -room[1:]).all()


@given(weight=weights(), live=LIVE, threshold=st.sampled_from([None, 1e-3, 0.7, 50.0]))
def test_stds_ends_at_its_count_and_above_it_under_a_threshold(weight, live, threshold):
    graphs = run(rewire.STDS(to=live / SIZE, threshold=threshold), weight)
    for graph in graphs:
        carried = weight * graph["gain"]
        assert (carried.abs() <= weight.abs()).all() and sum(graph.live_counts()) >= live
    above = 0 if threshold is None else int((weight.abs() > threshold).sum())
    assert sum(graphs[-1].live_counts()) == max(live, above)


@given(weight=weights(), alpha=st.sampled_from([1e-3, 0.1, 5.0]))
def test_grad_rs_links_keep_their_sign_whatever_the_weights(weight, alpha):
    graphs = run(rewire.GradR(to=0.1, alpha=alpha), weight)
    sign = graphs[0]["sign"]
    assert (sign.abs() == 1).all()
    for graph in graphs:
        assert torch.equal(graph["sign"], sign)
        carried = graph["weight"] * graph["gain"]
        assert (carried * sign >= 0).all()
        assert torch.equal(graph["gain"] != 0, graph["weight"] * sign > 0)


@given(weight=weights(), n=st.integers(1, 4), more=st.integers(0, 4), few=st.booleans())
def test_n_of_m_keeps_the_n_largest_of_every_group_and_no_other(weight, n, more, few):
    m = n + more
    rule = rewire.NM(n=n, m=m, undivided="dense")
    graph = Graph.full(SPACE) if not few else Graph(SPACE, torch.arange(0, SIZE, 2))
    graph = graph.with_columns({"weight": weight[graph.keys]})
    live = set(graph.keys[chosen(rule, graph)].tolist())
    present = set(graph.keys.tolist())
    expected = set()
    for p, offset in zip(SPACE.projections, SPACE.bounds, strict=False):
        axis = p.input_axis
        keys = np.moveaxis(np.arange(p.size).reshape(p.shape) + offset, axis, -1)
        if keys.shape[-1] % m:  # left whole
            expected |= present & set(keys.ravel().tolist())
            continue
        for row in keys.reshape(-1, keys.shape[-1]).tolist():
            for at in range(0, len(row), m):
                group = [key for key in row[at : at + m] if key in present]
                group.sort(key=lambda key: (-abs(float(weight[key])), key))
                expected |= set(group[:n])
    assert live == expected


@given(weight=weights(), live=st.integers(1, SIZE), scope=st.sampled_from(["layer", "global"]))
def test_a_supermask_and_ac_dc_drop_to_exactly_their_count(weight, live, scope):
    if scope == "layer" and live < 3:
        live = 3
    for criterion in rewire.Supermask.__dataclass_fields__["criterion"].type.split('"')[1::2]:
        rule = rewire.Supermask(to=live / SIZE, scope=scope, criterion=criterion)
        assert len(run(rule, weight, ticks=2)[-1]) == live
    rule = rewire.ACDC(to=live / SIZE, scope=scope, when=rewire.every(1))
    sizes = [len(graph) for graph in run(rule, weight)]
    assert sizes == [SIZE, live, SIZE, live]


RANKING = [
    rewire.TopKAST(to=0.2), rewire.SoftThreshold(to=0.2),
    rewire.SRSTE(m=3, undivided="dense"), rewire.NM(m=3, undivided="dense"),
    rewire.Supermask(to=0.2), rewire.ACDC(to=0.2, when=rewire.every(1)),
    rewire.STR(to=0.2, initial=9.0),
]  # fmt: skip


@pytest.mark.parametrize("rule", RANKING, ids=lambda rule: rule.name)
def test_a_lost_number_is_refused_by_name(rule):
    weight = torch.ones(SIZE)
    weight[17] = torch.nan
    with pytest.raises(ValueError, match=rf"{rule.name}'s \S.* is NaN at 1 of"):
        run(rule, weight)


@pytest.mark.parametrize("rule", [rewire.EdgePopup(to=0.2), rewire.MovementPruning(to=0.2)])
def test_a_lost_gradient_is_refused_by_name(rule):
    grad = torch.ones(SIZE)
    grad[3] = torch.nan
    with pytest.raises(ValueError, match=f"{rule.name}'s score is NaN at 1 of"):
        run(rule, torch.ones(SIZE), grad)


def test_densities_that_a_graph_cannot_have_are_refused():
    for rule in (rewire.TopKAST, rewire.EdgePopup, rewire.Supermask, rewire.ACDC):
        with pytest.raises(ValueError, match=r"density 0\.01 of"):
            run(rule(to=0.01, scope="layer"), torch.ones(SIZE))
        with pytest.raises(ValueError, match="needs the density"):
            run(rule(), torch.ones(SIZE))
        with pytest.raises(ValueError, match=r"density in \(0, 1\], got 1\.5"):
            rule(to=1.5)
    for make in (rewire.NM, rewire.SRSTE):
        with pytest.raises(ValueError, match="1 <= n <= m; got n=3, m=2"):
            make(n=3, m=2)
    with pytest.raises(ValueError, match=r"density is in \(0, 0\.5\], got 0\.6"):
        rewire.GradR(to=0.6)
    with pytest.raises(ValueError, match="more=-1"):
        rewire.TopKAST(more=-1)

"""Null models keep what they say, and are uniform over all that is left."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rewire import nulls
from rewire.graph import Graph, Population, Projection, Space, square_sheet
from rewire.graph.incidence import Incidence
from rewire.kernels import curveball
from rewire.limits import Distance as DistanceLimit
from rewire.limits import FanIn, FanOut, limited
from rewire.nulls import Counts, Degrees, Distance, Layers, Start

# kind, shape, groups, units before and after
KINDS = [
    ("linear", (5, 7), 1, 7, 5),
    ("embedding", (6, 4), 1, 6, 4),
    ("conv", (6, 2, 2, 2), 1, 2, 6),
    ("conv", (6, 2, 3), 3, 6, 6),
    ("conv_transpose", (4, 3, 2), 2, 4, 6),
    ("rnn", (12, 4), 4, 4, 3),
    ("attention", (9, 5), 3, 5, 3),
    ("stacked", (2, 4, 3), 2, 6, 8),
    ("stacked_transposed", (2, 3, 4), 2, 6, 8),
]


def one(kind, shape, groups, before, after, multapses=False):
    populations = [Population("a", before), Population("b", after)]
    return Space(populations, [Projection("p", "a", "b", kind, shape, multapses, groups)])


def filled(space, density, seed=0):
    rng = np.random.default_rng(seed)
    keys = np.flatnonzero(rng.random(space.possible) < density)
    weight = torch.from_numpy(rng.standard_normal(len(keys)))
    return Graph(space, torch.from_numpy(keys), {"weight": weight})


def recurrent(n=6):
    return Space([Population("a", n)], [Projection("p", "a", "a", "linear", (n, n))])


def layers(limits=()):
    space = Space(
        [Population("in", 12), Population("hidden", 9), Population("out", 4)],
        [
            Projection("fc1", "in", "hidden", "linear", (9, 12)),
            Projection("fc2", "hidden", "out", "linear", (4, 9)),
            Projection("skip", "in", "out", "linear", (4, 12)),
        ],
    )
    return limited(space, limits)


def sheet(n=16):
    a, b = Population("a", n, square_sheet(n)), Population("b", n, square_sheet(n))
    flat = Population("flat", 5)
    return Space(
        [a, b, flat],
        [
            Projection("p", "a", "b", "linear", (n, n)),
            Projection("within", "b", "b", "linear", (n, n)),
            Projection("out", "b", "flat", "linear", (5, n)),
        ],
    )


def degrees_of(graph):
    """Edges of each unit in each projection, both sides, and of each parallel synapse."""
    out = []
    for i, p in enumerate(graph.projections):
        incidence = Incidence.of(p)
        cells = incidence.cells(graph.local(i).numpy())
        row, column = np.divmod(cells, incidence.width)
        column += row // incidence.rows * incidence.width
        out += [np.bincount(row, minlength=incidence.blocks * incidence.rows).tolist()]
        out += [np.bincount(column, minlength=incidence.blocks * incidence.width).tolist()]
        _, pre, post = (x[graph.rows(i)] for x in graph.locate())
        out += [torch.bincount(pre).tolist(), torch.bincount(post).tolist()]
    return out


# -- a projection as a matrix ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k[0]} {k[2]}")
def test_cells_are_a_row_for_each_unit_and_a_column_for_one_unit_alone(kind):
    space = one(*kind)
    p = space.projections[0]
    incidence, local = Incidence.of(p), np.arange(p.size)
    cells = incidence.cells(local)
    assert sorted(cells.tolist()) == local.tolist()
    assert incidence.local(cells).tolist() == local.tolist()
    pre, post = (x.numpy() for x in p.locate(torch.from_numpy(local)))
    row, column = np.divmod(cells, incidence.width)
    assert row.tolist() == post.tolist()
    column += row // incidence.rows * incidence.width
    sources = {c: set(pre[column == c].tolist()) for c in column.tolist()}
    assert all(len(units) == 1 for units in sources.values())


# -- what is kept ----------------------------------------------------------------------------------


@given(
    kind=st.sampled_from([*KINDS, None]),
    density=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_degrees_keeps_the_edges_of_every_unit_in_every_kind(kind, density, seed):
    graph = filled(recurrent() if kind is None else one(*kind), density, seed)
    drawn = Degrees().draw(graph, np.random.default_rng(seed))
    assert degrees_of(drawn) == degrees_of(graph)
    assert (drawn.keys.diff() > 0).all()
    assert sorted(drawn["weight"].tolist()) == sorted(graph["weight"].tolist())


@given(density=st.floats(0, 1), seed=st.integers(0, 99))
def test_counts_and_layers_keep_their_numbers_and_each_projections_weights(density, seed):
    graph, rng = filled(layers(), density, seed), np.random.default_rng(seed)
    drawn = Counts().draw(graph, rng)
    assert drawn.counts().tolist() == graph.counts().tolist()
    for i in range(3):
        before, after = (sorted(g["weight"][g.rows(i)].tolist()) for g in (graph, drawn))
        assert after == before
    dealt = Layers().draw(graph, rng)
    assert len(dealt) == len(graph)
    assert sorted(dealt["weight"].tolist()) == sorted(graph["weight"].tolist())


def test_layers_deals_every_order_of_the_densities():
    space = layers()
    keys = np.concatenate([np.arange(54), 108 + np.arange(9), 144 + np.arange(6)])
    graph = Graph(space, torch.from_numpy(keys))  # densities 1/2, 1/4, 1/8
    rng = np.random.default_rng(0)
    drawn = {tuple(Layers().draw(graph, rng).counts().tolist()) for _ in range(200)}
    assert len(drawn) == 6
    assert (54, 9, 6) in drawn
    assert all(sum(counts) == 69 for counts in drawn)


@given(density=st.floats(0, 1), bins=st.integers(1, 30), seed=st.integers(0, 99))
def test_distance_keeps_the_histogram(density, bins, seed):
    graph = filled(sheet(), density, seed)
    drawn = Distance(bins=bins).draw(graph, np.random.default_rng(seed))
    assert drawn.counts().tolist() == graph.counts().tolist()
    for i in (0, 1):
        assert histogram(drawn, i, bins) == histogram(graph, i, bins)


def histogram(graph, i, bins):
    """By hand: the grid's steps around the torus, in bins from 0 to sqrt(2) / 2."""
    _, pre, post = (x[graph.rows(i)].tolist() for x in graph.locate())
    out = [0] * bins
    for a, b in zip(pre, post, strict=True):
        steps = [abs(a // 4 - b // 4), abs(a % 4 - b % 4)]
        apart = sum((min(s, 4 - s) / 4) ** 2 for s in steps) ** 0.5
        out[min(int(apart / 2**-0.5 * bins + 1e-9), bins - 1)] += 1
    return out


def test_limits_on_pairs_are_kept_by_counts_and_distance():
    space = limited(sheet(), [DistanceLimit(most=0.3)])
    allowed = np.flatnonzero(space.allowed(np.arange(space.possible)))
    graph = Graph(space, torch.from_numpy(allowed[::3].copy()))
    for null in (Counts(), Distance()):
        drawn = null.draw(graph, np.random.default_rng(0))
        assert np.isin(drawn.array, allowed).all()
        assert drawn.counts().tolist() == graph.counts().tolist()
        assert drawn.digest() != graph.digest()


def test_degrees_keeps_a_limited_fan_in_and_fan_out():
    graph = filled(layers([FanIn(most=9), FanOut(most=9)]), 0.3)
    drawn = Degrees().draw(graph, np.random.default_rng(0))
    drawn.check_limits()
    assert degrees_of(drawn) == degrees_of(graph)


def test_degrees_are_exact_at_a_million_edges_and_nothing_of_the_graph_is_left():
    space = Space(
        [Population("a", 4000), Population("b", 2500)],
        [Projection("p", "a", "b", "linear", (2500, 4000))],
    )
    rng = np.random.default_rng(0)  # units of very different degree, in runs that chance breaks up
    rows = [np.arange(start, start + n) + 4000 * j for j, (start, n) in enumerate(
        zip(rng.integers(0, 3000, 2500), rng.integers(1, 900, 2500), strict=True)
    )]  # fmt: skip
    graph = Graph(space, torch.from_numpy(np.concatenate(rows)))
    assert len(graph) > 1e6
    drawn, again = (Degrees().draw(graph, np.random.default_rng(seed)) for seed in (1, 2))
    for name, fan in (("b", "fan_in"), ("a", "fan_out")):
        assert getattr(drawn, fan)(name).tolist() == getattr(graph, fan)(name).tolist()
    # what two draws share is chance: the graph shares no more with them
    by_chance = len(np.intersect1d(drawn.array, again.array))
    assert len(np.intersect1d(drawn.array, graph.array)) == pytest.approx(by_chance, rel=0.01)


# -- uniform ---------------------------------------------------------------------------------------


def p_uniform(null, graph, possible, draws=20_000):
    """p of a chi-squared test that all ``possible`` sets of keys are drawn equally often."""
    rng = np.random.default_rng(0)
    count = dict.fromkeys(possible, 0)
    for _ in range(draws):
        count[tuple(null.keys(graph, rng).tolist())] += 1  # KeyError: not a graph of the null
    return stats.chisquare(list(count.values())).pvalue


def same_degrees(keys, n=4):
    """All n x n 0/1 matrices with the row and column sums of one, by trying all, as keys."""
    matrix = np.zeros(n * n, int)
    matrix[keys] = 1
    matrix = matrix.reshape(n, n)
    rows = [
        [r for r in product([0, 1], repeat=n) if sum(r) == total]
        for total in matrix.sum(1).tolist()
    ]
    return [
        tuple(np.flatnonzero(np.array(m).ravel()).tolist())
        for m in product(*rows)
        if (np.sum(m, 0) == matrix.sum(0)).all()
    ]


SMALL = [0, 1, 2, 4, 6, 8, 9, 15]  # rows of 3, 2, 2, 1; columns of 3, 2, 2, 1


def four_by_four(keys):
    space = Space(
        [Population("a", 4), Population("b", 4)], [Projection("p", "a", "b", "linear", (4, 4))]
    )
    return Graph(space, torch.tensor(keys))


def test_degrees_is_uniform_over_all_graphs_with_those_degrees():
    possible = same_degrees(SMALL)
    assert len(possible) > 20
    assert p_uniform(Degrees(), four_by_four(SMALL), possible) > 0.001


@pytest.mark.slow
def test_degrees_is_uniform_without_compiled_code(monkeypatch):
    monkeypatch.setattr(curveball, "compiled", None)
    possible = same_degrees(SMALL)
    assert p_uniform(Degrees(), four_by_four(SMALL), possible) > 0.001


def test_one_round_of_trades_would_fail_that_test():
    possible = same_degrees(SMALL)
    assert p_uniform(Degrees(rounds=1), four_by_four(SMALL), possible) < 1e-6


def digraphs(matrix):
    """All square 0/1 matrices with an empty diagonal and the same sums, as keys."""
    n = len(matrix)
    keys = np.flatnonzero(matrix.ravel())
    return [k for k in same_degrees(keys, n) if not {i * (n + 1) for i in range(n)} & set(k)]


def square(matrix):
    n = len(matrix)
    space = Space([Population("a", n)], [Projection("p", "a", "a", "linear", (n, n))])
    return Graph(space, torch.from_numpy(np.flatnonzero(np.ravel(matrix))))


CIRCLE = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1], [1, 1, 0, 0]])


@pytest.mark.parametrize("draws", [500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_degrees_without_loops_is_uniform_over_all_such_graphs(draws):
    possible = digraphs(CIRCLE)
    assert len(possible) > 5
    null = Degrees(loops=False)
    assert p_uniform(null, square(CIRCLE), possible, draws) > 0.001


def test_a_circle_of_three_is_turned_half_of_the_time():
    matrix = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert len(digraphs(matrix)) == 2
    null = Degrees(loops=False)
    assert p_uniform(null, square(matrix), digraphs(matrix), draws=200) > 0.001


@given(density=st.floats(0, 0.9), seed=st.integers(0, 99))
def test_degrees_without_loops_keeps_degrees_and_the_diagonal_empty(density, seed):
    graph = filled(recurrent(9), density, seed)
    graph = Graph(graph.space, graph.keys[graph.keys % 10 != 0])
    drawn = Degrees(rounds=6, loops=False).draw(graph, np.random.default_rng(seed))
    assert degrees_of(drawn) == degrees_of(graph)
    assert (drawn.keys % 10 != 0).all()


def test_loops_that_are_there_are_refused_where_they_are_to_be_kept_away():
    null = Degrees(loops=False)
    with pytest.raises(ValueError, match="'p' has 4 of them: leave out loops=False"):
        null.draw(square(np.eye(4)), np.random.default_rng(0))
    gates = Space([Population("a", 3)], [Projection("p", "a", "a", "rnn", (9, 3), groups=3)])
    with pytest.raises(ValueError, match="'p' has 3, parallel"):
        null.draw(Graph.empty(gates), np.random.default_rng(0))
    layered = filled(layers(), 0.3)  # loops are no matter between layers
    same = null.draw(layered, np.random.default_rng(0))
    assert same.digest() == Degrees().draw(layered, np.random.default_rng(0)).digest()


def test_counts_is_uniform():
    graph = four_by_four([0, 1, 5])
    possible = [
        (a, b, c) for a in range(16) for b in range(a + 1, 16) for c in range(b + 1, 16)
    ]  # fmt: skip
    assert p_uniform(Counts(), graph, possible) > 0.001


def test_distance_is_uniform_over_all_graphs_with_that_histogram():
    n = 4
    a = Population("a", n, square_sheet(n))
    space = Space([a], [Projection("p", "a", "a", "linear", (n, n))])
    graph = Graph(space, torch.tensor([0, 1, 2]))  # a loop and two neighbours
    loops = [5 * u for u in range(4)]
    beside = [4 * u + v for u in range(4) for v in (u ^ 1, u ^ 2)]
    possible = [
        tuple(sorted((loop, x, y))) for loop in loops for k, x in enumerate(beside)
        for y in beside[k + 1 :]
    ]  # fmt: skip
    assert p_uniform(Distance(), graph, possible, draws=8000) > 0.001


# -- starts and samples ----------------------------------------------------------------------------


def test_samples_are_functions_of_seed_and_number():
    graph = filled(layers(), 0.3)
    three, five = (list(Degrees().sample(graph, n, seed=4)) for n in (3, 5))
    assert [g.digest() for g in three] == [g.digest() for g in five[:3]]
    assert len({g.digest() for g in five}) == 5
    assert next(Degrees().sample(graph, 1, seed=5)).digest() != five[0].digest()


def test_start_gives_each_graph_once_with_its_weights():
    starts = [filled(layers(), 0.3, seed) for seed in (1, 2)]
    assert list(Start(starts).sample(filled(layers(), 0.2), draws=50)) == starts
    assert list(Start(starts[0]).sample(starts[1])) == starts[:1]


def test_names_of_nulls():
    assert nulls.known() == {n.__name__.lower(): n for n in nulls.BUILT_IN}
    assert Degrees.from_table(Degrees(rounds=7).to_table()) == Degrees(rounds=7)


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("null", [Degrees(), Counts(), Distance(), Layers()])
def test_multapses_are_refused(null):
    graph = filled(one(*KINDS[0], multapses=True), 0.2)
    with pytest.raises(ValueError, match=f"{null.name} draws graphs .* 'p' allows multapses"):
        null.draw(graph, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("null", "graph", "says"),
    [
        (
            Degrees(),
            filled(limited(sheet(), [DistanceLimit(most=0.3)]), 0),
            "use Distance or Counts",
        ),
        (Counts(), filled(layers([FanIn(most=9)]), 0.2), "'hidden' may hold a limited number"),
        (Layers(), filled(layers([FanOut(most=9)]), 0.2), "limited number here .FanOut"),
        (Layers(), filled(recurrent(), 0.2), "one only"),
        (
            Layers(),
            filled(limited(sheet(), [DistanceLimit(most=0.3)]), 0),
            "without regard to limits",
        ),
        (Distance(), filled(layers(), 0.2), "needs a projection between two populations"),
        (Start(filled(layers(), 0.2)), filled(recurrent(), 0.2), "starting graphs of the same"),
    ],
)
def test_a_null_that_means_nothing_is_refused(null, graph, says):
    with pytest.raises(ValueError, match=says):
        next(null.sample(graph, 1))


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        Degrees(rounds=0)
    with pytest.raises(ValueError, match="bins must be at least 1"):
        Distance(bins=0)
    with pytest.raises(ValueError, match="Start needs the graphs"):
        Start()

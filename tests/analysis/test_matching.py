"""Units matched by assignment, against all orders tried, and against units shuffled on purpose."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from rewire.analysis.matching import match_units, relabel
from rewire.graph import Graph, Joint, Link, Population, Projection, Space, Wiring


def perceptron(sizes=(6, 4, 3), multapses=False):
    names = [f"p{k}" for k in range(len(sizes))]
    return Space(
        [Population(n, s) for n, s in zip(names, sizes, strict=True)],
        [
            Projection(f"w{k}", a, b, "linear", (sizes[k + 1], sizes[k]), multapses)
            for k, (a, b) in enumerate(pairwise(names))
        ],
    )


def recurrent():
    """A table, a gated layer with edges to itself, and a reader."""
    return Space(
        [Population("in", 5), Population("cell", 4), Population("out", 2)],
        [
            Projection("ih", "in", "cell", "rnn", (12, 5), groups=3),
            Projection("hh", "cell", "cell", "rnn", (12, 4), groups=3),
            Projection("read", "cell", "out", "transposed", (4, 2)),
        ],
    )


def convolutional():
    """Two channels in, three out; each is then a block of four units, flattened, read by two."""
    flat = np.arange(12)
    return Space(
        [Population("in", 2), Population("conv", 3), Population("flat", 12), Population("out", 2)],
        [
            Projection("conv", "in", "conv", "conv", (3, 2, 3, 3)),
            Projection("fc", "flat", "out", "linear", (2, 12)),
        ],
        wiring=Wiring(
            [Joint("image", 2), Joint("logits", 2)],
            [
                Link("image", "in", np.arange(2), np.arange(2)),
                Link("conv", "flat", flat // 4, flat),
                Link("out", "logits", np.arange(2), np.arange(2)),
            ],
            ["image"],
            ["logits"],
        ),
    )


def filled(space, seed, density=0.5):
    rng = np.random.default_rng(seed)
    keys = np.flatnonzero(rng.random(space.possible) < density)
    return Graph(space, torch.from_numpy(keys), {"weight": torch.from_numpy(rng.random(len(keys)))})


def rows_of(graph, i):
    return graph.mask(i).numpy().astype(int)


def unlike(a, b):
    """1 - shared / union, of two 0/1 rows; 0 of two empty ones."""
    union = (a | b).sum()
    return 1 - (a & b).sum() / union if union else 0.0


@given(a=st.integers(0, 99), b=st.integers(0, 99), density=st.sampled_from([0.1, 0.4, 0.8]))
def test_no_order_of_the_hidden_units_costs_less(a, b, density):
    first, second = (filled(perceptron(), seed, density) for seed in (a, b))
    matching = match_units(first, second)
    x, y = rows_of(first, 0), rows_of(second, 0)
    best = min(sum(unlike(x[k], y[order[k]]) for k in range(4)) for order in permutations(range(4)))
    assert matching.cost["p1"].sum() == pytest.approx(best)
    for k, partner in enumerate(matching.units["p1"].tolist()):
        assert matching.cost["p1"][k] == pytest.approx(unlike(x[k], y[partner]))
    assert matching.distance == pytest.approx(best / 4)
    assert matching.units["p0"].tolist() == list(range(6))
    assert matching.units["p2"].tolist() == list(range(3))


SHUFFLED = {
    "perceptron": (perceptron((8, 6, 5, 3)), {"p1": 6, "p2": 5}),
    "recurrent": (recurrent(), {"cell": 4}),
}


@pytest.mark.parametrize("name", SHUFFLED)
@given(seed=st.integers(0, 60))
def test_units_that_were_shuffled_are_found_again(name, seed):
    space, hidden = SHUFFLED[name]
    rng = np.random.default_rng(seed)
    graph = filled(space, seed)
    # units that receive the same edges cannot be told apart
    assume(all(len(np.unique(rows_in(graph, n), axis=0)) == size for n, size in hidden.items()))
    shuffled = relabel(graph, {n: rng.permutation(size) for n, size in hidden.items()})
    matching = match_units(graph, shuffled)
    assert matching.distance == 0
    assert matching.relabelled.digest() == graph.digest()
    assert matching.after[-1].jaccard == 1 >= matching.before[-1].jaccard


def rows_in(graph, population):
    """What comes into each unit from another population, (size, everything)."""
    _, pre, post = (x.numpy() for x in graph.locate())
    i = next(
        i for i in graph.space.into[population]
        if graph.projections[i].source != population
    )  # fmt: skip
    rows, p = graph.rows(i), graph.projections[i]
    size = {q.name: q.size for q in graph.populations}
    out = np.zeros((size[p.target], size[p.source], p.taps))
    out[post[rows], pre[rows], graph.local(i).numpy() // (p.size // p.taps)] = 1
    return out.reshape(len(out), -1)


def test_channels_carry_their_blocks_of_flattened_units_along():
    graph = filled(convolutional(), 3)
    order = np.array([2, 0, 1])
    blocks = (order[:, None] * 4 + np.arange(4)).ravel()
    shuffled = relabel(graph, {"conv": order, "flat": blocks})
    assert shuffled.digest() != graph.digest()
    matching = match_units(graph, shuffled)
    assert matching.units["conv"].tolist() == np.argsort(order).tolist()
    assert matching.relabelled.digest() == graph.digest()
    assert torch.equal(matching.relabelled["weight"], graph["weight"])
    assert matching.units["out"].tolist() == [0, 1]  # what the network gives out keeps its place


@pytest.mark.parametrize("space", [perceptron(), recurrent(), convolutional()])
def test_relabelling_by_hand(space):
    graph = filled(space, 1)
    name = next(p.target for p in space.projections)
    order = np.roll(np.arange(space.population[name].size), 1)
    moved = relabel(graph, {name: order})
    to = {p.name: {u: u for u in range(p.size)} for p in space.populations}
    to[name] = {int(unit): k for k, unit in enumerate(order)}
    expected = []
    which, pre, post = (x.tolist() for x in graph.locate())
    for row, key in enumerate(graph.keys.tolist()):
        p = space.projections[which[row]]
        tap = next(
            t for t in range(p.taps)
            if space.key_of(which[row], pre[row], post[row], t) == key
        )  # fmt: skip
        new = space.key_of(which[row], to[p.source][pre[row]], to[p.target][post[row]], tap)
        expected.append((new, float(graph["weight"][row])))
    pairs = zip(moved.keys.tolist(), moved["weight"].tolist(), strict=True)
    assert list(pairs) == sorted(expected)


def grouped():
    return Space(
        [Population("a", 4), Population("b", 4)],
        [Projection("p", "a", "b", "conv", (4, 2, 3), groups=2)],
    )


def test_units_within_groups_may_change_places_but_not_leave_them():
    graph = filled(grouped(), 0)
    moved = relabel(graph, {"a": np.array([1, 0, 2, 3]), "b": np.array([0, 1, 3, 2])})
    assert moved.fan_out("a").tolist() == graph.fan_out("a")[[1, 0, 2, 3]].tolist()
    for name in "ab":
        with pytest.raises(ValueError, match="would change their group"):
            relabel(graph, {name: np.array([2, 1, 0, 3])})


def two_pieces():
    return Space(
        [Population(n, 3) for n in "abcd"],
        [Projection("p", "a", "b", "linear", (3, 3)), Projection("q", "c", "d", "linear", (3, 3))],
    )


def summed():
    same = np.arange(3)
    joined = [("b", "sum"), ("a", "sum"), ("sum", "c")]
    links = [Link(source, target, same, same) for source, target in joined]
    return Space(
        [Population(n, 3) for n in "abcd"],
        [Projection("p", "a", "b", "linear", (3, 3)), Projection("q", "c", "d", "linear", (3, 3))],
        wiring=Wiring([Joint("sum", 3)], links, ["a"], ["d"]),
    )


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (two_pieces(), "falls into 2 pieces .a, b; "),
        (summed(), "units of 'sum' sum or concatenate"),
        (grouped(), "'p' has 2 groups"),
        (perceptron(multapses=True), "'w0' allows multapses"),
    ],
)
def test_graphs_that_cannot_be_matched_are_refused(space, says):
    graph = filled(space, 0)
    with pytest.raises(ValueError, match=says):
        match_units(graph, graph)


def test_wrong_orders_and_other_models_are_refused():
    graph = filled(perceptron(), 0)
    with pytest.raises(ValueError, match="only graphs of one model"):
        match_units(graph, filled(perceptron((6, 5, 3)), 0))
    with pytest.raises(ValueError, match="no order of the population's 4 units"):
        relabel(graph, {"p1": np.array([0, 0, 1, 2])})

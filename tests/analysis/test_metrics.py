import networkx as nx
import numpy as np
import pytest
import torch

from rewire.analysis import metrics
from rewire.graph import Graph, Population, Projection, Space


def layered(sizes=(16, 7, 5, 3), density=0.2, seed=0) -> Graph:
    names = ["in", *(f"hidden{i}" for i in range(1, len(sizes) - 1)), "out"]
    space = Space(
        [Population(n, s) for n, s in zip(names, sizes, strict=True)],
        [
            Projection(f"fc{i}", names[i], names[i + 1], "linear", (sizes[i + 1], sizes[i]))
            for i in range(len(sizes) - 1)
        ],
    )
    rng = np.random.default_rng(seed)
    k = round(density * space.possible)
    keys = np.sort(rng.choice(space.possible, k, replace=False))
    return Graph(space, torch.from_numpy(keys))


def recurrent(seed=0) -> Graph:
    space = Space(
        [Population("in", 6), Population("h", 8), Population("out", 2)],
        [
            Projection("w", "in", "h", "rnn", (32, 6), groups=4),
            Projection("u", "h", "h", "rnn", (32, 8), groups=4),
            Projection("v", "h", "out", "linear", (2, 8)),
        ],
    )
    keys = np.sort(np.random.default_rng(seed).choice(space.possible, 40, replace=False))
    return Graph(space, torch.from_numpy(keys))


GRAPHS = [
    *(layered(seed=s, density=d) for s, d in enumerate([0.05, 0.1, 0.2, 0.5])),
    recurrent(0),
    recurrent(1),
]


@pytest.mark.parametrize("graph", GRAPHS)
def test_degrees_are_those_of_networkx(graph):
    oracle = graph.to_networkx()
    for name, degree in metrics.degrees(graph).items():
        units = [(name, u) for u in range(len(degree.fan_in))]
        assert degree.fan_in.tolist() == [oracle.in_degree(u) for u in units]
        assert degree.fan_out.tolist() == [oracle.out_degree(u) for u in units]


@pytest.mark.parametrize("graph", GRAPHS)
def test_dead_units_and_effective_edges_are_those_of_networkx(graph):
    oracle = graph.to_networkx()
    fed = set().union(*(nx.descendants(oracle, u) | {u} for u in oracle if u[0] == "in"))
    useful = set().union(*(nx.ancestors(oracle, u) | {u} for u in oracle if u[0] == "out"))
    for name, dead in metrics.dead_units(graph).items():
        for unit in range(len(dead.off_path)):
            node = (name, unit)
            assert dead.off_path[unit] == (node not in fed & useful)
            assert dead.no_incoming[unit] == (name != "in" and oracle.in_degree(node) == 0)
            assert dead.no_outgoing[unit] == (name != "out" and oracle.out_degree(node) == 0)
    effective = {
        d["synapse_key"]
        for pre, post, d in oracle.edges(data=True)
        if pre in fed and post in useful
    }
    keys = graph.keys.numpy()[metrics.effective_edges(graph)]
    assert set(keys.tolist()) == effective


def test_an_edge_into_a_dead_end_is_not_effective():
    graph = Graph(layered().space, torch.tensor([0, 16, 112]))  # in0 -> h0, in0 -> h1, h0 -> g0
    assert metrics.effective_edges(graph).tolist() == [False] * 3
    whole = Graph(graph.space, torch.tensor([0, 16, 112, 147]))  # g0 -> out0
    assert metrics.effective_edges(whole).tolist() == [True, False, True, True]


def test_adjacency_is_that_of_networkx_with_parallel_edges():
    graph = recurrent()
    oracle = graph.to_networkx()
    nodes = [(p.name, u) for p in graph.populations for u in range(p.size)]
    assert (metrics.adjacency(graph).toarray() == nx.to_numpy_array(oracle, nodes)).all()


def test_layer_density_counts_each_projection():
    graph = layered()
    found = metrics.layer_density(graph)
    for i, p in enumerate(graph.projections):
        assert found[p.name] == int(graph.mask(i).sum()) / p.size


def test_input_map_puts_each_pixel_in_its_place():
    graph = layered()
    picture = metrics.input_map(graph)
    assert picture.shape == (4, 4)
    assert picture.sum() == graph.mask(0).sum()
    assert picture[2, 3] == graph.mask(0)[:, 2 * 4 + 3].sum()


def test_input_map_adds_up_colour_planes():
    graph = layered(sizes=(48, 5, 3))
    planes = graph.mask(0).sum(0).reshape(3, 4, 4)
    assert (metrics.input_map(graph) == planes.sum(0).numpy()).all()


def test_input_map_refuses_what_is_no_picture():
    with pytest.raises(ValueError, match="7 units of 'hidden1' fill no picture"):
        metrics.input_map(layered(), "hidden1")
    two = Space(
        [Population(n, 4) for n in "abc"],
        [Projection(n, n, "c", "linear", (4, 4)) for n in "ab"],
    )
    with pytest.raises(ValueError, match=r"2 input populations \(a, b\); name one"):
        metrics.input_map(Graph.full(two))


def test_tail_is_the_fraction_at_or_above():
    degree, fraction = metrics.tail(np.array([0, 0, 1, 3]))
    assert degree.tolist() == [0, 1, 2, 3]
    assert fraction.tolist() == [1, 0.5, 0.25, 0.25]


def test_ends_of_a_network_in_two_parts_and_of_a_recurrent_one():
    parts = Space(
        [
            Population("image", 1),
            Population("maps", 4),
            Population("flat", 9),
            Population("out", 2),
        ],
        [
            Projection("conv", "image", "maps", "conv", (4, 1, 3, 3)),
            Projection("fc", "flat", "out", "linear", (2, 9)),
        ],
    )
    graph = Graph.full(parts)
    assert metrics.ends(graph) == (("image", "flat"), ("maps", "out"))
    assert metrics.effective_edges(graph, *metrics.ends(graph)).all()
    assert metrics.ends(recurrent()) == (("in",), ("out",))


@pytest.mark.parametrize("measured", [metrics.effective_edges, metrics.dead_units])
def test_no_path_is_told_in_a_graph_of_two_pieces(measured):
    parts = Space(
        [Population(n, 2) for n in "abcd"],
        [Projection(n, *n, "linear", (2, 2)) for n in ("ab", "cd")],
    )
    graph = Graph.full(parts)
    with pytest.raises(ValueError, match=r"2 pieces \(a, b; c, d\).*attach\(\.\.\., example=x\)"):
        measured(graph)
    with pytest.raises(ValueError, match="2 pieces"):
        measured(graph, inputs=["a"])
    assert len(measured(graph, ["a", "c"], ["b", "d"])) == len(measured(graph, ["a"], ["b"]))


def test_ends_can_be_named_and_unknown_ones_are_refused():
    graph = layered(density=0.5)
    dead = metrics.dead_units(graph, inputs=["hidden1"])
    assert dead["in"].off_path.all()
    with pytest.raises(ValueError, match="no population 'retina'"):
        metrics.dead_units(graph, inputs=["retina"])


def test_an_empty_graph_is_all_dead():
    graph = Graph.empty(layered().space)
    assert metrics.dead_units(graph)["hidden1"].off_path.all()
    assert len(metrics.effective_edges(graph)) == 0
    assert set(metrics.layer_density(graph).values()) == {0.0}

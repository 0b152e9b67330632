"""The shared sparse graph: keys and units, refused edits, conversions, what an edit costs."""

import itertools
import pickle
import time
from dataclasses import FrozenInstanceError

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

from rewire.graph import (
    PARTS,
    Edit,
    Graph,
    Population,
    Projection,
    Rewind,
    Space,
    edges_of,
    square_sheet,
)

SHAPES = {
    "linear": ((4, 6), 1),
    "spiking": ((4, 6), 1),
    "embedding": ((6, 4), 1),
    "conv": ((4, 3, 2, 2), 2),
    "conv_transpose": ((6, 2, 3), 2),
    "rnn": ((12, 6), 3),
    "attention": ((12, 6), 3),
    "stacked": ((3, 4, 2), 3),
    "stacked_transposed": ((3, 2, 4), 3),
}


def units(kind, shape, groups):
    """(n_pre, n_post) of a stored parameter."""
    match kind:
        case "linear" | "spiking":
            return shape[1], shape[0]
        case "embedding":
            return shape
        case "conv":
            return shape[1] * groups, shape[0]
        case "conv_transpose":
            return shape[0], shape[1] * groups
        case "stacked":
            return groups * shape[2], groups * shape[1]
        case "stacked_transposed":
            return groups * shape[1], groups * shape[2]
        case _:
            return shape[1], shape[0] // groups


def space_of(kind, *, multapses=False, slots=None, places=True):
    shape, groups = SHAPES[kind]
    n_pre, n_post = units(kind, shape, groups)
    populations = [
        Population("pre", n_pre, square_sheet(n_pre) if places else None),
        Population("post", n_post, slots=slots),
        Population("alone", 2),
    ]
    front = Projection("front", "pre", "pre", "linear", (n_pre, n_pre))
    middle = Projection("middle", "pre", "post", kind, shape, multapses, groups)
    return Space(populations, [front, middle])


def some_graph(space, n=15, seed=0, **columns):
    rng = np.random.default_rng(seed)
    keys = np.sort(rng.choice(space.possible, min(n, space.possible), replace=False))
    values = {"weight": torch.from_numpy(rng.normal(size=len(keys)).astype(np.float32))}
    return Graph(space, torch.from_numpy(keys), {**values, **columns})


# -- keys and units ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHAPES)
def test_a_key_locates_the_units_that_its_weight_joins(kind):
    """Brute force over the parameter's own index, as torch's documentation describes it."""
    shape, groups = SHAPES[kind]
    projection = Projection("p", "a", "b", kind, shape, groups=groups)
    pre, post = projection.locate(torch.arange(projection.size))
    for flat, index in enumerate(itertools.product(*map(range, shape))):
        match kind:
            case "linear" | "spiking":
                expected = index[1], index[0]
            case "embedding":
                expected = index[0], index[1]
            case "conv":  # out channel o reads in/groups channels of its own group
                o, i, *_ = index
                expected = (o // (shape[0] // groups)) * shape[1] + i, o
            case "conv_transpose":  # in channel i writes out/groups channels of its own group
                i, o, *_ = index
                expected = i, (i // (shape[0] // groups)) * shape[1] + o
            case "stacked":  # expert e has units of its own on both sides
                e, o, i = index
                expected = e * shape[2] + i, e * shape[1] + o
            case "stacked_transposed":
                e, i, o = index
                expected = e * shape[1] + i, e * shape[2] + o
            case _:
                expected = index[1], index[0] % (shape[0] // groups)
        assert (int(pre[flat]), int(post[flat])) == expected


@pytest.mark.parametrize("kind", SHAPES)
def test_key_of_is_the_inverse_of_locate(kind):
    """Each flat index is the tap of its pair that comes at that place; other pairs have none."""
    shape, groups = SHAPES[kind]
    p = Projection("p", "a", "b", kind, shape, groups=groups)
    n_pre, n_post = units(kind, shape, groups)
    taps = {}  # of each pair, its flat indices in order
    for flat, pair in enumerate(zip(*(x.tolist() for x in p.locate(torch.arange(p.size))),
                                    strict=True)):  # fmt: skip
        taps.setdefault(pair, []).append(flat)
    for pre, post in itertools.product(range(n_pre), range(n_post)):
        flats = taps.get((pre, post), [-1] * p.taps)
        assert [p.key_of(pre, post, tap) for tap in range(p.taps)] == flats


@pytest.mark.parametrize("multapses", [False, True])
def test_a_new_key_is_none_where_an_edit_would_be_refused(multapses):
    space = space_of("conv", multapses=multapses)
    topology = Graph(space, torch.tensor([0, 36, 37])).topology
    assert topology.new_key(0, 0, 0) is None and topology.new_key(0, 1, 0) == 1
    first = 36 if multapses else None
    assert topology.new_key(1, 0, 0, tap=0) == first and topology.new_key(1, 0, 0, tap=2) == 38
    assert topology.new_key(1, 5, 0) is None  # a channel of the other group


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.Conv2d(4, 6, (3, 2), groups=2, bias=False), "conv"),
        (nn.ConvTranspose2d(4, 6, (3, 2), groups=2, bias=False), "conv_transpose"),
    ],
)
def test_a_grouped_convolution_reaches_exactly_the_located_channels(module, kind):
    """One weight at a time: the only channel that answers, and the only one it answers to."""
    p = Projection("p", "a", "b", kind, tuple(module.weight.shape), groups=2)
    pre, post = p.locate(torch.arange(p.size))
    for flat in range(0, p.size, 5):
        with torch.no_grad():
            module.weight.zero_().view(-1)[flat] = 1.0
        x = torch.zeros(1, 4, 5, 5, requires_grad=True)
        y = module(x + torch.rand(1, 4, 5, 5) + 1)
        alive = y.abs().sum((0, 2, 3)).nonzero().squeeze(1)
        y.sum().backward()
        heard = x.grad.abs().sum((0, 2, 3)).nonzero().squeeze(1)
        assert alive.tolist() == [int(post[flat])]
        assert heard.tolist() == [int(pre[flat])]


def test_locate_finds_projection_and_units_of_any_key():
    space = space_of("conv")
    which, pre, post = space.locate(torch.tensor([0, 35, 36, 83]))
    assert which.tolist() == [0, 0, 1, 1]
    assert (pre[0], post[0], pre[1], post[1]) == (0, 0, 5, 5)
    assert (pre[2], post[2]) == (0, 0)
    assert (pre[3], post[3]) == (5, 3)
    assert space.index("middle") == 1
    with pytest.raises(KeyError, match="no projection 'end'; there are front, middle"):
        space.index("end")


def test_the_sheet_is_the_squarest_grid_and_lies_in_the_unit_square():
    assert square_sheet(4).tolist() == [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]
    for n in (1, 2, 3, 5, 10, 300, 784):
        places = square_sheet(n)
        assert len(places.unique(dim=0)) == n
        assert places.min() > 0 and places.max() < 1
    assert Population("p", 784, square_sheet(784)).grid == (28, 28)
    assert Population("p", 300, square_sheet(300)).grid is None


def test_spaces_refuse_unknown_populations_kinds_and_repeated_names():
    a = Population("a", 2)
    with pytest.raises(ValueError, match="kind 'lin'; it must be one of linear"):
        Projection("p", "a", "a", "lin", (2, 2))
    with pytest.raises(ValueError, match="joins the population 'b', which is not among"):
        Space([a], [Projection("p", "a", "b", "linear", (2, 2))])
    with pytest.raises(ValueError, match="two populations are named 'a'"):
        Space([a, a], [])
    p = Projection("p", "a", "a", "linear", (2, 2))
    with pytest.raises(ValueError, match="two projections are named 'p'"):
        Space([a], [p, p])


def test_find_rows_counts_and_density():
    space = space_of("linear")
    graph = Graph(space, torch.tensor([1, 5, 36, 59]))
    row, exists = graph.find(torch.tensor([0, 1, 36, 58, 59]))
    assert exists.tolist() == [False, True, True, False, True]
    assert row[exists].tolist() == [0, 2, 3]
    assert graph.counts().tolist() == [2, 2]
    assert graph.rows(1) == slice(2, 4)
    assert graph.local(1).tolist() == [0, 23]
    assert graph.density == 4 / 60
    assert "4 of 60 synapses" in repr(graph)
    assert edges_of(graph, []).tolist() == []
    assert edges_of(graph, [1]).tolist() == [2, 3]
    nothing = Graph.empty(space)
    assert nothing.find(torch.tensor([3]))[1].tolist() == [False]
    assert nothing.density == 0 and nothing.counts().tolist() == [0, 0]


@pytest.mark.parametrize("kind", SHAPES)
def test_incoming_lists_each_units_edges_in_key_order(kind):
    graph = some_graph(space_of(kind), 40)
    _, _, post = graph.locate()
    for population in ("post", "pre", "alone"):
        rows, pointers = graph.incoming(population)
        fan_in = graph.fan_in(population)
        assert pointers.diff().tolist() == fan_in.tolist()
        assert len(rows) == int(fan_in.sum())
        for j in range(len(fan_in)):
            edges = rows[pointers[j] : pointers[j + 1]]
            assert (post[edges] == j).all() and (edges.diff() > 0).all()


def test_fan_in_counts_all_projections_into_a_population():
    populations = [Population("a", 3), Population("b", 2)]
    space = Space(
        populations,
        [
            Projection("ff", "a", "b", "linear", (2, 3)),
            Projection("lat", "b", "b", "linear", (2, 2)),
        ],
    )
    graph = Graph(space, torch.tensor([0, 1, 4, 6, 9]))
    assert graph.fan_in("b").tolist() == [3, 2]
    assert graph.fan_in("a").tolist() == [0, 0, 0]
    assert graph.fan_out("a").tolist() == [1, 2, 0]
    assert graph.fan_out("b").tolist() == [1, 1]
    rows, pointers = graph.incoming("b")
    assert rows.tolist() == [0, 1, 3, 2, 4] and pointers.tolist() == [0, 3, 5]


# -- refused edits ----------------------------------------------------------------------------

REFUSED = {
    "a row that is not there": (
        dict(drop=torch.tensor([2, 15])),
        r"cannot drop row 15: the graph has rows 0 to 14.*not keys",
    ),
    "a negative row": (dict(drop=torch.tensor([-1])), "cannot drop row -1"),
    "a row twice": (
        dict(drop=torch.tensor([3, 4, 3])),
        "cannot drop row 3 twice: 3 rows were given, 2 of them different",
    ),
    "a key out of range": (
        dict(add=torch.tensor([0, 60])),
        "cannot add key 60: keys run from 0 to 59",
    ),
    "a negative key": (dict(add=torch.tensor([-4])), "cannot add key -4"),
    "a new column": (
        dict(set={"age": torch.zeros(15)}),
        r"no column 'age'; it has \['weight'\]. A rule gets a column by declaring it",
    ),
    "a birth of a new column": (
        dict(add=torch.tensor([0]), birth={"age": 1.0}),
        "no column 'age'",
    ),
    "a column too short": (
        dict(set={"weight": torch.zeros(14)}),
        "column 'weight' has 14 values for 15 edges",
    ),
    "births too short": (
        dict(add=torch.tensor([59, 58]), birth={"weight": torch.zeros(1)}),
        "1 birth values of 'weight' were given for 2 new edges",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_illegal_edit_is_refused_by_name_and_changes_nothing(what):
    edit, message = REFUSED[what]
    space = space_of("linear")
    graph = Graph(space, torch.arange(15) * 2, {"weight": torch.arange(15.0)})
    with pytest.raises((ValueError, KeyError), match=message):
        graph.apply(Edit(**edit))
    assert graph.keys.tolist() == list(range(0, 30, 2))
    assert graph["weight"].tolist() == list(range(15))


def test_adding_an_edge_that_exists_names_key_and_projection():
    space = space_of("linear")
    graph = Graph(space, torch.tensor([1, 40]))
    with pytest.raises(ValueError, match=r"cannot add 1 of 2 edges \(first key 40, in 'middle'\)"):
        graph.apply(Edit(add=torch.tensor([40, 2])))
    with pytest.raises(ValueError, match="are named twice, and 'front' allows no multapses"):
        graph.apply(Edit(add=torch.tensor([5, 5])))


def test_the_key_named_by_a_refusal_lies_in_the_projection_that_is_named():
    """A multapse that is legal stands before the edge that is not."""
    populations = [Population("a", 2)]
    space = Space(
        populations,
        [
            Projection("many", "a", "a", "spiking", (2, 2), multapses=True),
            Projection("one", "a", "a", "linear", (2, 2)),
        ],
    )
    graph = Graph(space, torch.tensor([1, 6]))
    with pytest.raises(ValueError, match="first key 6, in 'one'"):
        graph.apply(Edit(add=torch.tensor([1, 6])))


def test_slots_refuse_an_overflow_and_say_which_unit():
    space = space_of("linear", slots=2)
    graph = Graph(space, torch.tensor([36, 37]))  # unit 0 of post is full
    with pytest.raises(ValueError, match="unit 0 of 'post' would hold 3 incoming edges, but has 2"):
        graph.apply(Edit(add=torch.tensor([38])))
    swapped = graph.apply(Edit(drop=torch.tensor([0]), add=torch.tensor([38])))
    assert swapped.keys.tolist() == [37, 38]


def test_unknown_parts_of_a_rewind_are_refused():
    assert Rewind(3).restore == PARTS
    with pytest.raises(ValueError, match="cannot restore"):
        Rewind(0, frozenset({"weights"}))


# -- edits ------------------------------------------------------------------------------------


def test_an_empty_edit_returns_the_graph_itself():
    graph = some_graph(space_of("linear"))
    assert graph.apply(Edit()) is graph
    none = torch.empty(0, dtype=torch.int64)
    assert graph.apply(Edit(drop=none, add=none)) is graph


def test_a_dropped_key_that_is_added_again_is_reborn():
    space = space_of("linear")
    graph = Graph(
        space,
        torch.tensor([3, 9]),
        {"weight": torch.tensor([5.0, 6.0]), "age": torch.tensor([7, 8])},
        {"weight": 0.0, "age": 0},
    )
    again = graph.apply(Edit(drop=torch.tensor([1]), add=torch.tensor([9])))
    assert again.keys.tolist() == [3, 9]
    assert again["weight"].tolist() == [5.0, 0.0]
    assert again["age"].tolist() == [7, 0] and again["age"].dtype == torch.int64


def test_births_are_numbers_functions_of_keys_or_tensors_in_the_order_of_add():
    space = space_of("linear")
    graph = Graph(space, torch.tensor([10])).with_birth("weight", 0.5)
    graph = graph.with_birth("sign", lambda keys: keys.float() * 10).with_birth("age", 0)
    grown = graph.apply(
        Edit(add=torch.tensor([30, 2, 20]), birth={"age": torch.tensor([300.0, 2.0, 200.0])})
    )
    assert grown.keys.tolist() == [2, 10, 20, 30]
    assert grown["weight"].tolist() == [0.5] * 4
    assert grown["sign"].tolist() == [20.0, 100.0, 200.0, 300.0]
    assert grown["age"].tolist() == [2.0, 0.0, 200.0, 300.0]


def test_set_comes_before_drop_and_the_old_graph_keeps_its_values():
    graph = some_graph(space_of("linear"))
    before = graph["weight"].clone()
    after = graph.apply(Edit(set={"weight": before * 2}, drop=torch.tensor([0])))
    assert torch.equal(after["weight"], before[1:] * 2)
    assert torch.equal(graph["weight"], before)


def test_an_edit_of_tensors_holds_arrays_of_the_same_memory():
    graph = some_graph(space_of("linear"))
    weight, key, birth = graph["weight"] * 2, graph.keys[1:2], torch.tensor([7.0])
    edit = Edit(set={"weight": weight}, drop=torch.tensor([0, 1]), add=key, birth={"weight": birth})
    values = {"set": edit.set["weight"], "add": edit.add, "birth": edit.birth["weight"]}
    assert all(isinstance(v, np.ndarray) for v in (*values.values(), edit.drop))
    for tensor, array in zip((weight, key, birth), values.values(), strict=True):
        assert np.shares_memory(tensor.numpy(), array)
    arrays = Edit(set={"weight": weight.numpy()}, drop=np.array([0, 1]), add=key.numpy(),
                  birth={"weight": birth.numpy()})  # fmt: skip
    assert (arrays.n_drop, arrays.n_add) == (edit.n_drop, edit.n_add) == (2, 1)
    one, other = graph.apply(edit), graph.apply(arrays)
    assert torch.equal(one.keys, other.keys) and 7.0 in one["weight"]
    assert all(torch.equal(values, other[name]) for name, values in one.columns.items())


def test_an_edit_without_fields_is_empty_and_none_can_be_reassigned():
    edit = Edit()
    assert len(edit.drop) == len(edit.add) == edit.n_drop == edit.n_add == 0
    assert not edit.set and not edit.birth and edit.rewind is None and not edit.stop
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'stop'"):
        edit.stop = True


def test_an_edit_goes_to_another_process():
    edit = Edit(set={"weight": torch.ones(2)}, drop=torch.tensor([1]), birth={"weight": 0.5})
    for each in (edit, Edit(stop=True)):
        copy = pickle.loads(pickle.dumps(each))
        assert repr(copy) == repr(each) and copy.stop == each.stop
        assert np.array_equal(copy.drop, each.drop) and copy.birth == each.birth
    assert "set=['weight'], drop=1 row, birth=['weight']" in repr(edit)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64, torch.bool])
def test_columns_keep_their_type_through_edits(dtype):
    graph = Graph(space_of("linear"), torch.tensor([1, 5]), {"c": torch.ones(2).to(dtype)})
    grown = graph.apply(Edit(drop=torch.tensor([0]), add=torch.tensor([2])))
    assert grown["c"].dtype == dtype


def test_equal_keys_of_multapses_keep_birth_order():
    space = space_of("spiking", multapses=True)
    graph = Graph(space, torch.tensor([40]), {"n": torch.tensor([0])})
    for n in range(1, 4):
        graph = graph.apply(Edit(add=torch.tensor([40]), birth={"n": float(n)}))
    assert graph.keys.tolist() == [40] * 4 and graph["n"].tolist() == [0, 1, 2, 3]
    graph = graph.apply(Edit(drop=torch.tensor([1]), add=torch.tensor([40, 40]), birth={"n": 9.0}))
    assert graph["n"].tolist() == [0, 2, 3, 9, 9]


def test_newborns_take_the_lowest_free_slots_of_their_unit():
    space = space_of("spiking", multapses=True, slots=4)
    graph = Graph(
        space,
        torch.tensor([36, 37, 41, 42]),
        {"slot": torch.tensor([2, 0, 3, 1])},
        {"slot": 0},
    )
    graph = graph.apply(Edit(drop=torch.tensor([1]), add=torch.tensor([39, 36, 43])))
    _, _, post = graph.locate()
    assert graph.keys.tolist() == [36, 36, 39, 41, 42, 43]
    assert graph["slot"].tolist() == [2, 0, 1, 3, 1, 0]
    for unit in (0, 1):
        slots = graph["slot"][post == unit].tolist()
        assert len(set(slots)) == len(slots)


def test_graphs_of_one_topology_share_what_is_derived_from_it():
    graph = some_graph(space_of("linear"))
    other = graph.with_columns({"age": torch.arange(15)}).apply(
        Edit(set={"weight": torch.ones(15)})
    )
    assert other.topology is graph.topology and other.keys is graph.keys
    calls = []
    for _ in range(2):
        assert other.topology.derived(("counts", 3), lambda: calls.append(1) or 7) == 7
    assert graph.topology.derived(("counts", 3), lambda: 8) == 7 and calls == [1]
    after = graph.apply(Edit(drop=torch.tensor([0])))
    assert after.topology.derived(("counts", 3), lambda: 8) == 8


def test_the_digest_is_of_the_topology_alone():
    graph = some_graph(space_of("linear"))
    heavier = graph.with_columns({"weight": graph["weight"] + 1})
    assert graph.digest() == heavier.digest()
    assert graph.digest() != graph.apply(Edit(drop=torch.tensor([0]))).digest()


# -- conversions ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHAPES)
def test_masks_round_trip(kind):
    space = space_of(kind)
    graph = some_graph(space, 30)
    masks = {p.name: graph.mask(i) for i, p in enumerate(space.projections)}
    assert masks["middle"].shape == SHAPES[kind][0]
    assert torch.equal(Graph.from_masks(space, masks).keys, graph.keys)
    dense = graph.dense(1)
    assert torch.equal(dense.view(-1)[graph.local(1)], graph["weight"][graph.rows(1)])
    assert int((dense != 0).sum()) == int(masks["middle"].sum())
    with pytest.raises(ValueError, match="the mask of 'front' has shape"):
        Graph.from_masks(space, {**masks, "front": masks["middle"]})


@pytest.mark.parametrize("multapses", [False, True])
@pytest.mark.parametrize("kind", SHAPES)
def test_scipy_and_torch_csr_round_trip(kind, multapses):
    space = space_of(kind, multapses=multapses)
    graph = some_graph(space, 30)
    if multapses:  # parallel synapses of one pair, and an explicit zero
        key = graph.keys[graph.rows(1)][:1]
        graph = graph.apply(Edit(add=key.repeat(2), birth={"weight": torch.tensor([0.0, 7.0])}))
    matrices = {p.name: graph.to_scipy(i) for i, p in enumerate(space.projections)}
    again = Graph.from_scipy(space, matrices)
    assert torch.equal(again.keys, graph.keys)
    assert torch.equal(again["weight"], graph["weight"])
    for i, p in enumerate(space.projections):
        rows = p.shape[0]
        assert matrices[p.name].shape == (rows, p.size // rows)
        assert matrices[p.name].nnz == int(graph.counts()[i])
        csr = graph.to_torch_csr(i)
        assert torch.equal(csr.to_dense(), graph.dense(i).view(rows, -1))
        assert graph.to_scipy(i, None).data.tolist() == [1.0] * matrices[p.name].nnz


def test_from_scipy_refuses_another_shape():
    space = space_of("linear")
    matrices = {p.name: some_graph(space).to_scipy(i) for i, p in enumerate(space.projections)}
    with pytest.raises(ValueError, match=r"'middle' needs a matrix \(4, 6\), got \(6, 6\)"):
        Graph.from_scipy(space, {**matrices, "middle": matrices["front"]})


@pytest.mark.parametrize("kind", SHAPES)
def test_networkx_keeps_units_places_parallel_edges_and_every_column(kind):
    space = space_of(kind, multapses=True)
    graph = some_graph(space, 30)
    key = graph.keys[graph.rows(1)][:1]
    graph = graph.apply(Edit(add=key, birth={"weight": 3.0}))
    graph = graph.with_columns({"age": torch.arange(len(graph))})
    net = graph.to_networkx()
    assert isinstance(net, nx.MultiDiGraph)
    assert net.number_of_nodes() == sum(p.size for p in space.populations)
    assert net.number_of_edges() == len(graph)
    assert net.degree(("alone", 1)) == 0
    x, y = space.population["pre"].positions[2].tolist()
    assert net.nodes["pre", 2] == {"population": "pre", "index": 2, "x": x, "y": y}
    assert net.nodes["post", 0] == {"population": "post", "index": 0}
    which, pre, post = graph.locate()
    ends = sorted(
        (("pre", int(i)), ("pre" if w == 0 else "post", int(j)))
        for w, i, j in zip(which, pre, post, strict=True)
    )
    assert sorted(net.edges()) == ends
    again = Graph.from_networkx(space, net)
    assert torch.equal(again.keys, graph.keys)
    assert torch.equal(again["weight"], graph["weight"])
    assert torch.equal(again["age"], graph["age"])


def test_an_empty_graph_converts_to_everything():
    space = space_of("linear")
    graph = Graph.empty(space).with_birth("weight", 0.0)
    assert graph.to_scipy(1).nnz == 0
    assert graph.to_torch_csr(1).to_dense().abs().sum() == 0
    assert not graph.mask(0).any()
    net = graph.to_networkx()
    assert net.number_of_edges() == 0
    again = Graph.from_networkx(space, net)
    assert len(again) == 0 and again.keys.dtype == torch.int64


def test_adjacency_adds_up_parallel_edges():
    graph = Graph.full(space_of("conv"))
    assert (
        graph.adjacency(1).toarray().tolist() == [[4, 4, 4, 0, 0, 0]] * 2 + [[0, 0, 0, 4, 4, 4]] * 2
    )


# -- cost -------------------------------------------------------------------------------------


def test_the_cost_of_an_edit_is_linear_in_the_edges():
    """Ten times the edges: at most 40 times the time (n^2 would be 100), best of several.

    New memory costs more than memory that is used again: that is what the factor 4 is for.
    """

    def cost(n):
        space = Space([Population("a", 4 * n)], [Projection("p", "a", "a", "linear", (4, n))])
        keys = torch.arange(0, 4 * n, 2)
        graph = Graph(space, keys, {c: torch.zeros(len(keys)) for c in ("weight", "sign")})
        edit = Edit(drop=torch.arange(0, len(keys), 9), add=torch.arange(1, 4 * n, 20))
        times = []
        for _ in range(5):
            start = time.process_time()
            graph.apply(edit)
            times.append(time.process_time() - start)
        return min(times)

    cost(1000)
    assert cost(1_500_000) < 40 * cost(150_000)

"""Files of graphs: read by other programs, exactly by ours, refused where they are none."""

import json
import subprocess
import sys
import zipfile

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

import rewire
from rewire.experiments.errors import exit_code_of
from rewire.files import FORMATS, GraphFileError, read_graph, write_graph, zips
from rewire.graph import (
    Graph,
    Joint,
    Link,
    Population,
    Projection,
    Space,
    Wiring,
    square_sheet,
)


def some(kind="linear", *, columns=True, wiring=True):
    shape = {"linear": (4, 6), "conv": (4, 6, 2, 2)}[kind]
    link = Link("out", "sum", np.arange(4), np.arange(4)[::-1].copy())
    space = Space(
        [
            Population("in", 6, square_sheet(6)),
            Population("out <&>", 4, slots=50, labels=["w", "x y", "ü", '"z"']),
            Population("out", 4),
        ],
        [
            Projection("across.weight", "in", "out", kind, shape),
            Projection("within", "out <&>", "out <&>", "linear", (4, 4), multapses=True),
        ],
        wiring=Wiring([Joint("sum", 4)], [link], ["in"], ["sum"]) if wiring else None,
    )
    rng = np.random.default_rng(3)
    keys = np.sort(np.r_[rng.choice(space.possible, 14, replace=False), [space.possible - 2] * 2])
    values = {"weight": torch.from_numpy(rng.normal(size=len(keys)).astype(np.float32))}
    if columns:
        values["theta"] = torch.from_numpy(rng.normal(size=len(keys)))
        values["age"] = torch.arange(len(keys))
        values["link"] = torch.arange(len(keys)) % 2 == 0
    return Graph(space, torch.from_numpy(keys), values)


def assert_same(a, b):
    assert torch.equal(a.keys, b.keys) and set(a.columns) == set(b.columns)
    for name, column in a.columns.items():
        assert b[name].dtype == column.dtype and torch.equal(b[name], column), name
    assert a.projections == b.projections
    for p, q in zip(a.populations, b.populations, strict=True):
        assert (p.name, p.size, p.slots, p.fan_in) == (q.name, q.size, q.slots, q.fan_in)
        assert (p.positions is None) == (q.positions is None)
        assert p.positions is None or torch.equal(p.positions, q.positions)
        assert p.labels == q.labels
    assert a.network.ends == b.network.ends
    assert np.array_equal(a.network.link_pre, b.network.link_pre)
    assert np.array_equal(a.network.link_post, b.network.link_post)


WHOLE = {"npz": "a.npz", "graphml": "a.graphml", "gexf": "a.gexf", "node-link": "a.json"}


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("name", WHOLE.values())
def test_a_graph_comes_back_from_its_file_exactly(name, kind, tmp_path):
    graph = some(kind)
    assert rewire.write_graph(graph, tmp_path / name) == ()
    assert_same(graph, rewire.read_graph(tmp_path / name))
    empty = Graph.empty(graph.space).with_birth("weight", 0.0)
    write_graph(empty, tmp_path / name)
    assert_same(empty, read_graph(tmp_path / name))
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("weight", ["abs", None])
@pytest.mark.parametrize("name", ["a.graphml", "a.gexf", "a.json"])
def test_a_file_with_absolute_weights_comes_back_with_signed_ones(name, weight, tmp_path):
    write_graph(some(), tmp_path / name, weight=weight)
    assert_same(some(), read_graph(tmp_path / name))


def edges_of(net):
    """Ends and weight of each edge of networkx, by the nodes' names."""
    return sorted((str(u), str(v), d.get("weight", 1.0)) for u, v, d in net.edges(data=True))


def expected(graph, links=True):
    names = {}
    for p in graph.populations:
        for i in range(p.size):
            names[p.name, i] = p.labels[i] if p.labels else f"{p.name}:{i}"
    edges = []
    for w, i, j, value in zip(
        *(x.tolist() for x in graph.locate()), graph["weight"].tolist(), strict=True
    ):
        p = graph.projections[w]
        edges.append((names[p.source, i], names[p.target, j], value))
    if links and graph.space.wiring:
        edges += [
            (names[k.source, i], f"{k.target}:{j}", 1.0)
            for k in graph.space.wiring.links
            for i, j in zip(k.pre.tolist(), k.post.tolist(), strict=True)
        ]
    return sorted(edges)


def test_networkx_reads_graphml_gexf_and_node_link(tmp_path):
    graph = some()
    for name in ("a.graphml", "a.gexf", "a.json"):
        write_graph(graph, tmp_path / name)
    nets = [nx.read_graphml(tmp_path / "a.graphml"), nx.read_gexf(tmp_path / "a.gexf")]
    nets.append(nx.node_link_graph(json.loads((tmp_path / "a.json").read_text()), edges="edges"))
    for net in nets:
        assert net.is_directed() and net.number_of_nodes() == 6 + 4 + 4 + 4
        assert edges_of(net) == expected(graph)
        assert net.nodes["in:2"]["x"] == graph.populations[0].positions[2, 0].item()
        assert sum(d.get("age", 0) for *_, d in net.edges(data=True)) == graph["age"].sum()


def test_igraph_reads_graphml_and_pajek(tmp_path):
    igraph = pytest.importorskip("igraph")
    graph = some()
    write_graph(graph, tmp_path / "a.graphml")
    write_graph(graph, tmp_path / "a.net")
    net = igraph.Graph.Read_GraphML(str(tmp_path / "a.graphml"))
    names = net.vs["id"]
    found = [(names[e.source], names[e.target], e["weight"]) for e in net.es]
    found = sorted((u, v, 1.0 if w != w else w) for u, v, w in found)
    assert found == expected(graph)
    assert net.vs.find(population="in", index=2)["y"] == graph.populations[0].positions[2, 1]
    pajek = igraph.Graph.Read_Pajek(str(tmp_path / "a.net"))
    assert pajek.is_directed() and pajek.vcount() == 14
    assert sorted(pajek.es["weight"]) == pytest.approx(sorted(graph["weight"].tolist()))


def test_scipy_reads_npz_as_the_adjacency_matrix(tmp_path):
    graph = some()
    write_graph(graph, tmp_path / "a.npz")
    matrix = sp.load_npz(tmp_path / "a.npz")
    whole = graph.network.adjacency(graph.numbers("weight").astype(float), links=False)
    assert (matrix != whole).nnz == 0


def test_libsonata_reads_nodes_and_edges(tmp_path):
    pytest.importorskip("h5py")
    libsonata = pytest.importorskip("libsonata")
    graph = some()
    assert write_graph(graph, tmp_path / "a.h5") == ()
    assert_same(graph, read_graph(tmp_path / "a.h5"))
    nodes = libsonata.NodeStorage(str(tmp_path / "a.h5"))
    assert nodes.population_names == {"in", "out", "out <&>"}
    population = nodes.open_population("in")
    assert population.size == 6
    places = population.get_attribute("x", population.select_all())
    assert places.tolist() == graph.populations[0].positions[:, 0].tolist()
    edges = libsonata.EdgeStorage(str(tmp_path / "a.h5"))
    _, pre, post = (x.numpy() for x in graph.locate())
    for i, p in enumerate(graph.projections):
        projection = edges.open_population(p.name)
        every = projection.select_all()
        assert (projection.source, projection.target) == (p.source, p.target)
        assert projection.source_nodes(every).tolist() == pre[graph.rows(i)].tolist()
        assert projection.target_nodes(every).tolist() == post[graph.rows(i)].tolist()
        weights = projection.get_attribute("syn_weight", every)
        assert weights.tolist() == graph["weight"][graph.rows(i)].tolist()


def test_what_a_format_loses_is_said(tmp_path):
    graph = some()
    assert write_graph(graph, tmp_path / "a.net") == (
        "what reads it does not know populations, projections and isolated units",
        "the columns theta, age, link are left out",
        "links without weights, which join populations, are left out",
    )
    assert "positions of units are left out" in write_graph(graph, tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.net", "a.csv", "a.tsv"])
def test_tables_and_pajek_hold_the_edges(name, tmp_path):
    graph = some()
    write_graph(graph, tmp_path / name)
    again = read_graph(tmp_path / name)
    names = again.populations[0].labels
    _, pre, post = (x.tolist() for x in again.locate())
    found = zip(
        (names[i] for i in pre), (names[j] for j in post), again["weight"].tolist(), strict=True
    )
    assert sorted(found) == [
        (
            u.replace('"', "'") if name == "a.net" else u,
            v.replace('"', "'") if name == "a.net" else v,
            w,
        )
        for u, v, w in sorted(expected(graph, links=False))
    ]


def test_others_files_are_read(tmp_path):
    net = nx.karate_club_graph()
    nx.write_graphml_xml(net, tmp_path / "a.graphml")
    nx.write_gexf(net, tmp_path / "a.gexf")
    nx.write_pajek(net, tmp_path / "a.net")
    (tmp_path / "a.json").write_text(json.dumps(nx.node_link_data(net, edges="links")))
    sp.save_npz(tmp_path / "a.npz", nx.to_scipy_sparse_array(net, dtype=float))
    np.save(tmp_path / "a.npy", nx.to_numpy_array(net))
    np.savetxt(tmp_path / "a.csv", nx.to_numpy_array(net), delimiter=",")
    (tmp_path / "a.tsv").write_text("from\tto\tweight\n" + "".join(
        f"{u}\t{v}\t{d['weight']}\n" for u, v, d in net.to_directed().edges(data=True)
    ))  # fmt: skip
    for path in tmp_path.iterdir():
        graph = read_graph(path)
        assert len(graph) == 156 and graph["weight"].sum() == 462, path.name
        degrees = sorted(graph.fan_in(graph.populations[0].name).tolist())
        assert degrees == sorted(d for _, d in net.degree())


def test_a_matrix_says_which_side_its_rows_are_of(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0, 2.0], [0, 0]]))
    for rows, ends in (("pre", (0, 1)), ("post", (1, 0))):
        graph = read_graph(tmp_path / "a.npy", rows=rows)
        assert tuple(int(x) for x in graph.locate()[1:]) == ends
    assert len(read_graph(tmp_path / "a.npy", bipartite=True).populations) == 2
    (tmp_path / "a.csv").write_text("1,2\n2,3\n0,1\n")
    with pytest.raises(GraphFileError, match="say matrix=True or matrix=False"):
        read_graph(tmp_path / "a.csv")
    assert len(read_graph(tmp_path / "a.csv", matrix=False)) == 3
    (tmp_path / "b.csv").write_text("0,1\n1,0\n")  # two edges, or a matrix
    with pytest.raises(GraphFileError, match="say matrix=True or matrix=False"):
        read_graph(tmp_path / "b.csv")
    assert len(read_graph(tmp_path / "a.csv", matrix=True)) == 5


def test_masks_and_weights_by_name_become_projections(tmp_path):
    np.savez(tmp_path / "a.npz", fc1=np.eye(3, 4), fc2=np.ones((2, 3), bool), bias=np.ones(3))
    graph = read_graph(tmp_path / "a.npz")
    assert [(p.name, p.shape) for p in graph.projections] == [("fc1", (3, 4)), ("fc2", (2, 3))]
    assert len(graph) == 9 and len(graph.pieces) == 2
    assert read_graph(tmp_path / "a.npz", chain=True).network.joined


# -- broken and hostile files --------------------------------------------------------------------

LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "{}">{}]>
<graphml><graph edgedefault="directed"><node id="&j;"/></graph></graphml>
""".format(
    "lol" * 1000,
    "".join(
        f'<!ENTITY {y} "{f"&{x};" * 10}">' for x, y in zip("abcdefghi", "bcdefghij", strict=True)
    ),
)  # noqa: E501


def bomb(path):
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000), }"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)


def zeros(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.npy", "w") as file:
            head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4194304,), }"
            file.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
            file.write(bytes(2**22))


GRAPHML = '<graphml><graph edgedefault="directed"><node id="a"/>{}</graph></graphml>'
HOSTILE = {
    "laughs.graphml": LAUGHS,
    "laughs.gexf": LAUGHS,
    "utf16.graphml": LAUGHS.replace('"1.0"', '"1.0" encoding="utf-16"', 1).encode("utf-16"),
    "deep.graphml": "<a>" * 100_000,
    "deep.json": "[" * 100_000,
    "cut.graphml": GRAPHML.format("")[:-12],
    "cut.json": '{"nodes": [{"id": 1}',
    "cut.gexf": "<gexf><graph><nodes>",
    "no-end.graphml": GRAPHML.format('<edge source="a" target="b"/>'),
    "twice.graphml": GRAPHML.format('<node id="a"/>'),
    "hyper.graphml": GRAPHML.format("<hyperedge/>"),
    "inner.graphml": GRAPHML.format("<node id='b'><graph/></node>"),
    "nan.json": '{"nodes": [{"id": NaN}], "edges": []}',
    "null.json": '{"nodes": [{"id": null}], "edges": []}',
    "not.json": "[1, 2]",
    "many.net": "*Vertices 1000000000000\n*Arcs\n1 2\n",
    "negative.net": "*Vertices -5\n*Arcs\n1 2\n",
    "vertex.net": "*Vertices 2\n*Arcs\n1 3\n",
    "empty.net": "",
    "nan.csv": "source,target\n1,nan\n",
    "ragged.csv": "source,target\n1,2,3\n",
    "words.csv": "a,b,c,d\n1,2,3,4\n",
    "empty.csv": "",
    "binary.csv": bytes(range(256)),
    "text.npz": "no zip at all",
    "text.npy": "no array at all",
    "bomb.npz": bomb,
    "zeros.npz": zeros,
    "pickle.npy": lambda path: np.save(path, np.array([{"a": 1}]), allow_pickle=True),
    "pickle.npz": lambda path: np.savez(path, a=np.array([{"a": 1}])),
    "nan.npy": lambda path: np.save(path, np.array([[np.nan, 1.0]])),
    "words.npy": lambda path: np.save(path, np.array([["a", "b"]])),
    "cube.npy": lambda path: np.save(path, np.ones((2, 2, 2))),
    "index.npz": lambda path: np.savez(
        path, format=b"csr", shape=[3, 3], data=[1.0], indices=[7], indptr=[0, 1, 1, 1]
    ),
    "shape.npz": lambda path: np.savez(
        path, format=b"coo", shape=[10**12, 10**12], data=[1.0], row=[0], col=[0]
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_graph_is_one_typed_error(name, tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "LOOSE_BYTES", 2**20)
    path, content = tmp_path / name, HOSTILE[name]
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(GraphFileError, match=name.replace(".", r"\.")) as caught:
        read_graph(path)
    assert exit_code_of(caught.value) == 3


@pytest.mark.parametrize("name", WHOLE.values())
def test_a_file_cut_anywhere_is_refused(name, tmp_path):
    write_graph(some(), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for at in range(0, len(whole) - 20, max(len(whole) // 23, 1)):
        (tmp_path / name).write_bytes(whole[:at])
        with pytest.raises(GraphFileError):
            read_graph(tmp_path / name)


@pytest.mark.parametrize("name", [*WHOLE.values(), "a.npy", "a.net", "a.csv"])
def test_bytes_changed_anywhere_raise_nothing_else(name, tmp_path):
    write_graph(some(), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        changed = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        (tmp_path / name).write_bytes(changed)
        try:
            read_graph(tmp_path / name)
        except GraphFileError:
            continue


def test_an_archive_that_leads_before_its_beginning_is_damaged(tmp_path):
    write_graph(some(), tmp_path / "a.npz")
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    directory = whole.rindex(b"PK\x05\x06") + 16  # where the directory begins, in the last record
    whole[directory : directory + 4] = (0xFFFFFF0).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(GraphFileError, match="a.npz"):
        read_graph(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.graphml", "a.json"])
def test_a_description_that_was_tampered_with_is_refused(name, tmp_path):
    write_graph(some(wiring=False), tmp_path / name)
    text = (tmp_path / name).read_text()
    quote = '\\"' if name.endswith("json") else '"'
    for old, new in (("size", "syze"), ("4, 6", "4, 5"), ("size{q}: 6", "size{q}: 1000000000000"),
                     ("size{q}: 6", "size{q}: -6"), ("linear", "spline"),
                     ("4, 6", "1000000000000, 6000000000000")):  # fmt: skip
        old, new = old.format(q=quote), new.format(q=quote)
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new, 1))
        with pytest.raises(GraphFileError, match=name):
            read_graph(tmp_path / name)


HUNGRY = """
import resource, sys
from pathlib import Path
from rewire.files import GraphFileError, read_graph
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_graph(path)
    except GraphFileError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_hostile_files_cost_no_memory(tmp_path):
    for name in ("laughs.graphml", "laughs.gexf", "many.net", "bomb.npz", "shape.npz"):
        content = HOSTILE[name]
        content(tmp_path / name) if callable(content) else (tmp_path / name).write_text(content)
    out = subprocess.run(
        [sys.executable, "-c", HUNGRY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert float(out.stdout) < 200e3  # KiB


def test_what_is_asked_of_no_format_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no format has the suffix '.dot'"):
        write_graph(some(), tmp_path / "a.dot")
    with pytest.raises(ValueError, match=r"no format 'graphmal' \(did you mean 'graphml'\?\)"):
        read_graph(tmp_path / "a.dot", "graphmal")
    with pytest.raises(FileNotFoundError):
        read_graph(tmp_path / "a.graphml")
    write_graph(some(), tmp_path / "a.graphml")
    with pytest.raises(ValueError, match="graphml files have no option row=; they have none"):
        read_graph(tmp_path / "a.graphml", row="pre")
    assert len({s for f in FORMATS.values() for s in f.suffixes}) == sum(
        len(f.suffixes) for f in FORMATS.values()
    )

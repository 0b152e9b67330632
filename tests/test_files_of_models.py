"""States, connection lists, SONATA and NIR: read by torch, numpy, libsonata and snnTorch."""

import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from rewire.experiments.errors import exit_code_of
from rewire.files import GraphFileError, read_graph, write_graph, zips
from rewire.graph import Graph, Population, Projection, Space


def layered(seed=0):
    space = Space(
        [Population("in", 6), Population("hidden", 5), Population("out", 3)],
        [
            Projection("fc1", "in", "hidden", "linear", (5, 6)),
            Projection("rec", "hidden", "hidden", "linear", (5, 5)),
            Projection("fc2", "hidden", "out", "linear", (3, 5)),
        ],
    )
    rng = np.random.default_rng(seed)
    keys = torch.from_numpy(np.sort(rng.choice(space.possible, 30, replace=False)))
    return Graph(space, keys, {"weight": torch.from_numpy(rng.normal(size=30).astype(np.float32))})


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_torch_reads_a_state_with_zeros_and_we_read_the_edges(name, tmp_path):
    graph = layered()
    notes = write_graph(graph, tmp_path / name)
    assert "a synapse of weight 0" in " ".join(notes)
    if name == "a.pt":
        state = torch.load(tmp_path / name, weights_only=True)
    else:
        from safetensors.torch import load_file

        state = load_file(tmp_path / name)
    assert {n: t.shape for n, t in state.items()} == {p.name: p.shape for p in graph.projections}
    for i, p in enumerate(graph.projections):
        assert torch.equal(state[p.name], graph.dense(i))
    again = read_graph(tmp_path / name)
    assert torch.equal(again.keys, graph.keys) and torch.equal(again["weight"], graph["weight"])
    assert again.network.joined == (name == "a.safetensors")


def test_a_state_of_a_pruned_model_has_the_edges_of_its_masks(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 5))
    prune.l1_unstructured(model[0], "weight", 0.5)
    prune.l1_unstructured(model[2], "weight", 0.25)
    with torch.no_grad():
        model[0].weight_orig[0] = 0
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "a.pth")
    graph = read_graph(tmp_path / "a.pth")
    assert [p.name for p in graph.projections] == ["0.weight", "2.weight"]
    assert torch.equal(graph.mask(0), model[0].weight_mask != 0)
    assert torch.equal(graph.mask(1), model[2].weight_mask != 0)
    assert graph.projections[0].kind == "conv"
    chained = read_graph(tmp_path / "a.pth", chain=True)
    assert torch.equal(chained.keys, graph.keys) and chained.network.joined


class Evil:
    def __reduce__(self):
        return print, ("run",)


def huge_view(path):
    torch.save({"a": torch.ones(1).expand(10**6, 10**6)}, path)


HOSTILE = {
    "pickle.pt": lambda path: torch.save({"a": Evil()}, path),
    "view.pt": huge_view,
    "list.pt": lambda path: torch.save([1, 2], path),
    "none.pt": lambda path: torch.save({"bias": torch.ones(3)}, path),
    "nan.pt": lambda path: torch.save({"a": torch.full((2, 2), torch.nan)}, path),
    "text.pt": lambda path: path.write_text("no zip"),
    "text.safetensors": lambda path: path.write_text("no tensors at all"),
    "head.safetensors": lambda path: path.write_bytes((2**40).to_bytes(8, "little") + b"{}"),
    "empty.conn": lambda path: path.write_text(""),
    "nan.conn": lambda path: path.write_text("nan 1 0.5 1\n"),
    "negative.conn": lambda path: path.write_text("-1 1 0.5 1\n"),
    "half.conn": lambda path: path.write_text("0.5 1 0.5 1\n"),
    "many.conn": lambda path: path.write_text("1000000000000 1 0.5 1\n"),
    "ragged.conn": lambda path: path.write_text("1 1 0.5 1\n1 2\n"),
    "text.h5": lambda path: path.write_text("no HDF5"),
    "text.nir": lambda path: path.write_text("no HDF5"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_graph_is_one_typed_error(name, tmp_path, capsys):
    if name.endswith(("h5", "nir")):
        pytest.importorskip("h5py")
        pytest.importorskip("nir")
    HOSTILE[name](tmp_path / name)
    with pytest.raises(GraphFileError, match=name) as caught:
        read_graph(tmp_path / name)
    assert exit_code_of(caught.value) == 3
    assert capsys.readouterr().out == ""


def test_a_zip_bomb_of_torch_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "LOOSE_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a/data/0", "w") as file:
            file.write(bytes(2**22))
    with pytest.raises(GraphFileError, match="unpacks to 0.0 GiB"):
        read_graph(tmp_path / "a.pt")


def test_numpy_reads_a_connection_list_as_pynn_does(tmp_path):
    graph = layered()
    with pytest.raises(ValueError, match="projection= one of 'fc1', 'rec', 'fc2'"):
        write_graph(graph, tmp_path / "a.conn")
    write_graph(graph, tmp_path / "a.conn", projection="fc2", delay=1.5)
    rows = np.loadtxt(tmp_path / "a.conn")  # what pyNN.FromFileConnector does
    _, pre, post = (x[graph.rows(2)].tolist() for x in graph.locate())
    assert rows[:, :2].tolist() == [[i, j] for i, j in zip(pre, post, strict=True)]
    assert rows[:, 2].astype(np.float32).tolist() == graph["weight"][graph.rows(2)].tolist()
    assert set(rows[:, 3]) == {1.5}
    again = read_graph(tmp_path / "a.conn")
    assert torch.equal(again.mask(0), graph.mask(2)) and set(again["delay"].tolist()) == {1.5}
    (tmp_path / "b.conn").write_text('# columns = ["i", "j", "weight"]\n0.0 3.0 0.25\n')
    small = read_graph(tmp_path / "b.conn", sizes=(2, 4))
    assert small.projections[0].shape == (4, 2) and small["weight"].tolist() == [0.25]


def test_pynn_connects_what_a_connection_list_says(tmp_path):
    sim = pytest.importorskip("pyNN.brian2")
    graph = layered()
    write_graph(graph, tmp_path / "a.conn", projection="fc2", delay=1.5)
    sim.setup(timestep=0.1)
    post, pre = graph.projections[2].shape
    sources, targets = (sim.Population(n, sim.IF_curr_exp()) for n in (pre, post))
    connector = sim.FromFileConnector(str(tmp_path / "a.conn"))
    projection = sim.Projection(sources, targets, connector)
    rows = np.asarray(projection.get(["weight", "delay"], format="list"))
    rows = rows[np.lexsort((rows[:, 0], rows[:, 1]))]
    _, pres, posts = (x[graph.rows(2)].numpy() for x in graph.locate())
    assert rows[:, 0].tolist() == pres.tolist() and rows[:, 1].tolist() == posts.tolist()
    assert np.allclose(rows[:, 2], graph["weight"][graph.rows(2)].numpy(), rtol=1e-6)
    assert np.allclose(rows[:, 3], 1.5)


def test_others_sonata_is_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    graph = layered()
    write_graph(graph, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["rewire"]
    again = read_graph(tmp_path / "a.h5")
    assert {p.name: p.size for p in again.populations} == {"in": 6, "hidden": 5, "out": 3}
    for i, p in enumerate(again.projections):
        j = graph.space.index(p.name)
        assert torch.equal(again.dense(i), graph.dense(j))


def test_hostile_hdf5_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    for name, change in {
        "link.h5": lambda f: f.__setitem__("edges", h5py.ExternalLink("/etc/passwd", "/")),
        "soft.h5": lambda f: f.__setitem__("edges", h5py.SoftLink("/edges")),
        "huge.h5": lambda f: f.create_dataset("edges/a/x", (10**12,), "f8", chunks=(1000,)),
        "none.h5": lambda f: f.create_group("nodes"),
        "ends.h5": lambda f: f.create_dataset("edges/a/source_node_id", data=[0.5]),
        "below.h5": lambda f: [
            f.create_dataset(f"edges/a/{end}_node_id", data=[-1]) for end in ("source", "target")
        ],
    }.items():
        with h5py.File(tmp_path / name, "w") as file:
            change(file)
        with pytest.raises(GraphFileError, match=name):
            read_graph(tmp_path / name)


def spiking(snn):
    torch.manual_seed(0)
    fives, threes = torch.full((5,), 0.9), torch.full((3,), 0.9)  # NIR's neurons have a size
    of = {"init_hidden": True, "reset_delay": False}
    return nn.Sequential(
        nn.Linear(6, 5),
        snn.Leaky(beta=fives, threshold=torch.ones(5), **of),
        nn.Linear(5, 3, bias=False),
        snn.Leaky(beta=threes, threshold=torch.ones(3), output=True, **of),
    )


def test_a_network_of_snntorch_goes_through_nir_and_back(tmp_path):
    nir = pytest.importorskip("nir")
    snn = pytest.importorskip("snntorch")
    pytest.importorskip("nirtorch")  # which it exports and imports with
    from snntorch.export_nir import export_to_nir
    from snntorch.import_nir import import_from_nir

    model = spiking(snn)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight[torch.rand_like(layer.weight) < 0.5] = 0
    nir.write(tmp_path / "a.nir", export_to_nir(model, torch.zeros(1, 6), ignore_dims=[0]))
    graph = read_graph(tmp_path / "a.nir")
    assert graph.network.joined and [p.shape for p in graph.projections] == [(5, 6), (3, 5)]
    for i, layer in enumerate((model[0], model[2])):
        assert torch.equal(graph.dense(i), layer.weight)
    halved = graph.with_columns({"weight": graph["weight"] / 2})
    write_graph(halved, tmp_path / "b.nir", like=tmp_path / "a.nir")
    again = import_from_nir(nir.read(tmp_path / "b.nir"))
    layers = [m for m in again.modules() if isinstance(m, nn.Linear)]
    assert [torch.equal(a.weight * 2, b.weight) for a, b in zip(layers, (model[0], model[2]), strict=True)] == [True, True]  # fmt: skip  # noqa: E501
    assert torch.equal(layers[0].bias, model[0].bias)
    assert sum(isinstance(m, snn.Leaky) for m in again.modules()) == 2


def test_nir_reads_a_graph_and_it_comes_back(tmp_path):
    nir = pytest.importorskip("nir")
    graph = layered()
    assert write_graph(graph, tmp_path / "a.nir")
    whole = nir.read(tmp_path / "a.nir")
    assert (whole.nodes["fc1"].weight == graph.dense(0).numpy()).all()
    assert ("fc1", "rec") in whole.edges and ("rec", "rec") in whole.edges
    again = read_graph(tmp_path / "a.nir")
    for i, p in enumerate(again.projections):
        assert torch.equal(again.dense(i), graph.dense(graph.space.index(p.name)))
    assert again.network.joined and sorted(p.size for p in again.populations) == [3, 5, 6]
    ends = {p.name: (p.source, p.target) for p in again.projections}
    assert ends["rec"][0] == ends["rec"][1] == ends["fc1"][1] == ends["fc2"][0]


def test_flattened_channels_of_nir_are_linked_to_their_blocks(tmp_path):
    nir = pytest.importorskip("nir")
    conv = nir.Conv2d((4, 4), np.ones((2, 1, 3, 3), np.float32), 1, 1, 1, 1, np.zeros(2))
    nodes = {
        "input": nir.Input({"input": np.array([1, 4, 4])}),
        "conv": conv,
        "flat": nir.Flatten({"input": np.array([2, 4, 4])}, 0, -1),
        "fc": nir.Linear(np.ones((3, 32), np.float32)),
        "output": nir.Output({"output": np.array([3])}),
    }
    names = list(nodes)
    whole = nir.NIRGraph(nodes, list(zip(names, names[1:], strict=False)), type_check=False)
    nir.write(tmp_path / "a.nir", whole)
    graph = read_graph(tmp_path / "a.nir")
    assert graph.network.joined
    assert graph.network.link_pre.tolist() == [*[1] * 16, *[2] * 16]
    with pytest.raises(ValueError, match="give like= the NIR graph"):
        write_graph(graph, tmp_path / "b.nir")
    write_graph(graph, tmp_path / "b.nir", like=tmp_path / "a.nir")
    assert torch.equal(read_graph(tmp_path / "b.nir").keys, graph.keys)


def test_onnx_is_written_from_the_model(tmp_path):
    with pytest.raises(ValueError, match=r"torch.onnx.export\(net.to_dense\(\)"):
        write_graph(layered(), tmp_path / "a.onnx")


def two_of_four():
    space = Space([Population("in", 64), Population("out", 64)],
                  [Projection("fc", "in", "out", "linear", (64, 64))])  # fmt: skip
    keys = torch.arange(64 * 64).view(-1, 4)[:, [0, 3]].reshape(-1)
    weight = torch.arange(len(keys)).remainder(7) - 3.0
    return Graph(space, keys, {"weight": weight})


def test_what_is_not_2_of_4_or_not_on_cuda_is_refused_by_name():
    graph = two_of_four()
    with pytest.raises(ValueError, match="on CUDA alone, and 'cpu' is none"):
        graph.to_semi_structured(0, device="cpu")
    with pytest.raises(ValueError, match=r"'fc1' is not 2:4: of 6 inputs"):
        layered().to_semi_structured(0)
    three = Graph(graph.space, torch.tensor([0, 1, 2]), {"weight": torch.ones(3)})
    with pytest.raises(ValueError, match="3 of four neighbours are joined"):
        three.to_semi_structured(0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch makes them on CUDA alone")
def test_2_of_4_is_a_tensor_of_torch():
    graph = two_of_four()
    tensor = graph.to_semi_structured(0)
    assert torch.equal(tensor.to_dense().cpu().float(), graph.dense(0))

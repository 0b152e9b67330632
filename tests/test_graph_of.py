"""The graph of anybody's sparse model: what is 0, under a mask or computed, and nothing changed."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import rewire
from rewire import Graph
from rewire.files import GraphFileError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        return self.fc(x.mean((2, 3)))


def weights(graph):
    return {p.name: graph.dense(i) for i, p in enumerate(graph.projections)}


def assert_same_state(model, before):
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_zeros_are_absent():
    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        for p in (model.conv.weight, model.fc.weight):
            p[torch.rand_like(p) < 0.7] = 0
    graph = Graph.of(model)
    assert torch.equal(weights(graph)["conv.weight"], model.conv.weight)
    assert torch.equal(weights(graph)["fc.weight"], model.fc.weight)
    assert len(graph) == sum(int(w.count_nonzero()) for w in weights(graph).values())


@pytest.mark.parametrize("forward", [False, True])
def test_masks_of_torch_prune_are_the_edges_also_of_weights_of_zero(forward):
    torch.manual_seed(0)
    model = Net()
    prune.l1_unstructured(model.conv, "weight", 0.5)
    prune.random_structured(model.fc, "weight", 2, dim=0)
    prune.l1_unstructured(model.fc, "weight", 0.25)  # a container of two
    prune.l1_unstructured(model.fc, "bias", 2)
    with torch.no_grad():
        model.conv.weight_orig[0] = 0
    before = copy.deepcopy(model.state_dict())
    if forward:
        model(torch.randn(2, 3, 4, 4)).sum().backward()
        before = copy.deepcopy(model.state_dict())
    graph = Graph.of(model)
    assert torch.equal(graph.mask(0), model.conv.weight_mask != 0)
    assert torch.equal(graph.mask(1), model.fc.weight_mask != 0)
    assert torch.equal(weights(graph)["fc.weight"], model.fc.weight_orig * model.fc.weight_mask)
    assert_same_state(model, before)
    assert "weight" in vars(model.conv) and len(model.conv._forward_pre_hooks) == 1


class Positive(nn.Module):
    def forward(self, x):
        return x.relu()


@pytest.mark.parametrize("change", [
    lambda layer: nn.utils.parametrize.register_parametrization(layer, "weight", Positive()),
    parametrizations.weight_norm, parametrizations.spectral_norm, weight_norm, spectral_norm,
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_a_parametrised_weight_is_computed(change):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[0].weight[:, 0] = 0
    change(model[0])
    model(torch.ones(1, 6)).sum().backward()
    before = copy.deepcopy(model.state_dict())
    graph = Graph.of(model)
    assert torch.equal(weights(graph)["0.weight"], model[0].weight)
    assert not graph.mask(0)[:, 0].any()
    assert_same_state(model, before)


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_a_session_its_model_and_its_dense_copy_have_one_graph(world):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.SET(), density=0.2, world=world, seed=1)
    assert torch.equal(Graph.of(net).keys, net.graph.keys)
    dense = Graph.of(net.to_dense())
    assert torch.equal(dense.keys, net.graph.keys)
    assert torch.equal(dense["weight"], net.graph["weight"].detach())
    if world == "masked":
        with torch.no_grad():  # an edge whose weight is 0 is one all the same
            model.fc.weight.zero_()
        assert torch.equal(Graph.of(model).keys, net.graph.keys)
    else:
        with pytest.raises(ValueError, match=r"take net.graph, or Graph.of\(net.to_dense\(\)\)"):
            Graph.of(model)


def test_an_example_joins_the_layers():
    model = Net()
    assert len(Graph.of(model).pieces) == 2
    graph = Graph.of(model, example=torch.zeros(1, 3, 8, 8))
    assert graph.space.wiring is not None
    before = model.norm.num_batches_tracked.item()
    assert before == 0


@pytest.mark.parametrize("name", ["a.npz", "a.graphml", "a.gexf", "a.json", "a.h5"])
def test_how_a_model_joins_its_layers_comes_back_from_files(name, tmp_path):
    if name == "a.h5":
        pytest.importorskip("h5py")
    graph = Graph.of(Net(), example=torch.zeros(1, 3, 8, 8))
    assert graph.network.joined and graph.save(tmp_path / name) == ()
    again = rewire.read_graph(tmp_path / name)
    assert again.space.wiring.program == graph.space.wiring.program
    assert again.network.starts == graph.network.starts
    assert again.network.ends == graph.network.ends
    assert (again.network.link_pre == graph.network.link_pre).all()


def test_a_wiring_larger_than_a_machine_is_refused(tmp_path):
    Graph.of(Net(), example=torch.zeros(1, 3, 8, 8)).save(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    for old, new in (("[1, 3, 8, 8]", "[1, 3, 8000000, 8]"), ("[1, 3, 8, 8]", "[1, 3, 8e99, 8]"),
                     ("[1, 3, 8, 8]", "[1, 3, null, 8]"), ('"input\\"', '"inputs\\"'),
                     ('\\"steps\\": [', '\\"steps\\": [7, ')):  # fmt: skip
        assert old in text
        (tmp_path / "a.json").write_text(text.replace(old, new, 1))
        with pytest.raises(GraphFileError, match="wiring"):
            rewire.read_graph(tmp_path / "a.json")


def test_what_is_not_in_the_graph_is_said():
    model = nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 2))
    with pytest.warns(UserWarning, match=r"holds 16 of the model's 816 weights.*'0.weight' \(800"):
        Graph.of(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Graph.of(model, exclude=["0"]).projections) == 1
        assert len(Graph.of(model, embeddings=True).projections) == 2
    frozen = nn.Linear(3, 2).requires_grad_(False)
    assert len(Graph.of(frozen)) == 6 and not frozen.weight.requires_grad


def test_what_has_no_graph_is_refused_by_name():
    with pytest.raises(ValueError, match="no weight"):
        Graph.of(nn.ReLU())
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="'weight' holds NaN"):
        Graph.of(model)

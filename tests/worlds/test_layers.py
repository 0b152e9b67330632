"""Which weights of a model are synapses, and what they join."""

import networkx as nx
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import rewire
from rewire.worlds.torch_model.layers import discover


class Tied(nn.Module):
    """A language model's head that shares the embedding's weight."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def forward(self, i):
        return self.head(self.second(self.first(self.embedding(i)).relu()))


def projections(model, **options):
    space, parameters, _ = discover(model, **options)
    for p, projection in zip(parameters, space.projections, strict=True):
        assert tuple(p.shape) == projection.shape
    return {p.name: p for p in space.projections}


def test_linear_and_convolutional_weights_are_sparse_norms_and_biases_never():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3,
        groups=4), nn.ConvTranspose2d(8, 4, 2), nn.Flatten(), nn.Linear(100, 10), nn.LayerNorm(10),
        nn.PReLU(10), nn.Conv1d(2, 2, 2),
    )  # fmt: skip
    found = projections(model)
    assert {n: (p.kind, p.groups) for n, p in found.items()} == {
        "0.weight": ("conv", 1),
        "4.weight": ("conv", 4),
        "5.weight": ("conv_transpose", 1),
        "7.weight": ("linear", 1),
        "10.weight": ("conv", 1),
    }


def test_chains_of_layers_share_their_populations():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    found = projections(model)
    assert [(p.source, p.target) for p in found.values()] == [
        ("input", "0"), ("0", "2"), ("2", "4"),
    ]  # fmt: skip
    space, *_ = discover(model)
    assert [(p.name, p.size) for p in space.populations] == [
        ("input", 6), ("0", 5), ("2", 4), ("4", 3),
    ]  # fmt: skip
    assert space.population["4"].positions is None  # outputs have no place
    assert space.population["0"].positions.shape == (5, 2)


def test_a_layer_named_input_is_not_the_models_input():
    """It would look like a lateral projection of a population onto itself."""
    from collections import OrderedDict

    model = nn.Sequential(OrderedDict(input=nn.Linear(6, 6), output=nn.Linear(6, 2)))
    first = projections(model)["input.weight"]
    assert first.source != first.target == "input"


def test_every_weight_of_recurrent_layers_joins_its_own_populations():
    model = nn.LSTM(5, 4, num_layers=2, bidirectional=True, proj_size=3)
    found = projections(model)
    assert len(found) == 2 * 2 * 3
    assert not any("bias" in n for n in found)
    assert found["weight_ih_l0"].shape == (16, 5) and found["weight_ih_l0"].groups == 4
    assert found["weight_ih_l1_reverse"].shape == (16, 6)
    assert found["weight_hr_l0"].kind == "linear" and found["weight_hr_l0"].shape == (3, 4)
    assert found["weight_hh_l0"].source == found["weight_hr_l0"].target
    ends = {(p.source, p.target) for p in found.values()}
    assert len(ends) == 12
    gru = projections(nn.GRU(5, 4))
    assert gru["weight_ih_l0"].groups == 3 and gru["weight_hh_l0"].groups == 3
    lateral = gru["weight_hh_l0"]
    assert lateral.source == lateral.target
    cell = projections(nn.LSTMCell(5, 4))
    assert set(cell) == {"weight_ih", "weight_hh"} and cell["weight_hh"].groups == 4
    rnn = projections(nn.RNN(5, 4))
    assert rnn["weight_ih_l0"].groups == 1


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layers_units_feed_the_next_layer(kind):
    """Every unit of the top layer can be reached from the input."""
    space, *_ = discover(kind(5, 4, num_layers=3))
    found = {p.name: p for p in space.projections}
    for layer in (1, 2):
        assert found[f"weight_ih_l{layer}"].source == found[f"weight_ih_l{layer - 1}"].target
        assert found[f"weight_hh_l{layer}"].source == found[f"weight_hh_l{layer}"].target
    assert {p.name: p.size for p in space.populations} == {
        "input": 5, "model.l0": 4, "model.l1": 4, "model.l2": 4
    }  # fmt: skip
    reached = nx.descendants(rewire.Graph.full(space).to_networkx(), ("input", 0))
    assert {("model.l2", u) for u in range(4)} <= reached


def test_a_projected_lstm_feeds_its_state_to_the_next_layer():
    found = projections(nn.LSTM(5, 4, num_layers=2, proj_size=3))
    assert found["weight_ih_l1"].source == found["weight_hr_l0"].target == "model.l0.state"
    assert found["weight_ih_l1"].shape == (16, 3)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_both_directions_read_the_concatenation_of_the_layer_below(kind):
    space, *_ = discover(kind(5, 4, num_layers=2, bidirectional=True))
    found = {p.name: p for p in space.projections}
    below = found["weight_ih_l1"].source
    assert below == found["weight_ih_l1_reverse"].source == "model.l0.out"
    assert space.population[below].size == 8
    assert found["weight_ih_l1"].target != found["weight_ih_l1_reverse"].target


def test_attention_with_one_or_three_input_weights():
    same = projections(nn.MultiheadAttention(8, 2))
    assert same["in_proj_weight"].kind == "attention" and same["in_proj_weight"].shape == (24, 8)
    assert set(same) == {"in_proj_weight", "out_proj.weight"}
    other = projections(nn.MultiheadAttention(8, 2, kdim=6, vdim=4))
    assert {n: p.shape for n, p in other.items()} == {
        "q_proj_weight": (8, 8), "k_proj_weight": (8, 6), "v_proj_weight": (8, 4),
        "out_proj.weight": (8, 8),
    }  # fmt: skip


def test_embeddings_only_where_asked_for():
    model = nn.Sequential(nn.Embedding(20, 6), nn.Linear(6, 2))
    assert set(projections(model)) == {"1.weight"}
    found = projections(model, embeddings=True)
    assert found["0.weight"].kind == "embedding" and found["0.weight"].shape == (20, 6)
    assert set(projections(model, include=["0"])) == {"0.weight"}
    space, *_ = discover(model, embeddings=True)
    assert space.population[found["0.weight"].source].size == 20


def test_a_tied_weight_is_one_projection_and_sparse_only_if_all_its_uses_are():
    """rigl-torch raises here."""
    assert set(projections(Tied())) == {"first.weight"}
    found = projections(Tied(), embeddings=True)
    assert set(found) == {"embedding.weight", "first.weight"}
    assert set(projections(Tied(), embeddings=True, exclude=["head"])) == {"first.weight"}
    with pytest.raises(ValueError, match="no weight that can be sparse"):
        projections(Tied(), exclude=["second"])


def test_frozen_weights_stay_as_they_are():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    assert set(projections(model)) == {"1.weight"}
    net = rewire.attach(
        model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static(), density=0.5
    )
    model(torch.randn(3, 4)).sum().backward()
    net.step()
    assert torch.equal(model[0].weight, before)


def test_patterns_choose_and_a_pattern_without_a_match_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    assert set(projections(model, include=["[01]"])) == {"0.weight", "1.weight"}
    assert set(projections(model, exclude=["2.weight"])) == {"0.weight", "1.weight"}
    with pytest.raises(ValueError, match="the pattern 'fc1' matches no weight; there are 0.weight"):
        projections(model, exclude=["fc1"])
    with pytest.raises(ValueError, match="no linear, convolutional, recurrent or attention layer"):
        projections(nn.Sequential(nn.LayerNorm(4), nn.ReLU()))


@pytest.mark.parametrize("make", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrised_layers_are_refused(make):
    model = nn.Sequential(make(nn.Linear(4, 4)), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"'0.weight' is parametrised .*remove_parametrizations"):
        projections(model)


def test_pruned_and_lazy_layers_are_refused():
    pruned = nn.Linear(4, 4)
    prune.l1_unstructured(pruned, "weight", 0.5)
    with pytest.raises(ValueError, match="is not a parameter of its module: .*prune.remove"):
        projections(nn.Sequential(pruned))
    with pytest.raises(ValueError, match="has no shape yet: run one batch through the model first"):
        projections(nn.Sequential(nn.LazyLinear(4)))


def test_names_are_the_models_own_under_wrappers():
    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.module = inner

    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    assert set(projections(Wrapper(model))) == set(projections(model))
    assert set(projections(torch.compile(model))) == set(projections(model))


def test_positions_are_given_by_population():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    places = torch.rand(2, 2)
    space, *_ = discover(model, positions={"2": places, "input": None})
    assert torch.equal(space.population["2"].positions, places)
    assert space.population["input"].positions is None


# -- activity ---------------------------------------------------------------------------------


def activity_of(model, *args, **kwargs):
    """Activity of each sending population after one training pass."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(
        model, optimizer, rewire.StructuralPlasticity(initial="given"), density=0.9,
        embeddings=True, distribution="uniform",
    )  # fmt: skip
    model(*args, **kwargs)
    signals = net.world.signals(net.graph)
    sends = {p.source for p in net.graph.projections}
    return {name: signals.node("activity", name) for name in sends}


def test_activity_is_the_standard_deviation_of_each_unit():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 2, 2))
    x = torch.randn(5, 2, 6, 6)
    x[:, 1] = 7.0  # a constant channel says nothing
    seen = activity_of(model, x)
    assert torch.allclose(seen["input"], x.std((0, 2, 3), correction=0), atol=1e-6)
    assert seen["input"][1] == 0
    h = model[1](model[0](x))
    assert torch.allclose(seen["0"], h.std((0, 2, 3), correction=0), atol=1e-6)


def test_activity_of_an_embedding_counts_its_words():
    words = torch.tensor([[1, 1, 3], [0, 1, 3]])
    seen = activity_of(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)), words)
    assert seen["input"].tolist() == [1, 3, 0, 2, 0]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_activity_of_a_recurrent_layer_is_of_its_own_units(kind, batch_first):
    """Directions apart; units between layers cannot be seen and count as equal."""
    torch.manual_seed(0)
    model = kind(4, 3, num_layers=2, bidirectional=True, batch_first=batch_first)
    x = torch.randn(5, 6, 4)
    seen = activity_of(model, x)
    output = model(x)[0]
    assert torch.allclose(seen["input"], x.std((0, 1), correction=0), atol=1e-6)
    both = output.std((0, 1), correction=0)
    top = torch.cat([seen["model.l1"], seen["model.l1_reverse"]])
    assert torch.allclose(top, both, atol=1e-6)
    hidden = [n for n in seen if n.startswith("model.l0")]
    assert hidden and all((seen[n] == 1).all() for n in hidden)


def test_attention_called_by_keyword_is_seen():
    torch.manual_seed(0)
    model = nn.MultiheadAttention(6, 2, kdim=10, vdim=4, batch_first=True)
    q, k, v = torch.randn(3, 5, 6), torch.randn(3, 7, 10), torch.randn(3, 7, 4)
    seen = activity_of(model, value=v, key=k, query=q)
    places = q.std((0, 1), correction=0)
    assert any(len(s) == 6 and torch.allclose(s, places, atol=1e-6) for s in seen.values())
    assert all(torch.isfinite(s).all() for s in seen.values())


class Fed(nn.Module):
    """Its linear layer reads the state of its recurrent one."""

    fed_by = {"out": "rnn"}

    def __init__(self, **options):
        super().__init__()
        self.rnn = nn.LSTM(5, 4, **options)
        self.out = nn.Linear(8 if options.get("bidirectional") else 4, 3)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_model_may_say_which_child_feeds_which(layers):
    space, *_ = discover(Fed(num_layers=layers))
    assert space.projections[-1].source == f"rnn.l{layers - 1}"
    reached = nx.descendants(rewire.Graph.full(space).to_networkx(), ("input", 0))
    assert {("out", u) for u in range(3)} <= reached
    both, *_ = discover(Fed(bidirectional=True))
    assert both.projections[-1].source == "out.in"


class Shifted(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize("model, message", [
    (nn.Sequential(nn.ReLU()), "or attention layer. It has no parameter at all"),
    (Shifted(), "or attention layer. Weights of other layers are named .* there are shift"),
    (nn.BatchNorm1d(4), "or attention layer. .* there are weight, bias"),
    (nn.Linear(4, 4).requires_grad_(False), "no weight .* among weight under .*weight: frozen"),
    (nn.Embedding(4, 4), "no weight .* among weight under .*weight: embedding"),
])  # fmt: skip
@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_a_model_without_a_weight_is_refused_with_what_it_has(model, message, world):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2)), *model.parameters()], lr=0.1)
    with pytest.raises(ValueError, match=message):
        rewire.attach(model, optimizer, rewire.SET(), density=0.5, world=world)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_a_layer_without_numbers_stays_out(world):
    model = nn.ModuleDict({"empty": nn.Linear(6, 0), "full": nn.Linear(6, 4)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    net = rewire.attach(model, optimizer, rewire.SET(), density=0.5, world=world)
    assert net.coverage.sparse == {"full.weight": 24}


@pytest.mark.parametrize("part", [0, 1, 2])
def test_the_masked_world_refuses_what_has_no_numbers_by_name(part):
    """The sparse one makes them."""
    layers = [nn.Linear, nn.BatchNorm1d, nn.Linear]
    sizes, name = [(8, 6), (6,), (6, 4)], f"{part}.weight"

    def model():
        return nn.Sequential(*(
            layer(*size, device="meta" if i == part else "cpu")
            for i, (layer, size) in enumerate(zip(layers, sizes, strict=True))
        ))  # fmt: skip

    def attached(model, world):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return rewire.attach(model, optimizer, rewire.SET(), density=0.5, world=world)

    with pytest.raises(ValueError, match=f"'{name}' is on the meta device, without numbers"):
        attached(model(), "masked")
    net = attached(model(), "sparse")
    assert net.world.model(torch.randn(5, 8)).isfinite().all()


class Branches(nn.Module):
    """Layers of several types, or on several devices."""

    def __init__(self, places):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(10, 12, **place) for place in places)
        self.heads = nn.ModuleList(nn.Linear(12, 3, **place) for place in places)

    def forward(self, x):
        out = 0.0
        for layer, head in zip(self.layers, self.heads, strict=True):
            out = out + head(layer(x.to(layer.weight)).relu()).to(x)
        return out


PLACES = {
    "types": [{"dtype": torch.float32}, {"dtype": torch.float64}, {"dtype": torch.bfloat16}],
    "devices": [{"device": "cpu"}, {"device": "cuda"}],
}


@pytest.mark.parametrize("what", [
    "types",
    pytest.param("devices", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="GPU")),
])  # fmt: skip
@pytest.mark.parametrize("rule", [
    lambda: rewire.SET(fraction=0.3, when=rewire.every(1)),
    lambda: rewire.RigL(fraction=0.3, when=rewire.every(2)),
    lambda: rewire.DeepR(l1=0.0, temperature=1e-6),
    lambda: rewire.GMP(to=0.1, when=rewire.every(2)),
])  # fmt: skip
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_weights_of_several_types_or_devices_stay_masked(what, rule, optimizer):
    torch.manual_seed(0)
    model = Branches(PLACES[what])
    density = None if rule().name == "GMP" else 0.3
    net = rewire.attach(
        model, optimizer(model.parameters(), lr=0.01), rule(), density=density, steps=6
    )
    for step in range(6):
        x = torch.randn(12, 10, generator=torch.Generator().manual_seed(step))
        net.world.optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.arange(12) % 3).backward()
        net.step()
        net.check()
        for name, mask in net.masks().items():
            weight = model.get_parameter(name)
            assert not weight[~mask.to(weight.device)].any() and weight.isfinite().all()


def tie_memory(model):
    model.second.weight.data = model.first.weight.data


def turn(model):
    model.second.weight.data = model.first.weight.data.T


def overlap(model):
    whole = torch.randn(8, 6)
    model.first.weight.data, model.second.weight.data = whole[:6], whole[2:]


def expand(model):
    model.first.weight.data = torch.randn(1, 6).expand(6, 6)


def tie_a_table(model):
    model.first.weight.data = model.table.weight.data


def in_sparse_form(model):
    model.first.weight = nn.Parameter(model.first.weight.data.to_sparse())


def in_inference(model):
    with torch.inference_mode():
        model.first = nn.Linear(6, 6)


SPOILT = {
    tie_memory: "'first.weight' shares its memory with 'second.weight'",
    turn: "'first.weight' shares its memory with 'second.weight'",
    overlap: "'first.weight' shares its memory with 'second.weight'",
    expand: "'first.weight' shares its memory itself: it was expanded",
    tie_a_table: "'first.weight' shares its memory with 'table.weight'.*a.weight = b.weight",
    in_sparse_form: "'first.weight' is of the layout torch.sparse_coo, which cannot be",
    in_inference: "'first.weight' is an inference tensor, which cannot be",
    lambda model: model.first.to(torch.float8_e4m3fn): "'first.weight' is of type torch.float8",
}


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_a_weight_that_cannot_be_written_by_itself_is_refused_by_name(spoil, world):
    model = nn.ModuleDict({
        "first": nn.Linear(6, 6), "second": nn.Linear(6, 6), "table": nn.Embedding(6, 6),
        "third": nn.Linear(6, 6),
    })  # fmt: skip
    spoil(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=SPOILT[spoil]):
        rewire.attach(model, optimizer, rewire.SET(), density=0.5, world=world)
    net = rewire.attach(
        model, optimizer, rewire.SET(), density=0.5, include=["third"], world="masked"
    )
    assert list(net.coverage.sparse) == ["third.weight"]


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_parts_of_one_memory_are_weights_of_their_own(world):
    """As fused layers have them: one buffer, cut by rows or by columns."""
    for axis in (0, 1):
        model = nn.ModuleDict({"first": nn.Linear(6, 6), "second": nn.Linear(6, 6)})
        whole = torch.randn((12, 6) if axis == 0 else (6, 12))
        model["first"].weight.data, model["second"].weight.data = whole.chunk(2, axis)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        net = rewire.attach(model, optimizer, rewire.SET(), density=0.5, world=world)
        assert net.edges == 36


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_a_scripted_model_is_refused_by_name(world):
    model = torch.jit.script(nn.Sequential(nn.Linear(6, 4), nn.ReLU()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="the model is scripted.*script net.to_dense"):
        rewire.attach(model, optimizer, rewire.SET(), density=0.5, world=world)

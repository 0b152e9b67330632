"""Layers that are not known: their weights named at attach, or registered for their class."""

import copy
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire.budget import counts_for
from rewire.graph import Population, Projection, Space
from rewire.rules.cht import ch3_l3
from rewire.worlds.torch_model import declared

WORLDS = ("masked", "sparse")


class Turned(nn.Module):
    """A linear layer whose weight is stored the other way round."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(n_in, n_out) / n_in**0.5)

    def forward(self, x):
        return x @ self.kernel


class Standardised(Turned):
    def forward(self, x):
        return x @ (self.kernel - self.kernel.mean(0))


class Experts(nn.Module):
    """As in mixtures of experts: every expert's matrix in one parameter."""

    def __init__(self, experts, n_in, n_out, turned=False):
        super().__init__()
        shape = (experts, n_in, n_out) if turned else (experts, n_out, n_in)
        self.up, self.turned = nn.Parameter(torch.randn(shape) / n_in**0.5), turned

    def forward(self, x, chosen):
        up = self.up[chosen] if self.turned else self.up[chosen].mT
        return torch.einsum("ni,nio->no", x, up)


class Mixture(nn.Module):
    def __init__(self, turned=False):
        super().__init__()
        self.first, self.experts = nn.Linear(10, 6), Experts(3, 6, 8, turned)
        self.last = Turned(8, 4)

    def forward(self, x):
        hidden = self.experts(self.first(x).relu(), torch.arange(len(x)) % 3)
        return self.last(hidden.relu())


KINDS = {"experts.up": "stacked", "last.*": "transposed"}


def attached(model, rule=None, world="masked", density=0.3, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    rule = rule or rewire.SET(fraction=0.3, when=rewire.every(1))
    return rewire.attach(model, optimizer, rule, density=density, world=world, steps=9, **options)


def train(net, steps=4, width=10):
    for i in range(steps):
        x = torch.randn(12, width, generator=torch.Generator().manual_seed(i))
        net.world.optimizer.zero_grad()
        nn.functional.cross_entropy(net.world.model(x), torch.arange(12) % 4).backward()
        net.step()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("rule", [
    lambda: rewire.SET(fraction=0.3, when=rewire.every(1)),
    lambda: rewire.RigL(fraction=0.3, when=rewire.every(2)),
    lambda: rewire.SRigL(fraction=0.3, when=rewire.every(2)),
    lambda: rewire.CHT(fraction=0.3, when=rewire.every(2)),
    lambda: rewire.NM(n=1, m=2),
    lambda: rewire.DeepR(l1=0.0, temperature=1e-6),
], ids=["SET", "RigL", "SRigL", "CHT", "NM", "DeepR"])  # fmt: skip
def test_named_weights_are_rewired_alike_in_both_worlds(rule, turned):
    density = None if rule().name == "NM" else 0.3
    kinds = KINDS | ({"experts.up": "stacked_transposed"} if turned else {})
    nets = {}
    for world in WORLDS:
        torch.manual_seed(0)
        model = Mixture(turned)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            net = attached(model, rule(), world, density, projections=kinds)
        assert net.coverage.share == 1.0
        train(net)
        net.check()
        for name, mask in net.masks().items():
            if net.world.forms[name] == "masked":  # the sparse world has no list for these kinds
                assert not model.get_parameter(name)[~mask].any()
        nets[world] = net
    assert nets["sparse"].world.forms == {
        "first.weight": "edges", "experts.up": "masked", "last.kernel": "masked"
    }  # fmt: skip
    one, other = nets.values()
    assert torch.equal(one.topology, other.topology)
    torch.testing.assert_close(one.graph["weight"], other.graph["weight"], rtol=0, atol=1e-6)


def test_a_stack_counts_and_scores_as_its_layers_by_themselves():
    shape = (3, 5, 7)
    local = torch.arange(105)[torch.rand(105, generator=torch.Generator().manual_seed(0)) < 0.4]
    stack = Projection("s", "a", "b", "stacked", shape, groups=3)
    turned = Projection("t", "a", "b", "stacked_transposed", shape, groups=3)
    parts = [Projection(str(e), "a", "b", "linear", shape[1:]) for e in range(3)]
    ends = [Population("a", 21), Population("b", 21)]
    alone = rewire.Graph(Space(ends, parts), local)
    expected = [ch3_l3(alone, e) for e in range(3)]
    for p in (stack, turned):
        space = Space(ends, [p])
        at, scores = ch3_l3(rewire.Graph(space, local), 0)
        assert at.tolist() == [k + 35 * e for e in range(3) for k in expected[e][0].tolist()]
        np.testing.assert_allclose(scores, np.concatenate([s for _, s in expected]))
        other = Projection("o", "a", "b", "linear", (20, 20))
        for distribution in ("er", "erk", "uniform"):
            one = counts_for(Space(ends, [p, other]), 0.2, distribution)
            many = counts_for(Space(ends, [*parts, other]), 0.2, distribution)
            assert abs(one[0] - sum(many[:3])) <= 2


@pytest.mark.parametrize("world", WORLDS)
def test_train_takes_named_weights(world):
    model = Mixture()
    net = rewire.train(
        model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.IMP(fraction=0.5, rounds=1),
        loss=lambda model, x: model(x).square().sum(), data=lambda step: torch.randn(6, 10),
        steps=2, world=world, projections=KINDS,
    )  # fmt: skip
    assert net.coverage.share == 1.0 and net.edges == net.graph.possible // 2


def test_populations_of_a_stack_are_the_experts_own_units():
    net = attached(Mixture(), projections=KINDS)
    p = net.graph.projections[1]
    sizes = {q.name: q.size for q in net.graph.space.populations}
    assert (sizes[p.source], sizes[p.target]) == (18, 24)


@pytest.mark.parametrize("kinds, message", [
    ({"experts.up": "stack"}, "'up' is said to be 'stack'; a weight is one of linear"),
    ({"experts.up": "linear"}, "'up' of Experts has shape .3, 8, 6., which is no 'linear' weight"),
    ({"last.kernel": ("rnn", 3)}, "which is no 'rnn' weight of 3 gates"),
    ({"experts.down": "stacked"}, "projections name 'experts.down', which matches no parameter"),
    ({"first": "conv"}, "'first.weight' is 'conv', and it is known to be 'linear' from its Linear"),
])  # fmt: skip
@pytest.mark.parametrize("world", WORLDS)
def test_a_kind_that_cannot_be_is_refused_by_name(world, kinds, message):
    with pytest.raises(ValueError, match=message):
        attached(Mixture(), world=world, projections=kinds)


@pytest.mark.parametrize("layer, kind", [
    (Turned(6, 6), "linear"), (Standardised(6, 6), "transposed"), (Standardised(6, 4), "transposed")
])  # fmt: skip
def test_a_kind_that_a_trial_disproves_is_refused_by_name(layer, kind):
    before = layer.kernel.detach().clone()
    with pytest.raises(ValueError, match=f"'kernel' was said to be '{kind}' in its .* carry"):
        attached(layer, projections={"kernel": kind})
    assert torch.equal(layer.kernel, before)
    attached(Turned(6, 6), projections={"kernel": "transposed"})


def test_patterns_read_names_of_unknown_weights_too():
    with pytest.raises(ValueError, match="'experts.up' is of no known kind: name it with proj"):
        attached(Mixture(), include=["first", "experts.*"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = attached(Mixture(), exclude=["experts.up", "last.*"])
    assert {d.name: d.reason for d in net.coverage.dense if d.weight} == {
        "experts.up": "excluded by pattern", "last.kernel": "excluded by pattern"
    }  # fmt: skip


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(declared, "_REGISTERED", dict(declared._REGISTERED))
    declared._load_installed.cache_clear()
    yield monkeypatch
    declared._load_installed.cache_clear()


@pytest.mark.parametrize("world", WORLDS)
def test_a_registered_class_and_those_derived_from_it_are_known(registry, world):
    rewire.layer(kernel="transposed")(Turned)

    class Louder(Turned):
        def forward(self, x):
            return 2 * super().forward(x)

    net = attached(nn.Sequential(Turned(10, 12), nn.ReLU(), Louder(12, 4)), world=world)
    assert [p.kind for p in net.graph.projections] == ["transposed"] * 2
    train(net)
    net.check()
    with pytest.raises(ValueError, match="'kernel' was said to be 'transposed'.* carry"):
        attached(Standardised(10, 4), world=world)
    with pytest.raises(ValueError, match="'kernel' is said to be 'turned'"):
        rewire.layer(kernel="turned")


def test_layers_of_installed_packages_register_themselves(registry):
    class Point:
        value = "mine:Turned"

        @staticmethod
        def load():
            return rewire.layer(kernel="transposed")(Turned)

    asked = []
    registry.setattr(declared, "entry_points", lambda group: asked.append(group) or [Point])
    assert attached(Turned(10, 4)).coverage.sparse == {"kernel": 40}
    attached(Turned(10, 4))
    assert asked == ["rewire.layers"]


def test_a_copy_of_the_model_with_named_weights_trains_alike():
    net = attached(Mixture(), projections=KINDS)
    twin = copy.deepcopy(net)
    for each in (net, twin):
        train(each)
    assert torch.equal(net.topology, twin.topology)


@pytest.mark.parametrize("world", WORLDS)
def test_cells_as_norses_have_two_matrices(world, monkeypatch):
    """A stand-in, where the package is not there: the names and shapes of its recurrent cells."""
    module = types.ModuleType("norse.torch.module.standing_in")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    class Cell(nn.Module):
        __module__ = "norse.torch.module.standing_in"

        def __init__(self, n_in, n):
            super().__init__()
            self.input_weights = nn.Parameter(torch.randn(n, n_in) / n_in**0.5)
            self.recurrent_weights = nn.Parameter(torch.randn(n, n) / n**0.5)

        def forward(self, x, state=None):
            state = x.new_zeros(len(x), len(self.recurrent_weights)) if state is None else state
            state = torch.tanh(x @ self.input_weights.T + state @ self.recurrent_weights.T)
            return state, state

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = Cell(10, 8), nn.Linear(8, 4)

        def forward(self, x):
            _, state = self.cell(x)
            return self.head(self.cell(x, state)[0])

    model = Net()
    net = attached(model, world=world)
    assert net.coverage.share == 1.0
    lateral = net.graph.projections[1]
    assert lateral.name == "cell.recurrent_weights" and lateral.source == lateral.target
    train(net)
    assert not model.cell.recurrent_weights[~net.masks()["cell.recurrent_weights"]].any()


def test_norses_own_cells():
    norse = pytest.importorskip("norse.torch")
    for cell in (norse.LIFRecurrentCell(10, 8), norse.LSNNRecurrentCell(10, 8)):
        net = attached(cell)
        assert net.coverage.share == 1.0 and len(net.graph.projections) == 2


@pytest.mark.parametrize("name, options", [
    ("RLeaky", {"beta": 0.9, "linear_features": 12}),
    ("RSynaptic", {"alpha": 0.8, "beta": 0.9, "linear_features": 12}),
])  # fmt: skip
@pytest.mark.parametrize("world", WORLDS)
def test_snntorchs_recurrent_cells(world, name, options):
    snn = pytest.importorskip("snntorch")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(10, 12), nn.Linear(12, 4)
            self.cell = getattr(snn, name)(**options, init_hidden=True)

        def forward(self, x):
            self.cell.reset_mem()
            return sum(self.last(self.cell(self.first(4 * x))) for _ in range(3))

    torch.manual_seed(0)
    model = Net()
    net = attached(model, world=world)
    assert net.coverage.share == 1.0 and "cell.recurrent.weight" in net.coverage.sparse
    train(net)
    net.check()


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_spikingjellys_layers(step_mode):
    layer = pytest.importorskip("spikingjelly.activation_based.layer")
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    model = nn.Sequential(
        layer.Conv2d(2, 4, 3, step_mode=step_mode), neuron.LIFNode(step_mode=step_mode),
        layer.ConvTranspose2d(4, 3, 3, step_mode=step_mode),
        layer.Linear(6, 5, step_mode=step_mode),
    )  # fmt: skip
    net = attached(model)
    assert net.coverage.share == 1.0
    recurrent = layer.LinearRecurrentContainer(neuron.LIFNode(), 6, 6)
    assert attached(recurrent).coverage.share == 1.0


class OverTime(nn.Conv2d):
    """Takes (time, batch, channels, ...), as spiking layers that run several steps do."""

    def forward(self, x):
        if x.dim() != 5:
            raise ValueError(f"expected (T, N, C, H, W), got {tuple(x.shape)}")
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class OverTimeCentred(OverTime):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean((1, 2, 3), keepdim=True), bias)


def test_a_layer_that_takes_time_first_is_tried_with_it():
    assert attached(OverTime(2, 4, 3)).coverage.share == 1.0
    with pytest.raises(ValueError, match="absent synapses carry when others of its inputs"):
        attached(OverTimeCentred(2, 4, 3))


HUGGING_FACE = {
    "vocab_size": 20, "hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 3, "head_dim": 8,
    "num_experts_per_tok": 2, "pad_token_id": 0, "kv_channels": 8,
}  # fmt: skip


def language_model(family):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**HUGGING_FACE)
    return getattr(transformers, f"{family}ForCausalLM")(config)


def learn(net):
    model = net.world.model
    for step in range(3):
        tokens = torch.randint(20, (4, 7), generator=torch.Generator().manual_seed(step))
        net.world.optimizer.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        net.step()
    net.check()
    for name, mask in net.masks().items():
        assert not model.get_parameter(name)[~mask].any()


@pytest.mark.parametrize("family, kind", [("Mixtral", "stacked"), ("GptOss", "stacked_transposed")])
def test_experts_of_hugging_face_are_known(family, kind):
    """They say how their matrices lie; saying it again does no harm, another kind is refused."""
    model = language_model(family)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = attached(copy.deepcopy(model), projections={"*experts.*_proj": kind})
        assert attached(model).topology.equal(net.topology)
    experts = [p for p in net.graph.projections if "experts" in p.name]
    sizes = {p.name: p.size for p in net.graph.space.populations}
    assert [p.kind for p in experts] == [kind] * 2 and net.coverage.share > 0.8
    assert [sizes[p.source] for p in experts] == [3 * 16, 3 * 12]
    learn(net)
    with pytest.raises(ValueError, match=f"is 'linear', and it is known to be '{kind}'"):
        attached(language_model(family), projections={"*experts.*_proj": "linear"})


def test_experts_that_do_not_say_it_are_named_by_pattern():
    model = language_model("JetMoe")
    with pytest.warns(UserWarning, match="JetMoeParallelExperts is no known kind of layer"):
        attached(copy.deepcopy(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = attached(model, projections={"*_linear": "stacked"})
    assert net.coverage.share > 0.8
    learn(net)

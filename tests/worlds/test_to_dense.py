"""A dense copy of a rewired model computes the same in torch's own layers, and can be handed on."""

import copy
import warnings

import pytest
import torch
from torch import nn

import rewire
from rewire import every

WORLDS = ("masked", "sparse")


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(30, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.words(x).mean(1))


def images():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 2, groups=2),
        nn.ConvTranspose2d(4, 3, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def mlp():
    return nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))


MODELS = {
    "linear": (mlp, (5, 8)),
    "images": (images, (5, 2, 7, 7)),
    "lstm": (Recurrent, (5, 4, 8)),
    "attention": (Attention, (5, 4, 8)),
    "embedding": (Words, None),
}


def inputs(shape, dtype=torch.float32):
    draw = torch.Generator().manual_seed(1)
    if shape is None:
        return torch.randint(30, (5, 6), generator=draw)
    return torch.randn(*shape, generator=draw, dtype=dtype)


def trained(name, world, rule=None, dtype=torch.float32, steps=6):
    torch.manual_seed(0)
    make, shape = MODELS[name]
    model, x = make().to(dtype), inputs(shape, dtype)
    rule = rewire.SET(fraction=0.3, when=every(2)) if rule is None else rule
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what stays dense
        net = rewire.attach(
            model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rule, density=0.4,
            world=world, embeddings=True, seed=3, steps=100,
        )  # fmt: skip
    for _ in range(steps):
        model.zero_grad()
        nn.functional.cross_entropy(model(x), torch.arange(5) % 3).backward()
        net.step()
    return net, x


def plain(module):
    hooks = [
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules()
    ]
    hooks += [p._post_accumulate_grad_hooks or p._backward_hooks for p in module.parameters()]
    kinds = {type(m).__module__ for m in module.modules()}
    return not any(hooks) and not any(kind.startswith("rewire") for kind in kinds)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("world", WORLDS)
def test_it_computes_the_same_and_absent_weights_are_0(world, name, dtype):
    net, x = trained(name, world, dtype=dtype)
    model, dense = net.world.model.eval(), net.to_dense()
    before = net.graph
    far = (dense(x) - model(x)).abs().max()
    assert far <= (1e-6 if dtype is torch.float32 else 1e-12) and not dense.training
    assert plain(dense) and dense.state_dict().keys() == MODELS[name][0]().state_dict().keys()
    weights = dict(dense.named_parameters())
    for i, projection in enumerate(net.graph.projections):
        weight = weights[projection.name].detach()
        assert tuple(weight.shape) == projection.shape and weight.dtype is dtype
        assert torch.equal(weight, net.graph.dense(i))
        assert (weight[~net.graph.mask(i)] == 0).all()
    with torch.no_grad():
        for p in dense.parameters():
            p.fill_(9.0)
    assert torch.equal(net.graph["weight"], before["weight"])  # it shares nothing


@pytest.mark.parametrize("rule", [rewire.EdgePopup(), rewire.STR()], ids=["popup", "str"])
def test_gains_are_folded_in(rule):
    net, x = trained("linear", "masked", rule)
    net.world.model.eval()
    dense, live = net.to_dense(), net.graph.effective()
    assert (dense(x) - net.world.model(x)).abs().max() <= 1e-6
    for i, projection in enumerate(live.projections):
        weight = dict(dense.named_parameters())[projection.name]
        assert (weight[~live.mask(i)] == 0).all()
    assert len(live) < len(net.graph) or rule.name == "STR"
    assert (net.graph["gain"] != 1).any()


def test_ears_of_rules_that_listen_to_activity_stay_behind():
    net, _ = trained("linear", "masked", rewire.StructuralPlasticity())
    assert not plain(copy.deepcopy(net.world.model)) and plain(net.to_dense())


@pytest.mark.parametrize("world", WORLDS)
def test_a_compiled_model_gives_the_one_inside(world):
    net, x = trained("linear", world)
    net.world.model = torch.compile(net.world.model, backend="eager")
    assert type(net.to_dense()) is nn.Sequential


@pytest.mark.parametrize("name", ["linear", "images", "attention"])
@pytest.mark.parametrize("world", WORLDS)
def test_torch_exports_compiles_and_quantizes_it(world, name, tmp_path):
    net, x = trained(name, world)
    dense = net.to_dense().eval()
    with torch.no_grad():
        expected = net.world.model.eval()(x)
        exported = torch.export.export(dense, (x,)).module()
        assert torch.allclose(exported(x), expected, atol=1e-5)
        compiled = torch.compile(dense, backend="eager")
        assert torch.allclose(compiled(x), expected, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch moves quantization elsewhere
        quantized = torch.ao.quantization.quantize_dynamic(dense, {nn.Linear}, dtype=torch.qint8)
    quantized_layers = [
        m for m in quantized.modules() if isinstance(m, torch.ao.nn.quantized.dynamic.Linear)
    ]
    linear = [m for m in dense.modules() if type(m) is nn.Linear]
    assert len(quantized_layers) == len(linear)
    assert torch.allclose(quantized(x), expected, atol=0.1)


@pytest.mark.parametrize("world", WORLDS)
def test_safetensors_and_a_plain_model_take_its_weights(world, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    net, x = trained("lstm", world)
    safetensors.save_model(net.to_dense(), str(tmp_path / "x.safetensors"))
    fresh = Recurrent()
    safetensors.load_model(fresh, str(tmp_path / "x.safetensors"), strict=True)
    assert (fresh.eval()(x) - net.world.model.eval()(x)).abs().max() <= 1e-6


@pytest.mark.parametrize("world", WORLDS)
def test_onnx_computes_the_same(world, tmp_path):
    pytest.importorskip("onnxscript")
    reference = pytest.importorskip("onnx.reference")
    net, x = trained("linear", world)
    dense, path = net.to_dense().eval(), tmp_path / "x.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(dense, (x,), str(path), dynamo=True, verbose=False)
    (y,) = reference.ReferenceEvaluator(str(path)).run(None, {"input": x.numpy()})
    assert (torch.from_numpy(y) - net.world.model.eval()(x)).abs().max() < 1e-5


def test_a_world_without_a_model_is_refused():
    space = rewire.Space(
        [rewire.Population("a", 3)], [rewire.Projection("p", "a", "a", "linear", (3, 3))]
    )
    session = rewire.Session(
        rewire.Bare(space), rewire.Graph(space, torch.arange(4)), rewire.Static()
    )
    with pytest.raises(ValueError, match="the bare world has no torch model to copy"):
        session.to_dense()

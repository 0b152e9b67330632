"""The plain models: their shapes, their initialisation and the registry."""

import copy
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

import rewire
from rewire import models
from rewire.models import MLP, ConvNet, ResNet, lenet_300_100
from rewire.models.layers import INITS

SHAPES = {"mnist": (1, 28, 28), "digits": (1, 8, 8), "cifar10": (3, 32, 32)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def n_parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("lenet-300-100", (1, 28, 28), 266_610),
        ("spiking-mlp", (1, 28, 28), 266_610),
        ("conv-2", (3, 32, 32), 4_301_642),
        ("conv-4", (3, 32, 32), 2_425_930),
        ("conv-6", (3, 32, 32), 2_262_602),
        ("cifar-cnn", (3, 24, 24), 1_068_298),  # as the tutorial says
        ("resnet-8", (3, 32, 32), 75_290),
        ("resnet-14", (3, 32, 32), 172_506),
        ("resnet-20", (3, 32, 32), 269_722),
        ("resnet-32", (3, 32, 32), 464_154),
        ("resnet-44", (3, 32, 32), 658_586),
        ("resnet-56", (3, 32, 32), 853_018),
        ("lstm", (1, 28, 28), 4 * 128 * (28 + 128 + 2) + 1290),
        ("gru", (1, 28, 28), 3 * 128 * (28 + 128 + 2) + 1290),
    ],
)
def test_parameter_counts_are_those_of_the_paper(name, shape, expected):
    model = models.build(name, generator=generator(), input_shape=shape, classes=10)
    assert n_parameters(model) == expected


def test_lenet_has_the_266_200_weights_of_deep_r_without_biases():
    assert n_parameters(lenet_300_100(generator=generator(), bias=False)) == 266_200


PICTURES = [name for name, info in models.available().items() if info.inputs == "pictures"]


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_model_takes_every_input_shape(name, shape):
    if name.startswith("vgg") and shape == SHAPES["digits"]:
        pytest.skip("8 x 8 cannot be halved 4 times, which is refused")
    narrow = {"width": 0.25} if "width" in models.info(name).options() else {}
    options = {} if name == "vit" else narrow
    model = models.build(name, generator=generator(), input_shape=shape, classes=7, **options)
    assert model(torch.zeros(2, *shape)).shape == (2, 7)


OTHERS = ("resnet", "vgg", "lstm", "gru", "vit", "actor-critic", "spiking")
SEQUENTIAL = [name for name in PICTURES if not name.startswith(OTHERS)]


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_every_model_without_shortcuts_is_a_sequential_of_named_layers_in_forward_order(name):
    model = models.build(name, generator=generator(), input_shape=(3, 32, 32), classes=10)
    assert isinstance(model, nn.Sequential)
    layers = [n for n, m in model.named_children() if isinstance(m, nn.Linear | nn.Conv2d)]
    n_conv = {"conv-2": 2, "conv-4": 4, "conv-6": 6, "cifar-cnn": 2}.get(name, 0)
    assert layers == [f"conv{i + 1}" for i in range(n_conv)] + ["fc1", "fc2", "fc3"]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrent_models_read_rows_down_and_up_and_end_on_the_last_state(cell):
    model = models.build(
        cell, generator=generator(), input_shape=(3, 5, 4), classes=2, hidden=6, layers=2,
        bidirectional=True,
    )  # fmt: skip
    x = torch.randn(2, 3, 5, 4)
    steps = torch.stack([x[:, :, row].flatten(1) for row in range(5)])  # (H, N, C W)
    model.rnn.batch_first = False
    _, ends = model.rnn(steps)
    last = ends[0] if cell == "lstm" else ends
    model.rnn.batch_first = True
    torch.testing.assert_close(model(x), model.fc(torch.cat([last[-2], last[-1]], 1)))


def test_recurrent_models_draw_from_their_generator_alone_as_torch_draws():
    before = torch.random.get_rng_state()
    one, two = (
        models.build("lstm", generator=generator(), input_shape=(1, 28, 28), classes=10)
        for _ in range(2)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    for (name, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)
        if name.startswith("rnn"):
            drawn = p.detach()
            assert drawn.abs().max() <= 128**-0.5
            assert float(drawn.std()) == pytest.approx(384**-0.5, rel=0.1)
    with torch.device("meta"):
        assert models.build("gru", generator=generator(), input_shape=(1, 8, 8),
                            classes=10).rnn.weight_hh_l0.is_meta  # fmt: skip


@pytest.mark.parametrize("options", [{"hidden": 0}, {"layers": 0}])
def test_a_recurrent_model_of_nothing_is_refused(options):
    with pytest.raises(ValueError, match="choose 1 or more"):
        models.build("lstm", generator=generator(), input_shape=(1, 8, 8), classes=3, **options)


def test_conv_4_pools_after_each_pair_and_keeps_size_in_between():
    model = ConvNet((64, 128), generator=generator())
    sizes = {}
    x = torch.zeros(1, 3, 32, 32)
    for name, layer in model.named_children():
        x = layer(x)
        sizes[name] = tuple(x.shape[1:])
    assert sizes["conv1"] == sizes["conv2"] == (64, 32, 32)
    assert sizes["pool1"] == (64, 16, 16)
    assert sizes["conv3"] == sizes["conv4"] == (128, 16, 16)
    assert sizes["pool2"] == (128, 8, 8)
    assert sizes["fc1"] == sizes["fc2"] == (256,)


def test_mlp_is_the_formula_written_out():
    model = MLP([4, 3, 2], generator=generator())
    x = torch.randn(5, 1, 2, 2, generator=generator(1))
    hidden = torch.relu(x.flatten(1) @ model.fc1.weight.T + model.fc1.bias)
    assert torch.allclose(model(x), hidden @ model.fc2.weight.T + model.fc2.bias)


def test_hidden_widths_are_an_option_of_the_mlp():
    model = models.build(
        "mlp", generator=generator(), input_shape=(1, 8, 8), classes=10, hidden=[40, 30, 20]
    )
    widths = [m.out_features for m in model if isinstance(m, nn.Linear)]
    assert widths == [40, 30, 20, 10]


@pytest.mark.parametrize("name", ["lenet-300-100", "conv-2"])
def test_a_model_is_a_function_of_its_seed_and_leaves_the_global_generator_alone(name):
    def draw(seed):
        return models.build(
            name, generator=generator(seed), input_shape=(1, 28, 28), classes=10
        ).state_dict()

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = draw(3), draw(4)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["fc1.weight"], other["fc1.weight"])


def test_biases_start_at_zero_and_do_not_shift_the_weights():
    biased, plain = (lenet_300_100(generator=generator(), bias=b) for b in (True, False))
    assert all(not p.any() for n, p in biased.named_parameters() if n.endswith("bias"))
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, biased.get_parameter(name))


@pytest.mark.parametrize("init", list(INITS))
@pytest.mark.parametrize("layer", ["fc1", "conv2"])
def test_inits_have_the_standard_deviation_of_their_definition(init, layer):
    if layer == "fc1":
        weight = MLP([784, 300, 10], generator=generator(), init=init).fc1.weight
        fan_in, fan_out = 784, 300
    else:
        weight = ConvNet(
            (64,), generator=generator(), init=init, input_shape=(1, 8, 8)
        ).conv2.weight
        fan_in = fan_out = 64 * 9
    expected = {
        "glorot_normal": math.sqrt(2 / (fan_in + fan_out)),
        "glorot_uniform": math.sqrt(2 / (fan_in + fan_out)),
        "kaiming_normal": math.sqrt(2 / fan_in),
        "fan_in_normal": math.sqrt(1 / fan_in),
    }[init]
    standard_error = expected / math.sqrt(2 * weight.numel())  # of the std of a normal sample
    assert abs(weight.std().item() - expected) < 5 * standard_error
    bound = math.sqrt(3) * expected
    assert (weight.abs().max() <= bound) == (init == "glorot_uniform")


def test_initialise_redraws_any_module_from_the_generator_alone():
    model = MLP([6, 5, 4], generator=generator(0))
    fresh = MLP([6, 5, 4], generator=generator(9))
    with torch.no_grad():
        model.fc1.bias.fill_(3.0)
    models.initialise(model, "glorot_normal", generator=generator(9))
    assert all(map(torch.equal, model.parameters(), fresh.parameters()))


@pytest.mark.parametrize("name", ["lenet-300-100", "conv-2"])
def test_dropout_acts_on_hidden_fully_connected_layers_in_training_only(name):
    model = models.build(
        name, generator=generator(), input_shape=(1, 8, 8), classes=10, dropout=0.5
    )
    kinds = [type(m) for m in model]
    assert kinds.count(nn.Dropout) == 2
    assert kinds[-1] is nn.Linear
    x = torch.ones(4, 1, 8, 8)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_slices_copies_and_state_dicts_work():
    model = MLP([4, 3, 2], generator=generator())
    x = torch.randn(5, 4, generator=generator(1))
    assert torch.equal(model[:3](x), torch.relu(model.fc1(x)))
    assert type(model[:3]) is nn.Sequential
    assert model[1] is model.fc1
    clone = copy.deepcopy(model)
    assert torch.equal(clone(x), model(x))
    assert clone.fc1.weight is not model.fc1.weight
    other = MLP([4, 3, 2], generator=generator(5))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet", {}, r"no model 'lenet' \(did you mean 'lenet-300-100'\?\); there are"),
        ("renset-20", {}, r"no model 'renset-20' \(did you mean 'resnet-20'\?\)"),
        ("conv-4", {"dropuot": 0.5}, r"conv-4 has no option 'dropuot' \(did you mean 'dropout'"),
        ("lenet-300-100", {"hidden": [3]}, "lenet-300-100 has no option 'hidden'"),
        ("mlp", {"init": "xavier"}, "no init 'xavier'; there are glorot_normal"),
        ("mlp", {"hidden": [0]}, r"sizes = \[784, 0, 10\]"),
        ("mlp", {"dropout": 1.0}, "dropout = 1.0"),
    ],
)
def test_errors_name_what_was_asked_and_what_there_is(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, generator=generator(), input_shape=(1, 28, 28), classes=10, **options)


def test_resnet_20_has_the_convolutions_of_the_paper_and_no_other_weights_than_them():
    model = ResNet(20, generator=generator())
    shapes = [tuple(m.weight.shape) for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == (
        [(16, 3, 3, 3)] + [(16, 16, 3, 3)] * 6
        + [(32, 16, 3, 3)] + [(32, 32, 3, 3)] * 5
        + [(64, 32, 3, 3)] + [(64, 64, 3, 3)] * 5
    )  # fmt: skip
    convolutions = sum(math.prod(shape) for shape in shapes)
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    assert convolutions == 267_696
    assert n_parameters(model) == convolutions + norms + 64 * 10 + 10


def test_shortcut_b_adds_two_convolutions_with_norms():
    plain = ResNet(20, generator=generator())
    with_b = ResNet(20, generator=generator(), shortcut="B")
    added = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert n_parameters(with_b) == n_parameters(plain) + added


def test_shortcut_a_takes_every_second_pixel_and_pads_channels_on_both_sides():
    block = ResNet(20, generator=generator()).stage2[0]
    x = torch.randn(2, 16, 6, 6, generator=generator(1))
    y = block.shortcut(x)
    assert y.shape == (2, 32, 3, 3)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any() and not y[:, 24:].any()


def test_a_residual_block_is_the_formula_written_out():
    block = ResNet(20, generator=generator(), widths=(4, 8, 8)).eval().stage1[0]
    x = torch.randn(2, 4, 5, 5, generator=generator(1))
    scale = (1 + block.norm1.eps) ** -0.5
    hidden = torch.relu(scale * nn.functional.conv2d(x, block.conv1.weight, padding=1))
    hidden = scale * nn.functional.conv2d(hidden, block.conv2.weight, padding=1)
    assert torch.allclose(block(x), torch.relu(hidden + x), atol=1e-6)


def test_residual_networks_can_be_traced():
    model = ResNet(20, generator=generator(), widths=(4, 8, 8)).eval()
    x = torch.randn(2, 3, 8, 8, generator=generator(1))
    assert torch.equal(torch.fx.symbolic_trace(model)(x), model(x))


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_residual_network_trains_masked(shortcut):
    model = ResNet(20, generator=generator(), widths=(4, 8, 8), shortcut=shortcut)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    net = rewire.attach(model, optimizer, rewire.SET(), density=0.2, steps=4, seed=0)
    x, y = torch.randn(8, 3, 8, 8, generator=generator(1)), torch.arange(8)
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        net.step()
    masks = net.masks()
    n_weights = 20 if shortcut == "A" else 22
    assert len(masks) == n_weights and "fc.weight" in masks
    for name, mask in masks.items():
        assert not model.get_parameter(name).detach()[~mask].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortcut": "C"}, "no shortcut 'C'; there are A, B"),
        ({"widths": [16, 32]}, r"widths = \[16, 32\]: give the channels of the three stages"),
        ({"widths": [16, 8, 64]}, "none narrower than the one before"),
    ],
)
def test_a_residual_network_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ResNet(20, generator=generator(), **options)


def test_a_residual_network_has_6_n_plus_2_layers():
    with pytest.raises(ValueError, match="depth = 18: a residual network for CIFAR has 6 n"):
        ResNet(18, generator=generator())


def test_a_conv_net_refuses_inputs_it_cannot_halve():
    with pytest.raises(ValueError, match="too small to be halved 3 times: take at least 8 x 8"):
        models.build("conv-6", generator=generator(), input_shape=(1, 7, 8), classes=10)


class FakeEntryPoint:
    dist = None

    def __init__(self, name, value):
        self.name, self.value = name, value


def tiny(*, generator, input_shape, classes, width=2):
    return MLP([math.prod(input_shape), width, classes], generator=generator)


def test_entry_points_add_models_but_cannot_take_a_name_of_ours(monkeypatch):
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "tiny_models", module)
    points = [
        FakeEntryPoint("tiny", "tiny_models:tiny"),
        FakeEntryPoint("mlp", "tiny_models:tiny"),
        FakeEntryPoint("broken", "no_such_package:net"),
    ]
    monkeypatch.setattr(models, "entry_points", lambda group: points)
    known = models.available()
    assert known["tiny"].options() == {"width": 2}
    assert known["mlp"].target == "rewire.models.mlp:mlp"
    net = models.build("tiny", generator=generator(), input_shape=(1, 2, 2), classes=3, width=5)
    assert net.fc1.weight.shape == (5, 4)
    with pytest.raises(ValueError, match=r"broken \(no_such_package:net\) cannot be imported"):
        models.build("broken", generator=generator(), input_shape=(1, 2, 2), classes=3)


def test_listing_models_imports_neither_torch_nor_rewire_but_for_the_words_of_messages():
    code = (
        "import sys, rewire.models as m; assert 'conv-6' in m.available();"
        "bad = [n for n in sys.modules if n == 'torch' or n.startswith('rewire.')"
        " and n.split('.')[1] not in ('models', 'names')]; sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'resnet_900'"):
        models.resnet_900  # noqa: B018

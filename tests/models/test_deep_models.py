"""VGG, the residual networks of ImageNet, and narrow convolutional networks."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import rewire
from rewire import models
from rewire.models import VGG, ConvNet, DeepResNet, ResNet
from rewire.when import every


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def n_parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("depth", "count"),
    [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)],
)
def test_residual_networks_of_imagenet_have_the_parameters_of_the_reference(depth, count):
    with torch.device("meta"):
        model = models.build(
            f"resnet-{depth}", generator=generator(), input_shape=(3, 224, 224), classes=1000
        )
        assert model(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
    assert n_parameters(model) == count


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_a_vgg_has_the_layers_of_its_name_and_the_parameters_of_its_convolutions(depth):
    with torch.device("meta"):
        model = models.build(
            f"vgg-{depth}", generator=generator(), input_shape=(3, 32, 32), classes=10
        )
    convolutions = [m for m in model if isinstance(m, nn.Conv2d)]
    assert len(convolutions) + 3 == depth  # the original ends on three linear layers
    widths = [(m.in_channels, m.out_channels) for m in convolutions]
    assert widths[0] == (3, 64) and widths[-1] == (512, 512)
    expected = sum(9 * a * b + 2 * b for a, b in widths) + 512 * 10 + 10
    assert n_parameters(model) == expected
    assert f" {expected:,} " in models.available()[f"vgg-{depth}"].summary


def test_a_vgg_19_has_the_20_million_parameters_of_the_lottery_ticket_paper():
    with torch.device("meta"):
        assert round(n_parameters(VGG(19, generator=generator())) / 1e6, 1) == 20.0


def test_the_resnet_18_of_the_lottery_ticket_paper_is_a_resnet_20_with_convolutional_shortcuts():
    model = ResNet(20, generator=generator(), shortcut="B")
    convolutions = sum(p.numel() for p in model.parameters() if p.dim() == 4)
    moments = sum(b.numel() for n, b in model.named_buffers() if "running" in n)
    assert n_parameters(model) == 272_474
    assert round(convolutions / 1e3) == 270  # the paper's numbers, in thousands: convolutions,
    assert round((n_parameters(model) + moments) / 1e3) == 274  # and all, with those of batch norm


def test_width_is_a_factor_of_all_hidden_channels_and_units():
    conv = ConvNet((64, 128), generator=generator(), width=0.25)
    assert [m.out_channels for m in conv if isinstance(m, nn.Conv2d)] == [16, 16, 32, 32]
    assert [m.out_features for m in conv if isinstance(m, nn.Linear)] == [64, 64, 10]
    vgg = VGG(11, generator=generator(), width=0.125)
    assert [m.out_channels for m in vgg if isinstance(m, nn.Conv2d)] == [8, 16, 32, 32, *[64] * 4]
    deep = DeepResNet(50, generator=generator(), width=0.125, classes=10)
    assert deep.conv.out_channels == 8 and deep.fc.in_features == 4 * 64


def test_stems_shrink_pictures_fourfold_or_not_at_all():
    x = torch.zeros(1, 3, 32, 32)
    for stem, side in (("imagenet", 8), ("cifar", 32)):
        model = DeepResNet(18, generator=generator(), width=0.0625, stem=stem, classes=10).eval()
        assert model.pool(model.conv(x)).shape[2:] == (side, side)
        assert model.stages(model.pool(model.conv(x))).shape[2:] == (side // 8, side // 8)


def test_a_bottleneck_is_the_formula_written_out():
    block = DeepResNet(50, generator=generator(), width=0.0625).eval().stages[1][0]
    x = torch.randn(2, 16, 6, 6, generator=generator(1))
    conv, scale = nn.functional.conv2d, (1 + block.norm1.eps) ** -0.5
    y = torch.relu(scale * conv(x, block.conv1.weight))
    y = torch.relu(scale * conv(y, block.conv2.weight, stride=2, padding=1))
    y = scale * conv(y, block.last[1].weight)
    short = scale * conv(x, block.shortcut[0].weight, stride=2)
    torch.testing.assert_close(block(x), torch.relu(y + short))


def small(name, **options):
    sizes = {"input_shape": (3, 16, 16), "classes": 5, **options}
    return models.build(name, generator=generator(), **sizes)


MODELS = {
    "vgg-11": lambda: small("vgg-11", width=0.0625),
    "resnet-18": lambda: small("resnet-18", width=0.0625, stem="cifar"),
    "resnet-50": lambda: small("resnet-50", width=0.03125, stem="cifar"),
    "resnet-8": lambda: small("resnet-8", widths=(4, 4, 8), shortcut="B"),
    "conv-2": lambda: small("conv-2", width=0.0625),
}
every_model = pytest.mark.parametrize("name", MODELS)


@every_model
def test_a_deep_model_draws_from_its_generator_alone(name):
    before = torch.random.get_rng_state()
    one, two = MODELS[name](), MODELS[name]()
    assert torch.equal(before, torch.random.get_rng_state())
    for (key, p), q in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert torch.equal(p, q[1])
        assert p.dim() == 1 or float(p.detach().std()) > 0, key
        if p.dim() == 1:
            assert torch.equal(p, torch.full_like(p, float(not key.endswith("bias"))))


def trained(name, world, steps=4):
    """A session in float64 after some steps without shortcuts and output, and the losses."""
    model = MODELS[name]().double()
    x = torch.randn(6, 3, 16, 16, generator=generator(1), dtype=torch.float64)
    net = rewire.attach(
        model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        rewire.SET(when=every(2)), density=0.3, world=world, steps=steps, seed=0,
        exclude=["*.shortcut.*", "fc.*"] if "resnet" in name else ["fc*"] if "vgg" in name else [],
        example=x,
    )  # fmt: skip
    losses = []
    for _ in range(steps):
        net.world.optimizer.zero_grad()
        loss = cross_entropy(model(x), torch.arange(6) % 5)
        loss.backward()
        net.step()
        losses.append(loss.item())
    return net, losses


@every_model
def test_masked_and_sparse_worlds_train_a_deep_model_equally(name):
    masked, losses = trained(name, "masked")
    sparse, losses_of_edges = trained(name, "sparse")
    assert masked.history.formed > 0
    assert torch.equal(masked.graph.keys, sparse.graph.keys)
    assert losses_of_edges == pytest.approx(losses, rel=1e-8)
    torch.testing.assert_close(sparse.graph["weight"], masked.graph["weight"], rtol=1e-7, atol=1e-9)
    assert len(masked.graph.pieces) == 1  # one network, from the pixels to the logits
    names = {p.name for p in masked.graph.projections}
    assert not any("shortcut" in n for n in names)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VGG(12, generator=generator()), "depth = 12: a VGG has 11, 13, 16, 19 layers"),
        (lambda: small("vgg-11", input_shape=(1, 8, 8)), "too small to be halved 4 times"),
        (lambda: small("vgg-11", width=0), "width = 0: choose a factor above 0"),
        (lambda: small("conv-2", width=-1), "width = -1: choose a factor above 0"),
        (lambda: small("resnet-18", stem="mnist"), "no stem 'mnist'; there are imagenet, cifar"),
        (lambda: DeepResNet(20, generator=generator()), "depth = 20: .* ImageNet has 18, 34, 50"),
    ],
)
def test_a_deep_model_refuses_options_out_of_range(build, message):
    with pytest.raises(ValueError, match=message):
        build()

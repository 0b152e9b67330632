"""The transformers: their counts, their attention written out, and both torch worlds on them."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

import rewire
from rewire import models
from rewire.models.transformers import Attention, sinusoids
from rewire.signals import Signals
from rewire.when import every


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tokens(*shape, classes=11, seed=1):
    return torch.randint(classes, shape, generator=generator(seed))


def gpt(**options):
    sizes = {"input_shape": (6,), "classes": 11, "layers": 2, "heads": 2, "width": 8}
    return models.build("gpt", generator=generator(), **{**sizes, **options})


def vit(**options):
    sizes = {"input_shape": (1, 4, 4), "classes": 11, "patch": 2, "layers": 2, "heads": 2}
    return models.build("vit", generator=generator(), **{**sizes, "width": 8, **options})


def transformer(**options):
    sizes = {"input_shape": (7,), "classes": 11, "layers": 1, "heads": 2, "width": 8}
    return models.build("transformer", generator=generator(), **{**sizes, **options})


MODELS = {
    "gpt": (gpt, lambda: (tokens(4, 6),)),
    "gpt-untied": (lambda: gpt(tied=False, bias=False), lambda: (tokens(4, 6),)),
    "vit": (vit, lambda: (torch.randn(4, 1, 4, 4, generator=generator(1)),)),
    "transformer": (transformer, lambda: (tokens(4, 7), tokens(4, 5, seed=2))),
    "transformer-untied": (
        lambda: transformer(tied=False, padding=0), lambda: (tokens(4, 7), tokens(4, 5, seed=2))
    ),
}  # fmt: skip
every_model = pytest.mark.parametrize("name", MODELS)


def block(width, bias):
    return 12 * width**2 + 4 * width + (9 * width if bias else 0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_a_gpt_has_the_parameters_of_its_formula(bias, tied):
    model = gpt(layers=3, width=16, bias=bias, tied=tied)
    expected = (11 + 6) * 16 + 3 * block(16, bias) + 2 * 16 + (0 if tied else 11 * 16)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_the_small_gpt_2_has_the_124_million_parameters_of_gpt_2():
    with torch.device("meta"):
        model = gpt(input_shape=(1024,), classes=50_257, layers=12, heads=12, width=768)
    assert sum(p.numel() for p in model.parameters()) == 124_439_808


def test_vit_base_has_the_86_million_parameters_of_the_paper():
    with torch.device("meta"):
        model = vit(input_shape=(3, 224, 224), classes=1000, patch=16, layers=12, heads=12,
                    width=768)  # fmt: skip
    assert sum(p.numel() for p in model.parameters()) == 86_567_656


def test_the_base_transformer_has_the_65_million_parameters_of_the_paper():
    with torch.device("meta"):
        model = transformer(classes=37_000, layers=6, heads=8, width=512)
    n = sum(p.numel() for p in model.parameters())
    encoder, decoder = block(512, True), block(512, True) + 4 * 512**2 + 4 * 512 + 2 * 512
    assert n == 37_000 * 512 + 6 * (encoder + decoder) + 4 * 512
    assert n == pytest.approx(65e6, rel=0.04)


@pytest.mark.parametrize("name", ["gpt", "vit", "transformer"])
def test_the_counts_that_the_list_of_models_states_are_those_of_the_models(name):
    shapes = {"gpt": ((64,), 65), "vit": ((1, 28, 28), 10), "transformer": ((32,), 512)}
    shape, classes = shapes[name]
    model = models.build(name, generator=generator(), input_shape=shape, classes=classes)
    count = sum(p.numel() for p in model.parameters())
    assert f" {count:,} parameters" in models.available()[name].summary


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_the_formula_written_out(causal):
    attention = Attention(6, 3, causal=causal).double()
    for p in attention.parameters():
        torch.nn.init.normal_(p, generator=generator())
    x = torch.randn(2, 5, 6, generator=generator(1), dtype=torch.float64)
    expected = torch.zeros_like(x)
    for n in range(2):
        q, k, v = attention.query(x[n]), attention.key(x[n]), attention.value(x[n])
        for head in range(3):
            units = slice(2 * head, 2 * head + 2)
            for t in range(5):
                sees = t + 1 if causal else 5
                scores = k[:sees, units] @ q[t, units] / math.sqrt(2)
                expected[n, t, units] = torch.softmax(scores, 0) @ v[:sees, units]
    torch.testing.assert_close(attention(x), attention.out(expected), rtol=1e-12, atol=1e-12)


def test_no_place_of_a_gpt_sees_the_tokens_after_it():
    model, x = gpt().eval(), tokens(1, 6)
    logits = model(x)
    for place in range(5):
        changed = x.clone()
        changed[:, place + 1 :] = (changed[:, place + 1 :] + 1) % 11
        assert torch.equal(model(changed)[:, : place + 1], logits[:, : place + 1])
        assert not torch.equal(model(changed)[:, place + 1], logits[:, place + 1])


def test_every_place_of_a_target_sees_the_whole_source_but_for_padding():
    model = transformer(padding=0).eval()
    source, target = tokens(1, 7) % 10 + 1, tokens(1, 5, seed=2)
    source[:, 5:] = 0
    logits = model(source, target)
    torch.testing.assert_close(model(source[:, :5], target), logits)  # as if it ended there
    assert not torch.allclose(model(source.flip(1), target)[:, 0], logits[:, 0])
    later = target.clone()
    later[:, 3:] = (later[:, 3:] + 1) % 11
    assert torch.equal(model(source, later)[:, :3], logits[:, :3])


def test_patches_are_squares_of_the_picture_row_by_row():
    model = vit(input_shape=(2, 4, 6), width=8)
    received = []
    model.patches.register_forward_hook(lambda layer, args, out: received.append(args[0]))
    x = torch.arange(48.0).view(1, 2, 4, 6)
    model(x)
    squares = [x[0, :, i : i + 2, j : j + 2].flatten() for i in (0, 2) for j in (0, 2, 4)]
    assert torch.equal(received[0][0], torch.stack(squares))


def test_positions_of_a_transformer_are_the_papers_sines_and_cosines():
    codes = sinusoids(5, 6)
    for t in range(5):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            assert codes[t, 2 * i : 2 * i + 2].tolist() == pytest.approx(
                [math.sin(angle), math.cos(angle)], abs=1e-6
            )


@every_model
def test_a_transformer_draws_from_its_generator_alone(name):
    before = torch.random.get_rng_state()
    one, two = MODELS[name][0](), MODELS[name][0]()
    assert torch.equal(before, torch.random.get_rng_state())
    for (key, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)
        if key.endswith("bias"):
            assert not p.any()
        elif "norm" in key:
            assert torch.equal(p, torch.ones_like(p))
        else:
            assert p.detach().std() > 0.004


def test_the_last_layer_of_each_branch_starts_smaller_as_in_gpt_2():
    model = gpt(layers=8, width=64)
    for b in model.blocks:
        assert float(b.ff[0].weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        for last in (b.attention.out, b.ff[2]):
            assert float(last.weight.detach().std()) == pytest.approx(0.02 / 4, rel=0.05)


@every_model
def test_dropout_acts_in_training_alone(name):
    build, inputs = {"vit": (vit, MODELS["vit"][1]), "gpt": (gpt, MODELS["gpt"][1])}.get(
        name, (transformer, MODELS["transformer"][1])
    )
    model, x = build(dropout=0.5), inputs()
    assert not torch.equal(model(*x), model(*x))
    model.eval()
    assert torch.equal(model(*x), model(*x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gpt(heads=3), "width = 8 cannot be shared out evenly over heads = 3"),
        (lambda: gpt(layers=0), "layers = 0, width = 8: choose 1 or more"),
        (lambda: vit(patch=3), "patch = 3 does not divide pictures of 4 x 4"),
        (lambda: transformer(width=9, heads=3), "width = 9: sines and cosines in pairs"),
        (lambda: gpt()(tokens(2, 7)), "a sequence of 7 tokens, and the context is 6"),
        (lambda: transformer()(tokens(2, 8), tokens(2, 3)), "8 tokens, and the longest is 7"),
    ],
)
def test_sizes_that_cannot_be_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


RULES = {
    "rigl": lambda: rewire.RigL(when=every(3), fraction=0.4),
    "deep-r": lambda: rewire.DeepR(noise=0.05, l1=0.02),
}


def trained(name, rule, world, steps=9):
    """A model after some steps of a rule, in float64: its session, and the losses on the way."""
    build, inputs = MODELS[name]
    model = build().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    net = rewire.attach(model, optimizer, RULES[rule](), density=0.3, world=world, steps=steps)
    x = [a.double() if a.is_floating_point() else a for a in inputs()]
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(*x).flatten(0, -2)
        loss = cross_entropy(logits, torch.arange(len(logits)) % 11)
        loss.backward()
        net.step()
        losses.append(loss.item())
    return net, losses


def test_grasp_derives_twice_through_attention():
    """w * Hg at the first weight of each projection, against a difference of |g|^2 / 2."""
    model, batch = gpt().double(), (tokens(4, 6), tokens(4, 6, seed=2))

    def loss(model, batch):
        return cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())

    def norm(change):
        """|g|^2 / 2 with a first weight multiplied by 1 + change."""
        with torch.no_grad():
            before = first.item()
            first.mul_(1 + change)
        slopes = torch.autograd.grad(loss(model, batch), weights)
        first.data.fill_(before)
        return float(sum(g.square().sum() for g in slopes)) / 2

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probe = rewire.Probe([batch], loss)
    net = rewire.attach(model, optimizer, rewire.Dense(), probe=probe)
    weights = [dict(model.named_parameters())[p.name] for p in net.graph.projections]
    keys = torch.tensor([0, *net.graph.space.sizes[:-1]]).cumsum(0)
    scores = Signals(net.world, net.graph).pair("gradient_flow", keys)
    assert scores.abs().max() > 1e-6
    for score, weight in zip(scores, weights, strict=True):
        first = weight.data.view(-1)[:1]
        assert float(score) == pytest.approx((norm(1e-4) - norm(-1e-4)) / 2e-4, rel=1e-4, abs=1e-10)


@every_model
@pytest.mark.parametrize("rule", RULES)
def test_masked_and_sparse_worlds_train_a_transformer_equally(name, rule):
    masked, losses = trained(name, rule, "masked")
    sparse, losses_of_edges = trained(name, rule, "sparse")
    assert masked.history.formed > 0 and losses[-1] < losses[0]
    assert torch.equal(masked.graph.keys, sparse.graph.keys)
    assert losses_of_edges == pytest.approx(losses, rel=1e-9)
    torch.testing.assert_close(sparse.graph["weight"], masked.graph["weight"], rtol=1e-9, atol=1e-9)
    with torch.no_grad():  # and in evaluation
        x = [a.double() if a.is_floating_point() else a for a in MODELS[name][1]()]
        torch.testing.assert_close(
            sparse.world.model.eval()(*x), masked.world.model.eval()(*x), rtol=1e-9, atol=1e-9
        )


@every_model
def test_each_projection_of_a_transformer_is_one_of_its_own(name):
    model = MODELS[name][0]()
    net = rewire.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static(),
                        density=0.3)  # fmt: skip
    names = {p.name for p in net.graph.projections}
    linear = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    tied = (
        {"head"}
        if getattr(getattr(model, "token", None), "weight", 0) is model.head.weight
        else set()
    )
    assert names == {f"{n}.weight" for n in linear - tied}
    ends = {p.name: (p.source, p.target) for p in net.graph.projections}
    first = "encoder.0" if name.startswith("transformer") else "blocks.0"
    assert ends[f"{first}.ff.0.weight"][1] == ends[f"{first}.ff.2.weight"][0]
    assert ends[f"{first}.attention.value.weight"][1] == ends[f"{first}.attention.out.weight"][0]

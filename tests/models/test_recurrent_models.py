"""Readers of frames and recurrent language models: counts, what they see, both torch worlds."""

import pytest
import torch
from torch.nn.functional import cross_entropy

import rewire
from rewire import models
from rewire.when import every


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def frames(n=4, places=6, bands=5, seed=1):
    return torch.randn(n, places, bands, generator=generator(seed))


def tokens(n=4, places=6, seed=1):
    return torch.randint(11, (n, places), generator=generator(seed))


def reader(name="lstm-frames", **options):
    sizes = {"input_shape": (6, 5), "classes": 11, "hidden": 7}
    return models.build(name, generator=generator(), **{**sizes, **options})


def language_model(**options):
    sizes = {"input_shape": (6,), "classes": 11, "hidden": 7}
    return models.build("lstm-lm", generator=generator(), **{**sizes, **options})


MODELS = {
    "lstm-frames": (reader, frames),
    "lstm-frames, two layers": (lambda: reader(layers=2), frames),
    "gru-frames": (lambda: reader("gru-frames"), frames),
    "lstm-lm": (language_model, tokens),
    "lstm-lm, tied": (lambda: language_model(tied=True), tokens),
}
every_model = pytest.mark.parametrize("name", MODELS)


@pytest.mark.parametrize(("tied", "million"), [(False, 66), (True, 51)])
def test_a_large_lstm_language_model_has_the_parameters_of_the_papers(tied, million):
    with torch.device("meta"):
        model = language_model(classes=10_000, hidden=1_500, tied=tied)
    n = sum(p.numel() for p in model.parameters())
    recurrent, embedding = 2 * 4 * 1_500 * (2 * 1_500 + 2), 10_000 * 1_500
    assert n == recurrent + (1 if tied else 2) * embedding + 10_000
    assert round(n / 1e6) == million


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("lstm-frames", (100, 40), 10), ("gru-frames", (100, 40), 10), ("lstm-lm", (64,), 65)],
)
def test_the_counts_that_the_list_of_models_states_are_those_of_the_models(name, shape, classes):
    model = models.build(name, generator=generator(), input_shape=shape, classes=classes)
    count = sum(p.numel() for p in model.parameters())
    assert f" {count:,} " in models.available()[name].summary + " "
    assert model(MODELS[name][1](1, 9) if name == "lstm-lm" else frames(1, 9, 40)).shape == (
        1, 9, classes,
    )  # fmt: skip


def test_a_reader_of_frames_sees_both_sides_of_each_frame_and_one_of_one_direction_the_past():
    x = frames(1)
    changed = x.clone()
    changed[:, 3] += 1
    both, past = reader(), reader(bidirectional=False)
    assert (both(x) != both(changed)).any(2).all()
    assert torch.equal(past(x)[:, :3], past(changed)[:, :3])
    assert (past(x)[:, 3:] != past(changed)[:, 3:]).any(2).all()


def test_a_reader_of_frames_scores_the_states_of_a_reading_each_way():
    model, x = reader(), frames()
    states = []
    for way, ending in ((x, ""), (x.flip(1), "_reverse")):
        one = torch.nn.LSTM(5, 7, batch_first=True)
        one.load_state_dict({n: model.rnn.get_parameter(n + ending) for n in one.state_dict()})
        out, _ = one(way)
        states.append(out.flip(1) if ending else out)
    torch.testing.assert_close(model(x), torch.cat(states, 2) @ model.fc.weight.T + model.fc.bias)


def test_no_place_of_a_language_model_sees_the_tokens_after_it():
    model, x = language_model(), tokens(1)
    logits = model(x)
    changed = x.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % 11
    assert torch.equal(model(changed)[:, :3], logits[:, :3])
    assert not torch.equal(model(changed)[:, 3], logits[:, 3])


def test_a_tied_language_model_scores_by_its_embedding():
    model = language_model(tied=True)
    assert model.head.weight is model.token.weight
    out, _ = model.rnn(model.token(tokens()))
    torch.testing.assert_close(model(tokens()), out @ model.token.weight.T)


@every_model
def test_a_model_draws_from_its_generator_alone_and_builds_on_meta(name):
    build, _ = MODELS[name]
    before = torch.random.get_rng_state()
    one, two = build(), build()
    assert torch.equal(before, torch.random.get_rng_state())
    for (key, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)
        if key.startswith("rnn"):
            assert 0.3 < p.abs().max() <= 7**-0.5
        elif key.endswith("bias"):
            assert not p.any()
        elif key.startswith(("token", "head")):
            assert 0.09 < p.abs().max() <= 0.1
    with torch.device("meta"):
        assert all(p.is_meta for p in build().parameters())


@pytest.mark.parametrize("build", [reader, language_model])
def test_dropout_acts_in_training_alone(build):
    model, x = build(dropout=0.5), frames() if build is reader else tokens()
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), build().eval()(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden = 0, layers = 2: choose 1 or more"),
        ({"layers": 0}, "hidden = 7, layers = 0: choose 1 or more"),
        ({"dropout": 1.0}, "dropout = 1.0: choose the fraction of units left out"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        language_model(**options)


def trained(name, rule, world, steps=6):
    """A session in float64 after some steps, and the losses on the way."""
    build, inputs = MODELS[name]
    model, x = build().double(), inputs()
    x = x.double() if x.is_floating_point() else x
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    net = rewire.attach(
        model, optimizer, rule, density=0.3, world=world, steps=steps, seed=0, example=x
    )
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(x).flatten(0, 1)
        loss = cross_entropy(logits, torch.arange(len(logits)) % 11)
        loss.backward()
        net.step()
        losses.append(loss.item())
    return net, losses


@every_model
@pytest.mark.parametrize("rule", [rewire.RigL(when=every(2)), rewire.DeepR(noise=0.05, l1=0.02)])
def test_masked_and_sparse_worlds_train_a_recurrent_model_equally(name, rule):
    masked, losses = trained(name, rule, "masked")
    sparse, losses_of_edges = trained(name, rule, "sparse")
    assert masked.history.formed > 0 and losses[-1] < losses[0]
    assert torch.equal(masked.graph.keys, sparse.graph.keys)
    assert losses_of_edges == pytest.approx(losses, rel=1e-9)
    torch.testing.assert_close(sparse.graph["weight"], masked.graph["weight"], rtol=1e-9, atol=1e-9)
    assert len(masked.graph.pieces) == 1  # one network, from inputs to logits


def test_a_language_model_rewires_its_embedding_where_embeddings_are_sparse():
    model = language_model()
    net = rewire.attach(
        model, torch.optim.SGD(model.parameters(), lr=0.1), rewire.Static(), density=0.3,
        embeddings=True,
    )  # fmt: skip
    ends = {p.name: (p.source, p.target) for p in net.graph.projections}
    assert ends["token.weight"][1] == ends["rnn.weight_ih_l0"][0]
    assert ends["rnn.weight_ih_l1"][1] == ends["head.weight"][0]

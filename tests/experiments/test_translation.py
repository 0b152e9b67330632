"""Translation: pairs of token sequences from parallel text, their task, and its BLEU."""

import gzip
import hashlib
import itertools
import math
import random
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from rewire import models
from rewire.experiments import data, kinds, store, tasks
from rewire.experiments.data import pairs
from rewire.experiments.data.sources import BUILT_IN
from rewire.experiments.errors import ConfigError, DataError
from rewire.experiments.tasks import Translation, translation
from rewire.experiments.tasks.translation import BEGIN, END, PADDING, greedy, text
from rewire.experiments.trainings.summary import summary
from rewire.experiments.trainings.trainer import run_cell

pytest.importorskip("tokenizers")
pytest.importorskip("sacrebleu")

WORDS = (
    [("a", "ein"), ("the", "der"), ("my", "mein")],
    [("red", "rote"), ("small", "kleine"), ("old", "alte")],
    [("dog", "Hund"), ("man", "Mann"), ("fish", "Fisch"), ("boy", "Junge")],
    [("runs", "läuft"), ("eats", "isst"), ("sleeps", "schläft"), ("sees", "sieht")],
    [("", ""), ("today", "heute"), ("in the snow", "im Schnee")],
)
TOKENS, LENGTH = 320, 16
EXPERIMENT = """
name = "own"
model = { name = "transformer", layers = 1, heads = 2, width = 16 }
data = "small-en-de"
optimizer = { name = "adam", lr = 0.01 }
batch = 24
steps = 30
evaluate_every = 15
densities = [0.5]
seeds = 1
rules = ["SET"]
"""


def corpus():
    """Sentences of the words above and their translations, in an order of their own."""
    chosen = list(itertools.product(*WORDS))
    random.Random(0).shuffle(chosen)
    return [tuple(" ".join(w[i] for w in words if w[i]) for i in (0, 1)) for words in chosen]


def write(folder, sentences):
    """The files of a parallel corpus, and the sha256 of each."""
    folder.mkdir()
    files, bounds = {}, itertools.pairwise([0, 360, 400, 432])
    for part, (first, last) in zip(pairs.PARTS, bounds, strict=True):
        for i, language in enumerate(("en", "de")):
            lines = "".join(pair[i] + " \n" for pair in sentences[first:last])
            content = gzip.compress(lines.encode(), mtime=0)
            (folder / f"{part}.{language}.gz").write_bytes(content)
            files[f"{part}.{language}"] = hashlib.sha256(content).hexdigest()
    return files


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A folder of data, and the source of a small corpus in it."""
    folder = tmp_path_factory.mktemp("data")
    files = write(folder / pairs.FOLDER, corpus())
    small = pairs.Pairs("small-en-de", ("en", "de"), files, TOKENS, LENGTH, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REWIRE_DATA", str(folder))
        with pytest.raises(
            DataError, match=r"into tokens of sha256 (\w+), expected : inst"
        ) as error:
            small.read()
    digest = str(error.value).split("sha256 ")[1].split(",")[0]
    return folder, replace(small, digest=digest)


@pytest.fixture
def small(known, monkeypatch):
    """The small corpus as a data set that experiments can name."""
    folder, parallel = known
    monkeypatch.setenv("REWIRE_DATA", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    source = replace(
        BUILT_IN["multi30k-en-de"], name=parallel.name, shape=(2, LENGTH), classes=TOKENS,
        train=360, validation=40, test=32, read=parallel.read, locate=parallel.locate,
    )  # fmt: skip
    monkeypatch.setitem(BUILT_IN, parallel.name, source)
    return parallel


def parse(**changes):
    return kinds.parse({**tomllib.loads(EXPERIMENT), **changes})


def train(folder, stops=(None,), **changes):
    """The rows of an experiment whose cells are trained one after the other; stops: the steps that
    each is stopped at, to be taken up again."""
    experiment = parse(**changes)
    for cell in kinds.plan(experiment):
        parents = {role: folder / "cells" / name for role, name in cell.parents.items()}
        for stop in stops:
            steps = itertools.count()
            run_cell(cell, folder / "cells" / cell.hash, parents, experiment.dataset,
                     lambda event: None, lambda at=stop, s=steps: next(s) == at)  # fmt: skip
    return store.results(folder)


# --- the data ---


def test_pairs_are_the_sentences_that_were_written(small):
    loaded = data.load("small-en-de")
    parts = loaded.train, loaded.validation, loaded.test
    assert [len(part) for part in parts] == [360, 40, 32]
    sentences = iter(corpus())
    for part in parts:
        x, y = part.part(slice(0, len(part)))
        assert x.shape[1:] == (2, LENGTH) and y.shape[1:] == (LENGTH,)
        for pair, target in zip(x.tolist(), y.tolist(), strict=True):
            source, translated = next(sentences)
            ends = [pair[0].index(END), target.index(END)]
            assert text(pair[0][: ends[0]], part.pieces) == source
            assert text(target[: ends[1]], part.pieces) == translated
            assert pair[1][: ends[1] + 1] == [BEGIN, *target[: ends[1]]]
            assert {*pair[0][ends[0] + 1 :], *pair[1][ends[1] + 1 :]} <= {PADDING}
            assert set(target[ends[1] + 1 :]) <= {tasks.IGNORED}


def test_the_other_direction_has_the_same_tokens(small):
    there, back = small.read(), replace(small, languages=("de", "en")).read()
    assert there.pieces == back.pieces
    assert np.array_equal(there.x_train[:, 1, 1:-1], np.where(
        back.x_train[:, 0, :-2] == END, PADDING, back.x_train[:, 0, :-2]))  # fmt: skip


def test_files_that_are_missing_or_changed_are_refused(small, tmp_path, monkeypatch):
    changed = replace(small, files={**small.files, "val.de": "0" * 64})
    with pytest.raises(DataError, match=r"val.de.gz: has sha256 \w+, expected 0000"):
        changed.read()
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="small-en-de is not on this machine: looked in .*multi30k"):
        small.read()


def test_what_the_extra_brings_is_asked_for_by_name(small, monkeypatch):
    monkeypatch.setattr(pairs, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r'by tokenizers: pip install "neurorewire\[language\]"'):
        data.load("small-en-de")
    monkeypatch.setattr(translation, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'sacrebleu: pip install "neurorewire\[language\]"'):
        parse()


def test_a_source_of_pairs_without_its_text_is_refused(small, monkeypatch):
    source = replace(BUILT_IN["small-en-de"], read=lambda: replace(small.read(), pieces=()))
    monkeypatch.setitem(BUILT_IN, "small-en-de", source)
    with pytest.raises(DataError, match="0 pieces of text for 320 tokens"):
        data.load("small-en-de")


# --- the task ---


def test_the_loss_is_the_smoothed_cross_entropy_of_places_that_count():
    outputs = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([[3, 4, END], [5, END, -100]])
    logs = log_softmax(outputs, 2).flatten(0, 1)[:5]
    plain = -logs[range(5), [3, 4, END, 5, END]]
    expected = 0.9 * plain.mean() - 0.1 * logs.mean()
    assert Translation(smoothing=0.1).loss(outputs, y).item() == pytest.approx(expected.item())
    task = Translation(smoothing=0.1)
    sums = task.tally(outputs, y).tolist()
    assert sums[0] / sums[1] == pytest.approx(plain.mean().item()) and sums[1] == 5
    assert task.metric_of(sums) == pytest.approx(math.exp(plain.mean().item()))
    with pytest.raises(ValueError, match="smoothing = 1.0: choose a share of 0 to below 1"):
        Translation(smoothing=1.0)


def transformer(**options):
    generator = torch.Generator().manual_seed(1)
    return models.build("transformer", generator=generator, input_shape=(2, LENGTH), classes=TOKENS,
                        layers=2, heads=2, width=16, **options).eval()  # fmt: skip


def test_what_fills_sentences_up_changes_nothing(small):
    model, split = transformer(), data.load("small-en-de").test
    x, y = split.part(slice(0, 6))
    short_x, short_y = Translation().shortened(x, y)
    assert short_x.shape[2] < LENGTH and (y[:, short_x.shape[2] :] == tasks.IGNORED).all()
    loss = Translation().loss
    assert loss(model(short_x), short_y).item() == pytest.approx(loss(model(x), y).item(), rel=1e-5)
    apart = model.forward(short_x[:, 0], short_x[:, 1])  # nothing names the padding here
    named = transformer(padding=PADDING)(short_x[:, 0], short_x[:, 1])
    assert torch.equal(named, model(short_x)) and not torch.allclose(apart, named)


def written_out(source, longest):
    """What `odd_model` writes for one source, as a loop."""
    own = [BEGIN]
    while len(own) <= longest:
        own.append(int((sum(source) + 7 * sum(own)) % 11 + END))
        if own[-1] == END:
            return own[1:-1]
    return own[1:]


def odd_model(pair):
    """Logits that depend on the whole source and on what is written so far."""
    next_tokens = (pair[:, 0].sum(1, keepdim=True) + 7 * pair[:, 1].cumsum(1)) % 11 + END
    return torch.nn.functional.one_hot(next_tokens, 14).float()


def test_greedy_writes_what_a_loop_over_single_sentences_does(monkeypatch):
    monkeypatch.setattr(translation, "LONGER", 6)
    sources = torch.randint(3, 14, (60, 12), generator=torch.Generator().manual_seed(0))
    lengths = torch.arange(60) % 12 + 1
    sources[torch.arange(12) >= lengths[:, None]] = PADDING
    written = greedy(odd_model, sources, at_once=7)
    expected = [written_out(row.tolist(), min(12, int(n) + 6))
                for row, n in zip(sources, lengths, strict=True)]  # fmt: skip
    assert written == expected
    assert {0, 3, 7, 12} <= {len(tokens) for tokens in written}  # ended by END, and by the limit


def test_bleu_is_that_of_the_text_that_is_written(small):
    split = data.load("small-en-de").test
    x, y = split.part(slice(0, len(split)))

    class Knows:
        """A world whose model knows each translation."""

        name = "knows"

        def outputs(self, pair):
            sources, targets = x[:, 0, : pair.shape[2]], y[:, : pair.shape[2]].clamp(min=0)
            wanted = torch.stack([targets[(sources == row).all(1)][0] for row in pair[:, 0]])
            return torch.nn.functional.one_hot(wanted, TOKENS).float() * 50

    perplexity = Translation().measure(Knows(), split)[1]
    assert perplexity == pytest.approx(1, abs=1e-6)
    assert Translation().beside(Knows(), split) == {"bleu": pytest.approx(100)}
    judged = Translation(metric="bleu")
    assert judged.measure(Knows(), split)[1] == pytest.approx(100)
    assert judged.beside(Knows(), split) == {"perplexity": perplexity}


# --- experiments ---


def test_both_worlds_train_the_same_translation(small, tmp_path):
    masked, sparse = (train(tmp_path / w, world=w)[0] for w in ("masked", "sparse"))
    for row in (masked, sparse):
        assert (row["task"], row["metric"]) == ("translation", "perplexity")
        assert 1 < row["test_perplexity"] < 60 and 0 <= row["test_bleu"] <= 100
        assert "test_bleu_at_early_stop" in row and "val_bleu" not in row
    assert sparse["test_perplexity"] == pytest.approx(masked["test_perplexity"], rel=1e-3)
    assert sparse["test_bleu"] == pytest.approx(masked["test_bleu"], abs=3)


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_other_rules_and_tickets_that_rewind_train_it(world, small, tmp_path):
    imp = {"rule": "IMP", "fraction": 0.5, "rewind": 2}
    rules = ["Dense", "RigL", "DeepR", "SNIP", imp, "RandomTicket", "RandomReinit"]
    rows = train(tmp_path, world=world, rules=rules, steps=6, evaluate_every=6)
    assert {row["label"] for row in rows} == {r if isinstance(r, str) else "IMP" for r in rules}
    assert all(math.isfinite(row["test_perplexity"]) for row in rows)


def test_a_translation_that_was_stopped_goes_on_to_the_same_numbers(small, tmp_path):
    smoothed = {"name": "translation", "smoothing": 0.1}
    whole, parts = (
        store.without_times(train(tmp_path / name, stops, task=smoothed))
        for name, stops in (("whole", [None]), ("parts", [7, 21, None]))
    )
    assert whole == parts != []


def test_it_can_be_judged_by_bleu(small, tmp_path):
    judged = {"name": "translation", "metric": "bleu"}
    (row,) = rows = train(tmp_path, task=judged, steps=60, evaluate_every=30)
    assert row["metric"] == "bleu" and row["test_perplexity"] < 10
    assert 1 < row["test_bleu"] < 100.1 and 1 < row["val_bleu"] < 100.1
    assert summary(rows).title.startswith("\nTest BLEU")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "gpt"}, r"gpt cannot read small-en-de, whose inputs are token pairs of shape"),
        ({"data": "apache-license"}, r"one tensor of shape \(2, 32\) where a source and a target"),
        ({"data": "apache-license", "task": "translation", "model": "gpt"},
         "for the next token of a translation, and apache-license is for the next token at each"),
        ({"task": "next-token"}, "choose one of translation"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_refused_before_anything_runs(small, changes, message):
    with pytest.raises(ConfigError, match=message):
        parse(**changes)


@pytest.mark.slow
def test_the_real_captions_are_read_and_are_those_of_the_files():
    if not data.available()["multi30k-de-en"].present:
        pytest.skip("multi30k is not on this machine: set $REWIRE_DATA")
    info, loaded = data.info("multi30k-de-en"), data.load("multi30k-de-en")
    parts = loaded.train, loaded.validation, loaded.test
    assert [len(part) for part in parts] == [info.train, info.validation, info.test]
    _, y = loaded.test.part(slice(0, 1_000))
    references = [text([t for t in row if t not in (tasks.IGNORED, END)], loaded.test.pieces)
                  for row in y.tolist()]  # fmt: skip
    folder = pairs.MULTI30K[0].place().path
    lines = gzip.decompress((folder / "test_2016_flickr.en.gz").read_bytes()).decode().split("\n")
    assert references == [line.strip() for line in lines[:-1]]
    assert int((loaded.train.x != PADDING).sum(2).max()) == info.shape[1]

"""Pictures flipped and shifted by seed and step; smaller, blurred, turned and mislabelled ones."""

import json

import numpy as np
import pytest
import torch
from protocol_run import WORLDS, in_parts, level, planned, trained, weights

from rewire import rng_for
from rewire.branches import operations
from rewire.experiments import data, kinds, store
from rewire.experiments.config.pictures import Augment
from rewire.experiments.config.schema import Data, Experiment
from rewire.experiments.data.augment import Augmenter, _moved_at_once, moves
from rewire.experiments.data.dataset import Dataset, Scaling, Split
from rewire.experiments.errors import ConfigError
from rewire.experiments.trainings.batches import Batches

BOTH = {"name": "digits", "augment": "flip-shift"}
SCALING = Scaling("standard", 255.0, (0.3, 0.5, 0.4), (0.2, 0.3, 0.1))


def pictures(*, stored, n=60, channels=3, height=10, width=12):
    """Made-up pictures, as pixels that are stored or as the numbers that they become."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, channels, height, width), generator=generator)
    pixels, y = pixels.to(torch.uint8), torch.arange(n) % 7
    split = Split(pixels, y, SCALING) if stored else Split(SCALING.apply(pixels), y)
    return Dataset("made up", split, split, split, 7, (channels, height, width), SCALING)


def by_hand(x, how):
    """Mirrored, padded with what black becomes, and cut out again: one picture after another."""
    black = SCALING.apply(torch.zeros(1, 3, 1, 1))
    out = []
    for picture, flips, down, right in zip(x, *how, strict=True):
        picture = picture.flip(-1) if flips else picture
        wide = black.expand(1, 3, 30, 32).clone()
        wide[0, :, 10:20, 10:22] = picture
        out.append(wide[0, :, 10 - down : 20 - down, 10 - right : 22 - right])
    return torch.stack(out)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("ways", [{"flip": True, "shift": 4}, {"flip": True}, {"shift": 9}])
def test_batches_are_what_cutting_and_padding_by_hand_gives(stored, ways):
    made, ways = pictures(stored=stored), Augment(**ways)
    rows = torch.tensor([3, 59, 0, 3, 17, 20, 41, 8])
    x, y = Augmenter(ways, made).batch(rows, rng_for(5, "augment", 2))
    how = moves(ways, len(rows), rng_for(5, "augment", 2))
    assert torch.equal(x, by_hand(made.train.x[rows], how))
    assert torch.equal(y, made.train.y[rows])
    black = SCALING.apply(torch.zeros(1, 3, 1, 1)) if ways.shift else 0
    assert torch.equal(_moved_at_once(made.train.x[rows], how, black), x)  # as on a GPU


def test_every_step_draws_anew_and_every_seed():
    made, rows = pictures(stored=True), torch.arange(60)
    augmenter = Augmenter(Augment(flip=True, shift=2), made)
    drawn = {(seed, step): augmenter.batch(rows, rng_for(seed, "augment", step))[0]
             for seed in (0, 1) for step in (0, 1)}  # fmt: skip
    again = augmenter.batch(rows, rng_for(0, "augment", 0))[0]
    assert torch.equal(again, drawn[0, 0])
    others = list(drawn.values())
    assert not any(torch.equal(a, b) for i, a in enumerate(others) for b in others[:i])


def test_moves_are_spread_evenly():
    how = moves(Augment(flip=True, shift=4), 20_000, rng_for(0, "augment"))
    assert abs(how.flips.mean() - 0.5) < 0.02
    for part in (how.down, how.right):
        assert np.unique(part).tolist() == list(range(-4, 5))
        assert np.unique(part, return_counts=True)[1].min() > 20_000 / 9 * 0.9


@WORLDS
def test_a_training_is_moved_and_its_evaluations_are_not(world, tmp_path):
    ends = [trained(tmp_path, world=world, data=table) for table in ("digits", BOTH)]
    (plain, _), (moved, _) = ends
    assert not torch.equal(plain.batches(3)[0], moved.batches(3)[0])
    assert torch.equal(plain.batches(3)[1], moved.batches(3)[1])
    assert torch.equal(plain.data.train.x, moved.data.train.x)
    assert all(torch.equal(getattr(plain.data, part).x, getattr(moved.data, part).x)
               for part in ("validation", "test"))  # fmt: skip


@WORLDS
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(world, tmp_path, monkeypatch):
    own = {"world": world, "data": BOTH, "seeds_apart": {"augment": 4, "from": 3}}
    whole, one = trained(tmp_path / "whole", **own)
    parts, two = in_parts(tmp_path / "parts", monkeypatch, at=7, **own)
    assert all(torch.equal(v, weights(parts)[n]) for n, v in weights(whole).items())
    rows = [store.without_times([level(cell)])[0] for cell in (one, two)]
    assert {**rows[0], "crc": 0} == {**rows[1], "crc": 0}


def test_augmentation_has_a_seed_of_its_own():
    """The same rows, moved in another way from the step on that is named."""
    made = data.load("digits")
    augmenter = Augmenter(Augment(flip=True, shift=1), made)
    experiment, _ = planned(seeds_apart={"augment": 8, "from": 5})
    own = Batches(made.train, 100, 0, experiment.seeds_apart, augmenter)
    other = Batches(made.train, 100, 0, None, augmenter)
    same = []
    for step in (4, 5):
        (x, y), rows = own(step), own.rows(step)
        x = x.clone()
        assert torch.equal(rows, other.rows(step)) and torch.equal(y, made.train.y[rows])
        same.append(torch.equal(x, other(step)[0]))
    assert same == [True, False]


def test_cells_without_the_keys_are_named_as_before():
    """The hash is that of a cell which was trained before these keys existed."""
    _, (usual,) = planned()
    of_version_1 = {key: value for key, value in usual.config.items() if key != "versions"}
    assert store.cell_hash(of_version_1) == "896c50bf71621730"
    assert usual.config["data"] == {"name": "digits"}
    changes = [BOTH, {"size": 4}, {"blur": 2}, {"labels": "random"}, {"labels": "rotation"}]
    tables = [{"name": "digits", **change} for change in changes]
    assert len({planned(data=table)[1][0].hash for table in tables} | {usual.hash}) == 6


def test_names_and_lists_are_short_for_tables():
    same = ["flip-shift", ["flip", "shift"], {"flip": True, "shift": 4}]
    cells = [planned(data={"name": "digits", "augment": augment})[1][0] for augment in same]
    assert len({cell.hash for cell in cells}) == 1
    assert cells[0].config["data"] == {"name": "digits", "augment": {"flip": True, "shift": 4}}
    experiment = planned(data=BOTH)[0]
    assert kinds.parse(json.loads(json.dumps(experiment.as_tree()))).data == experiment.data


# -- data sets made other ones -----------------------------------------------------------------


def test_smaller_pictures_are_averages_of_blocks():
    whole, small = data.load("digits", normalise="unit"), data.load("digits", normalise="unit",
                                                                    size=4)  # fmt: skip
    assert small.shape == (1, 4, 4) and small.classes == 10
    pooled = torch.nn.functional.avg_pool2d(whole.test.x, 2)
    assert (small.test.x - pooled).abs().max() <= 0.5 / 16 + 1e-6  # whole pixel values
    assert torch.equal(small.train.y, whole.train.y)


def test_blurred_pictures_are_those_of_the_branch():
    whole, blurred = (data.load("digits", normalise="unit", blur=blur) for blur in (None, 4))
    assert blurred.shape == (1, 8, 8)
    expected = operations.blurred(whole.test.x, 4)
    assert (blurred.test.x - expected).abs().max() <= 0.5 / 16 + 1e-6


def test_random_labels_are_fixed_and_say_nothing():
    first, again, other = (data.load("digits", labels="random", seed=s) for s in (0, 0, 1))
    plain = data.load("digits", seed=0)
    assert torch.equal(first.train.y, again.train.y) and torch.equal(first.train.x, plain.train.x)
    assert abs((first.train.y == plain.train.y).float().mean() - 0.1) < 0.03
    y = {name: d.test.y for name, d in {"first": first, "other": other}.items()}
    assert not torch.equal(y["first"], y["other"])


def test_random_labels_do_not_depend_on_the_split():
    few, many = (data.load("mnist5k", labels="random", validation=n, seed=None) for n in (50, 500))
    assert len(few.train) - len(many.train) == 450
    assert torch.equal(few.test.y, many.test.y)


def test_turned_pictures_are_exact_and_their_class_is_the_turn():
    plain, turned = data.load("digits"), data.load("digits", labels="rotation")
    assert turned.classes == 4 and sorted(turned.test.y.unique().tolist()) == [0, 1, 2, 3]
    for before, after, quarters in zip(plain.test.x, turned.test.x, turned.test.y, strict=True):
        assert torch.equal(before.rot90(int(quarters), (-2, -1)), after)


@WORLDS
@pytest.mark.parametrize("table", [{"size": 4}, {"labels": "rotation", "blur": 2},
                                   {"labels": "random", "augment": "shift"}])  # fmt: skip
def test_models_are_built_for_what_they_get(world, table, tmp_path):
    run, cell = trained(tmp_path, world=world, data={"name": "digits", **table}, steps=60)
    sizes = (16 if "size" in table else 64, 4 if table.get("labels") == "rotation" else 10)
    widths = [p.shape for p in run.net.graph.projections]
    assert (widths[0][1], widths[-1][0]) == sizes
    accuracy = level(cell)["test_accuracy"]
    assert accuracy < 0.2 if table.get("labels") == "random" else accuracy > 0.4


def test_a_table_for_another_data_set_keeps_what_is_done_to_pictures():
    table = Data(name="mnist", size=14, validation=100, augment={"flip": True}, digest=None)
    other = table.of_name("fashion-mnist")
    assert (other.name, other.size, other.validation) == ("fashion-mnist", 14, None)
    assert other.augment.flip and other.info.shape == (1, 14, 14)


@pytest.mark.parametrize(("table", "message"), [
    ({"augment": "flop"}, r"data\.augment: there is no augmentation 'flop'"),
    ({"augment": {"flip": False}}, r"data\.augment: neither flips nor shifts"),
    ({"augment": {"shift": -1}}, r"data\.augment\.shift"),
    ({"augment": {"turn": True}}, r"data\.augment\.turn: unknown key; it takes flip, shift"),
    ({"augment": 4}, r"data\.augment: should be a table"),
    ({"size": 3}, r"data\.size: pictures of 8 x 8 pixels .* to sides of 1, 2, 4; found 3"),
    ({"size": 8}, r"data\.size: .* found 8"),
    ({"size": 0}, r"data\.size"),
    ({"blur": 1}, r"data\.blur"),
    ({"blur": 9}, r"data\.blur: blocks of 9 pixels are larger"),
    ({"labels": "shuffled"}, r"data\.labels"),
    ({"labels": "rotation", "augment": "flip-shift"}, r"data\.augment: flips a picture"),
    ({"name": "diabetes", "augment": "flip"}, r"data\.augment: is of pictures .*shape \(10,\)"),
    ({"name": "diabetes", "size": 4}, r"data\.size: is of pictures"),
    ({"name": "diabetes", "labels": "random"}, r"data\.labels: are of classes"),
    ({"name": "apache-license", "labels": "rotation"}, r"data\.labels: are of classes"),
])  # fmt: skip
def test_what_cannot_be_is_refused_by_name(table, message):
    with pytest.raises(ConfigError, match=message):
        planned(data={"name": "digits", **table})


def test_the_schema_knows_them():
    tree = Experiment.model_json_schema()["$defs"]["Data"]["properties"]
    assert {"size", "blur", "labels", "augment"} <= tree.keys()
    assert {"enum": ["flip-shift", "flip", "shift"]} in tree["augment"]["anyOf"]

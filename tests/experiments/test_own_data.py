"""Data and models of one's own: files, tensors, data sets with items, callables."""

import csv
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from rewire.experiments import cli, data, kinds, store
from rewire.experiments.data import own, places
from rewire.experiments.data.folder import read_folder
from rewire.experiments.data.objects import arrays_of
from rewire.experiments.errors import ConfigError, DataError
from rewire.experiments.runner import run_experiment
from rewire.experiments.tasks import Classification, Frames, NextToken, Regression
from rewire.models import own as own_models


def stripes(n=60, seed=0):
    """Pictures of 1 x 4 x 4, uint8, with a bright row (class 0) or a bright column (class 1)."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 60, (n, 1, 4, 4)).astype(np.uint8), np.arange(n) % 2
    for picture, label, place in zip(x, y, rng.integers(4, size=n), strict=True):
        picture[0][(place,) if label == 0 else (slice(None), place)] = 255
    return x, y


def tree(data, **changes):
    return {"name": "own", "model": {"name": "mlp", "hidden": [8]}, "data": data,
            "optimizer": {"name": "sgd", "lr": 0.1}, "batch": 16, "steps": 20,
            "evaluate_every": 10, "densities": [0.5], "seeds": 1, "rules": ["SET"],
            **changes}  # fmt: skip


def hashes(data, **changes):
    return [cell.hash for cell in kinds.plan(kinds.load(tree(data, **changes)))]


def train(data, out, report=False, **changes):
    finished = run_experiment(tree(data, **changes), out=out, workers=0, report=report)
    assert finished.exit_code == 0
    return store.results(out)


class Items:
    """As torchvision's: a length, and items (picture, class)."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        if i >= len(self.y):
            raise IndexError
        return self.x[i], int(self.y[i])


class Rows(Items):
    """As Hugging Face's: items are mappings."""

    columns = ("image", "label")

    def __getitem__(self, i):
        return dict(zip(self.columns, super().__getitem__(i), strict=True))


# --- one content, one run ---


def test_tensors_items_and_rows_of_one_content_are_one_run(tmp_path):
    x, y = stripes()
    forms = [(x, y), (torch.from_numpy(x), torch.from_numpy(y)), Items(x, y), Rows(x, y),
             TensorDataset(torch.from_numpy(x), torch.from_numpy(y)),
             {"train": Rows(x, y)}, {"name": (x, y)}]  # fmt: skip
    assert len({tuple(hashes(form)) for form in forms}) == 1
    (row,) = train((x, y), tmp_path)
    assert row["test_accuracy"] > 0.6
    before = (tmp_path / "cells" / row["cell"] / "metrics.jsonl").read_bytes()
    train(Items(x, y), tmp_path, report=True)  # finished: nothing is trained again
    assert (tmp_path / "cells" / row["cell"] / "metrics.jsonl").read_bytes() == before


def test_another_content_is_another_run(tmp_path):
    x, y = stripes()
    train((x, y), tmp_path)
    other = x.copy()
    other[0, 0, 0, 0] ^= 1
    assert hashes((other, y)) != hashes((x, y))
    with pytest.raises(ConfigError, match=r"holds another experiment.*\n.*data.name: own:"):
        run_experiment(tree((other, y)), out=tmp_path, workers=0)


def test_a_run_on_data_from_python_is_refused_by_a_process_that_has_them_not(tmp_path):
    x, y = stripes()
    (row,) = train((x, y), tmp_path)
    code = "import sys; from rewire.experiments import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code]
    ended = subprocess.run([*command, "cell", str(tmp_path), row["cell"]], capture_output=True,
                           text=True)  # fmt: skip
    assert ended.returncode == 2
    assert "given from Python, and not to this process" in ended.stderr


def test_parts_are_kept_and_a_missing_test_part_is_drawn_once_for_all():
    x, y = stripes()
    drawn = data.load(own.register((x, y)))
    assert [len(part) for part in (drawn.train, drawn.validation, drawn.test)] == [43, 8, 9]
    assert drawn.test.y.float().mean() == pytest.approx(0.5, abs=0.06)
    parts = {"train": (x[:40], y[:40]), "validation": (x[40:48], y[40:48]),
             "test": (x[48:], y[48:])}  # fmt: skip
    kept = data.load(own.register(parts), normalise="none")
    for part, rows in (
        ("train", slice(40)),
        ("validation", slice(40, 48)),
        ("test", slice(48, 60)),
    ):
        split = getattr(kept, part)
        assert np.array_equal(split.x.numpy(), x[rows]) and np.array_equal(split.y, y[rows])
    assert hashes(parts) == hashes({"name": {**parts}})


def test_inputs_are_scaled_by_what_training_and_validation_hold():
    x, y = stripes()
    loaded = data.load(own.register((x, y)))
    together = torch.cat([loaded.train.x, loaded.validation.x])
    assert abs(together.mean()) < 1e-6 and abs(together.std(correction=0) - 1) < 1e-6
    assert data.load(own.register((x, y)), normalise="unit").train.x.max() == 1
    constant = np.random.default_rng(0).random((20, 3))
    constant[:, 1] = 5
    assert (data.load(own.register((constant, y[:20]))).train.x[:, 1] == 0).all()


# --- which task ---


@pytest.mark.parametrize(
    ("y", "x", "task"),
    [
        (np.arange(12) % 3, np.zeros((12, 5)), Classification),
        (np.arange(12.0), np.zeros((12, 5)), Regression),
        (np.ones((12, 2)), np.zeros((12, 5)), Regression),
        (np.ones((12, 5), int), np.zeros((12, 5, 2)), Frames),
        (np.tile(np.arange(1, 6), (12, 1)), np.tile(np.arange(5), (12, 1)), NextToken),
        (np.ones((12, 5), int), np.tile(np.arange(5), (12, 1)), Frames),
    ],
)
def test_the_task_follows_from_type_and_shape_of_the_targets(x, y, task):
    assert type(arrays_of((x, y)).task) is task


def test_a_regression_and_frames_of_ones_own_are_trained(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 4))
    (row,) = train((x, x @ [1.0, -2.0, 0.0, 1.0]), tmp_path / "r", steps=150)
    assert row["test_r2"] > 0.5

    def by_place(input_shape, classes):
        return nn.Linear(input_shape[1], classes)

    seen = rng.standard_normal((40, 6, 3))
    (row,) = train((seen, (seen[..., 0] > 0).astype(int)), tmp_path / "f", model=by_place,
                   densities=[0.7], steps=60)  # fmt: skip
    assert row["metric"] == "frames" and row["test_frames"] > 0.7


def test_tokens_without_targets_are_followed_by_the_next():
    tokens = [np.arange(i, i + 7) % 5 for i in range(12)]

    class Tokens(Items):
        def __getitem__(self, i):
            return {"input_ids": tokens[i], "attention_mask": np.ones(7)}

    x, y = arrays_of(Tokens(None, tokens)).train
    assert x.shape == y.shape == (12, 6) and np.array_equal(x[:, 1:], y[:, :-1])


# --- files ---


def pictures(folder, mode="L", size=(4, 4), names=("row", "column"), n=12):
    image = pytest.importorskip("PIL.Image")
    x, y = stripes(n)
    for i, (picture, label) in enumerate(zip(x, y, strict=True)):
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
        made = image.fromarray(picture[0]).resize(size).convert(mode)
        made.save(folder / names[label] / f"{i:03}.png")
    return x, y


def test_a_folder_of_pictures_is_a_data_set_by_class(tmp_path):
    x, y = pictures(tmp_path / "a", n=30)
    arrays = read_folder(tmp_path / "a")
    assert arrays.classes == ("column", "row")
    assert np.array_equal(np.sort(arrays.train[0], 0), np.sort(x, 0))
    (row,) = train(f"folder:{tmp_path / 'a'}", tmp_path / "out", report=True)
    assert 0 <= row["test_accuracy"] <= 1
    pictures(tmp_path / "b" / "train", "RGB", n=20)
    pictures(tmp_path / "b" / "test", "RGB", n=8)
    info = data.info(f"folder:{tmp_path / 'b'}")
    assert (info.shape, info.classes, info.test) == ((3, 4, 4), 2, 8)


def write_csv(path, rows, header=None):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([*([header] if header else []), *rows])


def test_tables_of_every_kind_hold_the_same(tmp_path):
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    x, y = rng.random((20, 3)).astype(np.float32), np.arange(20) % 2
    for kind in ("npz", "safetensors", "csv", "all"):
        (tmp_path / kind).mkdir()
    for part, rows in (("train", slice(15)), ("test", slice(15, 20))):
        np.savez(tmp_path / "npz" / f"{part}.npz", x=x[rows], y=y[rows])
        save_file({"x": x[rows], "y": y[rows]}, tmp_path / "safetensors" / f"{part}.safetensors")
        lines = [[*map(repr, map(float, a)), int(b)] for a, b in zip(x[rows], y[rows], strict=True)]
        write_csv(tmp_path / "csv" / f"{part}.csv", lines, ["a", "b", "c", "class"])
    np.savez(tmp_path / "all" / "set.npz", x_train=x[:15], y_train=y[:15], x_test=x[15:],
             y_test=y[15:])  # fmt: skip
    names = [f"folder:{tmp_path / kind}" for kind in ("npz", "safetensors", "csv", "all")]
    names.append(f"folder:{tmp_path / 'all' / 'set.npz'}")
    assert len({data.info(name).digest for name in names}) == 1
    assert hashes(names[0]) == hashes((x[:15], y[:15], x[15:], y[15:]))  # and as from Python


def test_the_last_column_of_a_table_says_the_task(tmp_path):
    rows = [[i, i * i] for i in range(20)]
    for file, target, task in (("a", lambda i: i % 3, Classification),
                               ("b", lambda i: i / 2, Regression),
                               ("c", lambda i: ("no", "yes")[i % 2], Classification)):  # fmt: skip
        write_csv(tmp_path / f"{file}.csv", [[*row, target(i)] for i, row in enumerate(rows)])
        assert type(data.info(f"folder:{tmp_path / file}.csv").task) is task
    assert read_folder(tmp_path / "c.csv").classes == ("no", "yes")


def test_a_text_is_for_the_next_character(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 100)
    info, loaded = (read(f"folder:{tmp_path}") for read in (data.info, data.load))
    assert info.task == NextToken() and info.inputs == "tokens" and info.shape == (64,)
    assert torch.equal(loaded.test.x[:, 1:], loaded.test.y[:, :-1])


def test_files_that_changed_are_another_run_and_the_old_one_says_so(tmp_path):
    folder, out = tmp_path / "d", tmp_path / "out"
    folder.mkdir()
    x, y = stripes()
    np.savez(folder / "set.npz", x=x, y=y)
    train(f"folder:{folder}", out)
    x[0] = 0
    np.savez(folder / "set.npz", x=x, y=y)
    with pytest.raises(ConfigError, match=r"(?s)another experiment.*data.digest"):
        run_experiment(tree(f"folder:{folder}"), out=out, workers=0)
    assert cli.main(["run", str(out / "experiment.toml"), "--out", str(out)]) == 2
    moved = tmp_path / "moved"
    shutil.move(folder, moved)
    assert hashes(f"folder:{moved}") == hashes((x, y))  # a place is no content


# --- mistakes ---


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((np.zeros((9, 2)), np.zeros(8, int)), "give one target for each"),
        ((np.zeros((9, 2)), np.zeros((9, 2, 2))), "which no task has"),
        ((np.zeros((9, 2)), np.array(["a"] * 9)), "expected numbers"),
        ((np.zeros((3, 2)), np.zeros(3, int)), "it has 3 examples; the fewest are 8"),
        (DataLoader(TensorDataset(torch.zeros(9, 2))), "give the data set that it loads"),
        (iter([]), "is a list_iterator: give"),
        ({"a": 1}.keys(), "is a dict_keys: give"),
        (
            type("Frame", (Items,), {"__getitem__": lambda self, i: {}[i]})([], range(9)),
            "a Frame has no item 0",
        ),
        ({"train": (np.zeros((9, 2)), np.zeros(9, int)), "tset": 3}, "parts are train, tset"),
        (Items([np.zeros(2), np.zeros(3)] * 5, range(10)), "of 2 shapes"),
        (TensorDataset(torch.zeros(9, 2)), "an item is a tuple of 1, expected a pair"),
        ((np.full((9, 2), np.nan), np.arange(9) % 2), "NaN"),
        ((np.zeros((9, 2)), np.arange(9) - 1), "labels go from -1"),
    ],
)
def test_what_is_no_data_set_is_refused_with_what_to_do(value, message):
    with pytest.raises((ConfigError, DataError), match=message):
        kinds.load(tree(value)).dataset  # noqa: B018


def test_rows_of_unknown_columns_and_random_items_are_refused():
    class Odd(Rows):
        columns = ("height", "weight")

    with pytest.raises(ConfigError, match="columns are height, weight: rename one to x"):
        kinds.load(tree(Odd(*stripes())))

    class Augmented(Items):
        def __getitem__(self, i):
            return np.random.default_rng().random(4), 0

    with pytest.raises(ConfigError, match="leave out random transforms"):
        kinds.load(tree(Augmented(*stripes())))


def test_folders_without_data_or_with_data_that_do_not_fit_are_refused(tmp_path):
    def refused(place, message):
        with pytest.raises(ConfigError, match=message):
            kinds.load(tree(f"folder:{place}"))

    refused(tmp_path / "none", "there is no such folder or file")
    (tmp_path / "a").mkdir()
    refused(tmp_path / "a", r"holds no data; expected train/CLASS")
    (tmp_path / "a" / "set.npz").write_bytes(b"no archive")
    refused(tmp_path / "a", "set.npz: cannot be read")
    np.savez(tmp_path / "a" / "set.npz", x=np.zeros(9))
    refused(tmp_path / "a", "holds x and no y: name the inputs x and the targets y")
    write_csv(tmp_path / "b.csv", [[1, 2, 3], [1, "two", 3]])
    refused(tmp_path / "b.csv", "row 2 is '1,two,3', expected 2 numbers")
    pictures(tmp_path / "c")
    pictures(tmp_path / "c", size=(5, 4), names=("row", "wide"))
    refused(tmp_path / "c", "bring all to one size")
    pictures(tmp_path / "d", names=("one", "one"))
    refused(tmp_path / "d", "expected a folder for each class")
    with pytest.raises(ConfigError, match="numbers with a point"):
        write_csv(tmp_path / "e.csv", [[i, i] for i in range(20)])
        kinds.load(tree(f"folder:{tmp_path / 'e.csv'}", task="regression"))


def test_no_name_of_ours_is_taken_for_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(places.VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match=r"no data set 'foldr:x'"):
        kinds.load(tree("foldr:x"))


# --- models ---


def own_perceptron(*, generator, input_shape, classes, width: int = 6):
    n = int(np.prod(input_shape))
    model = nn.Sequential(nn.Flatten(), nn.Linear(n, width), nn.ReLU(), nn.Linear(width, classes))
    for p in model.parameters():
        nn.init.uniform_(p, -0.3, 0.3, generator=generator)
    return model


def test_a_function_of_a_module_is_known_by_its_place():
    assert own_models.register(nn.Bilinear) == "torch.nn.modules.linear:Bilinear"
    x, y = stripes()
    named = {"name": "rewire.models.mlp:mlp", "hidden": [8]}
    assert hashes((x, y), model=named) != hashes((x, y))
    with pytest.raises(ConfigError, match="rewire.models.mlp:pml.*cannot be imported"):
        kinds.load(tree((x, y), model="rewire.models.mlp:pml"))


def test_any_callable_is_a_model_whose_seeds_draw_other_weights(tmp_path):
    width = 5

    def closed(classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.ReLU(),
                             nn.Linear(width, classes))  # fmt: skip

    x, y = stripes()
    rows = train((x, y), tmp_path, model=closed, seeds=2)
    assert rows[0]["val_loss"] != rows[1]["val_loss"]
    again = train((x, y), tmp_path / "again", model=closed, seeds=2)
    assert store.without_times(again) == store.without_times(rows)
    before = hashes((x, y), model=closed)
    width = 7
    assert hashes((x, y), model=closed) != before
    assert hashes((x, y), model={"name": own_perceptron, "width": 4}) != hashes(
        (x, y), model=own_perceptron
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(16, 2), "already built: give a function"),
        ([1], "is a list: give a function"),
        (lambda: 3, "builds a int, not an nn.Module"),
        (lambda: nn.Linear(16, 2), r"computes \(2, 1, 4, 2\)|cannot read"),
        (lambda classes: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), r"\(2, 2\) belongs"),
        (lambda size: nn.Linear(16, size), "cannot be built"),
    ],
)
def test_what_is_no_model_is_refused_with_what_to_do(model, message):
    with pytest.raises(ConfigError, match=message):
        kinds.load(tree(stripes(), model=model))

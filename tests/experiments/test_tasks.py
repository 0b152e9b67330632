"""Tasks: what a model is trained for and judged by, from a file to the report."""

import json
import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from rewire import plugins
from rewire.experiments import cli, compare, data, kinds, printing, store, tasks
from rewire.experiments.errors import ConfigError, DataError
from rewire.experiments.report import run as reports
from rewire.experiments.store import cell_hash
from rewire.experiments.tasks import ACCURACY, Frames, Metric, NextToken, Regression, Task

DIABETES = """
model = { name = "mlp", hidden = [16] }
data = "diabetes"
optimizer = { name = "adam", lr = 0.003 }
batch = 32
steps = 60
evaluate_every = 30
densities = [0.5]
seeds = 2
rules = ["Dense", "SET", "SNIP", "IMP"]
contrasts = [["SET", "Dense"]]
"""
LANGUAGE = """
model = { name = "gpt", layers = 1, heads = 2, width = 16 }
data = "apache-license"
optimizer = { name = "adam", lr = 0.01 }
batch = 16
steps = 40
evaluate_every = 20
densities = [0.5]
seeds = 1
rules = ["SET"]
"""


def run(folder, text, *overrides):
    path = folder / "experiment.toml"
    path.write_text(text)
    assert cli.main(["run", str(path), *overrides, "--out", str(folder / "out"),
                     "--workers", "0"]) == 0  # fmt: skip
    return folder / "out"


def predictions(rows, n, dtype=torch.float32):
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(0), dtype=dtype)


# --- losses and metrics, against formulas written out ---


def test_r2_and_mse_are_their_formulas_whatever_the_batches():
    from sklearn.metrics import r2_score

    y, outputs = predictions(7, 2), predictions(7, 2) + 0.3 * predictions(9, 2)[2:]
    tallies = [Regression().tally(outputs[a:b], y[a:b]).tolist() for a, b in ((0, 4), (4, 7))]
    sums = [a + b for a, b in zip(*tallies, strict=True)]
    found = Regression().metric_of(sums)
    assert found == pytest.approx(r2_score(y, outputs, multioutput="variance_weighted"))
    mse = ((outputs - y) ** 2).mean().item()
    assert Regression(metric="mse").metric_of(sums) == pytest.approx(mse)
    assert sums[0] / sums[1] == pytest.approx(Regression().loss(outputs, y).item())


def test_outputs_that_broadcast_against_the_targets_are_refused():
    with pytest.raises(ValueError, match=r"outputs are \(4,\) and the targets \(4, 1\)"):
        Regression().loss(torch.zeros(4), torch.zeros(4, 1))


def test_perplexity_and_bits_are_those_of_the_mean_over_places():
    outputs = predictions(6, 5).view(2, 3, 5)
    y = torch.tensor([[0, 1, 4], [2, -100, -100]])
    loss = cross_entropy(outputs.view(6, 5)[:4], y.view(6)[:4]).item()
    task = NextToken(metric="bits")
    sums = task.tally(outputs, y).tolist()
    assert sums[1] == 4
    assert task.loss(outputs, y).item() == pytest.approx(loss)
    assert task.metric_of(sums) == pytest.approx(loss / math.log(2))
    assert NextToken().metric_of(sums) == pytest.approx(math.exp(loss))
    assert NextToken().metric_of([1e6, 1.0]) < math.inf  # a number that JSON can hold


def test_frames_count_places_and_leave_out_those_that_do_not_count():
    outputs = torch.eye(3)[torch.tensor([[0, 1, 2], [2, 2, 0]])]
    y = torch.tensor([[0, 1, 1], [2, -100, -100]])
    assert Frames().metric_of(Frames().tally(outputs, y).tolist()) == 3 / 4


def test_a_task_is_read_back_from_its_table_and_refuses_what_it_does_not_know():
    for task in (Regression(metric="mse"), NextToken(), tasks.Classification()):
        assert tasks.of_table(tasks.table_of(task)) == task
    with pytest.raises(ValueError, match=r"no task 'regresion' \(did you mean 'regression'\?\)"):
        tasks.of_table("regresion")
    with pytest.raises(ValueError, match=r"no metric 'r3' \(did you mean 'r2'\?\)"):
        tasks.of_table({"name": "regression", "metric": "r3"})


def test_a_metric_says_which_way_is_better():
    perplexity = Metric("perplexity", "perplexity", lower=True)
    assert sorted([3.0, 1.0, math.nan], key=perplexity.rank)[:2] == [1.0, 3.0]
    assert sorted([0.3, 0.9], key=ACCURACY.rank) == [0.9, 0.3]
    assert (perplexity.best, ACCURACY.best) == ("lowest", "highest")
    assert perplexity.axis("test") == "test perplexity, lower is better"


# --- data sets of other tasks ---


def test_diabetes_is_scaled_by_its_published_numbers():
    loaded = data.load("diabetes")
    together = torch.cat([loaded.train.x, loaded.validation.x])
    assert together.shape == (376, 10)
    assert together.mean(0).abs().max() < 1e-3 and (together.std(0, False) - 1).abs().max() < 1e-3
    y = torch.cat([loaded.train.y, loaded.validation.y])
    assert y.dtype == torch.float32 and y.shape == (376, 1)
    assert abs(y.mean()) < 1e-5 and abs(y.std(correction=0) - 1) < 1e-5
    raw = data.load("diabetes", normalise="unit")
    assert raw.train.y.max() > 100  # as they are stored


@pytest.mark.parametrize("name", ["apache-license", "tiny-shakespeare"])
def test_windows_of_a_text_foretell_what_follows(name):
    if not data.info(name).present:
        pytest.skip(f"{name} is not on this machine")
    info, loaded = data.info(name), data.load(name)
    assert [len(part) for part in (loaded.train, loaded.validation, loaded.test)] == [
        info.train, info.validation, info.test]  # fmt: skip
    x, y = loaded.train.part(slice(0, 3))
    assert x.dtype == y.dtype == torch.int64
    assert torch.equal(x[:, 1:], y[:, :-1]) and torch.equal(x[1:, 0], y[:-1, -1])
    everything = torch.cat([part.x for part in (loaded.train, loaded.validation, loaded.test)])
    assert torch.unique(everything).tolist() == list(range(info.classes))


def test_a_text_that_was_changed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path))
    (tmp_path / "tinyshakespeare").mkdir()
    (tmp_path / "tinyshakespeare" / "input.txt").write_text("To be, or not to be")
    with pytest.raises(DataError, match="it is not the text that tiny-shakespeare stands for"):
        data.load("tiny-shakespeare")


def source(**changes):
    values = {"name": "own", "title": "", "shape": (3,), "classes": 1, "train": 5, "validation": 1,
              "test": 2, "mean": (), "std": (), "origin": "", "licence": "", "citation": "",
              "task": Regression()}  # fmt: skip
    return data.Source(**{**values, **changes})


@pytest.mark.parametrize(
    ("y", "changes", "message"),
    [
        (np.zeros(8), {}, r"train targets are float64 of shape \(6,\), expected numbers of shape"),
        (np.full((8, 1), np.nan), {}, "train targets hold NaN"),
        (np.zeros((8, 3), int), {"task": Frames(), "classes": 0}, "labels go from 0 to 0"),
        (np.zeros((8, 2), int), {"task": Frames()}, "expected whole numbers of shape"),
        (np.full((8, 3), -100), {"task": Frames()}, "-100 everywhere"),
        (np.zeros((8, 3), int), {"task": NextToken(), "inputs": "tokens"}, "inputs are float32"),
    ],
)
def test_targets_of_other_tasks_are_checked(y, changes, message, monkeypatch):
    x = np.zeros((8, 3), np.float32)
    raw = data.Raw(x[:6], y[:6], x[6:], y[6:])
    monkeypatch.setitem(data.sources.BUILT_IN, "own", source(read=lambda: raw, **changes))
    with pytest.raises(DataError, match=message):
        data.load("own")


# --- experiments ---


def test_a_regression_is_trained_judged_compared_and_reported_by_its_metric(tmp_path, capsys):
    out = run(tmp_path, DIABETES)
    assert "Test R², mean" in capsys.readouterr().out
    rows = store.results(out)
    assert {(row["task"], row["metric"]) for row in rows} == {("regression", "r2")}
    assert not any("accuracy" in name for name in rows[0])
    assert all(0 < row["test_r2"] < 1 for row in rows if row["label"] == "Dense")
    assert all("val_r2" in row and "val_accuracy" not in row for row in store.evals(out))
    loaded = reports.load(out)
    assert loaded.metric == Regression().judged_by
    page = (out / "report.html").read_text()
    for words in (
        "R² against density",
        "highest mean test R²",
        "test R²",
        "Differences of test R²",
        "Steps of training, compared",
    ):
        assert words in page
    text = re.sub(r"<[^>]*>", "", page.split("</style>")[1])
    assert "ccuracy" not in text
    assert cli.main(["results", str(out)]) == 0
    table = capsys.readouterr().out
    assert "test r2" in table and "%" not in table
    assert compare.contrasts(rows, [("SET", "Dense")], column="test_r2")[0].n == 2


def test_the_sparse_world_regresses_as_the_masked_one(tmp_path):
    values = {}
    for world in ("masked", "sparse"):
        (tmp_path / world).mkdir()
        out = run(tmp_path / world, DIABETES, f"world={world}", "rules=[SET]", "contrasts=[]")
        values[world] = [row["test_r2"] for row in store.results(out)]
    assert values["sparse"] == pytest.approx(values["masked"], abs=1e-4)


def test_a_language_model_is_judged_in_bits_and_lower_is_better(tmp_path):
    out = run(tmp_path, LANGUAGE, "rules=[SET,RigL]")
    rows = {row["label"]: row for row in store.results(out)}
    assert all(1 < row["test_bpc"] < math.log2(71) for row in rows.values())
    best = min(rows, key=lambda label: rows[label]["test_bpc"])
    page = (out / "report.html").read_text()
    assert f"{best} has the lowest mean test bits per character" in page
    assert "Down and to the left is better" in page and "lower is better" in page


def test_another_metric_of_a_task_is_asked_for_by_name(tmp_path):
    table = '{name="next-token",metric="perplexity"}'
    (row,) = store.results(run(tmp_path, LANGUAGE, f"task={table}", "steps=20"))
    assert row["metric"] == "perplexity"
    assert 1 < row["test_perplexity"] < 71


def test_a_regression_that_was_stopped_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    """A checkpoint at every step, and the newest taken up again."""
    from rewire.experiments.trainings.trainer import run_cell

    experiment = kinds.parse({**_tree(DIABETES), "seeds": 1, "rules": ["SET"], "contrasts": []})
    (cell,) = kinds.plan(experiment)
    for name, stops in (("whole", [None]), ("parts", [13, 41, None])):
        for stop in stops:
            steps = iter(range(10**6))
            run_cell(cell, tmp_path / name / "cells" / cell.hash, {}, experiment.dataset,
                     lambda event: None, lambda at=stop, s=steps: next(s) == at)  # fmt: skip
    whole, parts = (store.without_times(store.results(tmp_path / n)) for n in ("whole", "parts"))
    assert whole == parts != []


def _tree(text):
    import tomllib

    return {"name": "own", **tomllib.loads(text)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "classification"}, "classification.*|task: is for a class an example"),
        ({"task": {"name": "regression", "metric": "r3"}}, "no metric 'r3'"),
        ({"task": 3}, "should be a name or a table"),
        ({"model": "resnet-20"}, "resnet-20"),
        ({"model": "gpt"}, r"gpt cannot read diabetes, whose inputs are numbers of shape \(10,\)"),
        ({"spikes": {}, "data": {"name": "diabetes", "normalise": "unit"}}, "converts classifiers"),
        ({"rules": ["IMP", {"rule": "Pretrained", "steps": 5}]}, "pre-trains a classifier"),
    ],
)
def test_what_a_task_cannot_be_with_is_refused_before_anything_runs(changes, message):
    pytest.importorskip("brian2" if "spikes" in changes else "torch")
    tree = {**_tree(DIABETES), "contrasts": [], **changes}
    with pytest.raises(ConfigError, match=message):
        kinds.plan(kinds.parse(tree))


def test_a_model_that_computes_other_outputs_than_the_task_asks_for_is_refused():
    tree = {**_tree(LANGUAGE), "model": "mlp"}
    with pytest.raises(ConfigError, match=r"mlp computes \(2, 71\) of two examples"):
        kinds.parse(tree)


def test_the_hash_of_a_classification_is_that_of_the_versions_before_tasks():
    """Written down before there were tasks."""
    tree = {"name": "own", "model": {"name": "mlp", "hidden": [24, 16]}, "data": "digits",
            "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}, "batch": 50, "steps": 80,
            "evaluate_every": 40, "densities": [0.3, 0.1], "seeds": 1,
            "rules": ["Dense", "SET"]}  # fmt: skip
    cells = kinds.plan(kinds.parse(tree))
    hashes = [cell.hash for cell in cells]
    of_version_1 = [{k: v for k, v in cell.config.items() if k != "versions"} for cell in cells]
    assert [cell_hash(config) for config in of_version_1] == [
        "bb5597a2db64af24",
        "adb92631a0656d5b",
        "297b28e3a4b059ab",
    ]
    named = kinds.plan(kinds.parse({**tree, "task": "classification"}))
    assert [cell.hash for cell in named] == hashes
    config = kinds.plan(kinds.parse(_tree(DIABETES)))[0].config
    assert config["task"] == {"name": "regression"}
    other = {**config, "task": {"name": "regression", "metric": "mse"}}
    assert cell_hash(other) != cell_hash(config)


# --- a task of a package ---


@dataclass(frozen=True, kw_only=True)
class Huber(Task):
    """Robust regression, judged by the largest error."""

    kind = "numbers an example"
    targets = "numbers"
    metrics = (Metric("worst", "mean absolute error", lower=True),)

    def loss(self, outputs, y):
        return torch.nn.functional.huber_loss(outputs, y)

    def tally(self, outputs, y):
        summed = torch.nn.functional.huber_loss(outputs, y, reduction="sum")
        return torch.stack([summed, torch.tensor(float(y.numel())), (outputs - y).abs().sum()])

    def metric_of(self, sums):
        return sums[2] / sums[1]


class Point:
    name, value, dist = "huber", "mine:Huber", None

    def load(self):
        return Huber


@pytest.fixture
def huber(monkeypatch):
    def installed(group):
        return [Point()] if group == tasks.ENTRY_POINTS else []

    monkeypatch.setattr(plugins, "entry_points", installed)


def test_a_task_of_a_package_is_found_by_name(tmp_path, huber, monkeypatch):
    out = run(tmp_path, DIABETES, "task=huber", "rules=[SET]", "contrasts=[]", "seeds=1")
    (row,) = store.results(out)
    assert row["task"] == "huber" and 0 < row["test_worst"] < 2
    assert "lowest mean test mean absolute error" in (out / "report.html").read_text()
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])
    with pytest.raises(ConfigError, match="'huber'.*not installed: install the package"):
        tasks.metric_of(row)


def test_values_of_a_metric_are_written_with_its_unit():
    assert printing.shown("test_frames", 0.5, Frames().judged_by) == "50.00 %"
    assert printing.shown("test_bits", 1.2345678, NextToken(metric="bits").judged_by) == "1.235"


def test_tasks_are_listed_with_their_metrics(capsys):
    assert cli.main(["tasks", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed["regression"]["metrics"] == ["r2", "mse"]
    assert cli.main(["tasks"]) == 0
    assert "next-token" in capsys.readouterr().out


def test_data_sets_are_listed_with_their_task(capsys):
    assert cli.main(["data", "list", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed["diabetes"]["task"] == "regression"
    assert listed["digits"]["task"] == "classification"

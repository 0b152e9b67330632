"""Experiments from Python, and the commands on the folders that they leave."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from synthetic_run import make_run

import rewire
from rewire.experiments import cli, kinds, watching
from rewire.experiments.config import first_look
from rewire.experiments.config.schema import available
from rewire.experiments.errors import ConfigError, StoreError
from rewire.experiments.progress import Progress
from rewire.experiments.report import figure_bytes

EVERY_5 = rewire.every(5)


def small(classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))


def planned(out, *rules, **settings):
    usual = {"densities": 0.2, "seeds": 1, "steps": 10, "optimizer": {"name": "sgd", "lr": 0.1}}
    return rewire.experiment(model=small, data="digits", rules=rules, out=out, **usual | settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scripted")


@pytest.fixture(scope="module")
def two(folder):
    """Two runs: the dense one and Static alike in both, SET at another pace."""
    rules = "Static", rewire.Dense
    first = planned(folder / "a", *rules, rewire.SET(when=EVERY_5)).run(0, "quiet", report=False)
    second = planned(folder / "b", *rules, rewire.SET(when=rewire.every(3)))
    second.run(0, "quiet", report=False)
    return first, second


# --- from Python ---


def test_rules_are_given_as_names_classes_and_objects(two):
    assert [cell.label for cell in two[0].cells] == ["Dense", "Static", "SET"]
    assert [cell.config["rule"] for cell in two[0].open().cells][-1] == {
        "rule": "SET", "when": {"every": 5}
    }  # fmt: skip


def test_results_are_a_table_and_the_report_a_file(two):
    table = two[0].results()
    assert list(table["label"]) == ["Dense", "Static", "SET"] and "test_accuracy" in table
    assert "Static" in two[0].report().read_text()
    assert "3 cells, 3 finished" in repr(two[0])


def test_a_second_run_trains_nothing_and_more_seeds_train_what_is_new(folder):
    once = planned(folder / "c", "Static").run(0, "quiet", report=False)
    (cell,) = once.open().cells
    before = (cell.path / "metrics.jsonl").stat().st_mtime_ns
    planned(folder / "c", "Static").run(0, "quiet", report=False)
    more = planned(folder / "c", "Static", seeds=[0, 1]).run(0, "quiet", report=False)
    assert (cell.path / "metrics.jsonl").stat().st_mtime_ns == before
    assert more.finished == 2


def test_a_preset_and_a_file_are_taken_with_changes(tmp_path):
    preset = rewire.experiment("quickstart", "seeds=1", rules=["Dense", "RigL"], densities=[0.1])
    assert [cell.label for cell in preset.cells] == ["Dense", "RigL"]
    file = tmp_path / "mine.toml"
    file.write_text((Path(first_look.__file__).parents[1] / "presets/quickstart.toml").read_text())
    assert rewire.experiment(file, seeds=1, name="mine").path == Path("runs/mine")


def test_what_is_not_said_is_adam_ten_epochs_and_a_name():
    one = rewire.experiment(model="lenet-300-100", data="digits", rules=["Dense"], seeds=1)
    assert one.experiment.name == "lenet-300-100-on-digits"
    assert (one.experiment.epochs, one.experiment.batch) == (10, 64)


class Own(rewire.Rule):
    """A rule that no package registers."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rules": ["RigLL"]}, "no rule 'RigLL' .did you mean 'RigL'"),
        ({"rules": [3]}, "3 is no rule: give its name, as 'RigL'"),
        ({"rules": [Own]}, "entry point rewire.rules"),
        ({"density": 0.1}, r"has no density=: say densities=\[0.1\]"),
        ({"sparsity": 0.9}, r"has no sparsity=: say densities=\[0.1\]"),
        ({"densities": 10}, "a density is above 0 and below 1"),
        ({"densitys": [0.1]}, "unknown key .did you mean 'densities'"),
        ({"seeds": 0}, "should be a count"),
        ({"model": None}, "an experiment needs model="),
        ({"model": "lenett"}, "did you mean 'lenet-300-100'"),
        ({"data": "digts"}, "did you mean 'digits'"),
        ({"optimizer": {"name": "adamm"}}, "did you mean 'adam'"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_made(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    usual = {"model": small, "data": "digits", "rules": ["SET"], "densities": 0.1, "seeds": 1}
    with pytest.raises(ConfigError, match=message):
        rewire.experiment(**usual | change)
    assert not list(tmp_path.iterdir())


def test_runs_are_listed_the_latest_first(two, folder):
    rows = {Path(row["run"]).name: row for row in rewire.runs(folder).rows()}
    assert rows["a"]["finished"] == rows["a"]["cells"] == 3 and rows["a"]["state"] == "finished"
    assert "3 of 3 cells, finished" in repr(rewire.runs(folder))
    assert "<table>" in rewire.runs(folder)._repr_html_()


def test_two_runs_are_one_report_in_which_what_differs_has_two_names(two, folder):
    joint = rewire.compare(folder / "a", folder / "b", folder / "joint")
    assert sorted(cell.label for cell in joint.cells) == ["Dense", "SET (a)", "SET (b)", "Static"]
    page = (folder / "joint" / "report.html").read_text()
    assert "SET (a)" in page and "SET (b)" in page
    own = {c.hash: c.results for c in two[0].open().cells}
    for cell in joint.cells:
        if cell.hash in own:
            assert [r["test_accuracy"] for r in cell.results] == [
                r["test_accuracy"] for r in own[cell.hash]
            ]


def test_runs_that_compare_with_nothing_are_refused(two, folder):
    (folder / "other").mkdir()
    tree = json.loads((folder / "a" / "experiment.json").read_text())
    tree["config"]["data"] = {"name": "mnist5k"}
    (folder / "other" / "cells").mkdir()
    (folder / "other" / "experiment.json").write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match="are of other data .*compare runs that share it"):
        rewire.compare(folder / "a", folder / "other")
    with pytest.raises(ConfigError, match="is a run of its own: give the comparison another"):
        rewire.compare(folder / "a", folder / "b", folder / "other")
    with pytest.raises(StoreError):
        rewire.compare(folder / "a", folder / "nothing")


def test_help_of_experiments_names_what_there_is():
    for name in rewire.experiments.__all__:
        assert getattr(rewire.experiments, name).__doc__
    with pytest.raises(AttributeError, match="did you mean 'experiment'"):
        rewire.experiments.experimnt  # noqa: B018


def test_a_notebook_shows_a_bar_that_stays_in_place(monkeypatch):
    shown: list[str] = []

    class Handle:
        def update(self, html):
            shown.append(html)

    def display(html, display_id):
        shown.append(html)
        return Handle()

    module = types.ModuleType("IPython.display")
    module.HTML, module.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    shell = type("ZMQInteractiveShell", (), {})()
    sys.modules["IPython"].get_ipython = lambda: shell
    cell = types.SimpleNamespace(hash="h", label="SET", weight=1.0, seed=0, density=0.1, config={})
    bar = Progress("auto", clock=iter(range(100)).__next__)
    bar.start([cell])
    bar.event("h", {"event": "start", "attempt": 1})
    bar.event("h", {"event": "eval", "step": 5, "steps": 10})
    bar.finish({})
    assert 'value="0.5000"' in shown[-2] and "SET" in shown[-2] and "no cells" in shown[-1]


# --- the command line ---


def answered(capsys, *tokens):
    code = cli.main([str(token) for token in tokens])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_runs_of_a_folder_are_a_table_or_json(two, folder, capsys):
    code, out, _ = answered(capsys, "runs", folder, "--json")
    assert code == 0 and {"finished"} <= {row["state"] for row in json.loads(out)}
    assert "3/3" in answered(capsys, "runs", folder)[1]
    assert "rewire run quickstart" in answered(capsys, "runs", folder / "a" / "cells")[1]


def test_a_run_is_watched_by_its_files_and_left_as_it_is(two, folder, capsys):
    before = {p: p.stat().st_mtime_ns for p in (folder / "a").rglob("*") if p.is_file()}
    code, out, _ = answered(capsys, "watch", folder / "a", "--once")
    assert code == 0 and "3 finished" in out and "test" in out
    assert {p: p.stat().st_mtime_ns for p in (folder / "a").rglob("*") if p.is_file()} == before
    assert answered(capsys, "watch", folder / "a", "--every", "0")[0] == 2


def test_a_watch_goes_on_until_all_cells_have_ended(two, folder, tmp_path, capsys, monkeypatch):
    run = tmp_path / "live"
    make_run(run, labels=("SET",), densities=(0.2,), seeds=2, steps=24, sizes=(64, 6, 4))
    metrics = sorted(run.glob("cells/*/metrics.jsonl"))[1]
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join(lines[:3]))
    monkeypatch.setattr(watching, "is_running", lambda folder: True)
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        metrics.write_bytes(b"".join(lines))

    outcomes = watching.watch(run, progress="plain", sleep=sleep)
    assert looks == [1.0] and {o.status for o in outcomes.values()} == {"finished"}


def test_two_runs_are_compared_by_command_and_again(two, folder, capsys):
    out = folder / "joint"  # where it may be made before
    code, said, _ = answered(capsys, "compare", folder / "a", folder / "b", "--out", out)
    assert code == 0 and "report.html" in said and (out / "report.html").exists()
    assert len(rewire.open(out).cells) == 4


def test_a_report_is_opened_where_asked(two, folder, capsys, monkeypatch):
    pages = []
    page = folder / "a" / "report.html"
    monkeypatch.setattr("rewire.experiments.report.write_report", lambda run, out: page)
    monkeypatch.setattr("webbrowser.open", lambda url: pages.append(url) or True)
    assert answered(capsys, "report", folder / "a", "--open")[0] == 0
    assert pages == [page.resolve().as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    assert "no browser can be opened" in answered(capsys, "report", folder / "a", "--open")[2]


@pytest.mark.parametrize(
    ("form", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89")]
)
def test_figures_are_exported_in_each_form(two, folder, tmp_path, capsys, form, begins):
    command = "export", folder / "a", "--figures", form, "--out", tmp_path
    assert answered(capsys, *command)[0] == 0
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == [f"accuracy.{form}", f"cost.{form}"]
    once = [f.read_bytes() for f in files]
    assert all(f.startswith(begins) for f in once)
    answered(capsys, *command)
    assert [f.read_bytes() for f in files] == once  # the same bytes at any time


def test_tables_are_exported_and_read_back(two, folder, tmp_path, capsys):
    assert answered(capsys, "export", folder / "a", "--data", "csv", "--out", tmp_path)[0] == 0
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 4 and "test_accuracy" in lines[0]
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    assert answered(capsys, "export", folder / "a", "--data", "parquet", "--out", tmp_path)[0] == 0
    assert len(pandas.read_parquet(tmp_path / "evals.parquet")) > 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_the_commands(capsys, shell):
    code, out, _ = answered(capsys, "completion", shell)
    assert code == 0 and "compare" in out and "watch" in out


def run_tests_of(path, monkeypatch):
    """Run the test functions of a generated file in this process."""
    monkeypatch.syspath_prepend(str(path.parent))
    module = importlib.import_module(path.stem)
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    for test in tests:
        test()
    return len(tests)


@pytest.mark.parametrize(
    ("what", "name", "file", "tests"),
    [
        ("rule", "MyRestlessRule", "my_restless_rule.py", 3),
        ("model", "my_little_net", "my_little_net_model.py", 1),
        ("experiment", "my-first", "my-first.toml", 1),
    ],
)
def test_a_new_skeleton_works_with_its_test(what, name, file, tests, tmp_path, capsys, monkeypatch):
    assert answered(capsys, "new", what, name, "--in", tmp_path)[0] == 0
    assert (tmp_path / file).exists()
    (test,) = tmp_path.glob("test_*.py")
    assert run_tests_of(test, monkeypatch) == tests
    code, _, err = answered(capsys, "new", what, name, "--in", tmp_path)
    assert code == 2 and "is there already" in err


def test_a_name_that_is_none_is_refused(tmp_path, capsys):
    code, _, err = answered(capsys, "new", "rule", "my rule", "--in", tmp_path)
    assert code == 2 and "does not name a class, as MyRule" in err


# --- a typo is told at once ---


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("rules=[RigLL]", "no rule 'RigLL' (did you mean 'RigL'?)"),
        ("rules.IMP.fractoin=.3", "IMP has no parameter 'fractoin' (did you mean 'fraction'?)"),
        ("densitys=[.1]", "densitys: unknown key (did you mean 'densities'?)"),
        ("optimizer.lrr=.1", "optimizer.lrr: unknown key (did you mean 'lr'?)"),
        ("model=lenett", "there is no model 'lenett'"),
        ("data=digts", "there is no data set 'digts' (did you mean 'digits'?)"),
        ("seeds=none_of_them", "seeds: should be a count"),
    ],
)
def test_a_typo_is_told_in_the_words_of_the_full_look(override, words, capsys):
    code, _, err = answered(capsys, "run", "quickstart", override)
    assert code == 2 and words in err
    with pytest.raises(ConfigError) as full:
        kinds.load("quickstart", [override])
    assert str(full.value) in err


def test_a_typo_is_told_without_torch_in_less_than_a_second_of_processor_time():
    code = (
        "import sys, time\nfrom rewire.experiments.cli import main\n"
        "code = main(['run', 'quickstart', 'rules.IMP.fractoin=.3', 'densitys=[.1]'])\n"
        "print(code, 'torch' in sys.modules, time.process_time())"
    )
    numpy = "import numpy, time\nprint(time.process_time())"
    spent, of_numpy = [], []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        status, torch_there, seconds = done.stdout.split()
        assert (status, torch_there) == ("2", "False") and "fractoin" in done.stderr
        spent.append(float(seconds))
        done = subprocess.run([sys.executable, "-c", numpy], capture_output=True, check=True)
        of_numpy.append(float(done.stdout))
    # a second of a core of its own, on which numpy is there in less than an eighth of one
    assert min(spent) < max(1.0, 8 * min(of_numpy)), (spent, of_numpy)


def test_the_fields_that_are_read_from_files_are_those_of_the_classes():
    known = available("rule")
    assert first_look.names_of_rules() == list(known)
    for name, cls in known.items():
        listed = first_look.fields_of_rule(name)
        assert listed is None or set(listed) == {f.name for f in fields(cls)}, name
    assert first_look.fields_of_rule("Static") == ["when"]


def test_every_preset_passes_the_first_look():
    for path in (Path(first_look.__file__).parents[1] / "presets").glob("*.toml"):
        assert not first_look.mistakes({"name": path.stem, **first_look.read(path)}), path


# --- many seeds ---


def test_a_sweep_of_many_seeds_has_its_figure(tmp_path):
    run = tmp_path / "many"
    make_run(run, labels=("Dense", "SET"), densities=(0.1,), seeds=70, sizes=(64, 6, 4), steps=24,
             contrasts=())  # fmt: skip
    assert figure_bytes(run, "accuracy", "svg").startswith(b"<?xml")

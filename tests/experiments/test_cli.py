"""The command line: what it prints, what it returns, and what it does not import."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewire.experiments import cli, kinds, runner, store
from rewire.experiments.errors import ConfigError, DataError

TINY = ["rules=[Dense,IMP,RandomReinit,SET]", "steps=30", "evaluate_every=10", "seeds=1",
        "densities=[.2,.1]", "rules.IMP.fraction=.6", "data=digits",
        "rules.SET.when={every=10}"]  # fmt: skip


def rewire(*tokens, threads=1, **kwargs):
    """Run the command in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-m", "rewire", *map(str, tokens)],
        capture_output=True, text=True, env=environment, timeout=120, **kwargs,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A finished run of four rules, and what the command printed."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return out, rewire("run", "quickstart", *TINY, "--out", out, "--workers", 2)


# --- the way in ---


def test_help_is_quick_and_imports_neither_torch_nor_numpy():
    code = ("import sys; from rewire.experiments.cli import main; main(['--help']); "
            "print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    took = []
    for _ in range(3):
        before = os.times()
        assert rewire("--help").returncode == 0
        after = os.times()
        took.append(after.children_user - before.children_user)
    assert min(took) < 1  # of the processor; 0.13 s on a quiet machine, the target is 0.3 s


def test_version_is_the_packages(capsys):
    import rewire as package

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"rewire {package.__version__}"


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["rnu"], 'Did you mean "run"'),
        (["run", "quickstart", "--worker", "2"], "Did you mean --workers"),
        (["run", "quickstart", "--workers", "many"], "many"),
        (["run", "quickstart", "--workers", "-1"], "0 or more"),
        (["run", "quickstart", "--engine", "locl"], "no engine 'locl' (did you mean 'local'?)"),
        (["run", "quikstart"], "did you mean 'quickstart'"),
        (["run", "quickstart", "steps"], "key=value"),
        (["run", "quickstart", "optimizer.lrr=1"], "did you mean 'lr'"),
        (["run", "quickstart", "--dry-run", "batch=0"], "batch"),
        (["results"], "DIRECTORY"),
        (["results", "x", "--json", "--csv"], "exclude each other"),
        (["data", "fetch", "mnits"], "mnist"),
        (["report", "a", "b", "c"], "c"),
    ],
)
def test_usage_errors_exit_2_with_a_hint_and_no_traceback(tokens, said, capsys):
    assert cli.main(tokens) == 2
    captured = capsys.readouterr()
    assert said in captured.err and "Traceback" not in captured.err
    assert captured.out == ""


def test_a_debugged_command_shows_the_traceback_of_any_error(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise DataError("said")

    monkeypatch.setattr(runner, "run_experiment", fail)
    monkeypatch.setenv("REWIRE_DEBUG", "1")
    assert cli.main(["run", "quickstart"]) == 3
    message = capsys.readouterr().err
    assert "Traceback" in message and "said" in message and "bug" not in message


def test_a_reader_that_stops_reading_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m rewire schema | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("{") and done.stderr == ""


# --- what there is ---


@pytest.mark.parametrize("what", ["rules", "worlds", "models", "datasets", "presets"])
def test_lists_are_readable_and_machine_readable(what, capsys):
    assert cli.main([what]) == 0
    shown = capsys.readouterr().out
    assert cli.main([what, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows and all(row["name"] in shown for row in rows)


def test_rules_say_what_they_need_and_where_they_live(capsys):
    cli.main(["rules", "--json"])
    rules = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    rigl = rules["RigL"]
    assert rigl["needs"] == ["growth"] and rigl["worlds"] == ["bare", "masked", "sparse", "brian"]
    assert rules["TopKAST"]["worlds"] == ["masked"]
    assert rules["SNIP"]["worlds"] == ["bare", "masked", "sparse"]
    assert rules["SoftDeepR"]["budget"] == "reported"
    assert all(row["source"] and row["about"] for row in rules.values())


def test_worlds_say_which_signals_rules_find_there(capsys):
    cli.main(["worlds", "--json"])
    worlds = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"bare", "masked", "sparse", "brian"} <= worlds.keys()
    assert "growth" in worlds["sparse"]["signals"] and "rate" in worlds["brian"]["signals"]
    assert worlds["masked"]["silent edges"] and not worlds["sparse"]["silent edges"]
    assert all(row["about"] for row in worlds.values())


def test_the_signals_of_worlds_include_those_that_rules_bring():
    command = [sys.executable, "-m", "rewire", "worlds", "--json"]  # nothing is loaded yet
    listed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    worlds = {row["name"]: row["signals"] for row in listed}
    assert {"connection_sensitivity", "synaptic_flow"} <= set(worlds["masked"])


def test_run_without_an_experiment_lists_the_presets(capsys):
    assert cli.main(["run"]) == 0
    assert "quickstart" in capsys.readouterr().out


def test_dry_run_lists_every_cell_and_trains_none(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "quickstart", *TINY, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [cell["rule"] for cell in told["cells"]] == [
        "Dense",
        "IMP",
        "RandomReinit",
        "SET",
        "SET",
    ]
    assert all(cell["seconds"] >= 0 and cell["bytes"] > 1000 for cell in told["cells"])
    assert told["seconds"] > 0 and not list(tmp_path.iterdir())
    assert cli.main(["run", "quickstart", *TINY, "--dry-run"]) == 0
    assert "5 of 5 cells to train" in capsys.readouterr().out


# --- a run ---


def test_a_run_ends_with_a_report_and_a_table(tiny):
    out, done = tiny
    assert done.returncode == 0, done.stderr
    assert (out / "report.html").stat().st_size > 10_000
    assert f"Report:  {out}/report.html" in done.stdout
    assert "RandomReinit" in done.stdout.split("Test accuracy")[1]


def test_results_have_a_row_per_cell_and_level(tiny, capsys):
    out, _ = tiny
    assert cli.main(["results", str(out), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    at = [(row["label"], row["requested_density"]) for row in rows]
    for label, densities in (("Dense", [1.0]), ("IMP", [0.2, 0.1]), ("RandomReinit", [0.2, 0.1]),
                             ("SET", [0.2, 0.1])):  # fmt: skip
        assert set((label, d) for d in densities) <= set(at)
    assert all(0 <= row["test_accuracy"] <= 1 and row["seconds"] > 0 for row in rows)
    assert cli.main(["results", str(out), "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows) + 1
    assert cli.main(["results", str(out)]) == 0
    assert "RandomReinit" in capsys.readouterr().out
    assert cli.main(["results", str(out), "--json", "--no-times"]) == 0
    assert "seconds" not in json.loads(capsys.readouterr().out)[0]


def test_imp_goes_on_from_the_dense_training_and_counts_its_cost(tiny):
    out, _ = tiny
    rows = store.results(out)
    dense = next(row for row in rows if row["label"] == "Dense")
    imp = [row for row in rows if row["label"] == "IMP" and row["density"] < 1]
    assert [row["updates"] for row in imp] == [30 * (row["level"] + 1) for row in imp]
    assert all(row["train_flops_dense"] > dense["train_flops_dense"] for row in imp)


def test_the_edit_log_leads_to_the_edges_of_every_level(tiny):
    from rewire.experiments.report.run import load

    run, seen = load(tiny[0]), set()
    for (label, density, _), graph in run.graphs.items():
        for lives in run.lives(label, density):
            assert sorted(lives.key[lives.alive].tolist()) == graph.keys.tolist()
            seen.add(label)
    assert {"IMP", "SET"} <= seen and not run.problems


def test_the_same_command_again_does_nothing_quickly(tiny, capsys):
    out, _ = tiny
    kept = ("*.html", "*.json", "*.toml", "*.jsonl", "*.safetensors", "*.bin")
    before = {p: p.stat().st_mtime_ns for kind in kept for p in out.rglob(kind)}
    begin = time.process_time()
    assert cli.main(["run", "quickstart", *TINY, "--out", str(out)]) == 0
    assert "5 finished before" in capsys.readouterr().out
    assert time.process_time() - begin < 5  # plus torch's import: 3 s on a quiet machine
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_repetition_elsewhere_gives_the_same_bytes(tiny, tmp_path, capsys):
    out, _ = tiny
    where = ["--out", str(tmp_path / "again"), "--workers", "0"]  # and in this process
    assert cli.main(["run", "quickstart", *TINY, *where, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["event"] == "report" and Path(events[-1]["path"]).exists()
    again = store.without_times(store.results(tmp_path / "again"))
    assert store.to_json(again) == store.to_json(store.without_times(store.results(out)))


def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(tiny, tmp_path):
    out, _ = tiny
    tokens = ["run", "quickstart", *TINY, "--out", str(tmp_path / "run"), "--json", "--workers"]
    command = [sys.executable, "-m", "rewire", *tokens, "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        for line in run.stdout:
            if json.loads(line)["event"] == "level":
                run.send_signal(signal.SIGINT)
                break
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and "the same command continues" in said and "Trace" not in said
    assert len(store.results(tmp_path / "run")) < len(store.results(out))
    assert cli.main([*tokens, "0"]) == 0
    again = store.without_times(store.results(tmp_path / "run"))
    assert store.to_json(again) == store.to_json(store.without_times(store.results(out)))


def test_two_threads_a_worker_train_to_the_end(tmp_path):
    """A parent whose own threads had started left children that waited for them for ever."""
    few = ["rules=[Dense,Static]", "steps=3", "evaluate_every=3", "seeds=1", "densities=[.1]"]
    done = rewire("run", "quickstart", *few, "threads=2", "--out", tmp_path / "two",
                  "--workers", 1, threads=2)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {row["label"] for row in store.results(tmp_path / "two")} == {"Dense", "Static"}


def test_the_folder_says_what_it_is_and_can_be_run_again(tiny):
    out, _ = tiny
    told = json.loads((out / "experiment.json").read_text())
    assert told["command"].startswith("rewire run quickstart") and told["versions"]["torch"]
    labels = [cell["label"] for cell in told["cells"]]
    assert labels == ["Dense", "IMP", "RandomReinit", "SET", "SET"]  # as the override names them
    experiment = kinds.load(out / "experiment.toml")
    assert experiment == kinds.load("quickstart", TINY)


def test_another_experiment_is_sent_to_another_folder(tiny, capsys):
    out, _ = tiny
    assert cli.main(["run", "quickstart", *TINY, "optimizer.lr=0.5", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "optimizer.lr: 0.0012 there, 0.5 asked for" in said and "--out" in said


def test_a_run_may_grow_and_a_title_may_change(tmp_path):
    base = ["rules=[Static]", "steps=5", "data=digits", "densities=[.2]", "evaluate_every=5"]
    out = tmp_path / "run"
    quiet = {"workers": 0, "progress": "quiet", "report": False}
    runner.run_experiment("quickstart", [*base, "seeds=1"], out=out, **quiet)
    more = [*base, "seeds=2", "title=more"]
    done = runner.run_experiment("quickstart", more, out=out, **quiet)
    assert sorted(o.status for o in done.outcomes.values()) == ["finished", "skipped"]
    assert [row["seed"] for row in store.results(out)] == [0, 1]
    with pytest.raises(ConfigError, match="holds another experiment"):
        runner.run_experiment("quickstart", [*base, "seeds=1"], out=out, workers=0)


def test_a_locked_folder_exits_6_and_names_the_holder(tmp_path, capsys):
    run = store.Run(tmp_path / "run")
    with run.lock():
        assert cli.main(["run", "quickstart", *TINY, "--out", str(run.path)]) == 6
    assert str(os.getpid()) in capsys.readouterr().err


def test_missing_data_exits_3(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = cli.main(["run", "quickstart", *TINY, "data=mnist", "--out", str(tmp_path / "run")])
    assert code == 3 and "rewire data fetch mnist" in capsys.readouterr().err


def test_a_training_that_diverges_exits_4_and_the_others_finish(tmp_path, capsys):
    wild = "{rule='Static',label='wild',train={optimizer={name='sgd',lr=1e30}}}"
    rules = f"rules=[{{rule='Static'}},{wild}]"
    small = ["steps=20", "evaluate_every=5", "seeds=1", "data=digits", "densities=[.2]"]
    where = ["--out", str(tmp_path / "run"), "--workers", "0"]
    assert cli.main(["run", "quickstart", rules, *small, *where]) == 4
    said = capsys.readouterr().err
    assert "diverged" in said and "Traceback" not in said
    assert [row["label"] for row in store.results(tmp_path / "run")] == ["Static"]


def test_no_run_is_no_result(tmp_path, capsys):
    assert cli.main(["results", str(tmp_path / "nowhere")]) == 5
    assert cli.main(["report", str(tmp_path)]) == 5

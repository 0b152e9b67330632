"""Experiments in the world of an installed package: planned, run, killed, resumed, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewire.experiments import kinds, runner, store
from rewire.experiments.engines import fork
from rewire.experiments.errors import ConfigError, Diverged
from rewire.experiments.own_world.run import run_cell
from rewire.experiments.store import CellStore

FILE = Path(__file__).parents[1] / "worlds" / "regression_world.py"
TREE = {
    "name": "small",
    "world": "regression",
    "model": {"n_in": 10, "rate": 0.05},
    "steps": 30,
    "evaluate_every": 10,
    "densities": [0.4, 0.2],
    "seeds": 1,
    "rules": ["Dense", {"rule": "SET", "when": {"every": 5}}, {"rule": "IMP", "fraction": 0.5}],
}
POSSIBLE = 80
# The same world, but for what it forgets, or what its numbers are called
OTHERS = """
from regression_world import Regression


class Forgetful(Regression):
    name = "regression"
    state = Regression.__mro__[1].state


class Clashing(Regression):
    name = "regression"

    def measure(self, graph):
        return {"edges": 1.0}


class Bursting(Regression):
    name = "regression"

    def measure(self, graph):
        return {"mse": float("inf")}
"""


def install(folder: Path) -> Path:
    """The package of the world's author, as pip would leave it."""
    shutil.copy(FILE, folder)
    (folder / "other_worlds.py").write_text(OTHERS)
    info = folder / "regression-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: regression\nVersion: 0.1\n")
    points = ["regression = regression_world:Regression"]
    points += [f"{name.lower()} = other_worlds:{name}"
               for name in ("Forgetful", "Clashing", "Bursting")]  # fmt: skip
    (info / "entry_points.txt").write_text("\n".join(["[rewire.worlds]", *points, ""]))
    return folder


@pytest.fixture
def installed(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(install(folder))


def experiment(**changes):
    tree = {key: value for key, value in {**TREE, **changes}.items() if value is not None}
    return kinds.parse(tree)


def refusal(**changes):
    with pytest.raises(ConfigError) as error:
        experiment(**changes)
    return str(error.value)


# -- the file -------------------------------------------------------------------------------------


def test_a_file_names_the_world_of_an_installed_package(installed):
    asked = experiment()
    assert kinds.parse(asked.as_tree()) == asked and asked.world == "regression"
    cells = kinds.plan(asked)
    assert [(c.label, c.density, c.config.get("densities")) for c in cells] == [
        ("Dense", 1.0, None), ("SET", 0.4, None), ("SET", 0.2, None), ("IMP", None, [0.4, 0.2]),
    ]  # fmt: skip
    assert {cell.config["kind"] for cell in cells} == {"own_world"}
    assert len({cell.hash for cell in cells}) == 4


def test_without_densities_every_rule_begins_with_every_edge(installed):
    cells = kinds.plan(experiment(densities=None, rules=["Static", "SET"]))
    assert [cell.density for cell in cells] == [None, None]


def test_a_world_that_no_package_brings_is_refused_with_those_there_are():
    said = refusal(world="regresion")
    assert "world: there is no world 'regresion'; one of masked, sparse, auto, brian" in said


def test_a_world_is_found_by_its_nearest_name(installed):
    assert "there is no world 'regresion' (did you mean 'regression'?)" in refusal(
        world="regresion"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rules": ["OBD"]}, "OBD needs the signal 'hessian_diag', which the regression"),
        ({"rules": ["TopKAST"]}, "rules.TopKAST: TopKAST cannot live in the regression world"),
        ({"rules": ["Shuffle"]}, "rules.Shuffle: Shuffle begins with the weights of a finished"),
        ({"rules": ["SETT"]}, "rules.SETT.rule: there is no rule 'SETT' (did you mean 'SET'?)"),
        ({"model": {"rat": 1.0}}, "world: the regression world has no option 'rat' (did you mean"),
        ({"data": "digits"}, "data: unknown key"),
        ({"steps": None}, "steps: is missing"),
        ({"world": "forgetful"}, "world: the regression world cannot save what it holds: define"),
        ({"contrasts": [["SET", "SETT"]]}, "contrasts[0]: there is no rule with the label 'SETT'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_by_name_before_anything_runs(installed, changes, said):
    assert said in refusal(**changes)


def test_the_schema_lists_the_world(installed):
    own = kinds.json_schema()
    assert own["if"]["properties"]["world"]["enum"][0] == "regression"
    assert (
        "densities" in own["then"]["properties"] and "seconds" in own["else"]["then"]["properties"]
    )


# -- its cells ------------------------------------------------------------------------------------


@pytest.fixture
def done(installed, tmp_path):
    return runner.run_experiment(TREE, out=tmp_path / "run", workers=0, progress="quiet")


def test_rows_carry_what_the_world_measures(done):
    rows = store.results(done.out)
    at = rows[0].keys()
    assert list(at)[8:11] == ["step", "mse", "formed"]
    assert at - {"mse"} == set(store.OWN_WORLD_ROW_FIELDS)
    asked = [row for row in rows if row["requested_density"] is not None]
    assert [(r["label"], r["requested_density"], r["edges"]) for r in asked] == [
        ("Dense", 1.0, 80), ("SET", 0.4, 32), ("SET", 0.2, 16),
        ("IMP", 1.0, 80), ("IMP", 0.4, 32), ("IMP", 0.2, 16),
    ]  # fmt: skip
    dense, imp = (next(r for r in asked if r["label"] == label) for label in ("Dense", "IMP"))
    assert dense["mse"] == imp["mse"] > 0  # level 0 of a ladder is the dense training
    csv = store.to_csv(rows)
    assert csv.startswith("rule,label,seed,level,requested_density,density,edges,possible,step,mse")
    curves = [event["mse"] for event in store.evals(done.out) if event["cell"] == dense["cell"]]
    assert len(curves) == 3 and curves == sorted(curves, reverse=True)


def test_the_report_and_the_summary_show_them(done):
    page, rows = done.report.read_text(), store.results(done.out)
    assert all(f"<td>{row['mse']:.4g}</td>" in page for row in rows)
    assert "regression" in page and "All results" in page
    summary = kinds.summary(rows)
    assert summary.columns == ["rule", "mse"]
    assert [line[0] for line in summary.lines][:2] == ["Dense at 1", "SET at 0.4"]


def test_an_index_that_was_lost_says_the_same(done):
    before = store.results(done.out)
    (done.out / "index.sqlite").unlink()
    assert store.results(done.out) == before


def test_a_dry_run_knows_what_every_cell_costs(installed):
    asked = experiment()
    cells = kinds.plan(asked)
    costs = kinds.estimate(asked, cells)
    assert costs.keys() == {cell.hash for cell in cells}
    assert all(cost.seconds > 0 and cost.bytes > 0 for cost in costs.values())


@pytest.mark.parametrize("label", ["SET", "IMP"])
def test_a_cell_stopped_at_every_step_ends_as_an_undisturbed_one(installed, label, tmp_path):
    cell = next(c for c in kinds.plan(experiment(steps=12)) if c.label == label)
    ends = []
    for name, looks in (("whole", [10**6]), ("stopped", [1, 2] * 60)):
        folder = tmp_path / name / cell.hash
        for most in looks:
            left = iter(range(most))
            if not (folder.exists() and CellStore(folder).finished):
                run_cell(cell, folder, lambda event: None,
                         lambda left=left: next(left, None) is None)  # fmt: skip
        kept = CellStore(folder)
        assert kept.finished
        events = [e for e in kept.events() if e["event"] in ("level", "eval")]
        last = kept.read_level(kept.levels[-1])[0]
        ends.append((store.without_times(events), last["weight"].tolist(), kept.edit_log.read()))
    assert ends[0] == ends[1] and ends[0][2]


def test_a_measure_with_the_name_of_a_column_is_refused(installed, tmp_path):
    (cell, *_) = kinds.plan(experiment(world="clashing"))
    with pytest.raises(ConfigError, match="measures 'edges', which every row has already"):
        run_cell(cell, tmp_path / cell.hash, lambda event: None, lambda: False)


def test_a_measure_that_is_no_number_is_a_divergence(installed, tmp_path):
    (cell, *_) = kinds.plan(experiment(world="bursting"))
    with pytest.raises(Diverged, match=r"Dense \(seed 0\) diverged by step 10: mse is inf"):
        run_cell(cell, tmp_path / cell.hash, lambda event: None, lambda: False)


# -- from the command line ------------------------------------------------------------------------


@pytest.mark.skipif(not fork.fork_available(), reason="needs fork")
def test_a_killed_run_of_the_command_goes_on_to_the_same_end(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    env = {**os.environ, "PYTHONPATH": str(install(site)), "OMP_NUM_THREADS": "1",
           "REWIRE_CHECKPOINT_SECONDS": "0.01"}  # fmt: skip
    file = tmp_path / "small.json"
    file.write_text(json.dumps({**TREE, "steps": 1500, "rules": TREE["rules"][1:2]}))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "rewire", "run", str(file), "-j", "1", "--out"]
    done = subprocess.run([*command, str(whole)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    running = subprocess.Popen([*command, str(killed)], env=env, stdout=subprocess.DEVNULL,
                               start_new_session=True)  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(killed.glob("cells/*/checkpoint-*")):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not all(CellStore(folder).finished for folder in killed.glob("cells/*"))
    again = subprocess.run([*command, str(killed)], env=env, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    rows = [store.without_times(store.results(out)) for out in (whole, killed)]
    assert rows[0] == rows[1] and {row["edges"] for row in rows[0]} == {32, 16}
    refused = subprocess.run([*command, str(killed), "rules=[OBD]"], env=env, capture_output=True,
                             text=True)  # fmt: skip
    assert refused.returncode == 2
    assert "OBD needs the signal 'hessian_diag', which the regression world" in refused.stderr

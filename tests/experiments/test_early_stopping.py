"""Steps to the least validation loss, and to the dense network's, in tables and on the page."""

import json
import shutil

import pytest
from pages import Page
from synthetic_run import make_run

from rewire.experiments import cli, store
from rewire.experiments.compare import Contrast
from rewire.experiments.early_stopping import with_steps_to_dense_loss
from rewire.experiments.report import write_report
from rewire.experiments.report.run import load
from rewire.experiments.report.trainings import early, results
from rewire.experiments.report.trainings.early import Censored, steps_compared
from rewire.experiments.runner import run_experiment
from rewire.experiments.store.disk import event_line

STEPS = (100, 200, 300, 400)
# validation losses at STEPS by label, one curve for each of two seeds
DENSE = [(0.9, 0.5, 0.4, 0.6), (0.9, 0.7, 0.5, 0.3)]
FAST = [(0.6, 0.4, 0.2, 0.3), (0.5, 0.3, 0.4, 0.5)]  # at 0.4 and 0.3 after 200 steps
SLOW = [(0.9, 0.8, 0.7, 0.41), (0.9, 0.8, 0.7, 0.2)]  # 0.4 is never reached


def level(label, seed, rule, at=0):
    return {"cell": f"{label}{seed}", "label": label, "rule": rule, "seed": seed, "level": at,
            "edges": 10, "early_stop_step": 0, "val_loss": 0.0}  # fmt: skip


def curve(label, seed, losses, at=0):
    return [{"cell": f"{label}{seed}", "level": at, "step": step, "val_loss": loss}
            for step, loss in zip(STEPS, losses, strict=True)]  # fmt: skip


def made_up(**by_label):
    rows = [level(label, seed, label.partition("_")[0])
            for label in by_label for seed in range(len(by_label[label]))]  # fmt: skip
    evals = []
    for label, curves in by_label.items():
        for seed, losses in enumerate(curves):
            evals += curve(label, seed, losses)
    return rows, evals


def test_steps_to_the_dense_loss_of_the_same_seed():
    rows, evals = made_up(Dense=DENSE, Fast=FAST, Slow=SLOW)
    extended = with_steps_to_dense_loss(rows, evals)
    columns = ("label", "dense_least_val_loss", "steps_to_dense_loss")
    assert [tuple(row[c] for c in columns) for row in extended] == [
        ("Dense", 0.4, 300), ("Dense", 0.3, 400),
        ("Fast", 0.4, 200), ("Fast", 0.3, 200),
        ("Slow", 0.4, None), ("Slow", 0.3, 400),
    ]  # fmt: skip
    assert list(extended[0])[6:9] == [
        "early_stop_step", "dense_least_val_loss", "steps_to_dense_loss",
    ]  # fmt: skip


def test_levels_of_one_cell_are_told_apart_and_the_first_dense_network_counts():
    """A ladder's level 0 is the dense network's row again, without evaluations of its own."""
    rows, evals = made_up(Dense=DENSE[:1], Dense_wide=[(0.1, 0.1, 0.1, 0.1)], IMP=[SLOW[0]])
    rows += [level("IMP", 0, "IMP", at=1), level("Ladder", 0, "IMP")]
    rows[-1] |= {"val_loss": 0.6, "edges": 90}
    rows[0] |= {"val_loss": 0.6, "edges": 90}
    evals += curve("IMP", 0, FAST[0], at=1)
    steps = [row["steps_to_dense_loss"] for row in with_steps_to_dense_loss(rows, evals)]
    assert steps == [300, 100, None, 200, 300]
    rows[-1]["val_loss"] = 0.5  # of no network that is known
    assert with_steps_to_dense_loss(rows, evals)[-1]["dense_least_val_loss"] is None


def test_without_a_dense_network_of_the_seed_there_is_nothing_to_reach():
    rows, evals = made_up(Dense=DENSE[:1], Fast=FAST)
    spiking = {"cell": "m0", "rule": "SET", "label": "map", "seed": 0, "level": 0}
    *_, without, other = with_steps_to_dense_loss([*rows, spiking], evals)
    assert (without["dense_least_val_loss"], without["steps_to_dense_loss"]) == (None, None)
    assert other == spiking  # rows without an early-stopping point are as they were


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run whose steps are known: seven seeds, and validation losses put in the cells' files."""
    out = make_run(
        tmp_path_factory.mktemp("early") / "run",
        labels=["Dense", "Static", "SET"],
        densities=(0.2,),
        seeds=7,
        contrasts=[["SET", "Dense"], ["Static", "Dense"]],
    )
    for path in out.glob("cells/*/metrics.jsonl"):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        (row,) = (event for event in events if event["event"] == "level")
        delay = {"Dense": 400, "SET": 100 + 50 * (row["seed"] % 2), "Static": 500}[row["label"]]
        for event in events:
            if event["event"] == "eval":
                event["val_loss"] = 0.5 if event["step"] >= delay else 1.0
                if (row["label"], row["seed"]) == ("Static", 3):
                    event["val_loss"] = 0.6
            else:
                event["early_stop_step"] = delay
            event.pop("crc")
        path.write_bytes(b"".join(map(event_line, events)))
    return out


def test_contrasts_of_steps_are_paired_tested_and_corrected_together(folder):
    pairs = {(p.a, column): p for column, p in steps_compared(load(folder))}
    fast = pairs["SET", "steps_to_dense_loss"]
    assert isinstance(fast, Contrast) and fast.n == 7
    assert fast.differences == tuple(-300.0 + 50 * (seed % 2) for seed in range(7))
    assert fast.mean == pytest.approx(-300 + 50 * 3 / 7)
    assert fast.p == pytest.approx(2 / 2**7) and fast.tests == 2  # Static - Dense has no spread
    assert fast.p_holm == pytest.approx(2 * 2 / 2**7) and fast.significant
    assert pairs["Static", "early_stop_step"].mean == 100
    assert pairs["Static", "steps_to_dense_loss"] == Censored("Static", "Dense", 0.2, (6, 7), 7)


def test_the_page_counts_seeds_where_not_all_reach_the_loss(folder):
    run = load(folder)
    table = results.show(run)["table"]
    at_step, to_dense = (table.titles.index(t) - 1 for t in ("at step", "dense loss at step"))
    cells = {row.head: row.cells for row in table.rows}
    assert (cells["SET"][at_step].text, cells["SET"][to_dense].text) == ("121", "121")
    assert (cells["Static"][to_dense].text, cells["Static"][to_dense].note) == ("", "6 of 7 seeds")
    compared = early.show(run)
    words = {row.cells[-1].text for row in compared["table"].rows}
    assert "Static reaches it on 6 of 7 seeds, Dense on 7: no difference" in words
    assert "SET is lower (p = 0.031 after Holm)" in words
    assert compared["tests"] == 2


@pytest.mark.parametrize(
    ("every", "words"), [("epoch", "every epoch,"), (1000, "every 1 000 steps,")]
)
def test_the_page_says_how_often_networks_are_validated(every, words, folder, tmp_path):
    out = shutil.copytree(folder, tmp_path / "run")
    described = json.loads((out / "experiment.json").read_text())
    described["config"]["evaluate_every"] = every
    (out / "experiment.json").write_text(json.dumps(described))
    assert words in Page(write_report(out).read_text()).text


def test_the_command_line_says_never_and_queries_count(folder, capsys):
    assert cli.main(["results", str(folder)]) == 0
    table = capsys.readouterr().out
    assert "steps to dense loss" in table and table.count("never") == 1
    assert cli.main(["results", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sum(row["steps_to_dense_loss"] is None for row in rows) == 1
    (counted,) = store.query(folder, "SELECT COUNT(steps_to_dense_loss) AS n FROM results")
    assert counted == {"n": 20}


LANGUAGE = """
data = "apache-license"
model = { name = "gpt", layers = 1, heads = 2, width = 16 }
task = { name = "next-token", metric = "perplexity" }
optimizer = { name = "adam", lr = 0.01 }
batch = 16
steps = 40
evaluate_every = 10
densities = [0.3]
seeds = 1
rules = ["Dense", "SET"]
"""


def test_a_task_without_accuracy_is_held_against_the_dense_loss(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(LANGUAGE)
    out = tmp_path / "out"
    run_experiment(path, out=out, workers=0, progress="quiet", report=False)
    run = load(out)
    assert run.metric.key == "perplexity"
    dense, sparse = run.rows
    assert dense["steps_to_dense_loss"] == dense["early_stop_step"]
    losses = {e["step"]: e["val_loss"] for e in run.evals if e["cell"] == sparse["cell"]}
    below = [step for step in sorted(losses) if losses[step] <= dense["dense_least_val_loss"]]
    assert sparse["steps_to_dense_loss"] == (below[0] if below else None)
    assert {row.head for row in early.show(run)["table"].rows} == {"SET − Dense"}

"""The atlas: z as the measures give it, and a predictor of accuracy found where there is one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks.atlas import measuring, page, prediction  # noqa: E402
from benchmarks.atlas.__main__ import main  # noqa: E402
from rewire.experiments import cli  # noqa: E402
from rewire.experiments.opened import OpenedRun  # noqa: E402
from rewire.graph import Graph  # noqa: E402
from rewire.measures import measure  # noqa: E402

SMALL = ("data=digits", "steps=20", "evaluate_every=10", "densities=[0.1]", "seeds=2",
         "contrasts=[]", "rules=[Dense,Static,SET]", "rules.SET.when.every=5")  # fmt: skip
OPTIONS = ("--draws", "5", "--every", "10", "--workers", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("atlas") / "run"
    assert cli.main(["run", "atlas", *SMALL, "--out", str(out), "--workers", "0"]) == 0
    return out


def test_networks_are_measured_once_and_as_the_measures_say(run, tmp_path, capsys):
    assert main([str(run), *OPTIONS]) == 0
    (found,) = json.loads(capsys.readouterr().out)["networks"]
    at = found["densities"]["0.1"]
    assert set(at["rules"]) == {"Static", "SET"} and at["rules"]["SET"]["seeds"] == 2
    z = []
    for seed in found["seeds"]:
        graph = OpenedRun(run).cell(rule="SET", density=0.1, seed=seed).graph()
        names = list(measuring.AGAINST["degrees"])
        table = measure(Graph(graph.space, graph.keys), names, null="degrees", draws=5)
        z.append(table["RobinsAlexander", "fc1.weight"].z)
    assert at["rules"]["SET"]["z"]["RobinsAlexander, fc1.weight"] == pytest.approx(np.mean(z))
    kept = (run / "atlas.jsonl").read_bytes()
    (run / "atlas.jsonl").write_bytes(kept[:-40])  # killed while it wrote the last line
    assert main([str(run), *OPTIONS]) == 0
    printed = capsys.readouterr().out
    (again,) = json.loads(printed)["networks"]
    assert again == found and len((run / "atlas.jsonl").read_text().splitlines()) == 4
    (tmp_path / "results.json").write_text(printed)
    asked = [str(tmp_path / "results.json"), "--markdown", "--pictures", str(tmp_path)]
    assert main(asked) == 0
    written = capsys.readouterr().out
    assert "| SET | " in written and "Too few rules for correlations" in written
    for group in page.GROUPS:
        assert f"](atlas-{group}.svg)" in written
        assert (tmp_path / f"atlas-{group}.svg").read_text().rstrip().endswith("</svg>")
    assert main([str(tmp_path / "nothing.json")]) == 2


def result(name, z):
    """Of one network at one density: label -> measure -> z."""
    rules = {
        label: {"seeds": 3, "kept": 0.1, "test_accuracy": 0.9, "z": row, "least": row, "most": row}
        for label, row in z.items()
    }
    at = {"rules": rules, "over": [], "correlations": [], "left_out": {}}
    return {"experiment": name, "date": "2031-01-01", "command": f"rewire run {name}", "draws": 5,
            "seeds": [0, 1, 2], "cells": 4, "unfinished": 1, "densities": {"0.1": at}}  # fmt: skip


def test_the_page_says_where_networks_agree_and_what_is_furthest_from_chance():
    here = result("here", {"A": {"NODF, fc1.weight": 9.0, "NODF, fc2.weight": -2.0},
                           "B": {"NODF, fc1.weight": 7.0}, "C": {"PathCount": 1.0}})  # fmt: skip
    there = result("there", {"A": {"NODF, conv1.weight": 6.0}, "B": {"NODF, conv1.weight": -8.0},
                             "C": {"NODF, conv1.weight": 5.5}})  # fmt: skip
    lines = page.markdown([here, there]).splitlines()
    (nodf,) = (line for line in lines if line.startswith("- NODF: above chance"))
    assert nodf == (
        "- NODF: above chance on every network A; on opposite sides B; on there only C."
    )
    assert "- PathCount: no rule on any network." in lines
    assert "- NODF: rules with |mean z| >= 5 (range over seeds): " in "\n".join(lines)
    assert any(line.startswith("| A | 90.00 | 0.1 | – | – | 9.0 fc1 | ") for line in lines)
    assert sum("1 of the run's 4 cells had not finished" in line for line in lines) == 2
    assert "python -m benchmarks.atlas runs/here runs/there > results.json" in lines


def test_labels_of_an_older_version_of_their_rule_are_named(monkeypatch):
    network = result("atlas", {"SET": {"PathCount": 1.0}, "Static": {"PathCount": 1.0}})
    network["densities"]["0.1"]["rules"]["SET"]["versions"] = {"SET": 1000}
    text = page.markdown([network])
    assert "another version of their rule than the current one: SET. Their" in text


def entries(rng, values, accuracies, *, seeds=3, noise=0.001):
    """One made-up network for each rule and seed: one measure that says something, and nine that
    say nothing."""
    return [
        {
            "key": f"{rule} {seed}", "label": f"rule {rule}", "density": 0.1, "seed": seed,
            "kept": 0.1, "z": [], "test_accuracy": accuracies[rule] + noise * rng.normal(),
            "course": [{"step": -1, "name": "told", "value": values[rule] + noise * rng.normal()},
                       *({"step": -1, "name": f"noise {k}", "value": rng.normal()}
                         for k in range(9))],
        }
        for rule in range(len(values))
        for seed in range(seeds)
    ]  # fmt: skip


def test_a_measure_that_predicts_is_found_and_one_that_does_not_is_not():
    rng = np.random.default_rng(0)
    values = rng.normal(size=24)
    told = prediction.at_density(0.1, entries(rng, values, 0.9 + 0.02 * values))
    first = told["correlations"][0]
    assert first["measure"] == "told" and first["rho"] > 0.95 and first["p_any"] < 0.01
    assert first["interval"][0] > 0.8 and told["left_out"]["-1"]["q2"] > 0.9
    untold = prediction.at_density(0.1, entries(rng, values, 0.9 + 0.02 * rng.normal(size=24)))
    assert min(row["p_any"] for row in untold["correlations"]) > 0.05
    assert untold["left_out"]["-1"]["q2"] < 0.3
    assert "no measure predicts which rule is accurate" in "\n".join(page.predictors(untold))


def test_correlations_are_those_of_scipy():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=30), rng.integers(0, 5, 30).astype(float)
    assert prediction._spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    a, b = (prediction._standard(stats.rankdata(v)) for v in (x, y))
    assert a @ b == pytest.approx(stats.spearmanr(x, y).statistic)


def test_p_of_the_furthest_is_right_where_nothing_is_told():
    """Over many made-up atlases of noise, a p below .2 comes in a fifth of them."""
    below = []
    for i in range(60):
        rng = np.random.default_rng(i)
        ranked = [(rng.normal(size=12), [f"r{k}" for k in range(12)]) for _ in range(5)]
        accuracy = {f"r{k}": value for k, value in enumerate(rng.normal(size=12))}
        y = np.array([accuracy[f"r{k}"] for k in range(12)])
        furthest = prediction._furthest_by_chance(ranked, accuracy, rng)
        largest = max(abs(prediction._spearman(x, y)) for x, _ in ranked)
        below.append((1 + (furthest >= largest).sum()) / (len(furthest) + 1) < 0.2)
    assert stats.binomtest(sum(below), len(below), 0.2).pvalue > 0.01


def test_a_rule_with_more_edges_is_left_out_of_the_correlations():
    rng = np.random.default_rng(2)
    some = entries(rng, rng.normal(size=9), rng.normal(size=9))
    for entry in some:
        entry["kept"] = 0.2 if entry["label"] == "rule 0" else 0.1
    at = prediction.at_density(0.1, some)
    assert at["over"] == ["rule 0"] and at["correlations"][0]["rules"] == 8

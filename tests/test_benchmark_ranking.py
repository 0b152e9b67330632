"""The ranking of every rule: its numbers are the run's, its ranks those of equal edges."""

import json
import sys
from pathlib import Path
from statistics import mean, stdev

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import ranking  # noqa: E402
from rewire.experiments import cli, store  # noqa: E402

SMALL = ("data=digits", "steps=40", "evaluate_every=20", "densities=[0.2,0.1]", "seeds=2",
         'contrasts=[]', "rules=[Dense,Static,RigL,GradR]")  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranking")
    assert cli.main(["run", "all-rules", *SMALL, "--out", str(out), "--workers", "0"]) == 0
    return out


def test_means_are_those_of_the_run_and_fall_from_first_to_last(run, capsys):
    assert ranking.main([str(run)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seeds"] == [0, 1] and found["versions"]["torch"]
    assert list(found["densities"]) == ["0.2", "0.1"]
    for density, entries in found["densities"].items():
        assert {e["label"] for e in entries} == {"Static", "RigL", "GradR"}
        for e in entries:
            rows = [r for r in store.results(run) if r["label"] == e["label"]
                    and r["requested_density"] == float(density)]  # fmt: skip
            accuracy = [r["test_accuracy"] for r in rows]
            assert e["test_accuracy"] == {"mean": mean(accuracy), "sd": stdev(accuracy)}
            assert e["train_flops"]["sparse"] == mean(r["train_flops_sparse"] for r in rows)
        means = [e["test_accuracy"]["mean"] for e in entries]
        assert means == sorted(means, reverse=True)
    dense = [r["test_accuracy"] for r in store.results(run) if r["label"] == "Dense"]
    assert found["dense"]["test_accuracy"]["mean"] == mean(dense)


def test_a_rule_that_kept_more_edges_has_no_rank(run):
    for entries in ranking.summary(run)["densities"].values():
        ranks = {e["label"]: e["rank"] for e in entries}
        (grad_r,) = (e for e in entries if e["label"] == "GradR")
        assert grad_r["density"] > 0.3  # 40 steps prune little
        assert ranks.pop("GradR") is None
        assert sorted(ranks.values()) == [1, 2]


def test_the_tables_say_the_same(run, capsys):
    assert ranking.main([str(run), "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = ranking.summary(run)
    first = found["densities"]["0.2"][0]
    assert f"{100 * first['test_accuracy']['mean']:.2f} ±" in lines[2]
    assert first["label"] in lines[2]
    assert sum("| Dense |" in line and line.startswith("| – |") for line in lines) == 2
    assert sum("| Dense |" in line and "| 1 | 1 |" in line for line in lines) == 2


def test_the_command_is_told_without_the_folder_it_was_given():
    assert ranking.command_of("rewire run all-rules -o /here/runs seeds=2 -j 1") == (
        "rewire run all-rules seeds=2 -j 1"
    )


def test_another_run_and_an_unfinished_one_are_refused(run, tmp_path):
    other = store.Run(tmp_path / "other")
    other.write_experiment("", {"name": "quickstart", "versions": {}, "cells": []})
    with pytest.raises(ValueError, match="a run of 'quickstart', not of 'all-rules'"):
        ranking.summary(tmp_path / "other")
    cells = [{"hash": "0" * 16, "label": "SET"}]
    store.Run(tmp_path / "half").write_experiment(
        "", {"name": "all-rules", "versions": {}, "cells": cells, "command": ""}
    )
    with pytest.raises(ValueError, match="not finished: 1 of 1 cells are left .SET."):
        ranking.summary(tmp_path / "half")

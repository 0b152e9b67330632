"""A rule that computes something else than before raises its version: its old cells stay what they
are, and stand for nothing new."""

import pytest

from rewire import GMP, Combined, DeepR, On
from rewire.branches import RandomReinit
from rewire.experiments import cli, kinds, provenance, store, versions
from rewire.experiments.errors import ConfigError

TINY = ("data=digits", "steps=5", "evaluate_every=5", "densities=[.2]", "seeds=1", "contrasts=[]",
        "rules=[Static,DeepR]")  # fmt: skip


def hashes(*overrides):
    planned = kinds.plan(kinds.load("quickstart", [*TINY, *overrides]))
    return {cell.label: cell.hash for cell in planned}


def test_a_version_enters_the_hash_of_its_rule_alone(monkeypatch):
    first = hashes()
    monkeypatch.setattr(DeepR, "version", 2)
    second = hashes()
    assert second["Static"] == first["Static"] and second["DeepR"] != first["DeepR"]
    monkeypatch.setattr(DeepR, "version", 1)
    assert hashes() == first


def test_what_starts_from_such_a_cell_is_another_too(monkeypatch):
    rules = "rules=[Dense,IMP,RandomReinit,Static]"
    first = hashes(rules)
    monkeypatch.setattr("rewire.rules.IMP.version", 2)
    second = hashes(rules)
    changed = {label for label in first if first[label] != second[label]}
    assert changed == {"IMP", "RandomReinit"}


def test_a_composition_has_the_versions_of_its_parts(monkeypatch):
    both = Combined(rules=(GMP(), On(rule=DeepR(), projections=("fc1",))))
    assert both.versions == {}
    monkeypatch.setattr(DeepR, "version", 3)
    assert both.versions == {"DeepR": 3}
    assert RandomReinit().versions == {}


def test_a_run_of_an_old_version_says_so_and_is_trained_anew(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    again = ["run", "quickstart", *TINY, "--out", str(out), "--workers", "0"]
    assert cli.main(again) == 0
    old = {row["label"]: row["cell"] for row in store.results(out)}
    assert versions.outdated(out) == []
    monkeypatch.setattr(DeepR, "version", 2)
    capsys.readouterr()
    assert cli.main(["results", str(out)]) == 0
    warned = capsys.readouterr().err
    assert "DeepR was trained by version 1 of DeepR, which has version 2 here" in warned
    assert cli.main(["report", str(out)]) == 0
    assert "DeepR was trained by version 1 of DeepR" in (out / "report.html").read_text()
    # it goes on: one cell is trained, the other stands
    capsys.readouterr()
    assert cli.main(again) == 0
    assert "cells of DeepR by an earlier version of the rule" in capsys.readouterr().err
    new = {row["label"]: row["cell"] for row in store.results(out, listed=True)}
    assert new["Static"] == old["Static"] and new["DeepR"] != old["DeepR"]
    assert store.Run(out).cell(old["DeepR"]).finished  # still there
    assert versions.outdated(out) == []
    # a third time there is nothing to say or do
    assert cli.main(again) == 0
    assert "earlier version" not in capsys.readouterr().err


def test_an_experiment_that_left_something_out_is_refused_all_the_same(tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert cli.main(["run", "quickstart", *TINY, "--out", str(out), "--workers", "0"]) == 0
    before = store.Run(out).experiment()
    monkeypatch.setattr(DeepR, "version", 2)
    other = kinds.load("quickstart", [*TINY, "rules=[DeepR]"])
    with pytest.raises(ConfigError, match="holds another experiment"):
        provenance.refuse_another(out, before, other, kinds.plan(other))
    shorter = kinds.load("quickstart", [*TINY, "steps=4"])
    with pytest.raises(ConfigError, match="steps: 5 there, 4 asked for"):
        provenance.refuse_another(out, before, shorter, kinds.plan(shorter))


def test_a_rule_that_is_not_installed_any_more_has_no_version():
    assert versions.changed({"rule": {"rule": "Gone"}, "versions": {"Gone": 2}}) == {}
    assert versions.changed({"rule": {"rule": "Static", "no such field": 1}}) == {}

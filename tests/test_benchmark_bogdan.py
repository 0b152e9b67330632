"""The comparison with the published map: its numbers are the run's, and each claim can fail."""

import copy
import json
import sys
from pathlib import Path
from statistics import mean

import pytest

pytest.importorskip("brian2")

sys.path.append(str(Path(__file__).parents[1]))  # benchmarks are not installed
from benchmarks import bogdan  # noqa: E402
from rewire.experiments import cli, store  # noqa: E402


def published(i):
    case = {name: {"mean": values[i], "ratio": 1.0} for name, values in bogdan.PUBLISHED.items()}
    return case | {"events_per_s": {"mean": 90.0}}


def test_what_was_published_holds_and_each_claim_can_fail():
    cases = {case: published(i) for i, case in enumerate(bogdan.CASES)}
    assert all(bogdan._holds(cases).values())
    for claim, case, name, value in (
        ("sigma_aff_conn_within", "case 2", "sigma_aff_conn", {"mean": 2.36, "ratio": 0.89}),
        ("order_of_sigma", "case 3", "sigma_aff_conn", {"mean": 2.37, "ratio": 1.0}),
        ("ad_conn_of_3_above_1", "case 1", "ad_conn", {"mean": 0.95}),
        ("rate_within", "case 1", "rate_hz", {"mean": 1.0, "ratio": 1.26}),
        ("ff_synapses_within", "case 3", "ff_synapses", {"mean": 1.0, "ratio": 1.11}),
        ("events_within", "case 3", "events_per_s", {"mean": 141.0}),
    ):
        other = copy.deepcopy(cases)
        other[case][name] = value
        assert [k for k, holds in bogdan._holds(other).items() if not holds] == [claim]


def test_means_are_those_of_the_run(tmp_path, capsys):
    small = ("model.side=6", "seconds=1", "codegen=numpy", "seeds=2")
    command = ["run", "bogdan_2018_cases", *small, "--out", str(tmp_path), "--workers", "0"]
    assert cli.main(command) == 0
    capsys.readouterr()
    assert bogdan.main([str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["simulated_seconds"] == [1.0] and "brian2" in found["versions"]
    for case in bogdan.CASES:
        rows = [r for r in store.results(tmp_path) if r["label"] == case and r["level"] == 1]
        assert found["cases"][case]["seeds"] == [0, 1]
        assert found["cases"][case]["rate_hz"]["mean"] == mean(r["rate_hz"] for r in rows)


def test_a_run_without_a_case_is_refused(tmp_path):
    store.Run(tmp_path).write_experiment("", {"name": "x", "versions": {}, "cells": []})
    with pytest.raises(ValueError, match="no finished simulation of case 1, case 2, case 3"):
        bogdan.summary(tmp_path)

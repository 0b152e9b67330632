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


def refined(ratio):
    numbers = {"sigma_aff_conn": {"ratio": 1.0}, "ad_conn": {"ratio": 1.0}}
    return numbers | {"sigma_aff_conn_over_formation": [ratio, ratio]}


def test_what_the_map_from_nothing_claims_can_fail():
    cases = {case: refined(0.8) for case in bogdan.FORMING}
    cases |= {case: refined(1.0) for case in bogdan.CONTROLS}
    assert all(bogdan._refines(cases).values())
    for claim, case, name, value in (
        ("sigma_aff_conn_within", "from random", "sigma_aff_conn", {"ratio": 1.11}),
        ("ad_conn_within", "from nothing", "ad_conn", {"ratio": 0.84}),
        ("sharper_than_formation", "from nothing", "sigma_aff_conn_over_formation", [0.8, 0.91]),
        ("controls_are_not", "neutral, from kernel", "sigma_aff_conn_over_formation", [1.0, 0.96]),
    ):
        other = copy.deepcopy(cases)
        other[case][name] = value
        assert [k for k, holds in bogdan._refines(other).items() if not holds] == [claim]


def test_the_map_from_nothing_is_summed_up_with_its_controls(tmp_path, capsys):
    small = ("model.side=6", "seconds=2", "codegen=numpy", "seeds=1")
    command = ["run", "map-from-nothing", *small, "--out", str(tmp_path), "--workers", "0"]
    assert cli.main(command) == 0
    capsys.readouterr()
    assert bogdan.main([str(tmp_path)]) == 0
    cases = json.loads(capsys.readouterr().out)["cases"]
    assert list(cases) == [*bogdan.FORMING, *bogdan.CONTROLS]
    assert cases["from nothing"]["sigma_aff_conn"]["expected"] == 1.68
    assert "expected" not in cases["neutral, from nothing"]["sigma_aff_conn"]
    (row,) = [r for r in store.results(tmp_path) if r["label"] == "neutral, from kernel"
              and r["level"] == 1]  # fmt: skip
    (ratio,) = cases["neutral, from kernel"]["sigma_aff_conn_over_formation"]
    assert ratio == row["sigma_aff_conn"] / row["control_sigma_aff_conn"]
    assert row["sigma_aff_conn"] == row["sigma_aff_weight"]  # all weights are alike


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
    for name, message in (
        ("bogdan_2018_cases", "no finished simulation of case 1, case 2, case 3"),
        ("map-from-nothing", "no finished simulation of from random, from nothing, without STDP"),
        ("quickstart", "a run of 'quickstart'; expected numbers are known of bogdan_2018_cases"),
    ):
        store.Run(tmp_path / name).write_experiment("", {"name": name, "versions": {}, "cells": []})
        with pytest.raises(ValueError, match=message):
            bogdan.summary(tmp_path / name)

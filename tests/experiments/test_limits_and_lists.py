"""Limits and lists of rules in experiment files: in torch, as lists of edges, and in Brian2."""

import pytest
import torch

pytest.importorskip("sklearn")

from rewire.experiments import store
from rewire.experiments.errors import ConfigError
from rewire.experiments.kinds import parse, plan
from rewire.experiments.runner import run_experiment

BASE = {
    "name": "limits",
    "model": {"name": "mlp", "hidden": [20]},
    "data": "digits",
    "optimizer": {"name": "sgd", "lr": 0.1},
    "batch": 32,
    "steps": 40,
    "evaluate_every": 40,
    "densities": [0.2],
    "distribution": "uniform",
    "seeds": 1,
}
COMBINED = {
    "rule": "Combined",
    "label": "GMP and RigL",
    "rules": [
        {"rule": "GMP", "when": {"every": 4, "stop": 0.75}},
        {"rule": "RigL", "when": 5, "on": ["fc1", "*0*"]},
    ],
}
LIMITS = [{"limit": "FanIn", "most": 16}, {"limit": "FanOut", "most": 7}, {"limit": "Dale"},
          {"limit": "FixedPoint", "fraction": 10}]  # fmt: skip


@pytest.mark.parametrize("world", ["masked", "sparse"])
def test_limits_hold_at_the_end_and_the_dense_network_has_none(tmp_path, world):
    rules = ["Dense", {"rule": "DeepR", "noise": 0.1}, {"rule": "SET", "when": 5}]
    tree = {**BASE, "rules": rules, "limits": LIMITS, "world": world}
    plain = {c.label: c.hash for c in _plan({**tree, "limits": []})}
    planned = {c.label: c for c in _plan(tree)}
    assert planned["Dense"].hash == plain["Dense"] and planned["SET"].hash != plain["SET"]
    done = run_experiment(tree, out=tmp_path / "out", workers=0, report=False)
    assert done.exit_code == 0
    for row in store.results(done.out):
        if row["rule"] == "Dense":
            continue
        tree_, meta = store.Run(done.out).cell(row["cell"]).read_level(row["level"])
        keys, weight = tree_["keys"], tree_["weight"]
        first = keys < 64 * 20
        post = torch.where(first, keys // 64, 20 + (keys - 1280) // 20)
        pre = torch.where(first, keys % 64, 64 + (keys - 1280) % 20)
        assert post.bincount().max() <= 16 and pre.bincount().max() <= 7
        assert row["edges"] == round(0.2 * 1480) and row["formed"] > 20
        assert torch.equal(weight * 1024, (weight * 1024).round())
        for unit in pre.unique():
            signs = weight[pre == unit].sign()
            assert not ((signs > 0).any() and (signs < 0).any())


def test_a_list_of_rules_in_a_file_ends_where_its_pruning_does(tmp_path):
    done = run_experiment({**BASE, "rules": ["Dense", COMBINED], "densities": [0.2, 0.05]},
                          out=tmp_path / "out", workers=0)  # fmt: skip
    rows = [r for r in store.results(done.out) if r["label"] == "GMP and RigL"]
    assert [r["edges"] for r in rows] == [round(d * 1480) for d in (0.2, 0.05)]
    assert all(r["dropped"] - r["formed"] == 1480 - r["edges"] and r["formed"] > 0 for r in rows)
    assert "GMP and RigL" in (done.out / "report.html").read_text(encoding="utf-8")


def _plan(tree):
    experiment = parse(tree)
    return plan(experiment)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"limits": [{"limit": "FanInn"}]}, r"limits: there is no limit 'FanInn' \(did you mean"),
        ({"limits": {"FanIn": 3}}, "should be a list of tables, e.g. { limit ="),
        ({"limits": [{"limit": "FanIn"}]}, "FanIn.most is missing"),
        ({"limits": [{"limit": "FanIn", "most": 3}]}, "DeepR cannot start at density 0.2: cannot"),
        ({"limits": [{"limit": "FanIn", "most": 3, "to": "zz"}]}, "limits: FanIn: 'zz' names no"),
        ({"limits": [{"limit": "Dale"}], "rules": ["IMP"]}, "begins as the dense network, which"),
        ({"limits": [{"limit": "FanOut", "most": 60}], "rules": ["DSR"]}, "DSR cannot live under"),
        (
            {
                "limits": [{"limit": "FanIn", "most": 20}],
                "rules": [{"rule": "GMP", "when": {"every": 10}}],
            },
            "GMP cannot start at",
        ),
        ({"limits": [{"limit": "FanIn", "most": 20}], "rules": ["SNIP"]}, "SNIP cannot start"),
        ({"rules": [{"rule": "Combined", "rules": ["IMP"]}]}, "rules that act in one training"),
        ({"rules": [{"rule": "Combined", "rules": [{"rule": "SETT"}]}]}, "no rule 'SETT'"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_trained(changes, said):
    with pytest.raises(ConfigError, match=said):
        _plan({**BASE, "rules": ["DeepR"], **changes})


def test_limits_and_lists_hold_in_brian(tmp_path):
    pytest.importorskip("brian2")
    aged = {"rule": "Combined", "label": "SET, and by age", "rules": [
        {"rule": "SET", "when": 50}, {"rule": "AgeLimit", "most": 500, "when": 50}]}  # fmt: skip
    tree = {
        "name": "spiking", "world": "brian", "seconds": 2, "record_every": 1, "seeds": 1,
        "model": {"name": "topographic-map", "side": 6, "sigma_stim": 1.0},
        "limits": [{"limit": "FanOut", "most": 40}, {"limit": "FixedPoint", "fraction": 10}],
        "rules": [aged, {"rule": "StructuralPlasticity", "initial": "given", "rate": 1e4}],
    }  # fmt: skip
    parse(tree)
    tree["rules"] = [aged]
    with pytest.raises(ConfigError, match="would hold 32 incoming edges, but may hold 24"):
        parse({**tree, "limits": [{"limit": "FanIn", "most": 24}]})
    done = run_experiment(tree, out=tmp_path / "out", workers=0, report=False)
    start, end = store.results(done.out)
    assert start["edges"] == end["edges"] and end["formed"] == end["dropped"] > start["edges"]
    saved, meta = store.Run(done.out).cell(end["cell"]).read_level(end["level"])
    shapes = [p["shape"] for p in meta["projections"]]
    keys, ff = saved["keys"], shapes[0][0] * shapes[0][1]
    post = torch.where(keys < ff, keys // shapes[0][1], (keys - ff) // shapes[1][1])
    pre = torch.where(keys < ff, keys % shapes[0][1], shapes[0][1] + (keys - ff) % shapes[1][1])
    assert post.bincount().max() <= 32 and pre.bincount().max() <= 40
    assert torch.equal(saved["weight"] * 1024, (saved["weight"] * 1024).round())

"""Branch cells: they start where they say, run from the command line, and stand in the report."""

import json

import pytest
import torch

pytest.importorskip("sklearn")

from rewire.experiments import cli, store
from rewire.experiments.config.schema import available as avail
from rewire.experiments.engines.remains import is_finished
from rewire.experiments.errors import ConfigError
from rewire.experiments.kinds import parse, plan
from rewire.experiments.kinds import work as work_of
from rewire.experiments.runner import run_experiment

BASE = {
    "name": "branches",
    "model": {"name": "mlp", "hidden": [16]},
    "data": "digits",
    "optimizer": {"name": "adam", "lr": 3e-3},
    "batch": 32,
    "steps": 30,
    "evaluate_every": 30,
    "densities": [0.3, 0.1],
    "seeds": 1,
}
TICKET = {"rule": "IMP", "rewind": 8, "fraction": 0.5}


def run(tmp_path, rules, **more):
    tree = {**BASE, **more, "rules": rules}
    return run_experiment(tree, out=tmp_path / "out", workers=0, report=False)


def rows(out, label):
    return [r for r in store.results(out) if r["label"] == label]


def level(out, row):
    return store.Run(out).cell(row["cell"]).read_level(row["level"])[0]


def test_one_shot_off_a_ladder_of_one_rung_is_that_rung_to_the_bit(tmp_path):
    """The same mask, weights, moments, schedule and data: the same training."""
    once = {**TICKET, "fraction": 0.95, "rounds": 1}
    schedule = {"kind": "step", "factor": 0.5, "every": 10}
    done = run(tmp_path, [once, "OneShot"], densities=[0.3], schedule=schedule)
    (ticket,) = [r for r in rows(done.out, "IMP") if r["requested_density"] == 0.3]
    (branch,) = rows(done.out, "OneShot")
    assert branch["level"] == ticket["level"] and branch["edges"] == ticket["edges"]
    mine, its = level(done.out, branch), level(done.out, ticket)
    assert torch.equal(mine["keys"], its["keys"])
    assert torch.equal(mine["weight"], its["weight"])
    for name, value in its["model"].items():
        assert torch.equal(mine["model"][name], value), name
    assert branch["test_accuracy"] == ticket["test_accuracy"]


def test_fine_tuning_and_rate_rewinding_are_what_imp_does_in_one_round(tmp_path):
    """But for the moments, which IMP takes along: with plain SGD there are none."""
    schedule = {"kind": "step", "factor": 0.5, "every": 10}
    sgd = {"optimizer": {"name": "sgd", "lr": 0.1}, "densities": [0.3], "schedule": schedule}
    once = {**TICKET, "fraction": 0.95, "rounds": 1, "rewind": 8}
    found = {}
    for restore in ("nothing", "learning_rate"):
        done = run_experiment({**BASE, **sgd, "rules": [{**once, "restore": restore}]},
                              out=tmp_path / restore, workers=0)  # fmt: skip
        (row,) = [r for r in rows(done.out, "IMP") if r["requested_density"] == 0.3]
        found[restore] = level(done.out, row)
    done = run(tmp_path, [once, "FineTune", "RateRewind"], **sgd)
    for label, restore in (("FineTune", "nothing"), ("RateRewind", "learning_rate")):
        (row,) = rows(done.out, label)
        mine = level(done.out, row)
        assert torch.equal(mine["keys"], found[restore]["keys"])
        assert torch.equal(mine["weight"], found[restore]["weight"])
    (fine,), (rate,) = rows(done.out, "FineTune"), rows(done.out, "RateRewind")
    assert fine["updates"] - rate["updates"] == 8  # the schedule goes back to step 8, not to 0


@pytest.mark.parametrize("kill", [pytest.param(False, marks=pytest.mark.slow), True])
def test_every_kind_of_branch_trains_and_resumes_to_the_same_bytes(tmp_path, kill, monkeypatch):
    rules = [
        "Dense", TICKET, {**TICKET, "label": "b", "scope": "layer"}, "DeepR",
        {"rule": "RandomMask", "of": "IMP", "scope": "global"},
        {"rule": "Shuffle", "of": "IMP", "scope": "filter"},
        {"rule": "WeightNoise", "of": "IMP", "sigma": "change", "dense": True},
        {"rule": "Pretrained", "of": "IMP", "task": "rotation", "steps": 5},
        {"rule": "MaskAlgebra", "of": "IMP", "operation": "intersection", "other": "b"},
        {"rule": "RandomTicket", "of": "DeepR", "scope": "even"},
    ]  # fmt: skip
    if kill:  # in the middle of every branch, after a checkpoint
        experiment = parse({**BASE, "rules": rules})
        cells = plan(experiment)
        work, run_ = work_of(experiment), store.Run(tmp_path / "out")
        for cell in cells:
            seen = iter(range(1000))
            parents = {role: run_.cell(h).path for role, h in cell.parents.items()}
            args = (cell, run_.cell(cell.hash).path, parents, lambda event: None)
            if cell.config["kind"] == "branch":
                monkeypatch.setenv("REWIRE_CHECKPOINT_SECONDS", "0")
                work(*args, lambda seen=seen: next(seen) > 12)
                monkeypatch.delenv("REWIRE_CHECKPOINT_SECONDS")
                assert not is_finished(run_.cell(cell.hash).path)
            work(*args, lambda: False)
        out = tmp_path / "out"
    tree = {**BASE, "rules": rules}
    whole = run_experiment(tree, out=tmp_path / "whole", workers=0, report=not kill)
    assert whole.exit_code == 0
    if kill:
        ours = store.without_times(store.results(out))
        theirs = store.without_times(store.results(whole.out))
        key = lambda r: (r["cell"], r["level"])  # noqa: E731
        assert sorted(map(dict, ours), key=key) == sorted(map(dict, theirs), key=key)
        return
    by = {rule["rule"]: rows(whole.out, rule["rule"]) for rule in rules[4:]}
    possible = 64 * 16 + 16 * 10
    for label in ("RandomMask", "Shuffle", "Pretrained", "RandomTicket"):
        assert [r["edges"] for r in by[label]] == [round(d * possible) for d in (0.3, 0.1)]
    assert [(r["edges"], r["requested_density"]) for r in by["WeightNoise"]] == [(possible, 1.0)]
    assert all(r["requested_density"] == r["density"] for r in by["MaskAlgebra"])
    tickets = [r for r in rows(whole.out, "IMP") if r["requested_density"] in (0.3, 0.1)]
    others = [r for r in rows(whole.out, "b") if r["requested_density"] in (0.3, 0.1)]
    for a, b, both in zip(tickets, others, by["MaskAlgebra"], strict=True):
        a, b, both = (set(level(whole.out, r)["keys"].tolist()) for r in (a, b, both))
        assert both == a & b and 0 < len(both) < len(a)
    # what went before is paid for: the ticket's updates, five of the other task, and its own
    start = tickets[0]["updates"]
    assert by["Pretrained"][0]["updates"] == start + 5 + (30 - 8)
    assert by["Shuffle"][0]["updates"] == start + 30 - 8
    page = (whole.out / "report.html").read_text(encoding="utf-8")
    assert all(label in page for label in by)


def test_the_command_branches_off_a_finished_cell_into_the_same_run(tmp_path, capsys):
    done = run(tmp_path, ["Dense", TICKET, "DeepR"], seeds=2)
    (cell,) = {r["cell"] for r in rows(done.out, "IMP") if r["seed"] == 1}
    folder = str(done.out / "cells" / cell)
    before = len(store.results(done.out))
    args = ["branch", folder, "random-mask", "scope=global", "--label", "anywhere", "-j", "0"]
    assert cli.main(args) == 0
    found = rows(done.out, "anywhere")
    assert [(r["seed"], r["requested_density"]) for r in found] == [(1, 0.3), (1, 0.1)]
    assert len(store.results(done.out)) == before + 2
    assert "anywhere" in (done.out / "report.html").read_text(encoding="utf-8")
    (deep,) = {r["cell"] for r in rows(done.out, "DeepR")
               if r["seed"] == 0 and r["requested_density"] == 0.1}  # fmt: skip
    assert cli.main(["branch", str(done.out / "cells" / deep), "RandomReinit", "-j", "0"]) == 0
    (row,) = rows(done.out, "RandomReinit")
    assert (row["seed"], row["requested_density"]) == (0, 0.1)
    assert torch.equal(level(done.out, row)["keys"],
                       level(done.out, rows_of(done.out, deep)[0])["keys"])  # fmt: skip
    capsys.readouterr()
    for words, said in {
        (folder, "random-msk"): "there is no branch 'random-msk' (did you mean 'RandomMask'?)",
        (folder, "shuffle", "scpoe=layer"): "Shuffle has no parameter 'scpoe' (did you mean",
        (str(tmp_path), "shuffle"): "is no cell of a run: give RUN/cells/HASH",
        (str(done.out / "cells" / deep), "fine-tune"): "needs the end of a dense training",
        (folder, "transfer", "data=cifar10"): "Transfer cannot go from digits to cifar10: inputs",
        (folder, "transfer"): "Transfer needs data, a data set to train on",
    }.items():
        assert cli.main(["branch", *words]) == 2
        assert said in capsys.readouterr().err
    assert cli.main(["results", str(done.out), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == before + 3


def rows_of(out, cell):
    return [r for r in store.results(out) if r["cell"] == cell]


def test_a_ticket_is_transferred_to_another_data_set(tmp_path, monkeypatch):
    """Trained on its images, tested on its images: the accuracies are those of the other set."""
    from rewire.experiments import data

    digits = data.available()["digits"]
    monkeypatch.setattr(
        "rewire.experiments.trainings.plan.available",
        lambda kind: {**avail(kind), **({"turned": digits} if kind == "data" else {})},
    )
    named, source = [], data.source
    monkeypatch.setattr(data, "source", lambda name: source("digits" if name == "turned" else name))
    load = data.load
    monkeypatch.setattr(
        data, "load", lambda name, **how: (named.append(name), load(name, **how))[1]
    )
    done = run(tmp_path, [TICKET, {"rule": "Transfer", "data": "turned"}], densities=[0.3])
    assert named == ["digits", "turned"]
    (row,) = rows(done.out, "Transfer")
    (ticket,) = [r for r in rows(done.out, "IMP") if r["requested_density"] == 0.3]
    assert row["edges"] == ticket["edges"] and row["test_accuracy"] > 0.3


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([TICKET, {"rule": "Shuffle", "of": "IPM"}], r"no ticket rule 'IPM' \(did you mean 'IMP'"),
        ([TICKET, {"rule": "Shuffle", "of": "0123456789abcdef"}], "no cell 0123456789abcdef"),
        (
            [TICKET, {"rule": "MaskAlgebra", "operation": "union", "other": "b"}],
            "no ticket rule 'b'",
        ),
        (["DeepR", {"rule": "OneShot", "of": "DeepR"}], "needs the end of a dense training"),
        ([{"rule": "IMP"}, {"rule": "Pretrained"}], "needs steps=, since IMP goes back to step 0"),
        (["DeepR", "Shuffle"], "branches off another rule's tickets"),
    ],
)
def test_a_branch_that_cannot_be_is_refused_before_anything_is_trained(rules, said):
    with pytest.raises(ConfigError, match=said):
        experiment = parse({**BASE, "rules": rules})
        plan(experiment)


def test_weights_that_the_sparse_world_does_not_keep_are_refused():
    with pytest.raises(ConfigError, match="begins with weights that world = 'sparse' does not"):
        experiment = parse({**BASE, "world": "sparse", "rules": [TICKET, "Shuffle"]})
        plan(experiment)

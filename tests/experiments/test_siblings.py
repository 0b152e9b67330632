"""Copies of a training with other SGD noise: where they start, what they share, what is refused."""

import pytest
import torch

pytest.importorskip("sklearn")

from copies_run import trained

from rewire.experiments import cli, store
from rewire.experiments.config.seeds import NONE_APART
from rewire.experiments.errors import ConfigError
from rewire.experiments.kinds import parse, plan
from rewire.experiments.runner import run_experiment
from rewire.experiments.trainings.settings import Settings

BASE = {
    "name": "siblings",
    "model": {"name": "mlp", "hidden": [16]},
    "data": "digits",
    "optimizer": {"name": "adam", "lr": 3e-3},
    "schedule": {"kind": "step", "factor": 0.5, "every": 10},
    "batch": 32,
    "steps": 24,
    "evaluate_every": 24,
    "densities": [0.5, 0.3],
    "seeds": 1,
}
TICKET = {"rule": "IMP", "rewind": 8, "fraction": 0.5}
DENSE_ALONE = {key: value for key, value in BASE.items() if key != "densities"}
DENSE = {"rule": "Sibling", "of": "Dense", "label": "Dense, again"}
WORLDS = pytest.mark.parametrize("world", ["masked", "sparse"])


def run(out, rules, **more):
    return trained(out, {**BASE, **more, "rules": rules})


def level(out, label, density):
    (row,) = [r for r in store.results(out)
              if r["label"] == label and r["requested_density"] == density]  # fmt: skip
    return store.Run(out).cell(row["cell"]).read_level(row["level"])[0]


@WORLDS
@pytest.mark.parametrize("start", [0, 8])
def test_a_copy_with_the_noise_of_its_original_is_the_original_to_the_bit(
    world, start, tmp_path, monkeypatch
):
    """Weights, moments, schedule and data all go on from the state of the step."""
    monkeypatch.setattr(Settings, "seeds_apart", NONE_APART)
    rules = ["Dense", {**TICKET, "rewind": start}, {"rule": "Sibling"}, {**DENSE, "step": start}]
    out = run(tmp_path / "out", rules, world=world)
    for copy, of, density in (("Sibling", "IMP", 0.5), ("Sibling", "IMP", 0.3), (
        "Dense, again", "Dense", 1.0
    )):  # fmt: skip
        ours, its = (level(out, label, density) for label in (copy, of))
        assert torch.equal(ours["keys"], its["keys"])
        assert torch.equal(ours["weight"], its["weight"])
        for name, value in its["model"].items():
            assert torch.equal(ours["model"][name], value), name


@WORLDS
def test_a_copy_has_the_mask_and_other_weights_and_counts_from_its_step(world, tmp_path):
    again = {"rule": "Sibling", "label": "third", "of": "IMP", "noise": 2}
    rules = ["Dense", TICKET, {"rule": "Sibling"}, again, {**DENSE, "step": 16}, "RandomMask"]
    out = run(tmp_path / "out", rules, world=world, evaluate_every=4)
    tickets = [level(out, label, 0.3) for label in ("IMP", "Sibling", "third")]
    assert all(torch.equal(t["keys"], tickets[0]["keys"]) for t in tickets)
    for i, one in enumerate(tickets):
        assert not any(torch.equal(one["weight"], other["weight"]) for other in tickets[:i])
    rows = {r["label"]: r for r in store.results(out) if r["requested_density"] in (0.3, 1.0)}
    assert rows["Sibling"]["updates"] == rows["IMP"]["updates"] + 24 - 8
    assert rows["Dense, again"]["updates"] == 24 + 8
    cell = store.Run(out).cell(rows["Dense, again"]["cell"])
    assert [e["step"] for e in cell.events() if e["event"] == "eval"] == [20, 24]
    # a random mask takes weights and moments of the rewind, which both worlds keep
    keys = level(out, "RandomMask", 0.3)["keys"]
    assert len(keys) == len(tickets[0]["keys"]) and not torch.equal(keys, tickets[0]["keys"])


def test_the_states_that_copies_start_from_are_kept_and_asked_for_by_nobody_else():
    hashes = {}
    for name, rules in {
        "alone": ["Dense"],
        "from 0": ["Dense", DENSE],
        "from 5": ["Dense", {**DENSE, "step": 5}, {**DENSE, "step": 9, "label": "9"}],
    }.items():
        cells = plan(parse({**DENSE_ALONE, "rules": rules}))
        (hashes[name],) = [(c.hash, c.config.get("saves")) for c in cells if c.rule == "Dense"]
    assert hashes["alone"] == hashes["from 0"] == (hashes["alone"][0], None)
    assert hashes["from 5"][1] == [5, 9]


def test_a_copy_trains_as_its_original_does():
    rules = [{"rule": "Dense", "train": {"steps": 12, "seeds_apart": {"init": 5}}}, DENSE]
    cells = {c.rule: c for c in plan(parse({**DENSE_ALONE, "rules": rules}))}
    assert cells["Sibling"].config["steps"] == 12
    assert cells["Sibling"].config["seeds_apart"] == {"init": 5}


def test_the_command_copies_a_finished_training_from_its_initialisation(tmp_path, capsys):
    tree = {**BASE, "densities": [0.5], "rules": ["Dense", TICKET]}
    out = run_experiment(tree, out=tmp_path / "out", workers=0, report=False).out
    (dense,) = {r["cell"] for r in store.results(out) if r["label"] == "Dense"}
    folder = str(out / "cells" / dense)
    assert cli.main(["branch", folder, "sibling", "--label", "again", "-j", "0"]) == 0
    assert level(out, "again", 1.0)["keys"].numel() == level(out, "Dense", 1.0)["keys"].numel()
    capsys.readouterr()
    for words, said in {
        ("sibling", "step=3"): "needs the state of step 3 of Dense, which has kept those of 0, 8",
        ("shuffle",): "Shuffle branches off tickets, and a dense training leaves none",
    }.items():
        assert cli.main(["branch", folder, *words, "-j", "0"]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (["Dense", {**DENSE, "step": -1}], r"Sibling\.step is 0 or more"),
        (["Dense", {**DENSE, "noise": 0}], r"Sibling\.noise, the number of the copy, 1 or more"),
        (["Dense", {**DENSE, "step": 24}], "starts at step 24 of Dense, which ends at 24"),
        (["Dense", {**DENSE, "train": {"steps": 9}}], "leave out its table train"),
        (["Dense", {**DENSE, "of": "Dens"}], r"no ticket rule 'Dens' \(did you mean 'Dense'"),
        ([TICKET, {"rule": "Sibling", "step": 4}], "takes no step= of tickets"),
        (
            [{**TICKET, "restore": "nothing", "rewind": 0}, {"rule": "Sibling"}],
            "IMP leaves no state to start a copy from",
        ),
        (["SET", {"rule": "Sibling", "of": "SET"}], "SET leaves no state to start a copy from"),
        (["Dense", TICKET, {"rule": "Shuffle", "of": "Dense"}], "no ticket rule 'Dense'"),
    ],
)
def test_what_cannot_be_copied_is_refused_before_anything_is_trained(rules, said):
    with pytest.raises(ConfigError, match=said):
        plan(parse({**BASE, "rules": rules}))

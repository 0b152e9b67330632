"""Seeds of initialisation, data and augmentation apart: runs that share one and not the other."""

import pytest
import torch
from protocol_run import BASE, WORLDS, in_parts, planned, trained, weights

from rewire.experiments.config.seeds import SeedsApart
from rewire.experiments.errors import ConfigError
from rewire.experiments.trainings.batches import Batches
from rewire.experiments.trainings.settings import settings


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_without_them_has_no_key_for_them():
    _, (cell,) = planned()
    assert "seeds_apart" not in cell.config
    _, (other,) = planned(seeds_apart={"data": 5, "from": 3})
    assert other.config["seeds_apart"] == {"data": 5, "from": 3}
    assert settings(other.config).training.seeds_apart == SeedsApart.model_validate(
        {"data": 5, "from": 3}
    )
    rest = {key: value for key, value in other.config.items() if key != "seeds_apart"}
    assert rest == cell.config and other.hash != cell.hash


@WORLDS
def test_data_and_initialisation_follow_seeds_of_their_own(world, tmp_path):
    """Seed 1 with everything of seed 0 but the rule's draws is seed 0, for a rule without any."""
    static = {"world": world, "rules": ["Static"]}
    ends = {
        name: weights(trained(tmp_path, **static, **changes)[0])
        for name, changes in {
            "0": {}, "1": {"seeds": [1]},
            "1 as 0": {"seeds": [1], "seeds_apart": {"init": 0, "data": 0}},
            "init of 0": {"seeds": [1], "seeds_apart": {"init": 0}},
            "data of 0": {"seeds": [1], "seeds_apart": {"data": 0}},
        }.items()
    }  # fmt: skip
    assert equal(ends["0"], ends["1 as 0"])
    others = [ends[name] for name in ("0", "1", "init of 0", "data of 0")]
    assert not any(equal(a, b) for i, a in enumerate(others) for b in others[:i])


@WORLDS
def test_two_runs_part_at_the_step_that_they_name(world, tmp_path):
    at = {"world": world, "evaluate_every": 1, "steps": 14}
    losses = []
    for changes in ({}, {"seeds_apart": {"data": 9, "from": 8}}):
        _, store = trained(tmp_path, **at, **changes)
        losses.append([e["val_loss"] for e in store.events() if e["event"] == "eval"])
    same = [a == b for a, b in zip(*losses, strict=True)]
    assert same[:8] == [True] * 8 and not any(same[8:])


def test_dropout_is_noise_of_the_data(tmp_path):
    model = {"name": "conv-2", "dropout": 0.5}
    at = {"model": model, "steps": 1, "evaluate_every": 1, "batch": 97, "rules": ["Static"],
          "data": {"name": "digits", "validation": 1450}}  # fmt: skip
    ends = [
        weights(trained(tmp_path, **at, **changes)[0])
        for changes in ({}, {"seeds_apart": {"data": 9}}, {"seeds_apart": {"augment": 9}})
    ]
    assert not torch.allclose(ends[0]["fc3.weight"], ends[1]["fc3.weight"], atol=1e-4)
    assert equal(ends[0], ends[2])


@WORLDS
def test_a_run_that_was_stopped_before_they_part_goes_on_to_the_same_bits(
    world, tmp_path, monkeypatch
):
    apart = {"world": world, "seeds_apart": {"init": 3, "data": 9, "from": 8}}
    whole, _ = trained(tmp_path / "whole", **apart)
    parts, _ = in_parts(tmp_path / "parts", monkeypatch, at=5, **apart)
    assert equal(weights(whole), weights(parts))


def test_a_rule_may_have_seeds_of_its_own():
    """Two runs from one initialisation in one experiment, paired by its seeds."""
    other = {"rule": "Dense", "label": "Other noise", "train": {"seeds_apart": {"data": 100}}}
    _, cells = planned(rules=["Dense", other], seeds=2)
    apart = {(c.label, c.seed): settings(c.config).training.seeds_apart for c in cells}
    assert len(cells) == 4 and len({cell.hash for cell in cells}) == 4
    assert apart["Dense", 1] is None and apart["Other noise", 1].data == 100


def test_examples_are_visited_once_an_epoch_in_either_order():
    experiment, _ = planned()
    split, apart = experiment.dataset.train, SeedsApart.model_validate({"data": 4, "from": 20})
    batches = Batches(split, BASE["batch"], 0, apart)
    epochs = [torch.cat([batches.rows(13 * e + i) for i in range(13)]) for e in (0, 2)]
    assert all(epoch.sort()[0].equal(torch.arange(len(split))) for epoch in epochs)
    own, other = (Batches(split, BASE["batch"], seed) for seed in (0, 4))
    assert batches.rows(19).equal(own.rows(19)) and batches.rows(20).equal(other.rows(20))


@pytest.mark.parametrize(("table", "message"), [
    ({}, r"give 'init', 'data' or 'augment'"),
    ({"init": 1, "from": 5}, r"'from' says since when"),
    ({"data": -1}, r"seeds_apart\.data"),
    ({"data": "two"}, r"seeds_apart\.data"),
    ({"order": 1}, r"seeds_apart\.order: unknown key; it takes init, data, augment, from"),
    ({"data": 1, "from": 0}, r"seeds_apart\.from"),
    (1, r"seeds_apart"),
])  # fmt: skip
def test_other_tables_are_refused(table, message):
    with pytest.raises(ConfigError, match=message):
        planned(seeds_apart=table)

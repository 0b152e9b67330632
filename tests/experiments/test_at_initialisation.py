"""Rules that prune before the first step, as an experiment's cells."""

from pathlib import Path

import pytest
import torch

from rewire.experiments import building, kinds, store
from rewire.experiments.data import load
from rewire.experiments.errors import ConfigError
from rewire.experiments.store import CellStore
from rewire.experiments.trainings import plan, trainer
from rewire.experiments.trainings.settings import settings

BASE = {
    "name": "small",
    "model": {"name": "mlp", "hidden": [40, 20]},
    "data": "digits",
    "optimizer": {"name": "adam", "lr": 2e-3},
    "batch": 50,
    "steps": 12,
    "evaluate_every": 4,
    "densities": [0.3, 0.1],
    "seeds": 1,
    "rules": ["Static", "SNIP", "GraSP", "SynFlow", "Magnitude",
              {"rule": "SNIP", "label": "SNIP by layer", "scope": "layer"}],
}  # fmt: skip


def experiment(**changes):
    return kinds.parse({**BASE, **changes})


def planned(**changes):
    asked = experiment(**changes)
    return plan.plan(asked, building.n_train(asked.data))


def trained(cell, folder, looks=(10**6,)) -> CellStore:
    data = load("digits")
    for most in looks:
        left = iter(range(most))
        trainer.run_cell(
            cell, folder, {}, data, lambda event: None,
            lambda left=left: next(left, None) is None,
        )  # fmt: skip
    return CellStore(folder)


def last(kept: CellStore):
    return [e for e in kept.events() if e["event"] == "level"][-1]


def test_each_rule_has_a_cell_for_each_density_and_ends_at_exactly_its_edges(tmp_path: Path):
    found = {}
    for cell in planned():
        row = last(trained(cell, tmp_path / cell.hash))
        keys = CellStore(tmp_path / cell.hash).read_level(0)[0]["keys"]
        found[cell.label, cell.density] = row, keys
    assert len(found) == 12
    for (label, density), (row, keys) in found.items():
        others, static = found["Static", density]
        assert row["edges"] == others["edges"] == len(keys) == round(density * row["possible"])
        assert row["weights"] == row["possible"]  # biases are no weights
        assert row["requested_density"] == density and row["formed"] == row["dropped"] == 0
        assert label == "Static" or not torch.equal(keys, static)
    sizes = torch.tensor([0, 64 * 40, 64 * 40 + 40 * 20, 64 * 40 + 40 * 20 + 20 * 10])
    by_layer = {label: torch.searchsorted(found[label, 0.1][1], sizes).diff().tolist()
                for label in ("Static", "SNIP", "SNIP by layer")}  # fmt: skip
    assert by_layer["SNIP by layer"] == by_layer["Static"] != by_layer["SNIP"]


@pytest.mark.parametrize("label", ["SNIP", "GraSP", "SynFlow", "SNIP by layer"])
def test_edges_are_those_of_the_masked_world_and_held_as_lists(label, tmp_path: Path):
    found = {}
    for world in ("masked", "sparse", "auto"):
        cell = [c for c in planned(world=world) if c.label == label][-1]
        kept = trained(cell, tmp_path / world / cell.hash)
        found[world] = last(kept)["substrate"], kept.read_level(0)[0]["keys"].tolist()
    assert found["sparse"][0] == found["auto"][0] == "sparse" != found["masked"][0]
    assert found["sparse"][1] == found["auto"][1] == found["masked"][1]


@pytest.mark.parametrize("world", ["masked", "auto"])
@pytest.mark.parametrize("label", ["SNIP", "SynFlow"])
def test_a_cell_stopped_at_every_step_ends_as_an_undisturbed_one(label, world, tmp_path: Path):
    cell = next(c for c in planned(world=world) if c.label == label)
    ends = []
    for name, looks in (("whole", [10**6]), ("stopped", [1] * 5 + [10**6])):
        kept = trained(cell, tmp_path / name / cell.hash, looks)
        assert kept.finished
        events = [e for e in kept.events() if e["event"] in ("level", "eval")]
        ends.append((store.without_times(events), kept.read_level(0)[0]["weight"].tolist()))
    assert ends[0] == ends[1]


def test_rules_see_ten_examples_a_class_in_batches_of_the_trainings_size(tmp_path: Path):
    """The same of a seed whatever the rule, others of another seed."""
    seen = {}
    for batch, seed in ((50, 0), (50, 1), (30, 0), (200, 0)):
        cell = next(c for c in planned(batch=batch, seeds=[seed]) if c.label == "SNIP")
        training = trainer.TrainingRun(
            cell, tmp_path / f"{batch}.{seed}", {}, load("digits"), print, bool, "cpu"
        )
        assert settings(cell.config).seed == seed
        seen[batch, seed] = training._probe().batches
        again = training._probe().batches
        assert all(torch.equal(x, z) for (x, _), (z, _) in zip(seen[batch, seed], again,
                                                               strict=True))  # fmt: skip
    assert {k: [len(y) for _, y in b] for k, b in seen.items()} == {
        (50, 0): [50, 50], (50, 1): [50, 50], (30, 0): [30] * 4, (200, 0): [200],
    }  # fmt: skip
    assert not torch.equal(seen[50, 0][0][0], seen[50, 1][0][0])


def test_what_cannot_work_is_said_before_anything_is_trained():
    with pytest.raises(ConfigError, match="rules.SNIP.to.*give 'densities' instead"):
        experiment(rules=[{"rule": "SNIP", "to": 0.1}])
    with pytest.raises(ConfigError, match="rules.TopKAST.*sparse world: silent edges are edges"):
        experiment(world="sparse", rules=["SNIP", "TopKAST"])

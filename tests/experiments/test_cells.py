"""An experiment's cells: how many, what each waits for, and what their names depend on."""

import json

import pytest

from rewire.experiments import cells, kinds
from rewire.experiments.config import schema
from rewire.experiments.errors import ConfigError
from rewire.experiments.trainings import plan as planning
from rewire.experiments.trainings import settings

BASE = {
    "name": "small",
    "model": "lenet-300-100",
    "data": "mnist5k",
    "optimizer": {"name": "adam", "lr": 1e-3},
    "batch": 60,
    "steps": 100,
    "densities": [0.2, 0.05],
    "seeds": 2,
    "rules": ["Dense", "IMP", "RandomReinit", "DeepR"],
}


def plan(**changes):
    """The cells of BASE with some keys changed, or removed where they are None."""
    tree = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    return planning.plan(kinds.parse(tree), n_train=4000)


def of(planned, label, seed=0):
    return [cell for cell in planned if cell.label == label and cell.seed == seed]


def test_cells_are_those_of_the_design():
    planned = plan()
    assert len(planned) == 2 * (1 + 1 + 1 + 2)
    (dense,), (imp,), (reinit,) = (
        of(planned, "Dense"),
        of(planned, "IMP"),
        of(planned, "RandomReinit"),
    )
    assert (dense.density, dense.parents) == (1.0, {})
    assert imp.parents == {"dense": dense.hash} and imp.density is None
    assert reinit.parents == {"ticket": imp.hash} and reinit.config["kind"] == "branch"
    assert [cell.density for cell in of(planned, "DeepR")] == [0.2, 0.05]
    assert imp.config["densities"] == reinit.config["densities"] == [0.2, 0.05]
    assert imp.config["rule"] == {"rule": "IMP", "to": [0.2, 0.05]}


def test_parents_come_first_and_the_longest_chain_before_shorter_ones():
    planned = plan()
    place = {cell.hash: i for i, cell in enumerate(planned)}
    assert all(place[p] < place[c.hash] for c in planned for p in c.parents.values())
    assert [cell.rule for cell in planned[:4]] == ["Dense", "Dense", "IMP", "IMP"]
    imp = of(planned, "IMP")[0]
    assert imp.weight == 100 * 15  # a fifth a cut: 8 cuts to .2, 7 more to .05


def test_cells_are_shown_in_the_order_of_the_file():
    experiment = kinds.parse(BASE)
    shown = cells.in_order(experiment, planning.plan(experiment, 4000))
    assert [(c.label, c.density, c.seed) for c in shown] == [
        *[("Dense", 1.0, seed) for seed in (0, 1)],
        *[(label, None, seed) for label in ("IMP", "RandomReinit") for seed in (0, 1)],
        *[("DeepR", density, seed) for density in (0.2, 0.05) for seed in (0, 1)],
    ]


def test_imp_without_dense_trains_one_dense_cell_that_all_of_its_kind_share():
    planned = plan(rules=["IMP", {"rule": "IMP", "label": "fast", "fraction": 0.5}], seeds=1)
    dense, *rest = planned
    assert [cell.label for cell in planned].count("Dense") == 1
    assert all(cell.parents == {"dense": dense.hash} for cell in rest)
    assert dense.hash in {cell.hash for cell in plan()}  # it is the very same training


def test_imp_that_trains_otherwise_has_a_dense_training_of_its_own():
    imp = {"rule": "IMP", "train": {"steps": 50}}
    planned = plan(rules=["Dense", imp], seeds=1)
    assert sorted(cell.label for cell in planned) == ["Dense", "Dense for IMP", "IMP"]
    (own,) = of(planned, "Dense for IMP")
    assert of(planned, "IMP")[0].parents == {"dense": own.hash} and own.config["steps"] == 50


def test_late_rewinding_asks_the_dense_training_for_its_snapshots():
    rules = ["Dense", {"rule": "IMP", "rewind": 20}, {"rule": "IMP", "label": "late", "rewind": 40}]
    planned = plan(rules=rules, seeds=1)
    assert of(planned, "Dense")[0].config["saves"] == [20, 40]
    assert len(planned) == 3
    assert "saves" not in plan()[0].config


def test_a_branch_has_a_cell_for_each_rule_with_tickets_or_the_one_it_names():
    two = [{"rule": "IMP", "label": "a"}, {"rule": "IMP", "label": "b", "fraction": 0.5}]
    planned = plan(rules=[*two, "RandomReinit"], seeds=1)
    labels = [cell.label for cell in planned if cell.rule == "RandomReinit"]
    assert sorted(labels) == ["RandomReinit of a", "RandomReinit of b"]
    planned = plan(rules=[*two, {"rule": "RandomReinit", "of": "b"}], seeds=1)
    (branch,) = of(planned, "RandomReinit")
    assert branch.parents == {"ticket": of(planned, "b")[0].hash}


def test_budgets_spread_as_imp_found_them_wait_for_it():
    planned = plan(distribution="imp", seeds=1)
    (imp,) = of(planned, "IMP")
    for cell in of(planned, "DeepR"):
        assert cell.parents == {"counts": imp.hash} and cell.config["distribution"] == "imp"
    assert "distribution" not in imp.config  # its own cuts do not depend on it


def test_a_rule_that_prunes_has_one_cell_a_density_whatever_the_distribution():
    for spread in ("erk", "imp"):
        planned = plan(rules=["IMP", "GMP", "GraNet"], seeds=1, distribution=spread, steps=200)
        for label in ("GMP", "GraNet"):
            mine = of(planned, label)
            assert [cell.density for cell in mine] == [0.2, 0.05]
            assert all(not c.parents and c.config["rule"] == {"rule": label} for c in mine)
    with pytest.raises(ConfigError, match="leave out `to`"):
        plan(rules=[{"rule": "GMP", "to": 0.1}], steps=200)
    with pytest.raises(ConfigError, match="GMP prunes, and shares the density out"):
        plan(rules=["GMP"], densities=None, distribution={"fc1": 0.01, "*": 0.3}, steps=200)
    with pytest.raises(ConfigError, match="rules.GMP: GMP .* it would never prune in 100 steps"):
        plan(rules=["GMP"], steps=100)


def test_densities_per_layer_give_one_cell_a_seed_and_keep_their_order():
    table = {"fc1": 0.01, "*": 0.3}
    planned = plan(densities=None, distribution=table, rules=["Static"])
    turned = plan(densities=None, distribution=dict(reversed(table.items())), rules=["Static"])
    density = (2352 + 9000 + 300) / 266_200  # .01 of fc1, .3 of the rest
    assert [cell.density for cell in planned] == [density, density]
    assert settings.settings(planned[0].config).distribution == table
    assert planned[0].hash != turned[0].hash  # the first pattern that fits wins


def test_an_epoch_is_as_long_as_the_data_and_batch_make_it():
    rule = {"rule": "SET", "when": {"every": "epoch"}}
    cell, *_ = plan(rules=[rule], epochs=3, steps=None, evaluate_every="epoch")
    assert cell.config["steps"] == 3 * 67 and cell.config["evaluate_every"] == 67
    assert cell.config["rule"]["when"] == {"every": 67}


# --- names ---


def test_a_hash_is_what_it_was_in_every_earlier_version():
    """A change here makes every run that people have kept start anew: raise SCHEMA and say so."""
    found = {f"{c.label} {c.density}": c.hash for c in plan(seeds=1)}
    assert found == GOLDEN


GOLDEN = {
    "DeepR 0.05": "29ea64f8c13f53ad",
    "DeepR 0.2": "3f7ebc9dee1293de",
    "Dense 1.0": "b531f29afcdcebdb",
    "IMP None": "956c526088d250aa",
    "RandomReinit None": "5d36aac37858f3da",
}


@pytest.mark.parametrize(
    "same",
    [
        {"title": "x", "about": "y", "source": "z", "time": "t", "name": "other"},
        {"device": "auto", "threads": 2},
        {"contrasts": [["IMP", "DeepR"]]},
        {"evaluate_every": 100, "distribution": "erk", "include": []},  # what is so by default
        {"optimizer": {"name": "adam", "lr": 1e-3, "betas": [0.9, 0.999], "weight_decay": 0.0}},
        {"model": {"name": "lenet-300-100", "bias": True, "init": "glorot_normal"}},
        {"data": {"name": "mnist5k", "validation": 500, "normalise": "standard"}},
        {"rules": ["Dense", {"rule": "IMP", "fraction": 0.2}, "RandomReinit", "DeepR"]},
        {"densities": [0.05, 0.2]},
        {"seeds": [0, 1]},
    ],
    ids=lambda same: next(iter(same)),
)
def test_what_does_not_matter_does_not_change_a_name(same):
    assert {c.hash for c in plan(**same)} == {c.hash for c in plan()}


def test_a_label_is_not_part_of_a_name():
    renamed = plan(rules=["Dense", {"rule": "IMP", "label": "tickets"}, "RandomReinit", "DeepR"])
    assert {c.hash for c in renamed} == {c.hash for c in plan()}


@pytest.mark.parametrize(
    "other",
    [
        {"model": {"name": "lenet-300-100", "bias": False}},
        {"data": "digits"},
        {"data": {"name": "mnist5k", "normalise": "unit"}},
        {"optimizer": {"name": "adam", "lr": 1.1e-3}},
        {"optimizer": {"name": "adamw", "lr": 1e-3}},
        {"schedule": {"kind": "cosine"}},
        {"batch": 61},
        {"steps": 101},
        {"evaluate_every": 50},
        {"exclude": ["fc3"]},
        {"seeds": [7, 8]},
    ],
    ids=str,
)
def test_whatever_matters_changes_every_name(other):
    assert not {c.hash for c in plan(**other)} & {c.hash for c in plan()}


def test_a_rules_field_changes_its_own_cells_and_those_that_start_from_them():
    before, after = (
        plan(),
        plan(rules=["Dense", {"rule": "IMP", "fraction": 0.3}, "RandomReinit", "DeepR"]),
    )
    kept = {c.hash for c in before} & {c.hash for c in after}
    assert {c.rule for c in before if c.hash in kept} == {"Dense", "DeepR"}


def test_other_densities_leave_the_cells_of_fixed_budgets_alone():
    before, after = plan(), plan(densities=[0.2, 0.1, 0.05])
    kept = {c.hash for c in before} & {c.hash for c in after}
    assert {(c.rule, c.density) for c in before if c.hash in kept} == {
        ("Dense", 1.0), ("DeepR", 0.2), ("DeepR", 0.05)
    }  # fmt: skip


def test_two_labels_for_one_training_are_refused():
    with pytest.raises(ConfigError, match="the same training"):
        plan(rules=["DeepR", {"rule": "DeepR", "label": "again"}])


# --- back to objects ---


def test_settings_read_a_config_back_after_json():
    imp = next(c for c in plan(schedule={"kind": "milestones", "at": [5]}) if c.rule == "IMP")
    s = settings.settings(json.loads(json.dumps(imp.config)))
    assert s.rule == schema.available("rule")["IMP"](to=(0.2, 0.05))
    assert (s.model.name, s.data.name, s.data.normalise) == ("lenet-300-100", "mnist5k", "standard")
    assert (s.training.steps, s.training.batch, s.training.evaluate_every) == (100, 60, 100)
    assert s.training.schedule.at(5, 10) == pytest.approx(0.1)
    assert (s.kind, s.seed, s.densities, s.distribution, s.saves) == (
        "rule",
        0,
        (0.2, 0.05),
        "erk",
        (),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [({"schema": 2}, "newer version"), ({"rule": {"rule": "Nope"}}, "Nope"),
     ({"batch": 0}, "batch"), ({"rule": {"rule": "IMP", "x": 1}}, "no parameter 'x'"),
     ({"model": 3}, "no config of a cell")],
)  # fmt: skip
def test_a_config_of_a_stranger_is_refused_in_words(change, said):
    with pytest.raises(ConfigError, match=said):
        settings.settings({**plan()[0].config, **change})


@pytest.mark.parametrize(
    "rule, world", [("EdgePopup", "masked"), ("RandomReinit", "auto"), ("SET", "auto")]
)
def test_auto_stays_auto_for_branches_and_for_rules_that_need_no_silent_edges(rule, world):
    """A branch is no rule: it asks for no signal, so any torch world does."""
    rules = [{"rule": "IMP"}, {"rule": rule}]
    experiment = kinds.load("quickstart", ["seeds=1", "world=auto"]).as_tree()
    cells = kinds.plan(kinds.parse({**experiment, "rules": rules, "contrasts": []}))
    config = next(cell.config for cell in cells if cell.rule == rule)
    assert settings.settings(config).world == world


@pytest.mark.parametrize(
    ("world", "device", "held"),
    [("auto", "cuda", "masked"), ("auto", "cpu", "auto"), ("masked", "cuda", "masked")],
)
def test_lists_of_edges_stay_on_the_cpu(world, device, held):
    config = {**plan()[0].config, "substrate": world}
    assert settings.on_device(settings.settings(config), device).world == held

"""Two real processes under gloo: one topology and the numbers of one process, or an error that
names what drove them apart."""

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

import rewire
from rewire import rules as registry
from rewire.torch_loop import masked_only

sys.path.append(str(Path(__file__).parent))  # the processes import it by name as well
several = import_module("several_ranks")
RULES, WORLDS = several.RULES, ("masked", "sparse")
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no torch.distributed"
)


# -- every rule ----------------------------------------------------------------------------------


def resumed(world):
    return [n for n in several.RESUMED if world == "masked" or not masked_only(RULES[n])]


@pytest.fixture(scope="module")
def folder(filled):
    """Where the processes worked; with what one process saved."""

    def fill(path):
        for world in WORLDS:
            (path / world).mkdir(exist_ok=True)
            for name in resumed(world):
                several.first_half(0, 1, world, name, path / world / f"of one {name}")
        several.on_ranks(path, several.everything, str(path))

    return filled("ranks", fill)


@pytest.fixture(scope="module")
def both(folder):
    """What each of two ranks came to."""
    return several.outcomes(folder)


@pytest.fixture(scope="module")
def one(filled):
    """What the rank of a group of one came to."""
    folder = filled("one rank", lambda path: several.on_ranks(
        path, several.one_rank, str(path), ranks=1
    ))  # fmt: skip
    return several.outcomes(folder, ranks=1)[0]


@pytest.fixture(scope="module")
def cases(both):
    return [outcomes["cases"] for outcomes in both]


def test_every_rule_of_the_registry_is_run():
    assert set(RULES) >= {rule.__name__ for rule in registry.BUILT_IN}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("world", WORLDS)
def test_two_ranks_are_one_network_and_that_of_one_process(both, world, name):
    first, second = (outcomes["rules"][world][name] for outcomes in both)
    if world == "sparse" and (name in several.GOING_BACK or masked_only(RULES[name])):
        assert first == second and "world='masked'" in first
        return
    (keys, weight, digests), (other_keys, other_weight, other_digests) = first, second
    assert digests == other_digests and torch.equal(keys, other_keys)
    assert torch.equal(weight, other_weight)
    own_keys, own_weight, own_digests = several.run_rule(name, world=world)
    assert digests == own_digests and torch.equal(keys, own_keys)
    torch.testing.assert_close(weight, own_weight, rtol=0, atol=1e-6)


# -- ways to train several processes --------------------------------------------------------------

WAYS = [*several.WRAPS, "synchronised", "zeroed", "wrapped first"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("world", WORLDS)
def test_accumulated_passes_of_two_ranks_are_those_of_one_process(both, world, way):
    ranks = [outcomes["ways"][world] for outcomes in both]
    if world == "sparse" and way == "wrapped first":
        assert all("wrap the very model" in outcomes["RigL", way] for outcomes in ranks)
        return
    (keys, weight, digests), (_, other_weight, other_digests) = (r["RigL", way] for r in ranks)
    assert digests == other_digests and torch.equal(weight, other_weight)
    if world == "masked" and way == "low rank":  # one network, of gradients that are approximations
        return
    own_keys, own_weight, own_digests = several.accumulating(RULES["RigL"], world=world)
    assert digests == own_digests and torch.equal(keys, own_keys)
    torch.testing.assert_close(weight, own_weight, rtol=0, atol=1e-3 if way == "half" else 1e-6)


# -- going on with another number of ranks --------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS)
def test_a_run_goes_on_with_another_number_of_ranks(both, folder, world):
    first, second = (outcomes["halves"][world] for outcomes in both)
    assert {n for n in first if isinstance(n, str)} == set(resumed(world))
    for how, (keys, weight, digests) in first.items():
        assert torch.equal(weight, second[how][1]) and digests == second[how][2], how
        name = how if isinstance(how, str) else how[0]
        one_keys, one_weight, one_digests = several.run_rule(name, world=world)
        assert digests == one_digests[several.STEPS // 2 :], how
        assert torch.equal(keys, one_keys)
        torch.testing.assert_close(weight, one_weight, rtol=0, atol=1e-6)
        if how == name:  # and the other way round
            keys, weight, digests = several.second_half(0, 1, folder / world / f"of two {name}")
            assert digests == one_digests[several.STEPS // 2 :] and torch.equal(keys, one_keys)
            torch.testing.assert_close(weight, one_weight, rtol=0, atol=1e-6)


def test_the_example_of_the_page_is_the_run_of_one_process(both, one, folder):
    own_keys, own_weight, own_edits = one["page"]
    assert own_edits and (folder / "net.safetensors").is_file()
    for keys, weight, edits in (outcomes["page"] for outcomes in both):
        assert torch.equal(keys, own_keys) and edits == own_edits
        torch.testing.assert_close(weight, own_weight, rtol=0, atol=1e-5)


# -- what the ranks are to have in common ---------------------------------------------------------


def test_ranks_that_begin_apart_are_stopped_before_the_first_step_by_what_differs(cases):
    for case in cases:
        for what, error in case["disagreements"].items():
            assert error is not None, what
            assert f"hold other {what} " in error and "rank 1:" in error, (what, error)
            assert "before the first step" in error or "when it is attached" in error


def test_ranks_that_drift_apart_are_stopped_by_the_name_of_the_rule(cases):
    for case in cases:
        error = case["drift"]
        assert "hold other edges after step 3 (DropGrow)" in error and "rank 1:" in error, error


def test_processes_that_train_models_of_their_own_are_left_alone(cases):
    first, second = (case["independent"] for case in cases)
    assert first != second and None not in (first, second)


def test_a_group_needs_torch_distributed():
    model = several.model_of()
    with pytest.raises(ValueError, match="torch.distributed is not initialised"):
        rewire.attach(model, several.sgd(model), rewire.SET(), density=0.3, group=object())


def test_lists_of_edges_in_the_wrappers_buckets_are_refused(cases):
    for case in cases:
        for how in ("inside", "first"):
            error = case["sparse_under_ddp"][how]
            assert "DistributedDataParallel holds this model's sparse weights" in error


def test_a_rank_without_a_part_in_the_edges_averages_too(cases):
    first, second = (case["sparse_under_ddp"] for case in cases)
    assert torch.equal(first["unused"], second["unused"]) and first["detached"] == []


def test_a_model_of_lists_of_edges_alone_is_refused_by_name(cases):
    for case in cases:
        error = case["sparse_under_ddp"]["no bias"]
        assert "every trained parameter of this model is a list of edges" in error


def test_ranks_that_may_run_out_of_data_are_refused(cases):
    for case in cases:
        assert "may run out of data before others (Join)" in case["uneven"]


def is_the_run_of_one_process(outcomes, world):
    own_keys, own_weight, own_digests = several.run_rule("RigL", world=world)
    for keys, weight, digests in outcomes:
        assert digests == own_digests[-len(digests) :] and torch.equal(keys, own_keys)
        torch.testing.assert_close(weight, own_weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("world", WORLDS)
def test_a_model_that_is_wrapped_after_some_steps_is_noticed(cases, world):
    late = [case["wrapped_late"] for case in cases]
    is_the_run_of_one_process([outcomes[world, True] for outcomes in late], world)
    for outcomes in late:
        assert "hold other edges before step 3" in outcomes[world, False]


@pytest.mark.parametrize("world", WORLDS)
def test_copies_and_pickles_of_a_rank_are_runs_of_their_own(cases, world):
    for case in cases:
        for how in ("copied", "pickled"):
            is_the_run_of_one_process([case["copies"][world, how]], world)
        assert "rewire.load(path, model, optimizer, group=...)" in case["copies"][world, "named"]


@pytest.mark.parametrize("world", WORLDS)
def test_a_wrapper_of_one_process_changes_nothing(one, world):
    is_the_run_of_one_process([one["wrapped"][world]], world)


@pytest.mark.parametrize("how", ["inside", "outside"])
def test_compiled_models_are_one_network_too(cases, how):
    is_the_run_of_one_process([case["compiled"][how] for case in cases], "masked")


def test_optimizers_that_keep_processes_apart_are_refused(cases):
    for case in cases:
        for name, error in case["optimizers"].items():
            assert f"{name} cannot train sparse weights: " in error


def test_sharded_weights_are_refused_by_name(cases):
    for case in cases:
        for world in WORLDS:
            error = case["sharded"][world]
            assert "'0.weight' is sharded over processes (DTensor" in error, error


def test_weights_that_are_sharded_after_attach_are_refused_in_the_next_pass(cases):
    for case in cases:
        for error in case["sharded_late"].values():
            assert "'0.weight' was sharded over processes after attach" in error


@pytest.mark.parametrize("world", WORLDS)
def test_weights_that_are_left_out_may_be_sharded_where_the_group_is_named(cases, world):
    model = several.model_of()
    optimizer = several.sgd(model)
    net = rewire.attach(
        model, optimizer, RULES["RigL"], density=0.3, steps=several.STEPS, seed=1, world=world,
        exclude=["0*"],
    )  # fmt: skip
    keys, weight, _ = several.steps_of(net, model, model, optimizer, 0, 1, range(several.STEPS))
    for case in cases:
        outcomes = case["sharded_elsewhere"]
        assert "'0.weight' is sharded over processes" in outcomes[world, "unnamed"]
        assert torch.equal(outcomes[world, "named"][0], keys)
        torch.testing.assert_close(outcomes[world, "named"][1], weight, rtol=0, atol=1e-6)

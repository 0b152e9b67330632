"""Models that ``fully_shard`` spread over two real processes under gloo: the network of one
process, or an error by name before the first step."""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))  # the processes import it by name as well
several, sharded = import_module("several_ranks"), import_module("sharded_ranks")
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no torch.distributed"
)

# Each of another kind of signals or states; the others are slow.
RULES = ("SET", "RigL", "StructuralPlasticity", "SNIP", "IMP", "SRSTE", "Wanda")
WAYS = (
    "optimizer Adam", "optimizer Adagrad", "optimizer Adamax", "images", "tied", "kept whole",
    "accumulated", "zeroed", "dropped", "clipped", "scaler", "pair", "averaged",
)  # fmt: skip
MORE = [name for name in several.RULES if name not in RULES]
OTHERS = [name for name in sharded.WAYS if name not in WAYS]


@pytest.fixture(scope="module")
def folder(filled):
    """Where the processes worked; with what one process saved."""

    def fill(path):
        for name in sharded.SAVED:
            sharded.half(0, 1, name, path / f"of one {name}", first=True)
        sharded.of_sparse(path / "of sparse")
        several.on_ranks(path, sharded.everything, str(path), RULES, WAYS)

    return filled("sharded ranks", fill)


@pytest.fixture(scope="module")
def both(folder):
    """What each of two ranks came to."""
    return several.outcomes(folder)


@pytest.fixture(scope="module")
def rest(filled):
    """The same of all other rules and ways."""
    folder = filled("rest", lambda path: several.on_ranks(path, sharded.runs, MORE, OTHERS))
    return several.outcomes(folder)


def are_one(outcomes, own, *, exact=True):
    """The ranks hold one network, and that of one process."""
    (keys, weight, digests, state), (other_keys, other_weight, other_digests, other) = outcomes
    assert digests == other_digests and torch.equal(keys, other_keys)
    assert torch.equal(weight, other_weight) and state.keys() == own[3].keys()
    for name, whole in state.items():
        assert torch.equal(whole, other[name])
        assert whole.dtype is own[3][name].dtype and whole.shape == own[3][name].shape
        if exact:
            torch.testing.assert_close(whole, own[3][name], rtol=0, atol=1e-6)
    if exact:
        assert digests == own[2] and torch.equal(keys, own[0])
        torch.testing.assert_close(weight, own[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_rules_come_to_the_network_of_one_process(both, name):
    are_one([o["runs"]["rule", name] for o in both], sharded.run_rule(name))


@pytest.mark.parametrize("name", WAYS)
def test_ways_to_train_come_to_the_network_of_one_process(both, name):
    are_one([o["runs"]["way", name] for o in both], sharded.WAYS[name](0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_every_other_rule_comes_to_the_network_of_one_process(rest, name):
    are_one([o["rule", name] for o in rest], sharded.run_rule(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_other_way_comes_to_the_network_of_one_process(rest, name):
    own = sharded.WAYS[name](0, 1)
    are_one([o["way", name] for o in rest], own, exact="bfloat16" not in name)


FOUR = ("RigL", "SRSTE", "SNIP"), ("images", "optimizer Adam", "clipped", "scaler", "averaged")


@pytest.mark.slow
def test_a_rank_may_hold_no_row_of_a_weight(tmp_path):
    outcomes = several.on_ranks(tmp_path, sharded.runs, *FOUR, 4, ranks=4)
    rules, ways = FOUR
    own = {("rule", name): sharded.run_rule(name) for name in rules}
    own |= {("way", name): sharded.WAYS[name](0, 1) for name in ways}
    for key, one in own.items():
        are_one([outcomes[0][key], outcomes[3][key]], one)


# -- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sharded.SAVED)
def test_a_file_goes_on_with_any_number_of_ranks(both, folder, name):
    one = sharded.half(0, 1, name, folder / f"of one {name}", first=False)
    for how in ("two", "one"):
        are_one([o["saved"][name, how] for o in both], one)
    back = sharded.half(0, 1, name, folder / f"of two {name}", first=False)
    are_one([back, back], one)


def test_files_of_the_sparse_world_go_on_in_shards_and_back(both, folder):
    keys, weight, digests = sharded.of_sparse(folder / "of sparse", world="masked")
    for outcome in both:
        other_keys, other_weight, other_digests, _ = outcome["crossed"]
        assert digests == other_digests and torch.equal(keys, other_keys)
        torch.testing.assert_close(weight, other_weight, rtol=0, atol=1e-6)
    one = sharded.half(0, 1, "RigL", folder / "of one RigL", first=False)
    keys, weight, digests = sharded.of_sparse(folder / "of two RigL", world="sparse")
    assert digests == one[2] and torch.equal(keys, one[0])
    torch.testing.assert_close(weight, one[1], rtol=0, atol=1e-6)


def test_the_masked_world_is_chosen_and_the_models_own_group_taken(both):
    for outcome in both:
        assert outcome["chosen"] == [("masked", True)] * 2


def test_a_session_goes_back_to_its_own_file(both):
    for outcome in both:
        (weight, digest), (again, digest_again) = outcome["back"]
        assert torch.equal(weight, again) and digest == digest_again


# -- what others write, and what is refused -------------------------------------------------------


def test_what_is_written_at_absent_synapses_of_one_rank_is_found_by_all(both):
    for outcome in both:
        written = outcome["written"]
        assert "Rank 1: " in written["check"] and "of '0.weight'" in written["check"]
        first, second = written["enforce"]
        assert first > 100 and second == 0
        assert written["clean"] is written["projected"] is written["loaded"] is None
        assert written["after"] == (None, True)
    warned = [outcome["written"]["warned"] for outcome in both]
    assert warned[0] == [] and "are set to 0" in warned[1][0]


def test_a_state_of_other_edges_stops_every_rank(both):
    for outcome in both:
        error = outcome["written"]["other edges"]
        assert "was loaded from a state of other edges" in error and "net.adopt" not in error


def test_edges_that_are_nan_on_one_rank_are_found_by_all(both):
    for outcome in both:
        assert "are NaN" in outcome["nan"] and "'0.weight'" in outcome["nan"]


REFUSED = {
    "sparse": "'0.weight' is sharded over processes .* attach with world='masked'",
    "a part": "'2.weight' is to be sparse and is not sharded",
    "a bias": "'0.bias' is trained and not sharded",
    "columns": r"'0.weight' is sharded as \(Shard\(dim=1\),\)",
    "hybrid": r"\(Replicate\(\), Shard\(dim=0\)\) over a mesh of 2 dimensions",
    "Own": "Own may need the whole of a weight",
    "Muon": "Muon may need the whole of a weight",
    "Rprop": "Rprop may need the whole of a weight",
    "group": "leave group= out",
    "copy": "cannot be copied or pickled",
    "pickle": "cannot be copied or pickled",
    "adopt": r"load the session \(net.load\)",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_by_name(both, what):
    for outcome in both:
        assert re.search(REFUSED[what], outcome["refused"][what]), outcome["refused"][what]

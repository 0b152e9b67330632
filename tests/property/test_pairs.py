"""Pairs of rules: each keeps its promise after every tick, in both torch worlds, or they are
refused by name before step 0. A sample of all pairs; the complete matrix is slow."""

import random

import pytest

from .pairs import Pair, Refused, disagreement, names, outcome, pairs

ALL = list(pairs())
SAMPLE = random.Random(16).sample(ALL, 60)


@pytest.mark.parametrize("pair", SAMPLE, ids=str)
def test_two_rules_keep_their_promises_or_are_refused_by_name(pair):
    assert disagreement(pair) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_rule_keeps_its_promise_beside_every_other(name):
    for pair in ALL:
        if pair.first == name:
            assert disagreement(pair) is None, str(pair)


def test_the_sample_has_pairs_of_both_kinds():
    """A matrix of refusals would prove nothing."""
    said = [isinstance(outcome(pair, "masked"), Refused) for pair in SAMPLE[:20]]
    assert any(said) and not all(said)


@pytest.mark.parametrize("name", ["NDSNN", "ESLSNN"])
@pytest.mark.parametrize("other", ["NM", "Magnitude", "SET"])
def test_growth_under_a_cap_has_the_slots_of_what_goes(name, other):
    """[NM, NDSNN] under FanIn: "cannot add 12 of 20 edges" in mid-training."""
    first, second = sorted((name, other), key=names().index)
    for variant in ("fan-in", "fan-out"):
        assert disagreement(Pair(first, second, variant)) is None

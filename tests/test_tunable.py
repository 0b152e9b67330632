"""What a search tries of the fields of rules: declared beside them, legal wherever it is drawn."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rewire
from rewire.rules import available
from rewire.tunable import Tunable, is_whole, number_of, tunables, with_values
from rewire.when import Cosine, Every, Fraction, When


@dataclass(frozen=True, kw_only=True)
class Restless(rewire.Rule):
    """A rule of an installed package: its fields are tried like those of rules here."""

    share: Annotated[Fraction, Tunable(0.01, 0.4, log=True)] = Cosine(0.1)
    rounds: Annotated[int, Tunable(1, 9)] = 3
    order: Annotated[Literal["first", "last"], Tunable(choices=("first", "last"))] = "last"
    when: Annotated[When, Tunable(2, 50)] = Every(10, stop=0.5)


RULES = [*available().values(), Restless]


def drawn(space, at, whole):
    """The value at a place from 0 to 1 of a space."""
    if space.choices:
        return space.choices[min(int(at * len(space.choices)), len(space.choices) - 1)]
    low, high = (
        (math.log(space.low), math.log(space.high)) if space.log else (space.low, space.high)
    )
    value = low + at * (high - low)
    value = min(max(math.exp(value) if space.log else value, space.low), space.high)
    return round(value) if whole else value


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_every_default_lies_inside_and_every_value_makes_a_legal_rule(data):
    unit = st.floats(0, 1)
    for cls in RULES:
        spaces, rule = tunables(cls), cls()  # a default outside raises
        values = {name: drawn(space, data.draw(unit), is_whole(getattr(rule, name)))
                  for name, space in spaces.items()}  # fmt: skip
        tuned = with_values(rule, values)
        for name, value in values.items():
            assert spaces[name].holds(getattr(tuned, name))
            assert number_of(getattr(tuned, name)) == value
        assert cls.from_table(tuned.to_table()) == tuned  # what a tuned experiment file says


def test_what_else_a_schedule_says_stays():
    rule = with_values(Restless(), {"share": 0.3, "when": 20, "rounds": 5, "order": "first"})
    assert rule == Restless(share=Cosine(0.3), when=Every(20, stop=0.5), rounds=5, order="first")


def test_most_rules_say_what_to_try():
    """Those that do not have nothing to choose, or only patterns and words of a paper."""
    without = {cls.__name__ for cls in available().values() if not tunables(cls)}
    assert {"Dense", "Static", "NM", "Wanda", "UnitPruning", "Combined"} <= without
    assert len(without) <= len(available()) / 5


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "goes from -inf to inf"),
        ({"low": 1.0, "high": 1.0}, "goes from 1.0 to 1.0"),
        ({"low": 0.0, "high": 1.0, "log": True}, "no logarithm of 0.0"),
        ({"low": 0.0, "high": 1.0, "choices": (1, 2)}, "a range or choices, not both"),
        ({"choices": ("layer", "layer")}, "chooses among different values"),
    ],
)
def test_a_senseless_space_is_refused(space, message):
    with pytest.raises(ValueError, match=message):
        Tunable(**space)


def test_a_default_outside_is_named():
    @dataclass(frozen=True, kw_only=True)
    class Odd(rewire.SET):
        fraction: Annotated[Fraction, Tunable(0.4, 0.5)] = 0.3

    with pytest.raises(ValueError, match=r"Odd.fraction: its default 0.3 lies outside"):
        tunables(Odd)

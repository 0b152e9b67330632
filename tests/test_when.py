"""When rules are due, and numbers that change."""

from math import cos, pi

import pytest

from rewire import when
from rewire.when import Clock, Cosine, Cubic, Every, Linear, at_end, at_steps, between, every, never


def due(schedule, span=20):
    return [s for s in range(1, span + 1) if schedule(Clock(s, span))]


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        (every(1), list(range(1, 21))),
        (every(5), [5, 10, 15]),  # not after the last step: nobody asks for it
        (every(20), []),
        (every(6), [6, 12, 18]),
        (every(5, first=1), [1, 6, 11, 16]),
        (every(5, first=0), [5, 10, 15]),
        (every(5, stop=15), [5, 10, 15]),
        (every(5, stop=14), [5, 10]),
        (every(5, stop=0.75), [5, 10, 15]),
        (every(5, stop=1), []),
        (every(5, stop=1.0), [5, 10, 15, 20]),
        (between(3, 9, 3), [3, 6, 9]),
        (between(3, 0.5, 3), [3, 6, 9]),
        (at_end, [20]),
        (when.Last(1), [20]),
        (when.Last(3), [18, 19, 20]),
        (at_steps(2, 7), [2, 7]),
        (never, []),
    ],
)
def test_a_schedule_is_due_at_exactly_these_steps(schedule, steps):
    assert due(schedule) == steps


def test_a_period_below_one_is_refused():
    with pytest.raises(ValueError, match=r"every\(0\) is not a period"):
        every(0)
    with pytest.raises(ValueError, match=r"last\(0\) is no number of steps"):
        when.Last(0)


def test_cosine_falls_from_start_to_zero_at_stop():
    f = when.cosine(0.3, 0.75)
    assert f(Clock(0, 100)) == 0.3
    assert f(Clock(30, 100)) == pytest.approx(0.15 * (1 + cos(pi * 30 / 75)))
    assert f(Clock(75, 100)) == pytest.approx(0, abs=1e-16)
    assert f(Clock(90, 100)) == pytest.approx(0, abs=1e-16)
    assert when.cosine(0.3, 50)(Clock(25, 10**9)) == pytest.approx(0.15)


def test_linear_and_cubic_hit_their_ends():
    assert [when.linear(1.0, 0.2, 10)(Clock(s, 99)) for s in (0, 5, 10, 50)] == pytest.approx(
        [1.0, 0.6, 0.2, 0.2]
    )
    ramp = when.cubic(0.0, 0.8, 10, 30)  # Zhu & Gupta: s_f + (s_i - s_f)(1 - t)^3
    got = [ramp(Clock(s, 99)) for s in (0, 10, 20, 30, 99)]
    assert got == pytest.approx([0, 0, 0.8 - 0.8 / 8, 0.8, 0.8])


def test_values_are_numbers_or_schedules():
    assert when.value(0.3, Clock(1, 2)) == 0.3
    assert when.value(Linear(1.0, 0.0), Clock(1, 2)) == 0.5


ALL = [
    every(7), every(7, first=2), every(7, stop=0.5), at_end, never, at_steps(1, 2), Cosine(0.3),
    Cosine(0.3, 100), Linear(1.0, 0.5), Cubic(0.1, 0.9, 5, 0.8), Every(1),
]  # fmt: skip


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_schedules_are_values_that_round_trip_through_plain_tables(schedule):
    table = when.to_table(schedule)
    again = when.from_table(table)
    assert again == schedule and hash(again) == hash(schedule)
    assert eval(repr(schedule), vars(when)) == schedule


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("sometimes", "'sometimes' is no schedule; the words are at_end, never"),
        ({"each": 3}, "must hold exactly one of every, at_steps"),
        ({"every": 3, "cosine": 0.1}, "must hold exactly one of"),
        ({"every": 3, "until": 4}, "'every' schedule: .*'until'"),
        ({"every": 0}, "is not a period"),
        (True, "True is no schedule"),
        (1.5, "1.5 is no schedule"),
    ],
)
def test_tables_that_say_nothing_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        when.from_table(table)


def test_a_bare_number_is_a_period():
    assert when.from_table(100) == every(100)

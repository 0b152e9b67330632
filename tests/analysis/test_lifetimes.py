from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewire.analysis.lifetimes import churn, lifetimes, sampled


@dataclass
class Record:
    total: int
    drop: list[int]
    add: list[int]


START = [1, 4, 6]
RECORDS = [
    Record(2, [1], [9]),  # 1 6 9
    Record(2, [], [0]),  # 0 1 6 9
    Record(5, [0, 3], [4, 7]),  # 1 4 6 7
]


def test_churn_adds_up_edits_of_one_step():
    found = churn(RECORDS)
    assert found.total.tolist() == [2, 5]
    assert found.formed.tolist() == [2, 2]
    assert found.dropped.tolist() == [1, 2]
    assert found.rate(edges=4, steps=10) == 3 / 40
    assert churn([]).total.shape == (0,)


def test_lifetimes_of_every_life():
    lives = lifetimes(START, RECORDS, end=8)
    found = sorted(
        zip(*(x.tolist() for x in (lives.key, lives.born, lives.died, lives.alive)), strict=True)
    )
    assert found == [
        (0, 2, 5, False),
        (1, 0, 8, True),
        (4, 0, 2, False),
        (4, 5, 8, True),  # grown again: a second life
        (6, 0, 8, True),
        (7, 5, 8, True),
        (9, 2, 5, False),
    ]


def test_survival_is_kaplan_meier_by_hand():
    age, fraction = lifetimes(START, RECORDS, end=8).survival()
    # ages: dead 2, 3, 3; seen to 3, 3, 8, 8
    assert age.tolist() == [2, 3, 8]
    assert fraction == pytest.approx([6 / 7, 6 / 7 * 4 / 6, 6 / 7 * 4 / 6])


def test_nothing_died_gives_no_curve_and_no_records_give_the_start():
    lives = lifetimes(START, [], end=8)
    assert lives.key.tolist() == START
    assert lives.age.tolist() == [8, 8, 8]
    assert [len(x) for x in lives.survival()] == [0, 0]


def test_a_log_of_another_start_is_refused():
    with pytest.raises(ValueError, match="step 5 drops row 3 of 2"):
        lifetimes([1], [Record(2, [], [9]), RECORDS[2]], end=8)


@given(st.data())
def test_lives_add_up_to_the_edges_of_every_moment(data):
    keys = set(data.draw(st.sets(st.integers(0, 30), max_size=10)))
    start, records, moments = sorted(keys), [], []
    for total in range(1, data.draw(st.integers(0, 6)) + 1):
        here = sorted(keys)
        rows = data.draw(st.sets(st.integers(0, len(here) - 1))) if here else set()
        keys -= {here[r] for r in rows}
        added = data.draw(st.sets(st.integers(0, 30).filter(lambda k: k not in keys), max_size=5))  # noqa: B023
        keys |= added
        records.append(Record(total, sorted(rows), list(added)))
        moments.append((total, sorted(keys)))
    lives = lifetimes(start, records, end=10)
    for total, expected in moments:
        alive = (lives.born <= total) & ((lives.died > total) | lives.alive)
        assert sorted(lives.key[alive].tolist()) == expected
    assert lives.alive.sum() == len(keys)
    assert (lives.age >= 0).all()
    assert np.count_nonzero(~lives.alive) == churn(records).dropped.sum()


@pytest.mark.parametrize("multapses", [False, True])
def test_a_sample_lives_as_its_edges_do_among_all(multapses):
    rng = np.random.default_rng(int(multapses))
    keys = np.sort(rng.choice(4000, 900, replace=multapses))
    start, records = keys, []
    for step in range(1, 60):
        drop = rng.choice(len(keys), 40, replace=False)
        kept = np.delete(keys, drop)
        free = np.arange(4000) if multapses else np.setdiff1d(np.arange(4000), kept)
        add = np.sort(rng.choice(free, 45, replace=False))
        records.append(Record(step, drop, add))
        keys = np.sort(np.concatenate([kept, add]))
    held, some = sampled(start, records, 200, stretches=8)
    assert 200 <= len(held) < 260
    found, whole = lifetimes(held, some, 60), lifetimes(start, records, 60)
    # the ranges of keys that were followed, as the sample of the start shows them
    first = np.linspace(0, 900, 8, endpoint=False).astype(int)
    ends = np.append(start, 4000)
    inside = np.zeros(len(whole.key), bool)
    for a in first:
        inside |= (whole.key >= start[a]) & (whole.key < ends[a + 25])
    assert inside.sum() > 600
    told = [np.stack([x.key, x.born, x.died, x.alive]).T.tolist()
            for x in (found, whole.where(inside))]  # fmt: skip
    assert sorted(told[0]) == sorted(told[1])


def test_few_edges_are_all_followed():
    records = [Record(1, [0], [9])]
    held, some = sampled([1, 5], records, 200)
    assert held.tolist() == [1, 5] and some is records

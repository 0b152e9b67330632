"""One contract of ``when``: the same for every rule that edits the graph now and then."""

import pytest

import rewire
from rewire import when
from rewire.rule import pace_of
from rewire.rules import available, of_class
from rewire.when import Cosine, Linear, Schedule

from .test_full_layers import built, session

PERIODIC = ["RigL", "SET", "MEST", "SRigL", "CHT", "DropGrow", "RandomRewiring", "AgeLimit", "DSR",
            "SNFS", "STDPPruning", "GraNet", "GMP", "HomeostaticGrowth", "NDSNN",
            "ESLSNN"]  # fmt: skip
MADE = {n: c for n, c in available().items() if c.__module__.startswith("rewire.") and n != "On"}
FALLING = ("GraNet", "GMP", "NDSNN")
# what they grow is another each time
RANDOM = ["SET", "MEST", "DropGrow", "RandomRewiring", "DSR", "ESLSNN"]
RAMPS = {
    (name, field): number
    for name, rule in MADE.items()
    for field, number in vars(rule()).items()
    if isinstance(number, Schedule)
}


def paced(name, **pace):
    """The rule with this schedule, in the field that says when it edits the graph."""
    field = MADE[name]._paced_by
    return MADE[name](**{field: when.every(**pace)})


def test_defaults_end_where_they_always_did():
    third, half = Cosine(0.3, 0.75), Cosine(0.5, 1.0)
    as_before = {
        ("RigL", "fraction"): third, ("SRigL", "fraction"): third,
        ("RandomRewiring", "fraction"): third, ("MEST", "fraction"): Linear(0.2, 0.0, 0.75),
        ("GraNet", "fraction"): half, ("NDSNN", "fraction"): half, ("SNFS", "fraction"): half,
        ("EdgePopup", "rate"): Cosine(0.1, 1.0), ("CHTs", "fraction"): third,
        ("CHTss", "fraction"): third, ("CHTs", "sharpness"): Linear(1.0, 9.0, 0.75),
        ("CHTss", "sharpness"): Linear(1.0, 9.0, 0.75),
    }  # fmt: skip
    assert as_before.items() <= RAMPS.items()
    assert all(rule().to_table() == {} for rule in MADE.values())


@pytest.mark.parametrize(("name", "field"), RAMPS, ids=str)
@pytest.mark.parametrize("stop", [0.5, 300, 1.0])
def test_a_ramp_ends_where_its_rules_schedule_does(name, field, stop):
    rule = paced(name, n=10, stop=stop)
    assert getattr(rule, field).stop == stop == pace_of(rule).end
    assert of_class(type(rule), rule.to_table()) == rule
    own = type(RAMPS[name, field])(0.1)
    assert getattr(MADE[name](**{**vars(rule), field: own}), field).stop == stop
    explicit = MADE[name](**{**vars(rule), field: Cosine(0.1, 0.9)})
    assert getattr(explicit, field) == Cosine(0.1, 0.9)  # what is said wins
    assert getattr(of_class(type(explicit), explicit.to_table()), field) == Cosine(0.1, 0.9)


def test_tables_of_earlier_files_mean_what_they_meant():
    """The keys of a cell are hashed: what is the same run has the same ones."""
    written = {"fraction": {"cosine": 0.3, "stop": 0.75}}
    assert rewire.RigL.from_table(written).to_table() == {}
    period = {"when": {"every": 50, "stop": 0.75}}
    same = rewire.RigL.from_table(period)
    assert same.to_table() == period and same.versions == rewire.RigL().versions == {}
    assert rewire.RigL(when=when.every(50)).versions == {"RigL": 2}  # not after the last step
    assert rewire.SET().versions == rewire.SET(when=when.every(50)).versions == {"SET": 2}
    assert rewire.SET.from_table({"fraction": {"cosine": 0.2}}).to_table() == {
        "fraction": {"cosine": 0.2, "stop": 1.0}
    }
    # another run than before, under another name: the cosine ended at .75 here
    assert rewire.RigL(when=when.every(100, stop=0.5)).to_table() == {
        "when": {"every": 100, "stop": 0.5}, "fraction": {"cosine": 0.3, "stop": 0.5},
    }  # fmt: skip


@pytest.mark.parametrize("name", PERIODIC)
def test_nothing_is_edited_after_the_last_step_unless_it_is_asked_for(name):
    field, falling = MADE[name]._paced_by, {"to": 0.2} if name in FALLING else {}
    more = {**vars(built(name)), **falling}
    if "fraction" in more:
        more["fraction"] = 0.4
    ticks = {}
    for stop in (None, 1.0):
        rule = MADE[name](**{**more, field: when.every(3, stop=stop)})
        net = session(rule, (48, 24) if falling else (20, 12), steps=12)
        while not net.done:
            net.step()
        ticks[stop] = {record.total for record in net.history}
    assert max(ticks[None]) <= 9
    assert 12 in ticks[1.0] or name not in RANDOM


def test_set_rewires_after_every_epoch_but_the_last():
    net = session(rewire.SET(), (20, 12), steps=300)
    while not net.done:
        net.step()
    assert [record.total for record in net.history] == [100, 200]

"""A senseless value of any field of any rule is refused where the rule is made, by field."""

import math
import re
import typing
from dataclasses import MISSING, fields, replace

import numpy as np
import pytest
import torch

import rewire
from rewire import branches, limits, measures, nulls, rules, starts
from rewire.strategy import Plain, derived
from rewire.when import Cubic, Every, Linear, Schedule, When

SIGNED = {  # fields in which a number below 0 says something
    "StructuralPlasticity": {"birth", "threshold"}, "SET": {"birth"}, "SoftDeepR": {"theta_min"},
    "STR": {"initial"}, "ContinuousSparsification": {"initial"},
    "HomeostaticGrowth": {"birth", "eta", "epsilon"},
    "SynapticSampling": {"mu", "theta_0"},
}  # fmt: skip
NEEDED = {"On": {"rule": rewire.SET(), "projections": ("fc1",)}}
KNOWN = {**rules.available(), **branches.available()}


def plain_hint(cls, name):
    return typing.get_type_hints(cls)[name]


def senseless(cls, name):
    """Values that no field of this type hint means anything by."""
    hint = plain_hint(cls, name)
    parts = set(typing.get_args(hint)) or {hint}
    yield object()
    if any(typing.get_origin(part) is typing.Literal for part in (hint, *parts)):
        yield from ("nonsense", math.nan)
    if parts & {int, float}:
        yield from (math.nan, torch.zeros(2))
        if name not in SIGNED.get(cls.__name__, ()):
            yield -5
        if str not in parts:
            yield "nonsense"
        if float not in parts:
            yield 1.5
    if bool in parts:
        yield "yes"
    if any(isinstance(p, type) and issubclass(p, When | Schedule) for p in parts):
        yield "at_ends"
    if str in parts and len(parts) == 1:
        yield 3


CASES = [(rule, field.name) for rule, cls in KNOWN.items() for field in fields(cls)]


def made(rule, **values):
    return KNOWN[rule](**{**NEEDED.get(rule, {}), **values})


@pytest.mark.parametrize("rule", KNOWN)
def test_a_senseless_value_of_any_field_is_refused_by_the_fields_name(rule):
    cls = KNOWN[rule]
    required = {f.name: NEEDED.get(rule, {}).get(f.name) for f in fields(cls)
                if f.default is MISSING and f.default_factory is MISSING}  # fmt: skip
    for field in fields(cls):
        for value in senseless(cls, field.name):
            with pytest.raises(ValueError, match=rf"\b{re.escape(field.name)}\b"):
                cls(**{**required, field.name: value})


@pytest.mark.parametrize("rule", [r for r, cls in KNOWN.items()
                                  if any(f.name == "fraction" for f in fields(cls))])  # fmt: skip
def test_a_fraction_is_one_at_both_ends_of_a_schedule(rule):
    if plain_hint(KNOWN[rule], "fraction") is float:
        return
    for schedule in (Linear(0.5, -0.1), Linear(1.5, 0.1), Cubic(0.5, 2.0)):
        with pytest.raises(ValueError, match="fraction = .*: expected a number from 0 to 1"):
            made(rule, fraction=schedule)
    made(rule, fraction=Linear(0.5, 0.1))


def test_the_numbers_of_schedules_are_checked():
    for make, message in (
        (lambda: Every(1.5), "Every.n = 1.5: expected a whole number"),
        (lambda: Every(10, stop=math.nan), "Every.stop = nan: expected a number above 0"),
        (lambda: Every(10, stop=-1), "Every.stop = -1: expected a number above 0"),
        (lambda: Every(10, first=-3), "Every.first = -3: expected a whole number from 0 up"),
        (lambda: Linear("a"), "Linear.start = 'a': expected a number"),
        (lambda: rewire.when.at_steps(1, "b"), "AtSteps.steps = .*: expected each to be"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_numbers_of_numpy_are_numbers_and_infinity_is_one_where_it_says_something():
    assert rewire.DeepR(l1=np.float32(0.5)).l1 == 0.5
    assert rewire.IMP(rounds=np.int64(3)).rounds == 3
    rewire.StructuralPlasticity(sigma_form=math.inf)
    with pytest.raises(ValueError, match="DeepR.l1 = inf"):
        rewire.DeepR(l1=math.inf)


def test_a_changed_copy_is_checked_as_well():
    with pytest.raises(ValueError, match="IMP.scope = 'layers'.*did you mean 'layer'"):
        replace(rewire.IMP(), scope="layers")


def test_what_has_no_rule_is_checked_too():
    """Limits, measures, null models, topologies to start from: all that has a table."""
    for cls, field, value in (
        (limits.FixedPoint, "rounding", "floor"),
        (measures.PercolationByDegree, "remove", "unit"),
        (starts.ReceptiveField, "places", "sheets"),
        (nulls.Degrees, "rounds", math.nan),
    ):
        with pytest.raises(ValueError, match=rf"{cls.__name__}.{field} = "):
            cls(**{field: value})
    assert all(hasattr(cls, "__post_init__") for cls in derived(Plain))


def test_a_class_of_ones_own_whose_hints_cannot_be_read_is_left_alone():
    from dataclasses import dataclass

    class Odd:
        pass

    namespace = {"dataclass": dataclass, "Rule": rewire.Rule}
    exec("@dataclass(frozen=True, kw_only=True)\nclass Mine(Rule):\n    odd: 'Nowhere' = 3\n"
         "    n: int = 1\n", namespace)  # fmt: skip
    assert namespace["Mine"](odd=Odd()).n == 1
    with pytest.raises(ValueError, match="Mine.n = 'x': expected a whole number"):
        namespace["Mine"](n="x")


def test_a_rate_of_a_projection_that_is_not_there_is_refused_when_attached():
    model = torch.nn.Sequential(torch.nn.Linear(9, 8), torch.nn.Linear(8, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rule = rewire.IMP(scope="layer", rates={"1.weihgt": 0.1})
    with pytest.raises(ValueError, match="IMP.rates names '1.weihgt'.*did you mean '1.weight'"):
        rewire.train(model, optimizer, rule, loss=lambda m, x: m(x).sum(),
                     data=[torch.ones(2, 9)], steps=2)  # fmt: skip


def test_a_density_and_densities_by_layer_say_the_same_or_are_refused():
    def attached(**spread):
        model = torch.nn.Sequential(torch.nn.Linear(20, 10), torch.nn.Linear(10, 20))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return rewire.attach(model, optimizer, rewire.Static(), **spread).counts

    by_layer = {"0": 0.5, "1": 0.25}
    with pytest.raises(ValueError, match="density=0.1 asks for 40 of 400 edges, .* comes to 150"):
        attached(density=0.1, distribution=by_layer)
    with pytest.raises(ValueError, match="density=0.1 asks for 40 .* comes to 120"):
        attached(density=0.1, distribution=[60, 60])
    assert attached(density=0.375, distribution=by_layer) == [100, 50]
    assert attached(distribution=by_layer) == [100, 50] == attached(distribution=[100, 50])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "steps .* from 1 up, or None; got 0"), ({"steps": 1.5}, "got 1.5"),
     ({"steps": math.nan}, "got nan"), ({"seed": "x"}, "seed is a whole number, got 'x'"),
     ({"density": "a"}, "density 'a' is not in"), ({"density": -1}, "density -1 is not in"),
     ({"density": None, "distribution": [1.5]}, "counts of edges are whole numbers, got .1.5"),
     ({"limits": ["FanIn"]}, "'FanIn' is no limit")],
)  # fmt: skip
def test_a_senseless_number_of_attach_is_refused(options, message):
    model = torch.nn.Linear(9, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises((ValueError, TypeError), match=message):
        rewire.attach(model, optimizer, rewire.SET(), **{"density": 0.5, **options})


def test_the_numbers_of_measures_are_checked():
    for cls in derived(measures.Measure):
        for name in {"tries", "most", "count", "share"} & {f.name for f in fields(cls)}:
            with pytest.raises(ValueError, match=f"{cls.__name__}.{name} = -5: expected"):
                cls(**{name: -5})

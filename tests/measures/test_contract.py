"""What holds for every measure, those of packages that register one included.

An oracle in `oracles.py` gives the same numbers on random graphs; the order of units does not
matter; numbers lie within the bounds; what is needed is refused by name; it is a frozen value with
a table, a source, a formula and an example, in a file of its own. A new measure fails here until it
has an oracle.
"""

from __future__ import annotations

import dataclasses
import inspect
import re

import network_oracles  # noqa: F401
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ORACLES
from random_graphs import LACKING, fitting, permuted

from rewire import measures
from rewire.graph import Graph
from rewire.measures import Measure, Refused
from rewire.measures.measure import NEEDS

KNOWN = measures.known()
every = pytest.mark.parametrize("cls", KNOWN.values(), ids=KNOWN.keys())


def tried(cls: type[Measure]) -> tuple[Measure, ...]:
    return ORACLES[cls].tried


def graphs(cls: type[Measure]) -> st.SearchStrategy[Graph]:
    chosen = ORACLES[cls].graphs
    return fitting(cls.needs) if chosen is None else chosen


def assert_same(value: dict[str, float], expected: dict[str, float], rtol: float) -> None:
    assert value.keys() == expected.keys()
    for part, number in expected.items():
        np.testing.assert_allclose(value[part], number, rtol=rtol, atol=1e-9, err_msg=part)


@every
def test_there_is_an_oracle(cls: type[Measure]) -> None:
    assert cls in ORACLES, f"{cls.__name__} has no oracle in tests/measures/oracles.py"
    assert all(type(measure) is cls for measure in tried(cls))


@every
@settings(max_examples=25)
@given(data=st.data())
def test_the_numbers_are_those_of_the_oracle(cls: type[Measure], data: st.DataObject) -> None:
    graph = data.draw(graphs(cls))
    for measure in tried(cls):
        expected = {k: float(v) for k, v in ORACLES[cls].of(measure, graph).items()}
        assert_same(measure.of(graph), expected, ORACLES[cls].rtol)


@every
@settings(max_examples=15)
@given(data=st.data(), seed=st.integers(0, 99))
def test_the_order_of_the_units_does_not_matter_and_bounds_hold(
    cls: type[Measure], data: st.DataObject, seed: int
) -> None:
    graph = data.draw(graphs(cls))
    shuffled = permuted(graph, np.random.default_rng(seed))
    least, most = cls.bounds
    for measure in tried(cls):
        numbers = measure.of(graph)
        if not cls.numbered:
            assert_same(measure.of(shuffled), numbers, rtol=1e-9)
        defined = [x for x in numbers.values() if not np.isnan(x)]
        assert all(least is None or x >= least for x in defined)
        assert all(most is None or x <= most for x in defined)


@every
def test_a_graph_of_no_edges_is_measured(cls: type[Measure]) -> None:
    within = cls.needs & {"recurrent", "positions"}
    graph = LACKING["weight" if within else "recurrent"]  # it has all else
    empty = Graph.empty(graph.space).with_columns({"weight": np.empty(0)})
    for measure in tried(cls):
        assert all(not np.isinf(x) for x in measure.of(empty).values())


@every
@settings(max_examples=5)
@given(data=st.data())
def test_weights_are_read_as_declared(cls: type[Measure], data: st.DataObject) -> None:
    graph = data.draw(graphs(cls))
    unsigned = graph.with_columns({"weight": graph["weight"].abs()})
    bare = graph.only()
    for measure in tried(cls):
        numbers = measure.of(graph)
        if cls.weights in ("none", "absolute"):
            assert_same(measure.of(unsigned), numbers, rtol=1e-9)
        if cls.weights == "none":
            assert_same(measure.of(bare), numbers, rtol=0)
        else:
            assert "weight" in cls.needs


@every
def test_what_is_needed_is_refused_by_name(cls: type[Measure]) -> None:
    assert cls.needs <= NEEDS.keys() == LACKING.keys()
    for need in cls.needs:
        for measure in tried(cls):
            with pytest.raises(Refused, match=re.escape(measure.name)):
                measure.of(LACKING[need])


@every
def test_it_is_a_frozen_value_with_a_table(cls: type[Measure]) -> None:
    for measure in tried(cls):
        assert cls.from_table(measure.to_table()) == measure and hash(measure) == hash(measure)
        for field in dataclasses.fields(cls):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(measure, field.name, None)
    with pytest.raises(ValueError, match="has no parameter 'no_such'"):
        cls.from_table({"no_such": 1})


@every
def test_it_says_what_it_is_and_where_it_comes_from(cls: type[Measure]) -> None:
    text = inspect.getdoc(cls) or ""
    assert cls.kind in {"layers", "units", "network", "directed", "spectrum"} and ">>>" in text
    identifier = re.search(r"arXiv:\S+\d|doi:\S+[^\s.,;]|openreview:\w+", cls.source)
    assert cls.source == "definition" or (identifier and identifier[0] in text)
    assert cls.weights in ("none", "absolute", "signed")


def test_each_measure_has_a_file_of_its_own() -> None:
    files = [cls.__module__ for cls in measures.BUILT_IN]
    assert len(set(files)) == len(files)

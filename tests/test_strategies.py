"""The strategies of structural plasticity: values that combine, and classes of one's own."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import rewire
from rewire.graph import Graph, Population, Projection, Space, square_sheet
from rewire.rules import (
    DistanceDependentFormation,
    Elimination,
    Formation,
    StructuralPlasticity,
    UniformElimination,
    UniformFormation,
    WeightDependentElimination,
)

N = 64
SHEET = Space(
    [Population("in", N, square_sheet(N)), Population("out", N, square_sheet(N), slots=8)],
    [Projection("ff", "in", "out", "spiking", (N, N), True),
     Projection("lat", "out", "out", "spiking", (N, N), True)],
)  # fmt: skip
PLAIN = dict(slots=8, initial="given", partner="uniform", attempts=0.3)


def grown(steps=40, **fields):
    rng = np.random.default_rng(0)
    pairs = np.concatenate([np.arange(N)[:, None] * N + rng.integers(N, size=(N, 3)) for _ in "ab"])
    keys = np.sort(pairs + np.repeat([0, N * N], N)[:, None], axis=None)
    graph = Graph(
        SHEET, torch.from_numpy(keys), {"weight": torch.from_numpy(rng.random(len(keys)))}
    )
    net = rewire.Session(
        rewire.Bare(SHEET), graph, StructuralPlasticity(**{**PLAIN, **fields}), span=10**6
    )
    for _ in range(steps):
        net.step()
    return b"".join(record.to_bytes() for record in net.history)


@dataclass(frozen=True)
class Nearby(Formation):
    """The published law, written by a user."""

    def chance(self, lateral, apart):
        return np.exp(-apart / (2 * (1 / 16) ** 2)) if lateral else 0.16 * np.exp(apart * -20.48)


@dataclass(frozen=True)
class Weak(Elimination):
    most = 0.5

    def chances(self, graph, rows, projections):
        return [0.5 if w < 0.3 else 0.1 for w in graph.values("weight", rows)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (dict(p_form=0.5, sigma_form=0.3, p_form_lateral=0.7, sigma_form_lateral=0.2),
         dict(formation=DistanceDependentFormation(0.5, 0.3, 0.7, 0.2))),
        (dict(p_elim_dep=0.5, p_elim_pot=0.1, threshold=0.3),
         dict(elimination=WeightDependentElimination(0.5, 0.1, 0.3))),
        (dict(formation=UniformFormation(0.4)),
         dict(formation=DistanceDependentFormation(0.4, float("inf"), 0.4, float("inf")))),
        (dict(elimination=UniformElimination(0.2)),
         dict(elimination=WeightDependentElimination(0.2, 0.2, 0.7))),
        (dict(formation=Nearby()), {}),
        (dict(elimination=Weak()), dict(elimination=WeightDependentElimination(0.5, 0.1, 0.3))),
    ],
)  # fmt: skip
def test_the_same_strategy_said_in_two_ways_makes_the_same_edits(one, other):
    log = grown(**one)
    assert log == grown(**other)
    assert log != grown(**one, attempts=0.2) and len(log) > 1000


def test_uniform_elimination_spares_no_strong_synapse():
    keys = torch.arange(N * 8) * 8
    for weight, by_weight in ((0.0, 1.0), (1.0, 0.0)):
        graph = Graph(SHEET, keys, {"weight": torch.full((len(keys),), weight)})
        for elimination, share in (
            (UniformElimination(1.0), 1.0),
            (WeightDependentElimination(1.0, 0.0, 0.5), by_weight),
        ):
            rule = StructuralPlasticity(**{**PLAIN, "attempts": 1.0}, elimination=elimination,
                                        formation=UniformFormation(0.0))  # fmt: skip
            net = rewire.Session(rewire.Bare(SHEET), graph, rule, span=9)
            net.step()
            gone = 1 - net.edges / len(keys)
            # of 512 slots tried as often: 1 - 1/e of them once or more, each with certainty
            assert gone == pytest.approx((1 - np.exp(-1)) * share, abs=0.08)


def test_partners_are_drawn_by_any_signal_of_units():
    rule = StructuralPlasticity(partner="rate")
    assert rule.needs == {"rate"}
    assert StructuralPlasticity(partner="uniform").needs == frozenset()


def test_strategies_go_through_tables_and_copies():
    import copy
    import pickle

    rule = StructuralPlasticity(
        formation=UniformFormation(0.25), elimination=WeightDependentElimination(threshold=0.1)
    )
    table = rule.to_table()
    assert table["formation"] == {"kind": "UniformFormation", "p": 0.25}
    assert StructuralPlasticity.from_table(table) == rule
    rule._sheets(SHEET)  # made of the kernel's objects, which nobody can copy
    assert copy.deepcopy(rule) == pickle.loads(pickle.dumps(rule)) == rule


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"formation": {"kind": "Uniform"}}, "with one of DistanceDependentFormation, Uniform"),
        ({"formation": {"kind": "UniformElimination"}}, "write { kind"),
        ({"formation": {"kind": "UniformFormation", "q": 1}}, "has no 'q'; it takes p"),
        ({"elimination": {"kind": "UniformElimination", "p": 1.5}}, "p is a probability, got 1.5"),
    ],
)
def test_a_strategy_that_there_is_not_is_named(table, message):
    with pytest.raises(ValueError, match=message):
        StructuralPlasticity.from_table(table)

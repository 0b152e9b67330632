"""Graphs of a run over time, against replays step by step and counts by hand."""

from types import SimpleNamespace as Record

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewire.analysis import over_time
from rewire.analysis.exploration import exploration
from rewire.analysis.overlap import overlap
from rewire.graph import Edit, Graph, Population, Projection, Space
from rewire.measures import over_time as measured

SPACE = Space(
    [Population("a", 5), Population("b", 4), Population("c", 3)],
    [Projection("ab", "a", "b", "linear", (4, 5)), Projection("bc", "b", "c", "linear", (3, 4))],
)
LABELS = {"a": [0, 0, 1, 1, 2], "b": [0, 1, 1, 2], "c": [0, 1, 2]}


def a_run(seed, edits=6):
    """A start, records, and the set of keys after each step, by sets alone."""
    rng = np.random.default_rng(seed)
    start = np.sort(rng.choice(32, 12, replace=False))
    keys, records, after, total = start, [], {0: set(start.tolist())}, 0
    for _ in range(edits):
        total += int(rng.integers(0, 9))
        drop = np.sort(rng.choice(len(keys), rng.integers(0, 4), replace=False))
        left = np.delete(keys, drop)
        free = np.setdiff1d(np.arange(32), left)
        add = np.sort(rng.choice(free, rng.integers(0, 4), replace=False))
        records.append(Record(total=total, drop=drop, add=add))
        keys = np.sort(np.concatenate([left, add]))
        after[total] = set(keys.tolist())
    return Graph(SPACE, torch.from_numpy(start)), records, after


def at(after, step):
    return after[max(t for t in after if t <= step)]


@given(seed=st.integers(0, 500), every=st.integers(1, 12), extra=st.integers(0, 9))
def test_graphs_are_those_after_all_edits_up_to_their_step(seed, every, extra):
    start, records, after = a_run(seed)
    last = max(after)
    end = last + extra
    steps = list(over_time.graphs(start, records, every=every, end=end))
    assert [s for s, _ in steps] == sorted({*range(0, end, every), end})
    for step, graph in steps:
        assert set(graph.array.tolist()) == at(after, step)
    changes = list(over_time.graphs(start, records))
    assert [s for s, _ in changes] == sorted({0, *after})
    for step, graph in changes:
        assert set(graph.array.tolist()) == after[step]


def test_graphs_end_before_later_records():
    start, records, after = a_run(3)
    half = records[2].total
    assert half < records[-1].total
    *_, (step, graph) = over_time.graphs(start, records, every=2, end=half)
    assert step == half and set(graph.array.tolist()) == after[half]


def test_graphs_refuse_what_does_not_fit():
    start, records, _ = a_run(3)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        next(over_time.graphs(start, records, every=0))
    with pytest.raises(ValueError, match="follows one of step"):
        list(over_time.graphs(start, records[::-1]))
    bad = Record(total=1, drop=np.array([99]), add=np.array([], np.int64))
    with pytest.raises(ValueError):
        list(over_time.graphs(start, [bad]))


@given(seed=st.integers(0, 200))
def test_kept_and_distances_by_hand(seed):
    start, records, _ = a_run(seed)
    steps = list(over_time.graphs(start, records))
    kept = over_time.kept(steps)
    first, final = set(steps[0][1].array.tolist()), steps[-1][1]
    for t, (_, graph) in enumerate(steps):
        now = set(graph.array.tolist())
        assert kept[""][t] == len(first & now) / len(first)
        ab = {k for k in first if k < 20}
        assert np.isnan(kept["ab"][t]) if not ab else kept["ab"][t] == len(ab & now) / len(ab)
    for (step, parts), (same, graph) in zip(over_time.distances(steps, final), steps, strict=True):
        now, end = set(graph.array.tolist()), set(final.array.tolist())
        assert step == same
        assert parts[-1].hamming == len(now ^ end)
        assert parts[-1].jaccard == len(now & end) / len(now | end)
        assert parts == overlap(graph.array, final.array, graph.projections)


@given(seed=st.integers(0, 200))
def test_explored_is_what_has_existed_until_then(seed):
    start, records, _ = a_run(seed)
    steps = np.arange(0, records[-1].total + 3)
    seen = [
        {*start.array.tolist(), *(k for r in records if r.total <= s for k in r.add.tolist())}
        for s in steps
    ]
    rates = over_time.explored(start, records, steps)
    assert rates.tolist() == [len(s) / 32 for s in seen]
    assert rates[-1] == exploration(start.array, records, 32)[-1]


def same_community(key, labels=LABELS):
    if key < 20:
        return labels["a"][key % 5] == labels["b"][key // 5]
    return labels["b"][(key - 20) % 4] == labels["c"][(key - 20) // 4]


@given(seed=st.integers(0, 200))
def test_turnover_within_and_across_by_hand(seed):
    start, records, after = a_run(seed)
    change = over_time.turnover(start, records, LABELS)
    assert change.total.tolist() == sorted({r.total for r in records})
    keys = start.array.tolist()
    expected = {int(t): np.zeros(4, int) for t in change.total}
    for r in records:
        for rows, sort in ((r.drop, 2), (r.add, 0)):
            for row in rows.tolist():
                key = keys[row] if sort else row
                expected[r.total][sort + (not same_community(key))] += 1
        keys = sorted([k for i, k in enumerate(keys) if i not in r.drop.tolist()] + r.add.tolist())
    table = np.stack(
        [change.formed_within, change.formed_across, change.dropped_within, change.dropped_across]
    )
    assert table.T.tolist() == [expected[int(t)].tolist() for t in change.total]
    for t, within, across in zip(change.total, change.within, change.across, strict=True):
        inside = sum(same_community(k) for k in after[int(t)])
        assert (within, across) == (inside, len(after[int(t)]) - inside)


def test_labels_by_population_or_by_unit_of_the_network():
    start, records, _ = a_run(1)
    network = start.network
    flat = np.zeros(network.size, int)
    for name, values in LABELS.items():
        flat[network.starts[name] : network.starts[name] + len(values)] = values
    one, two = (over_time.turnover(start, records, labels) for labels in (LABELS, flat))
    assert one.formed_across.tolist() == two.formed_across.tolist()
    with pytest.raises(ValueError, match="'b' needs 4 labels, one a unit; there are none"):
        over_time.turnover(start, records, {"a": LABELS["a"]})
    with pytest.raises(ValueError, match="'a' needs 5 labels"):
        over_time.turnover(start, records, LABELS | {"a": [0]})
    with pytest.raises(ValueError, match="12 units, and labels have the shape"):
        over_time.turnover(start, records, flat[1:])


@given(seed=st.integers(0, 100))
def test_survival_by_community_is_the_product_over_deaths(seed):
    start, records, _ = a_run(seed)
    end = records[-1].total + 5
    curves = over_time.survival(start, records, LABELS, end)
    lives, born = [], {k: 0 for k in start.array.tolist()}
    keys = start.array.tolist()
    for r in records:
        gone = [keys[i] for i in r.drop.tolist()]
        lives += [(k, r.total - born.pop(k), True) for k in gone]
        born |= dict.fromkeys(r.add.tolist(), r.total)
        keys = sorted(set(keys) - set(gone) | set(r.add.tolist()))
    lives += [(k, end - b, False) for k, b in born.items()]
    for sort, curve in ((True, curves.within), (False, curves.across)):
        some = [(age, died) for k, age, died in lives if same_community(k) == sort]
        for age, fraction in zip(curves.ages, curve, strict=True):
            product = 1.0
            for t in sorted({a for a, died in some if died and a <= age}):
                deaths = sum(died and a == t for a, died in some)
                product *= 1 - deaths / sum(a >= t for a, _ in some)
            assert np.isnan(fraction) if not some else fraction == pytest.approx(product)


def test_measures_over_training_with_their_band():
    start, records, _ = a_run(2)
    steps = list(over_time.graphs(start, records))
    course = measured(steps, ["LayerDensity", "Butterflies"], null="counts", draws=40)
    assert list(course.steps) == [s for s, _ in steps]
    assert course.values("LayerDensity").tolist() == [g.density for _, g in steps]
    low, high = course.band("Butterflies", "ab")
    assert (low <= high).all() and (low < high).any()
    rows = course.to_dicts()
    assert {r["step"] for r in rows} == set(course.steps)
    assert course.to_csv().splitlines()[0].startswith("step,measure,part,value")
    with pytest.raises(KeyError):
        course.values("NoSuch")


def test_an_edit_that_changes_nothing_is_no_new_graph():
    start, _, _ = a_run(2)
    none = np.array([], np.int64)
    steps = list(over_time.graphs(start, [Record(total=4, drop=none, add=none)]))
    assert [s for s, _ in steps] == [0, 4]
    assert steps[1][1].digest() == start.apply(Edit()).digest()

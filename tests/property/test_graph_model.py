"""Graph.apply against a plain model: a dictionary from key to a list of synapses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewire.edit_log import History, parse
from rewire.graph import Edit, Graph, Population, Projection, Space
from rewire.when import Clock

SLOTS = 6


def space_of(multapses):
    """Two projections into one population of units with a few slots, and one back."""
    populations = [Population("a", 5), Population("b", 4, slots=SLOTS)]
    return Space(
        populations,
        [
            Projection("ff", "a", "b", "spiking", (4, 5), multapses),
            Projection("lat", "b", "b", "spiking", (4, 4), multapses),
            Projection("back", "b", "a", "conv", (5, 4, 2)),
        ],
    )


class Naive:
    """What Graph.apply should do, one synapse at a time."""

    def __init__(self, space):
        self.space, self.synapses = space, {}  # key -> list of {column: value}, in order of birth
        which, _, post = (x.tolist() for x in space.locate(torch.arange(space.possible)))
        self.projection = [space.projections[w] for w in which]
        self.units = [(p.target, j) for p, j in zip(self.projection, post, strict=True)]

    def rows(self):
        return [(key, s) for key in sorted(self.synapses) for s in self.synapses[key]]

    def unit(self, key):
        return self.units[key]

    def apply(self, settings, drop, add, birth):
        rows = self.rows()
        for name, values in settings.items():
            for (_, synapse), value in zip(rows, values, strict=True):
                synapse[name] = value
        for row in drop:
            key, synapse = rows[row]
            self.synapses[key] = [s for s in self.synapses[key] if s is not synapse]
            if not self.synapses[key]:
                del self.synapses[key]
        newborn = []
        for i, key in enumerate(add):
            born = {"weight": birth["weight"][i], "sign": float(key % 2), "age": 0}
            self.synapses.setdefault(key, []).append(born)
            newborn.append((key, born))
        for key, born in sorted(newborn, key=lambda pair: pair[0]):
            unit = self.unit(key)
            occupied = {
                s["slot"] for k, ss in self.synapses.items() for s in ss
                if "slot" in s and self.unit(k) == unit
            }  # fmt: skip
            born["slot"] = min(set(range(len(occupied) + 1)) - occupied) if unit[0] == "b" else 0


def random_edit(naive, rng):
    """A legal edit: dropped rows, added keys (some reborn, some parallel, unsorted), births."""
    rows = naive.rows()
    drop = rng.permutation(len(rows))[: rng.integers(0, len(rows) // 2 + 1)]
    staying = [key for i, (key, _) in enumerate(rows) if i not in set(drop.tolist())]
    bounds = naive.space.bounds
    dropped = [rows[i][0] for i in drop]
    candidates = [*rng.permutation(dropped).tolist()[:2], *rng.integers(0, bounds[-1], 8).tolist()]
    add, fan_in = [], {}
    for key in staying:
        fan_in[naive.unit(key)] = fan_in.get(naive.unit(key), 0) + 1
    for key in map(int, candidates):
        single = not naive.projection[key].multapses
        unit = naive.unit(key)
        if single and (key in staying or key in add):
            continue
        if unit[0] == "b" and fan_in.get(unit, 0) == SLOTS:
            continue
        fan_in[unit] = fan_in.get(unit, 0) + 1
        add.append(key)
    add = [int(k) for k in rng.permutation(add)]
    values = rng.normal(size=len(rows)).astype(np.float32)
    born = rng.normal(size=len(add)).astype(np.float32)
    return values, drop, add, born


def check(graph, naive):
    rows = naive.rows()
    assert graph.keys.tolist() == [key for key, _ in rows]
    for name in ("weight", "sign", "age", "slot"):
        values, expected = graph[name].tolist(), [s[name] for _, s in rows]
        assert values == pytest.approx(expected, abs=0), name
    counts = [0] * len(naive.space.projections)
    for key, _ in rows:
        counts[naive.space.index(naive.projection[key].name)] += 1
    assert graph.counts().tolist() == counts
    which, pre, post = graph.locate()
    again = naive.space.locate(graph.keys)
    assert all(torch.equal(x, y) for x, y in zip((which, pre, post), again, strict=True))


@pytest.mark.parametrize("multapses", [False, True])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_250_random_edits_follow_the_naive_model(multapses, seed):
    """10 runs of 25 edits in each of two spaces; columns, slots, counts after every one."""
    rng = np.random.default_rng(seed)
    space = space_of(multapses)
    naive = Naive(space)
    graph = Graph.empty(space).with_birth("weight", 0.0)
    graph = graph.with_birth("sign", lambda keys: (keys % 2).float())
    graph = graph.with_columns({"age": torch.empty(0, dtype=torch.int64)}).with_birth("age", 0)
    graph = graph.with_columns({"slot": torch.empty(0, dtype=torch.int16)}).with_birth("slot", 0)
    history = History(graph.keys)
    for total in range(25):
        values, drop, add, born = random_edit(naive, rng)
        edit = Edit(
            set={"weight": torch.from_numpy(values)},
            drop=torch.from_numpy(drop),
            add=torch.tensor(add, dtype=torch.int64),
            birth={"weight": torch.from_numpy(born)},
        )
        history.note(Clock(total, 99, 0, total), 0, edit)
        graph = graph.apply(edit)
        naive.apply({"weight": values.tolist()}, drop.tolist(), add, {"weight": born.tolist()})
        check(graph, naive)
    assert history.replay(graph).digest() == graph.digest()
    written = b"".join(r.to_bytes() for r in history)
    again = History(history.start, records=parse(written))
    assert again.replay(graph).digest() == graph.digest()
    assert history.formed - history.dropped == len(graph)


@given(st.data())
def test_conversions_round_trip_for_any_mask(data):
    space = space_of(False)
    bits = data.draw(st.lists(st.booleans(), min_size=76, max_size=76))
    keys = torch.tensor(bits).nonzero().squeeze(1)
    graph = Graph(space, keys, {"weight": torch.arange(len(keys)).float() - 3})
    masks = {p.name: graph.mask(i) for i, p in enumerate(space.projections)}
    assert torch.equal(Graph.from_masks(space, masks).keys, keys)
    matrices = {p.name: graph.to_scipy(i) for i, p in enumerate(space.projections)}
    assert torch.equal(Graph.from_scipy(space, matrices)["weight"], graph["weight"])
    assert torch.equal(Graph.from_networkx(space, graph.to_networkx()).keys, keys)
    for weight in ("signed", "abs", None):
        again = Graph.from_networkx(graph.to_networkx(weight=weight))
        assert torch.equal(again.keys, keys) and again.projections == graph.projections
        assert torch.equal(again["weight"], graph["weight"])

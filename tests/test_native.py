"""The C++ kernels against the forms without them: the same numbers, bit for bit."""

import importlib
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire import native
from rewire.graph import Edit, Graph, Population, Projection, Space
from rewire.kernels.curveball import trade_rows
from rewire.kernels.keys import columns_after, spliced
from rewire.kernels.walk import walk_and_draw
from rewire.native import kernels
from rewire.rules.cht import ch3_l3
from rewire.select.choose import largest, smallest
from rewire.select.exchange import exchange
from rewire.select.grow import sample_absent
from rewire.select.pairs import pair_sign, salt
from rewire.signals import top_absent
from rewire.streams import rng_for

pytestmark = pytest.mark.skipif(kernels is None, reason="the kernels were not built")
TYPES = [torch.float32, torch.float64]
ORDERS = [(f, m) for f in (smallest, largest) for m in (False, True)]


@pytest.fixture
def both(monkeypatch):
    """Runs a function with the kernels and without them, and returns both results."""
    for name in ("rules", "worlds.masked.world", "worlds.brian.world"):
        importlib.import_module(f"rewire.{name}")
    users = [
        (module, name)
        for _, module in sorted(sys.modules.items())
        if module is not None and getattr(module, "__name__", "").startswith("rewire.")
        for name in ("compiled", "kernels")
        if getattr(module, name, None) is kernels and module is not native
    ]

    def run(what):
        fast = what()
        with monkeypatch.context() as patch:
            for module, name in users:
                patch.setattr(module, name, None)
            return fast, what()

    return run


def a_space(multapses=False):
    return Space(
        [Population("a", 30), Population("b", 20), Population("c", 4)],
        [
            Projection("ab", "a", "b", "linear", (20, 30), multapses),
            Projection("bc", "b", "c", "linear", (4, 20), multapses),
        ],
    )


def a_graph(space, n, seed=0):
    keys = np.sort(np.random.default_rng(seed).choice(space.possible, n, replace=False))
    columns = {
        "weight": torch.randn(n, generator=torch.Generator().manual_seed(seed)),
        "age": torch.arange(n, dtype=torch.int32),
        "late": torch.linspace(0, 1, n, dtype=torch.float64),
        "odd": torch.arange(n) % 2 == 1,
    }
    return Graph(space, torch.from_numpy(keys), columns, {"weight": 0.5, "odd": True})


@pytest.mark.parametrize("rising", [True, False])
@pytest.mark.parametrize(("drop", "add"), [(0, 9), (9, 0), (9, 9), (100, 300), (200, 1)])
def test_the_merge_of_an_edit(both, drop, add, rising):
    graph, rng = a_graph(a_space(), 200), np.random.default_rng(drop + add)
    rows = rng.choice(200, drop, replace=False)
    free = np.setdiff1d(np.arange(graph.possible), np.delete(graph.keys.numpy(), rows))
    keys = rng.choice(free, add, replace=False)
    if rising:
        rows, keys = np.sort(rows), np.sort(keys)
    birth = {"late": torch.from_numpy(rng.random(add)), "age": 7}
    edit = Edit(drop=torch.from_numpy(rows), add=torch.from_numpy(keys), birth=birth)
    fast, slow = both(lambda: graph.apply(edit))
    assert torch.equal(fast.keys, slow.keys) and np.array_equal(fast.born, slow.born)
    for name in graph.columns:
        assert torch.equal(fast[name], slow[name]) and fast[name].dtype == graph[name].dtype


@pytest.mark.parametrize(
    ("drop", "add"), [([200], []), ([-1], []), ([3, 3], []), ([], [680]), ([], [-1]), ([], [5, 5])]
)
def test_what_is_wrong_with_an_edit_is_said_in_the_same_words(both, drop, add):
    graph = a_graph(a_space(), 200)
    edit = Edit(drop=torch.tensor(drop).long(), add=torch.tensor(add).long())

    def refused():
        with pytest.raises(ValueError) as refusal:
            graph.apply(edit)
        return str(refusal.value)

    fast, slow = both(refused)
    assert fast == slow


def test_an_edge_that_exists_is_not_added_twice(both):
    graph = a_graph(a_space(), 200)
    edit = Edit(drop=torch.tensor([4]), add=graph.keys[3:5])  # row 4 is reborn, row 3 is there

    def refused():
        with pytest.raises(ValueError, match="cannot add 1 of 2 edges"):
            graph.apply(edit)

    both(refused)
    reborn, _ = both(lambda: graph.apply(Edit(drop=torch.tensor([4]), add=graph.keys[4:5])))
    assert torch.equal(reborn.keys, graph.keys) and reborn["weight"][4] == 0.5


@pytest.mark.parametrize("k", [5, 60, [5, 3], [0, 40], [40, 0]])
@pytest.mark.parametrize("edges", [0, 50, 200, 400])
@pytest.mark.parametrize("multapses", [False, True])
def test_absent_synapses_are_drawn_alike(both, edges, k, multapses):
    graph = a_graph(a_space(multapses), edges)
    without = torch.arange(0, edges, 3)
    for tick in range(20):
        fast, slow = both(
            lambda tick=tick: sample_absent(graph, k, rng_for(0, "x", tick), without=without)
        )
        assert torch.equal(fast, slow)


@pytest.mark.parametrize("kind", ["normal", "doubles"])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 256, 100_001])
def test_random_numbers(both, n, kind):
    def drawn():
        rng = rng_for(4, "z", 9)
        draw = getattr(rng, kind)
        return np.concatenate([draw(n), draw(n)])

    fast, slow = both(drawn)
    assert np.array_equal(fast, slow) and len(fast) == 2 * n and fast.dtype == slow.dtype


# -- selection: above 8,192 numbers a sample says where to cut --------------------------------


def numbers(kind, n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = {
        "normal": lambda: rng.standard_normal(n),
        "ties": lambda: np.round(rng.standard_normal(n) * 3) / 3,
        "zeros of both signs": lambda: (
            np.where(rng.random(n) < 0.9, 0.0, 1.0) * rng.choice([-1, 1], n)
        ),
        "infinities": lambda: rng.choice([-np.inf, -1.0, 0.5, np.inf], n),
        "rising": lambda: np.linspace(-1, 1, n),
        "a spike": lambda: np.where(np.arange(n) % 64 == 0, 10.0, 1e-3 * rng.random(n)),
        "tiny and huge": lambda: 10.0 ** rng.uniform(-44, 38, n),
    }[kind]()
    return torch.from_numpy(x).to(dtype)


KINDS = [
    "normal", "ties", "zeros of both signs", "infinities", "rising", "a spike", "tiny and huge",
]  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [50, 8192, 8193, 60_001])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_in_each_order(both, kind, n, dtype):
    x = numbers(kind, n, dtype)
    for choose, magnitude in ORDERS:
        for k in (0, 1, n // 100, n // 3, n - 1, n):
            fast, slow = both(
                lambda choose=choose, k=k, magnitude=magnitude: choose(x, k, magnitude=magnitude)
            )
            assert torch.equal(fast, slow) and len(fast) == k


def test_the_first_of_each_group(both):
    x = numbers("ties", 50_000, torch.float32)
    ranges, k = [(0, 20_000), (20_000, 20_000), (20_000, 49_000), (49_000, 50_000)], [9, 0, 700, 30]
    for choose, magnitude in ORDERS:
        fast, slow = both(lambda c=choose, m=magnitude: c(x, k, ranges, magnitude=m))
        assert torch.equal(fast, slow)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_of_absent_synapses(both, kind, share, dtype):
    n = 40_000
    x = numbers(kind, n, dtype)
    present = torch.from_numpy((np.random.default_rng(1).random(n) < share).nonzero()[0])
    x[present] = torch.nan  # what is held is not looked at
    for k in (1, 100, 3000, n - len(present)):
        for magnitude in (False, True):
            fast, slow = both(
                lambda k=k, m=magnitude: top_absent(x, present, k, "growth", "p", magnitude=m)
            )
            assert torch.equal(fast, slow) and len(fast) == k


@pytest.mark.parametrize("n", [40, 40_000])
@pytest.mark.parametrize("k", [0, 3])
def test_nan_is_refused_in_the_same_words(both, n, k):
    x = numbers("normal", n, torch.float32)
    x[n // 2] = torch.nan

    def refused():
        with pytest.raises(ValueError, match=f"|w| is NaN at 1 of {n} places") as refusal:
            smallest(x, k, magnitude=True, what="|w|")
        return str(refusal.value)

    fast, slow = both(refused)
    assert fast == slow


@pytest.mark.parametrize("rising", [True, False])
@pytest.mark.parametrize("edges", [0, 1, 300])
def test_keys_are_found_alike(both, edges, rising):
    graph = a_graph(a_space(), edges)
    queried = torch.from_numpy(np.random.default_rng(3).permutation(graph.possible)[:200])
    queried = queried.sort().values if rising else queried
    (row, exists), (slow_row, slow_exists) = both(lambda: graph.find(queried))
    assert torch.equal(row, slow_row) and torch.equal(exists, slow_exists)
    assert exists.tolist() == torch.isin(queried, graph.keys).tolist()


def test_keys_but_for_those_that_go(both):
    graph = a_graph(a_space(), 300)
    for drop in ([], [0], [5, 6, 120, 299], list(range(300))):
        for i in range(2):
            fast, slow = both(lambda i=i, d=drop: graph.local_without(i, np.array(d, np.int64)))
            assert np.array_equal(fast, slow)


@pytest.mark.parametrize("seed", range(6))
def test_places_in_rows_after_an_edit(both, seed):
    """Of each projection: those that stay, and those of new keys, first and last rows included."""
    rng, graph = np.random.default_rng(seed), a_graph(a_space(), 300)
    drop = np.sort(rng.choice(300, [0, 1, 40, 299, 300, 7][seed], replace=False))
    drop = np.unique([*drop, *([0, 299] if seed == 2 else [])]).astype(np.int64)
    add = sample_absent(graph, [30, 20], rng_for(seed, "places"), without=torch.from_numpy(drop))
    after = graph.apply(Edit(drop=torch.from_numpy(drop), add=add))
    for i, p in enumerate(graph.projections):
        width, rows = p.shape[1], after.rows(i)
        index = (graph.local(i) % width).to(torch.int32).numpy()
        fast, slow = both(
            lambda i=i, index=index, rows=rows, width=width: columns_after(
                index, graph.bounds[i], drop, after.array, after.born, rows,
                graph.space.bounds[i], width,
            )
        )  # fmt: skip
        assert fast.tolist() == slow.tolist() == (after.local(i) % width).tolist()


@pytest.mark.parametrize("birth", [-1, 1.0, torch.tensor([1, -1, 1], dtype=torch.int8),
                                   torch.tensor([1.0, -1.0, 1.0])])  # fmt: skip
def test_narrow_columns_and_their_births(both, birth):
    graph = a_graph(a_space(), 300)
    graph = graph.with_columns({"sign": torch.ones(300, dtype=torch.int8)})
    add = sample_absent(graph, 3, rng_for(0, "narrow"))
    edit = Edit(drop=torch.tensor([2, 5, 7]), add=add, birth={"sign": birth})
    fast, slow = both(lambda: graph.apply(edit))
    assert fast["sign"].dtype == torch.int8 and torch.equal(fast["sign"], slow["sign"])


@pytest.mark.parametrize("same", [0, 5, 40])
def test_what_is_dropped_and_grown_again_never_left(both, same):
    rng, graph = np.random.default_rng(same), a_graph(a_space(), 300)
    drop = torch.from_numpy(np.sort(rng.choice(300, 40, replace=False)))
    fresh = sample_absent(graph, 40 - same, rng_for(same, "grown"))
    grow = torch.cat([fresh, graph.keys[drop[torch.randperm(40)[:same]]]]).sort().values
    fast, slow = both(lambda: exchange(graph, drop, grow))
    assert np.array_equal(fast.drop, slow.drop) and np.array_equal(fast.add, slow.add)
    assert fast.add.tolist() == fresh.tolist() and fast.n_drop == 40 - same


def test_large_edits_of_a_large_graph(both):
    """Runs long and short, in memory that was used before."""
    space = Space([Population("a", 3000)], [Projection("aa", "a", "a", "linear", (3000, 3000))])
    rng, graph = np.random.default_rng(0), a_graph(space, 1_000_000)
    for n in (1, 700, 400_000):
        drop = torch.from_numpy(np.sort(rng.choice(len(graph), n, replace=False)))
        add = sample_absent(graph, n, rng_for(n, "large"), without=drop)
        fast, slow = both(lambda d=drop, a=add: graph.apply(Edit(drop=d, add=a)))
        assert torch.equal(fast.keys, slow.keys)
        for name in graph.columns:
            assert torch.equal(fast[name], slow[name])


def test_signs_by_hash_and_turned_ones(both):
    keys, turned = torch.arange(0, 3000, 3), torch.tensor([3, 4, 2997])
    fast, slow = both(lambda: pair_sign(keys, 11, turned))
    assert torch.equal(fast, slow) and set(fast.tolist()) == {1.0, -1.0}
    changed = (fast != pair_sign(keys, 11)).nonzero().squeeze(1)
    assert keys[changed].tolist() == [3, 2997]


@pytest.mark.every_other
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("density", [0.05, 0.4])
@pytest.mark.parametrize(
    "optimiser",
    [
        lambda p: torch.optim.SGD(p, lr=0.3),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01),
        lambda p: torch.optim.Rprop(p, lr=0.01),
    ],
    ids=["sgd", "momentum", "adamw", "rprop"],
)
@pytest.mark.parametrize(
    "rule",
    [rewire.DeepR(noise=0.01), rewire.DeepR(noise=0.01, scope="global", birth=0.01)],
    ids=str,
)
def test_deep_r_trains_alike(both, rule, optimiser, density, dtype):
    def trained():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 3)).to(dtype)
        net = rewire.attach(model, optimiser(model.parameters()), rule, density=density)
        x, y = torch.randn(40, 20, dtype=dtype), torch.randint(3, (40,))
        for _ in range(40):
            model.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            net.step()
        return model, net

    (fast, with_kernels), (slow, without) = both(trained)
    assert with_kernels.history.formed == without.history.formed > 0
    assert torch.equal(with_kernels.graph.keys, without.graph.keys)
    for a, b in zip(fast.parameters(), slow.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("spread", [1e-3, 0.3])
@pytest.mark.parametrize("n", [1, 16, 255, 256, 257, 40_000])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_the_walk_of_deep_r_moves_each_weight_alike(both, dtype, n, spread, noisy):
    """Whole blocks in registers, and the last one; 40,000 draws reach the normal's tails."""
    space = Space([Population("a", 400), Population("b", 300)],
                  [Projection("ab", "a", "b", "linear", (300, 400))])  # fmt: skip
    g = torch.Generator().manual_seed(n)
    weight = torch.randn(n, generator=g).to(dtype) * 0.1
    sign = torch.where(torch.rand(n, generator=g) < 0.9, weight.sign(), -weight.sign())
    keys = torch.randperm(space.possible, generator=g)[:n].sort().values
    graph = Graph(space, keys, {"weight": weight, "sign": sign.to(torch.int8)})
    graph = graph.with_birth("sign", partial(pair_sign, seed=3))
    none = np.empty(0, np.int64)

    def walked():
        rng = rng_for(1, "walk", n)
        counter = rng.skip_normals(n) if noisy else None
        return walk_and_draw(
            graph.numbers("weight"), graph.numbers("sign"), 1e-3, spread, counter, graph.array,
            space.bounds, graph.bounds, rng.sequence(), salt(3), none,
        )  # fmt: skip

    (weights, drop, add, signs), (others, drops, adds, its) = both(walked)
    assert weights.dtype == others.dtype and np.array_equal(weights, others)
    assert np.array_equal(drop, drops) and (n < 256 or len(drop) > n / 20)
    if len(drop):
        assert np.array_equal(add, adds) and np.array_equal(signs, its)
        assert len(add) == len(drop) and not np.isin(add, np.delete(keys.numpy(), drop)).any()
    else:
        assert add is None and adds is None


def a_slotted_graph(n_in=40, n_out=20, slots=8, seed=0):
    """Two projections into one population of slots, parallel synapses allowed, some slots empty."""
    rng = np.random.default_rng(seed)
    places = {
        "in": torch.from_numpy(rng.random((n_in, 2))),
        "out": torch.from_numpy(rng.random((n_out, 2))),
    }
    space = Space(
        [Population("in", n_in, places["in"]), Population("out", n_out, places["out"], slots)],
        [
            Projection("ff", "in", "out", "spiking", (n_out, n_in), True),
            Projection("lat", "out", "out", "spiking", (n_out, n_out), True),
        ],
    )
    keys, slot = [], []
    for unit in range(n_out):
        taken_slots = rng.permutation(slots)[: rng.integers(slots + 1)]
        source = rng.integers(n_in + n_out, size=len(taken_slots))
        ff = source < n_in
        keys += np.where(
            ff, unit * n_in + source, n_out * n_in + unit * n_out + source - n_in
        ).tolist()
        slot += taken_slots.tolist()
    order = np.argsort(keys, kind="stable")
    columns = {
        "weight": torch.from_numpy(rng.random(len(keys))),
        "slot": torch.tensor(slot)[order],
    }
    return Graph(space, torch.tensor(keys)[order], columns, {"weight": 0.2, "slot": 0})


class Spiking:
    """Signals of which only the draw among units that spiked is asked."""

    def among(self, name, populations):
        return None

    def sample(self, name, populations, u):
        return [int(x * 60) for x in u]


def test_attempts_of_structural_plasticity(both):
    graph = a_slotted_graph()
    rule = rewire.StructuralPlasticity.bogdan(
        rate=3e4, slots=8, p_elim_dep=0.5, p_elim_pot=0.2, p_form=1.0
    )

    def ticks():
        now, state, out = graph, {"slots/out": torch.arange(21) * 8}, []
        for step in range(60):
            clock = rewire.rule.Clock(step, 60, dt=1e-3)
            edit, state = rule.update(now, Spiking(), state, rng_for(1, "x", step), clock)
            now = now.apply(edit)
            out.append((now.keys.tolist(), now["slot"].tolist(), now["weight"].tolist()))
        return out

    # sheets built with the compiled code keep it
    fast, slow = both(lambda: rule._sheets_of.clear() or ticks())
    assert fast == slow
    assert len({str(keys) for keys, _, _ in fast}) > 20  # it does rewire


def test_a_rewiring_map_in_brian(both):
    b2 = pytest.importorskip("brian2")
    from rewire.models.spiking.topographic_map import TopographicMap
    from rewire.worlds.brian.loop import drive
    from rewire.worlds.brian.wiring import Wiring
    from rewire.worlds.brian.world import Brian

    target, b2.prefs.codegen.target = b2.prefs.codegen.target, "numpy"

    def run():
        p = TopographicMap(side=5)
        built = p.build(seed=3)
        wiring = Wiring(built.network, built.synapses, null=built.null, w_max=p.g_max)
        ends = {"in": built.sources[0], "out": built.targets[0]}
        world = Brian(
            wiring,
            sources=ends,
            targets={"out": ends["out"]},
            projections={"ff": ("in", "out"), "lat": ("out", "out")},
            positions={"in": p.positions, "out": p.positions},
        )
        rule = rewire.StructuralPlasticity.bogdan(rate=2e4, p_elim_dep=0.5, threshold=0.19)
        session = rewire.Session(world, world.graph(), rule, seed=1)
        drive(session, duration=0.3 * b2.second)
        graph = session.graph
        log = b"".join(r.to_bytes() for r in session.history)
        return log, graph.keys.tolist(), graph["slot"].tolist(), graph["weight"].tolist()

    try:
        fast, slow = both(run)
    finally:
        b2.prefs.codegen.target = target
    assert fast == slow
    assert len(fast[0]) > 5000  # it does rewire
    assert len(set(fast[1])) < len(fast[1])  # and some pairs have several synapses


@pytest.mark.parametrize("seed", range(8))
def test_the_merge_of_parallel_edges(both, seed):
    rng = np.random.default_rng(seed)
    space = a_space(multapses=True)
    keys = torch.from_numpy(np.sort(rng.integers(60, size=80)))
    graph = Graph(space, keys, {"age": torch.arange(80)}, {"age": 1000})
    edit = Edit(
        drop=torch.from_numpy(rng.choice(80, 30, replace=False)),
        add=torch.from_numpy(np.sort(rng.integers(60, size=40))),
        birth={"age": torch.arange(200, 240)},
    )

    def merged():
        after = graph.apply(edit)
        return after.keys.tolist(), after["age"].tolist(), after.born.tolist(), after.bounds

    fast, slow = both(merged)
    assert fast == slow


@pytest.mark.parametrize("seed", range(5))
def test_slots_and_starts_after_an_edit(both, seed):
    graph, rng = a_slotted_graph(seed=seed), np.random.default_rng(seed)
    drop = rng.choice(len(graph), 10, replace=False)
    staying = np.delete(graph.keys.numpy(), drop)
    free = 8 - np.bincount(graph.space.targets(staying)[1], minlength=20)
    units = rng.permutation(np.repeat(np.arange(20), free))[:7]
    add = torch.from_numpy(units * 40 + rng.integers(40, size=7))

    def edited():
        start = Graph(graph.space, graph.keys, dict(graph.columns), graph.births)
        start.starts("out")  # known before: it is carried along
        after = start.apply(Edit(drop=torch.from_numpy(drop), add=add))
        return after, after.starts("out").copy()

    (fast, fast_starts), (slow, slow_starts) = both(edited)
    assert torch.equal(fast.keys, slow.keys) and torch.equal(fast["slot"], slow["slot"])
    assert np.array_equal(fast_starts, slow_starts)
    anew = Graph(fast.space, fast.keys)
    assert np.array_equal(fast_starts, anew.starts("out"))


def test_an_overflow_is_refused_in_the_same_words(both):
    graph = a_slotted_graph()
    unit = int(np.argmax(graph.fan_in("out").numpy()))
    add = torch.full((9,), unit * 40)

    def refused():
        with pytest.raises(ValueError, match="8 slots") as refusal:
            graph.apply(Edit(add=add))
        return str(refusal.value)

    fast, slow = both(refused)
    assert fast == slow


def test_a_column_that_is_read_late_survives_an_edit():
    graph = a_slotted_graph()
    weight = graph["weight"].numpy()
    late = graph.with_lazy("weight", lambda rows: weight[rows])
    edit = Edit(drop=torch.tensor([3, 11]), add=torch.tensor([5]), birth={"weight": 0.7})
    graph.apply(Edit(drop=edit.drop))  # room for it
    eager, lazy = graph.apply(edit), late.apply(edit)
    assert lazy.lazy("weight") and torch.equal(lazy["weight"], eager["weight"])
    assert late.newborn("weight", edit) == 0.7


def a_queue(kind, delays, sources):
    queue = kind(0, 6)
    queue.prepare(np.array(delays), 1e-3, np.array(sources, np.int32))
    return queue


@pytest.mark.parametrize("delays", [[2e-3], [1e-3, 2e-3, 3e-3, 1e-3, 5e-3, 1e-3, 2e-3, 4e-3]])
def test_our_spike_queue_does_what_brian2s_does(delays):
    brians_kind = pytest.importorskip("brian2.synapses.cythonspikequeue").SpikeQueue
    rng, sources = np.random.default_rng(0), np.array([0, 3, 3, 1, 5, 0, 2, 3], np.int32)
    ours = a_queue(kernels.SlotQueue, delays, sources)
    brians = a_queue(brians_kind, delays, sources)
    for step in range(200):
        spikes = np.flatnonzero(rng.random(6) < 0.4).astype(np.int32)
        ours.push(spikes)
        brians.push(spikes)
        if step % 7 == 3:  # two synapses move: theirs is prepared anew, and purged by hand
            moved = rng.choice(8, 2, replace=False)
            sources[moved] = rng.integers(6, size=2)
            ours.retarget(moved, sources)
            offset, buckets = brians._full_state()
            brians._restore_from_full_state(
                (offset, [[k for k in b if k not in moved] for b in buckets])
            )
            brians.prepare(np.array(delays), 1e-3, sources)
        if step == 100:  # through its saved state
            again = a_queue(kernels.SlotQueue, delays, sources)
            again._restore_from_full_state(ours._full_state())
            ours = again
        assert ours.peek().tolist() == brians.peek().tolist(), step
        assert ours._full_state() == brians._full_state()
        ours.advance()
        brians.advance()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "d", "b"), [(50, 7, 9), (50, 50, 3), (0, 0, 4), (20, 0, 5), (5, 3, 0)]
)
def test_a_column_after_an_edit(both, dtype, n, d, b):
    rng = np.random.default_rng(n + d + b)
    values = rng.random(n).astype(dtype)
    drop = np.sort(rng.choice(n, d, replace=False)).astype(np.int64)
    born = np.sort(rng.choice(n - d + b, b, replace=False)).astype(np.int64)
    fast, slow = both(lambda: spliced(values, drop, born, 0.5))
    assert fast.dtype == slow.dtype == dtype and np.array_equal(fast, slow)


@pytest.mark.parametrize(("edges", "shape"), [(0, (4, 5)), (60, (12, 20)), (400, (40, 30))])
def test_paths_of_three(both, edges, shape):
    n = shape[0] * shape[1]
    space = Space([Population("a", 50)], [Projection("p", "a", "a", "linear", shape)])
    keys = np.sort(np.random.default_rng(edges).choice(n, edges, replace=False))
    graph = Graph(space, torch.from_numpy(keys))
    (at, score), (plain_at, plain_score) = both(lambda: ch3_l3(graph, 0))
    assert np.array_equal(at, plain_at) and np.array_equal(score, plain_score)
    assert (len(at) > 0) == (edges > 0)


@pytest.mark.parametrize(("rows", "width", "density"), [(2, 5, 0.5), (9, 70, 0.1), (300, 400, 0.3)])
def test_trades_between_rows(both, rows, width, density):
    rng = np.random.default_rng(rows)
    row, columns = (rng.random((rows, width)) < density).nonzero()
    starts = np.searchsorted(row, np.arange(rows + 1))
    first = rng.integers(rows, size=5 * rows)
    second = (first + rng.integers(1, rows, size=5 * rows)) % rows
    fast, plain = both(lambda: trade_rows(starts, columns, first, second, counter=2**63 - 1))
    assert fast.dtype == plain.dtype
    assert np.array_equal(fast, plain) and not np.array_equal(fast, columns)


def test_trades_between_rows_that_are_not_there_are_refused():
    starts, columns = np.array([0, 1, 2]), np.array([0, 1])
    for first, second in ((0, 2), (-1, 0), (1, 1)):
        with pytest.raises(IndexError, match="two different rows"):
            kernels.trade_rows(starts, columns, np.array([first]), np.array([second]), 0)

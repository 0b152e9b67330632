"""The C++ kernels against the forms without them: the same numbers, bit for bit."""

import importlib

import numpy as np
import pytest
import torch
from torch import nn

import rewire
from rewire.graph import Edit, Graph, Population, Projection, Space
from rewire.native import kernels
from rewire.select import pair_sign, sample_absent
from rewire.streams import rng_for

pytestmark = pytest.mark.skipif(kernels is None, reason="the kernels were not built")
USERS = ["streams", "graph", "select", "substrates.masked", "rules.deep_r"]


@pytest.fixture
def both(monkeypatch):
    """Runs a function with the kernels and without them, and returns both results."""

    def run(what):
        fast = what()
        with monkeypatch.context() as patch:
            for name in USERS:
                patch.setattr(importlib.import_module(f"rewire.{name}"), "kernels", None)
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
        with pytest.raises(ValueError) as said:
            graph.apply(edit)
        return str(said.value)

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


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100_001])
def test_normal_numbers(both, n):
    fast, slow = both(lambda: rng_for(4, "z", 9).normal(n))
    assert torch.equal(fast, slow) and len(fast) == n


def test_signs_by_hash_and_turned_ones(both):
    keys, turned = torch.arange(0, 3000, 3), torch.tensor([3, 4, 2997])
    fast, slow = both(lambda: pair_sign(keys, 11, turned))
    assert torch.equal(fast, slow) and set(fast.tolist()) == {1.0, -1.0}
    changed = (fast != pair_sign(keys, 11)).nonzero().squeeze(1)
    assert keys[changed].tolist() == [3, 2997]


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

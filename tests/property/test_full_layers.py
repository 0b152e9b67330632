"""What is dropped at a tick is not grown again at it: a full layer keeps its weights."""

import numpy as np
import pytest
import torch

import rewire
from rewire import when
from rewire.graph import Graph, Population, Projection, Space
from rewire.rules import available

SPACE = Space(
    [Population("a", 8), Population("b", 6), Population("c", 4)],
    [Projection("ab", "a", "b", "linear", (6, 8)), Projection("bc", "b", "c", "linear", (4, 6))],
)
OFTEN = when.every(2)
MORE = {
    "SNFS": {"rewires": OFTEN},
    "DSR": {"threshold": 0.5, "when": OFTEN},
    "AgeLimit": {"most": 4, "when": OFTEN},
    "SynapticSampling": {"prior": 0.3},
    "StructuralPlasticity": {
        "partner": "uniform",
        "attempts": 0.5,
        "initial": "given",
        "p_elim_dep": 0.5,
    },
    "HomeostaticGrowth": {"curve": "linear", "growth": 0.5, "tau": 2.0},
    "SoftDeepR": {"noise": 0.5, "l1": 0.1, "theta_min": -0.5},
    "STDPPruning": {"threshold": 0.5, "when": OFTEN},
}
EXCHANGING = ["RigL", "SET", "MEST", "SRigL", "CHT", "DropGrow", "RandomRewiring", "AgeLimit",
              "ESLSNN"]  # fmt: skip
# DEEP R's Algorithm 1 draws among all dormant links, one that has just turned dormant too: it wakes
# at strength 0
REBORN = {"DeepR"}


def built(name):
    fields = MORE.get(name) or {"when": OFTEN}
    if name in ("RigL", "SET", "MEST", "SRigL", "CHT", "DropGrow", "RandomRewiring"):
        fields |= {"fraction": 0.4}
    return available()[name](**fields)


def session(rule, counts, seed=0, steps=12):
    rng = np.random.default_rng(seed)
    keys = np.concatenate([
        np.sort(rng.choice(n, k, replace=False)) + low
        for n, k, low in zip(SPACE.sizes, counts, SPACE.bounds[:-1], strict=True)
    ])  # fmt: skip
    world = rewire.Bare(
        SPACE,
        pairs={"grad": lambda k: (k % 5).float() - 2, "growth": lambda k: (k % 3).float()},
        nodes={"activity": lambda p: torch.linspace(0, 1, SPACE.population[p].size)},
        weights=torch.from_numpy(rng.normal(size=SPACE.possible)).float(),
    )
    return rewire.Session(world, Graph(SPACE, torch.from_numpy(keys)), rule, span=steps, seed=seed)


@pytest.mark.parametrize("name", [*EXCHANGING, *(n for n in MORE if n != "AgeLimit")])
@pytest.mark.parametrize("counts", [(20, 24), (40, 22), (48, 24)], ids=str)
def test_no_key_is_dropped_and_born_at_one_tick(name, counts):
    net = session(built(name), counts)
    before, acted = net.topology.numpy(), 0
    for _ in range(12):
        known = len(net.history)
        net.step()
        for record in list(net.history)[known:]:
            assert not np.intersect1d(before[record.drop], record.add).size
            before = record_applied(before, record)
            acted += len(record.add)
        assert name not in EXCHANGING or net.counts == list(counts)
    assert acted or name == "STDPPruning" or counts == (48, 24)


def record_applied(keys, record):
    return np.sort(np.concatenate([np.delete(keys, record.drop), record.add]))


@pytest.mark.parametrize("drop", ["signed", "magnitude"])
@pytest.mark.parametrize("name", EXCHANGING)
def test_a_full_layer_keeps_every_weight(name, drop):
    rule = built(name)
    if name == "SET":
        rule = rewire.SET(fraction=0.4, drop=drop, when=OFTEN, birth=0.1)
    net = session(rule, (20, 24))
    full = net.graph["weight"][20:].clone()
    for _ in range(12):
        net.step()
        assert torch.equal(net.graph["weight"][20:], full)
    bounds = SPACE.bounds
    assert not any(((r.add >= bounds[1]).any()) for r in net.history)


def test_a_layer_that_is_nearly_full_exchanges_what_it_has_places_for():
    net = session(rewire.SET(fraction=0.4, when=OFTEN), (46, 22), steps=4)
    weights = net.graph["weight"].abs()
    net.step(), net.step()
    (record,) = net.history
    weakest = [weights[:46].argsort()[:2], weights[46:].argsort()[:2] + 46]
    assert sorted(record.drop) == sorted(torch.cat(weakest).tolist())
    assert len(record.add) == 4

"""Every rule that a Brian2 network takes, and every pair of them, all in one network and held to
one contract after each tick: weights between 0 and w_max, counts and slots as the session says,
newborns without a past.
"""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest

b2 = pytest.importorskip("brian2")
from brian2 import ms  # noqa: E402

import rewire  # noqa: E402
from rewire import when  # noqa: E402
from rewire.rule_budget import budget_of  # noqa: E402
from rewire.worlds.brian.loop import drive  # noqa: E402
from rewire.worlds.brian.wiring import Wiring  # noqa: E402
from rewire.worlds.brian.world import Brian  # noqa: E402

_spec = importlib.util.spec_from_file_location(
    "every_rule", Path(__file__).with_name("test_contract.py")
)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

W_MAX, SPAN, UNITS, SLOTS, NULL, FIRST = 0.4, 24, 8, 10, 8, 3
# Those of the contract that learn by the optimiser's rate there have one of their own here.
RULES = _module.RULES | {
    "deep-r-eta": rewire.DeepR(eta=1e-2, l1=1.0, temperature=1e-2),
    "deep-r-global-eta": rewire.DeepR(eta=1e-2, l1=1.0, temperature=1e-2, scope="global"),
    "deep-r-layers-eta": rewire.DeepR(
        eta=1e-2, l1=1.0, temperature=1e-2, scope="global", draw="layer"
    ),
    "soft-deep-r-eta": rewire.SoftDeepR(eta=1e-2, l1=1.0, temperature=1e-2),
    "synaptic-sampling-eta": rewire.SynapticSampling(eta=0.1, prior=0.1),
    "homeostatic-rate": rewire.HomeostaticGrowth(
        signal="rate", epsilon=9.0, eta=-1.0, growth=300.0, tau=0.02, when=when.every(2)
    ),
    "plasticity-spiked": rewire.StructuralPlasticity(
        attempts=0.3, partner="spiked", threshold=W_MAX / 2, birth=0.3, p_elim_dep=0.5
    ),
}
TAKEN = {
    "AgeLimit", "Combined", "DeepR", "Dense", "DropGrow", "ESLSNN", "EarlyBird",
    "GMP", "GraNet", "HomeostaticGrowth", "IMP", "MEST", "Magnitude", "NDSNN", "NM", "PHEW",
    "RandomRewiring", "RigL", "SET", "STDPPruning", "Static", "StructuralPlasticity", "Supermask",
    "SynapticSampling",
}  # fmt: skip
PRUNING = {"Dense", "EarlyBird", "GMP", "IMP", "Magnitude", "NM", "PHEW", "STDPPruning", "Static",
           "Supermask"}  # fmt: skip
NEURONS = """dv/dt = (drive - v) / (10*ms) : 1
             drive : 1"""
SYNAPSES = """w : 1
              count : 1
              dp/dt = -p / (15*ms) : 1 (event-driven)
              dq/dt = -q / (25*ms) : 1 (clock-driven)"""


@pytest.fixture(autouse=True)
def numpy_target():
    b2.prefs.codegen.target = "numpy"
    yield


def network_for(sessions):
    """Sources and targets are parts of groups; each session has eight targets of its own."""
    rng = np.random.default_rng(5)
    many = UNITS * sessions
    sources = b2.NeuronGroup(40, NEURONS, threshold="v > 1", reset="v = 0", method="exact",
                             dt=1 * ms)  # fmt: skip
    targets = b2.NeuronGroup(many + 5, NEURONS, threshold="v > 1", reset="v = 0", method="exact",
                             dt=1 * ms)  # fmt: skip
    sources.drive, targets.drive = rng.uniform(2, 6, 40), rng.uniform(1, 3, many + 5)
    sources.drive[FIRST + NULL] = 0
    synapses = b2.Synapses(
        sources[FIRST : FIRST + 17], targets[5:], SYNAPSES, method="exact", dt=1 * ms,
        on_pre="v_post += w\ncount += 1\np += 1\nw = clip(w - 0.02 * q, 0, 0.4)",
        on_post="q += 1\nw = clip(w + 0.02 * p, 0, 0.4)",
    )  # fmt: skip
    pre = np.array([rng.permutation(np.delete(np.arange(17), NULL))[:SLOTS] for _ in range(many)])
    pre[:, 8:] = NULL
    pre[::2, 6:] = NULL
    synapses.connect(i=pre.ravel(), j=np.repeat(np.arange(many), SLOTS))
    synapses.w = np.where(pre.ravel() == NULL, 0, rng.uniform(0.01, W_MAX, pre.size))
    b2_network = b2.Network(sources, targets, synapses)
    return Wiring(b2_network, synapses, null=NULL, w_max=W_MAX, period=2 * ms,
                  births={"count": 0})  # fmt: skip


def sessions_of(rules):
    """Sessions of the rules, or lists of rules, that the world takes, by name; a refusal names its
    rule, or one of its rules."""
    sessions, refused = {}, {}
    wiring = network_for(len(rules))
    for at, (name, rule) in enumerate(rules.items()):
        world = Brian(
            wiring,
            sources={"a": slice(0, NULL), "b": slice(NULL + 1, 17)},
            targets={"out": slice(at * UNITS, (at + 1) * UNITS)},
            multapses=False,
        )
        try:
            sessions[name] = rewire.Session(world, world.graph(), rule, span=SPAN, seed=at,
                                            rewinds=True)  # fmt: skip
        except ValueError as error:
            refused[name] = str(error)
            parts = [part for one in (rule if isinstance(rule, list) else [rule])
                     for part in one.parts]  # fmt: skip
            assert any(part.name in refused[name] for part in parts), (name, refused[name])
    return sessions, refused


class Watched:
    """The contract of one session, looked at after each of its ticks."""

    def __init__(self, name, session):
        self.name, self.session = name, session
        self.first, self.newborns = sum(session.counts), 0
        self.act, session.tick = session.tick, self.tick

    def tick(self):
        wiring, own = self.session.world.wiring, self.session.world._own
        synapses = wiring.synapses
        before = np.array(synapses.variables["_synaptic_pre"].get_value()[own])
        self.act()
        values = {
            name: synapses.variables[name].get_value()[own]
            for name in ("_synaptic_pre", "w", "count", "p", "q")
        }
        pre = values["_synaptic_pre"] - FIRST
        used = pre != NULL
        assert values["w"].min() >= 0 and values["w"].max() <= W_MAX, self.name
        assert (values["w"][~used] == 0).all(), self.name
        counts = [(pre < NULL).sum(), (pre > NULL).sum()]
        assert self.session.counts == counts, self.name
        assert used.reshape(UNITS, SLOTS).sum(1).tolist() == (
            self.session.graph.fan_in("out").tolist()
        ), self.name
        (rule, *others) = self.session.rules
        if not others and budget_of(rule).kept == "exact" and rule.name != "IMP":
            assert sum(counts) == self.first, self.name
        newborn = used & (pre + FIRST != before)
        self.newborns += newborn.sum()
        for name in ("p", "q", "count"):
            assert (values[name][newborn] == 0).all(), (self.name, name)


def held(rules):
    """The sessions of these rules, run under their contract to the end; and what was refused."""
    sessions, refused = sessions_of(rules)
    watched = {name: Watched(name, session) for name, session in sessions.items()}
    drive(*sessions.values())
    assert all(session.done for session in sessions.values())
    return watched, refused


def test_every_rule_that_brian_takes_keeps_bounds_counts_and_newborns():
    watched, refused = held(RULES)
    taken = {RULES[name].name for name in watched}
    forming = {RULES[name].name for name, w in watched.items() if w.newborns}
    assert taken == TAKEN, (sorted(taken ^ TAKEN), refused)
    assert forming == TAKEN - PRUNING, sorted(forming ^ (TAKEN - PRUNING))
    for name in ("CHT", "CHTs", "DSTEE", "SRigL", "GroupRigL", "ACDC", "SoftDeepR"):
        of_rule = [why for label, why in refused.items() if RULES[label].name == name]
        assert any("grows without counting the slots of units, of which" in why
                   for why in of_rule), (name, of_rule)  # fmt: skip


# Of each class the first that is taken, and those that decide by other means than its defaults.
PAIRED = {
    rule.name: name
    for name, rule in reversed(RULES.items())
    if rule.name in TAKEN and name != "deep-r-layers-eta"
} | {
    "DeepR": "deep-r-eta", "DeepR of all": "deep-r-global-eta", "SynapticSampling":
    "synaptic-sampling-eta", "by rate": "homeostatic-rate", "among spiking": "plasticity-spiked",
}  # fmt: skip


def pairs(names):
    return {(a, b): [RULES[PAIRED[a]], RULES[PAIRED[b]]] for a, b in names}


def test_a_rule_that_cuts_to_a_number_cuts_nothing_where_another_has_dropped_more():
    both = [("Supermask", "STDPPruning"), ("STDPPruning", "Supermask")]
    watched, refused = held(pairs(both))
    assert not refused
    for both in watched.values():
        assert both.session.edges < both.first / 2


@pytest.mark.slow
def test_every_pair_of_rules_holds_or_is_refused_by_name():
    watched, refused = held(pairs(itertools.permutations(PAIRED, 2)))
    assert len(watched) > 2 * len(refused)
    assert {("IMP", "StructuralPlasticity"), ("StructuralPlasticity", "GMP")} <= set(refused)

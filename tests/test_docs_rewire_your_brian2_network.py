"""docs/rewire-your-brian2-network.md: its networks run as they stand, padded, and under every rule
that has its signals there."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

b2 = pytest.importorskip("brian2")

import rewire  # noqa: E402
from rewire import rules, when  # noqa: E402
from rewire.rule_budget import Budget, budget_of  # noqa: E402
from rewire.worlds.brian import drive, rewirable  # noqa: E402

PAGE = (Path(__file__).parents[1] / "docs" / "rewire-your-brian2-network.md").read_text("utf-8")
BLOCK = re.compile(r"```python\n(.*?)```", re.S)
HEAD, *SECTIONS = PAGE.split("\n## ")
NETWORKS = {  # name of a section -> its model, and the lines that rewire it
    section.split("\n")[0]: BLOCK.findall(section) for section in SECTIONS if "Rewired:" in section
}
RULED = ("excitatory", "plastic", "balancing", "forward", "feedforward")  # tried under all rules

# Of the Synapses that rules are tried on: what rewirable needs to be told of them.
TOLD = {
    "excitatory": {},
    "plastic": {"w_max": 0.1},
    "balancing": {"w_max": 10},
    "forward": {"w_max": 0.5},
    "feedforward": {"w_max": 2},
    "lateral": {},
    "inhibitory": {},
    "inhibition": {},
}


@pytest.fixture(autouse=True)
def brian_as_it_comes():
    b2.prefs.codegen.target = "numpy"
    yield
    b2.start_scope()
    b2.defaultclock.dt = 0.1 * b2.ms
    b2.prefs.codegen.target = "numpy"


def model(name):
    """The names that a network's listing defines."""
    b2.start_scope()
    b2.defaultclock.dt = 0.1 * b2.ms
    b2.seed(1)
    names: dict = {}
    exec(compile(BLOCK.findall(HEAD)[0], "docs/rewire-your-brian2-network.md", "exec"), names)
    exec(compile(NETWORKS[name][0], "docs/rewire-your-brian2-network.md", "exec"), names)
    return names


def synapses_of(names):
    return [o for o in names["network"].sorted_objects if isinstance(o, b2.Synapses)]


def padded(names, synapses, slots):
    told = dict(TOLD[synapses.name])
    if "w" not in synapses.variables:
        told["weight"] = None
    if not synapses.pre._delays.scalar and len(set(synapses.pre._delays.get_value())) > 1:
        told["births"] = {"delay": 1 * b2.ms}
    return rewirable(synapses, network=names["network"], slots=slots, **told)


def test_there_are_six_networks_rewired_in_at_most_five_lines():
    assert len(NETWORKS) == 6
    for name, blocks in NETWORKS.items():
        assert len(blocks) == 2, name
        assert len([line for line in blocks[1].splitlines() if line.strip()]) <= 5, name


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_rewired_as_the_page_says(name):
    names = model(name)
    exec(compile(NETWORKS[name][1], "docs/rewire-your-brian2-network.md", "exec"), names)
    sessions = [value for value in names.values() if isinstance(value, rewire.Session)]
    assert len(sessions) == NETWORKS[name][1].count("Session(") and len(names["spikes"].i) > 5
    for session in sessions:
        assert session.history.formed + session.history.dropped > 5
        held = session.world.graph()
        assert torch.equal(held.keys, session.graph.keys)
        assert torch.equal(held["weight"], session.graph["weight"])


QUICK = "A layer of inputs with STDP"
ROWS = [line for line in PAGE.splitlines() if line.startswith("| run ")]
BRIEF = (QUICK, "Winner take all")
COMPARED = [n if n in BRIEF else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS]


def run(names, duration):
    b2.seed(2)
    names["network"].run(duration, namespace={})
    spikes = names["spikes"]
    return np.array(spikes.i), np.array(spikes.t)


@pytest.mark.parametrize("name", COMPARED)
def test_a_padded_network_spikes_to_the_bit_as_its_author_wrote_it(name):
    expected = run(model(name), 40 * b2.ms)
    names = model(name)
    for synapses in synapses_of(names):
        authored = len(synapses)
        world = padded(names, synapses, int(np.bincount(synapses.j).max()) + 5)
        assert len(synapses) == world.wiring.slots * len(synapses.target) > authored
        assert len(world.graph()) == authored
    found = run(names, 40 * b2.ms)
    assert len(found[0]) > 5 and np.array_equal(found, expected)


def fields(w_max, span):
    """Fields of the rules that act otherwise than they would in longer runs, or need a number."""
    often = {"when": when.every(3)}
    few = often | {"to": 0.05}
    walk = {"eta": 1.0, "l1": 0.02 * w_max, "temperature": (0.05 * w_max) ** 2 / 2}
    return {
        **dict.fromkeys(["RandomRewiring", "SET", "RigL", "SRigL", "GroupRigL", "CHT", "CHTs",
                         "DSTEE", "DSR", "MEST", "ESLSNN", "DropGrow", "Chase"], often),
        **dict.fromkeys(["GMP", "GraNet", "CHTss", "EarlyBird", "ACDC", "NDSNN"], few),
        **dict.fromkeys(["Magnitude", "PHEW", "Supermask", "UnitPruning"], {"to": 0.05}),
        "IMP": {"fraction": 0.3, "rounds": 1}, "DeepR": walk, "NM": {"n": 1, "m": 2},
        "SoftDeepR": walk | {"theta_min": -0.2 * w_max}, "SynapticSampling": {"eta": 0.1},
        "StructuralPlasticity": {"initial": "given", "attempts": 0.1, "p_elim_dep": 0.5},
        "HomeostaticGrowth": often | {"signal": "rate", "epsilon": 5.0, "growth": 20.0},
        "STDPPruning": {"to": 0.05, "threshold": 0.9, "when": when.every(3, stop=1.0)},
        "AgeLimit": {"most": 5},
    }  # fmt: skip


def ran(world):
    """Names of the rules that ran ten ticks each; the others were refused before the first."""
    start, names = world.graph(), set()
    for cls in rules.BUILT_IN:
        rule = cls(**fields(world.wiring.w_max, 10).get(cls.__name__, {}))
        try:
            session = rewire.Session(world, start, rule, span=10, rewinds=True)
        except ValueError as error:
            assert cls.__name__ in str(error)
            continue
        drive(session)
        names.add(cls.__name__)
        held = world.graph()
        assert torch.equal(held.keys, session.graph.keys)
        assert torch.equal(held["weight"], session.graph["weight"])
        if type(budget_of(rule)) is Budget and budget_of(rule).kept == "exact":
            assert session.edges == len(session.history.start)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_rule_runs_or_is_refused_by_name(name):
    everywhere, by_weight, roomy = (set(re.findall(r"`(\w+)`", row.split("|")[2])) for row in ROWS)
    names = model(name)
    (synapses,) = (s for s in synapses_of(names) if s.name in RULED)
    world = padded(names, synapses, None)
    assert ran(world) == (everywhere | by_weight if world.weighted else everywhere)
    if name == QUICK:
        names = model(name)
        world = padded(names, names[synapses.name], len(synapses.source))
        assert ran(world) == everywhere | by_weight | roomy

"""One pool of slots for each target neuron, shared by Synapses objects of one network."""

import numpy as np
import pytest

b2 = pytest.importorskip("brian2")
from brian2 import ms  # noqa: E402

import rewire  # noqa: E402
from rewire import when  # noqa: E402
from rewire.worlds.brian import drive, rewirable, share_slots  # noqa: E402

INPUTS, SIDE, CELLS, SLOTS = 12, 8, 10, 6
STDP = """w : 1
          dapre/dt = -apre / (20*ms) : 1 (event-driven)"""
ON_PRE = "v_post += w; apre += 0.02; w = clip(w - 0.01, 0, 0.5)"
RULES = {
    "structural plasticity": rewire.StructuralPlasticity(
        rate=2e4, slots=SLOTS, initial="given", partner="spiked", birth=0.2, threshold=0.1,
        p_elim_dep=0.4, p_elim_pot=0.1),
    "DEEP R": rewire.DeepR(eta=0.1, noise=0.1, l1=0.1),
    "SET": rewire.SET(when=when.every(5), fraction=0.4),
    "RigL": rewire.RigL(when=when.every(5), fraction=0.4),
    "homeostatic": rewire.HomeostaticGrowth(eta=-1.0, growth=400.0, tau=0.05, epsilon=1.5),
}  # fmt: skip


@pytest.fixture(autouse=True)
def numpy_target():
    b2.prefs.codegen.target = "numpy"
    b2.defaultclock.dt = 1 * ms
    b2.start_scope()
    yield
    b2.defaultclock.dt = 0.1 * ms


def spikes(n, seed):
    rng = np.random.default_rng(seed)
    step, i = np.nonzero(rng.random((200, n)) < 0.1)
    return i, step * ms


def cells():
    return b2.NeuronGroup(CELLS, "dv/dt = -v / (20*ms) : 1", threshold="v > 0.6", reset="v = 0",
                          method="exact", name="cells")  # fmt: skip


def connected(synapses, sources, per_cell, seed, offset=0):
    rng = np.random.default_rng(seed)
    for j in range(CELLS):
        synapses.connect(i=np.sort(rng.choice(sources, per_cell, False)) + offset, j=j)
    synapses.w = 0.3


def apart(**options):
    """Two groups of sources, a Synapses object of each, one pool of slots."""
    groups = {"inputs": INPUTS, "side": SIDE}
    target, made = cells(), []
    for seed, (name, n) in enumerate(groups.items()):
        group = b2.SpikeGeneratorGroup(n, *spikes(n, seed), name=name)
        made += [group, b2.Synapses(group, target, STDP, on_pre=ON_PRE, name=f"{name}_cells")]
        connected(made[-1], n, 2, seed)
    network = b2.Network(target, *made)
    worlds = [rewirable(s, network=network, **{"slots": SLOTS, "w_max": 0.5, **options})
              for s in made[1::2]]  # fmt: skip
    return network, worlds


def together():
    """The same neurons in one group, with one Synapses object."""
    both = [spikes(n, seed) for seed, n in enumerate((INPUTS, SIDE))]
    i = np.concatenate([both[0][0], both[1][0] + INPUTS])
    t = np.concatenate([both[0][1] / ms, both[1][1] / ms]) * ms
    group = b2.SpikeGeneratorGroup(INPUTS + SIDE, i, t, name="all")
    target = cells()
    synapses = b2.Synapses(group, target, STDP, on_pre=ON_PRE, name="all_cells")
    connected(synapses, INPUTS, 2, 0)
    connected(synapses, SIDE, 2, 1, INPUTS)
    network = b2.Network(group, target, synapses)
    world = rewirable(
        synapses, network=network, slots=SLOTS, w_max=0.5,
        sources={"inputs": slice(0, INPUTS), "side": slice(INPUTS, INPUTS + SIDE)},
    )  # fmt: skip
    return world


def one_synapse_a_slot(graph):
    places = zip(graph.locate()[2].tolist(), graph["slot"].tolist(), strict=True)
    return len(set(places)) == len(graph)


@pytest.mark.parametrize("rule", RULES)
def test_shared_slots_are_edited_as_those_of_one_synapses_object(rule):
    """The same neurons, spikes, weights and seeds: every edit is the same."""
    edits, ends = [], []
    for world in (together(), share_slots(*apart()[1])):
        session = rewire.Session(world, world.graph(), RULES[rule], seed=3)
        assert one_synapse_a_slot(world.graph())
        drive(session, duration=100 * ms)
        edits.append([(r.total, r.drop.tolist(), r.add.tolist()) for r in session.history])
        ends.append((session.graph.keys.tolist(), session.graph["weight"].tolist()))
        assert int(session.graph.fan_in("cells").max()) <= SLOTS
        assert one_synapse_a_slot(world.graph()) and one_synapse_a_slot(session.graph)
        assert session.history.formed > 10
        assert world.graph().keys.tolist() == session.graph.keys.tolist()
    assert edits[0] == edits[1] and ends[0] == ends[1]


def test_synapses_stay_what_they_are_until_a_rule_acts():
    spiked = []
    for shared in (False, True):
        network, worlds = apart()
        if shared:
            world = share_slots(*worlds)
            session = rewire.Session(world, world.graph(), rewire.Static())
            assert int(world.graph().fan_in("cells").min()) == 4 and session.edges == 40
        seen = b2.SpikeMonitor(network["cells"])
        network.add(seen)
        if shared:
            drive(session, duration=100 * ms)
        else:
            network.run(100 * ms)
        spiked.append((seen.i[:].tolist(), seen.t[:].tolist()))
    assert spiked[0] == spiked[1] and len(spiked[0][0]) > 20


def test_a_population_may_be_a_source_of_both_objects():
    target = cells()
    group = b2.SpikeGeneratorGroup(INPUTS, *spikes(INPUTS, 0), name="inputs")
    fast = b2.Synapses(group, target, "w : 1", on_pre="v_post += w", name="fast")
    slow = b2.Synapses(group, target, "w : 1", on_pre="v_post += w", delay=5 * ms, name="slow")
    for seed, synapses in enumerate((fast, slow)):
        connected(synapses, INPUTS, 2, seed)
    network = b2.Network(target, group, fast, slow)
    worlds = [rewirable(s, network=network, slots=SLOTS, w_max=0.5) for s in (fast, slow)]
    world = share_slots(*worlds)
    assert [p.name for p in world.space.projections] == ["fast", "slow"]
    session = rewire.Session(world, world.graph(), RULES["structural plasticity"], seed=1)
    drive(session, duration=100 * ms)
    assert session.history.formed > 10 and world.graph().digest() == session.graph.digest()
    for one, synapses in zip(worlds, (fast, slow), strict=True):
        pairs = set(zip(synapses.i[:][one.filled], synapses.j[:][one.filled], strict=True))
        which, pre, post = (x.numpy() for x in session.graph.locate())
        of = [p.name for p in world.space.projections].index(synapses.name)
        assert pairs == set(zip(pre[which == of], post[which == of], strict=True))


def test_a_saved_network_with_shared_slots_goes_on_to_the_same_bits():
    rule = RULES["structural plasticity"]

    def begun():
        world = share_slots(*apart()[1])
        return rewire.Session(world, world.graph(), rule, seed=2)

    whole = begun()
    drive(whole, duration=60 * ms)
    saved = whole.world.wiring.state_dict(), whole.state_dict()
    drive(whole, duration=60 * ms)
    b2.start_scope()
    resumed = begun()
    resumed.world.wiring.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    drive(resumed, duration=60 * ms)
    assert resumed.graph.digest() == whole.graph.digest() and whole.history.formed > 50


def test_what_cannot_be_one_pool_is_refused_by_name():
    _, worlds = apart()
    for wrong, message in (
        (worlds[:1], "two worlds or more"),
        ([worlds[0], worlds[0]], "worlds of different Synapses"),
        ([worlds[0], "side"], "two worlds or more, as rewirable"),
        ([worlds[0], apart()[1][1]], "of different networks"),
    ):
        with pytest.raises(ValueError, match=message):
            share_slots(*wrong)
    pool = share_slots(*worlds)
    with pytest.raises(ValueError, match="of one Synapses object each"):
        share_slots(pool, worlds[1])
    both = [rewire.Session(w, w.graph(), rewire.Static()) for w in (pool, worlds[0])]
    with pytest.raises(ValueError, match="only the world that share_slots.. gave"):
        drive(*both, duration=1 * ms)


@pytest.mark.parametrize("options, message", [
    (({"slots": 6}, {"slots": 7}), "different numbers of slots, .6. and .7."),
    (({"w_max": 0.5}, {"w_max": 0.4}), "different w_max, 0.5 and 0.4"),
    (({"period": 1 * ms}, {"period": 2 * ms}), "different periods of the ticks"),
    (({"traces": None}, {"traces": (20 * ms, 30 * ms)}), "different traces of the targets"),
    (({"slots": 3}, {"slots": 3}), "has 4 synapses of 'inputs_cells' and 'side_cells' in all"),
    (({"targets": {"a": slice(0, 10)}}, {"targets": {"b": slice(0, 10)}}), "different targets"),
])  # fmt: skip
def test_worlds_that_differ_are_refused(options, message):
    target = cells()
    worlds, parts = [], []
    for seed, (name, n) in enumerate({"inputs": INPUTS, "side": SIDE}.items()):
        group = b2.SpikeGeneratorGroup(n, *spikes(n, seed), name=name)
        synapses = b2.Synapses(group, target, STDP, on_pre=ON_PRE, name=f"{name}_cells")
        connected(synapses, n, 2, seed)
        parts += [group, synapses]
    network = b2.Network(target, *parts)
    worlds = [rewirable(s, network=network, **{"w_max": 0.5, "slots": SLOTS, **o})
              for s, o in zip(parts[1::2], options, strict=True)]  # fmt: skip
    with pytest.raises(ValueError, match=message):
        share_slots(*worlds)

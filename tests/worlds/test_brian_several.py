"""Traces that the spiking world keeps itself, and several Synapses objects in one drive."""

import numpy as np
import pytest
import torch

b2 = pytest.importorskip("brian2")
from brian2 import ms  # noqa: E402

import rewire  # noqa: E402
from rewire import when  # noqa: E402
from rewire.models.spiking.topographic_map import TopographicMap  # noqa: E402
from rewire.worlds.brian import Brian, Wiring, drive  # noqa: E402


@pytest.fixture(autouse=True)
def numpy_target():
    b2.prefs.codegen.target = "numpy"
    yield
    b2.prefs.codegen.target = "numpy"


def mapped(rule, traces, seed=3):
    """A session on a small topographic map, whose own traces r and o decay in 20 and 64 ms."""
    built = TopographicMap(side=5, slots=16, sigma_stim=1.0, delay=0.0, start="random",
                           p_random=0.2).build(seed=seed)  # fmt: skip
    wiring = Wiring(built.network, built.synapses, null=built.null, w_max=0.2, traces=traces)
    ends = {"in": built.sources[0], "out": built.targets[0]}
    world = Brian(wiring, sources=ends, targets={"out": ends["out"]},
                  projections={"ff": ("in", "out"), "lat": ("out", "out")})  # fmt: skip
    return built, rewire.Session(world, world.graph(), rule, span=200, seed=seed)


def test_traces_of_the_world_are_those_that_the_neurons_equations_have():
    rule = rewire.RigL(when=when.every(20), fraction=0.3)
    built, session = mapped(rule, (20 * ms, 64 * ms))
    seen = []

    def compare():
        variables = built.neurons.variables
        given = [np.abs(variables[name].get_value()) for name in ("r", "o")]
        seen.append([np.abs(session.world.wiring.trace(i) - given[i]).max() for i in (0, 1)])
        seen.append([given[i].max() for i in (0, 1)])

    built.network.add(
        b2.NetworkOperation(compare, when="end", order=2000, clock=built.neurons.clock)
    )
    drive(session, duration=100 * ms)
    seen = np.array(seen)
    assert seen[0::2].max() < 1e-12 and seen[1::2, 1].max() > 1 and seen[1::2, 0].max() > 1


@pytest.mark.parametrize("rule", [
    rewire.RigL(when=when.every(20), fraction=0.3),
    pytest.param(
        rewire.StructuralPlasticity(attempts=0.2, p_elim_dep=0.5, p_elim_pot=0.1, p_form=1.0),
        marks=pytest.mark.slow,
    ),
])  # fmt: skip
def test_rules_that_read_traces_edit_alike_by_the_worlds_and_by_the_users(rule):
    edits = []
    for traces in (("r", "o"), (20 * ms, 64 * ms)):
        _, session = mapped(rule, traces)
        drive(session, duration=200 * ms)
        edits.append([(r.total, r.drop.tolist(), r.add.tolist()) for r in session.history])
    assert edits[0] == edits[1] and session.history.formed > 50


@pytest.mark.slow  # what a padded run saves is looked at in test_rewirable
def test_a_run_with_traces_of_the_world_continues_to_the_same_bits():
    rule = rewire.RigL(when=when.every(20), fraction=0.3)
    _, whole = mapped(rule, None)
    drive(whole, duration=70 * ms)
    saved = whole.world.wiring.state_dict(), whole.state_dict()
    drive(whole, duration=100 * ms)
    _, resumed = mapped(rule, None)
    resumed.world.wiring.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    drive(resumed, duration=100 * ms)
    assert resumed.graph.digest() == whole.graph.digest() and whole.history.formed > 50
    traces = [[s.world.wiring.trace(i) for i in (0, 1)] for s in (whole, resumed)]
    assert np.array_equal(traces[0], traces[1])


def two_layers(seed=0, dt=1 * ms):
    """Excitation and inhibition as two Synapses objects onto the same ten neurons."""
    feed = b2.PoissonGroup(12, np.append(np.full(11, 100.0), 0) * b2.Hz, dt=dt)
    cells = b2.NeuronGroup(11, "dv/dt = -v / (20*ms) : 1", threshold="v > 1", reset="v = 0",
                           method="exact", dt=dt)  # fmt: skip
    pathways = {
        "feed": b2.Synapses(feed, cells, "w : 1", on_pre="v_post += w"),
        "lateral": b2.Synapses(cells, cells, "w : 1", on_pre="v_post -= w", delay=1 * ms),
    }
    for name, synapses in pathways.items():
        synapses.connect(i=np.tile([0, 1, 2, 11 if name == "feed" else 10], 10),
                         j=np.repeat(np.arange(10), 4))  # fmt: skip
        synapses.w = 0.3
    network = b2.Network(feed, cells, *pathways.values())
    return network, pathways


def test_two_synapses_objects_are_rewired_by_two_rules_in_one_drive():
    network, pathways = two_layers()
    worlds = {}
    for name, period in (("feed", 1), ("lateral", 5)):
        null = 11 if name == "feed" else 10
        wiring = Wiring(network, pathways[name], null=null, w_max=0.3, period=period * ms)
        source = slice(0, null) if name == "feed" else slice(0, 10)
        ends = {"in": source} if name == "feed" else {"cells": source}
        worlds[name] = Brian(wiring, sources=ends, targets={"cells": slice(0, 10)})
    plastic = rewire.StructuralPlasticity(attempts=0.1, p_elim_pot=0.2, initial="given")
    feed = rewire.Session(worlds["feed"], worlds["feed"].graph(), plastic, seed=1)
    fixed = rewire.SET(fraction=0.3, when=when.every(4))
    lateral = rewire.Session(worlds["lateral"], worlds["lateral"].graph(), fixed, span=40, seed=2)
    before = lateral.edges
    drive(feed, lateral, duration=200 * ms)
    assert (feed.clock.total, lateral.clock.total) == (200, 40)
    assert lateral.done and lateral.edges == before and lateral.history.formed > 30
    assert feed.history.formed > 30 and feed.history.dropped > 30
    for session in (feed, lateral):
        held = session.world.graph()
        assert torch.equal(held.keys, session.graph.keys)
        assert torch.equal(held["slot"], session.graph["slot"])


def test_what_one_drive_cannot_hold_is_refused():
    network, pathways = two_layers()
    sessions = []
    for _ in range(2):
        wiring = Wiring(network, pathways["feed"], null=11, w_max=0.3)
        world = Brian(wiring, sources={"in": slice(0, 11)}, targets={"out": slice(0, 10)})
        sessions.append(rewire.Session(world, world.graph(), rewire.Static()))
    with pytest.raises(ValueError, match="worlds on the same Synapses must share one Wiring"):
        drive(*sessions, duration=1 * ms)


def test_a_network_without_spikes_at_an_end_says_which_signal_it_lacks():
    feed = b2.PoissonGroup(3, 100 * b2.Hz, dt=1 * ms)
    readout = b2.NeuronGroup(2, "dv/dt = -v / (20*ms) : 1", method="exact", dt=1 * ms)
    synapses = b2.Synapses(feed, readout, "w : 1", on_pre="v_post += w")
    synapses.connect(i=[0, 2], j=[0, 1])
    network = b2.Network(feed, readout, synapses)
    wiring = Wiring(network, synapses, null=2, w_max=1.0)
    world = Brian(wiring, sources={"in": slice(0, 2)}, targets={"out": slice(0, 2)})
    with pytest.raises(ValueError, match="RigL needs the signal 'growth', which the brian world"):
        rewire.Session(world, world.graph(), rewire.RigL(when=when.every(5)))
    backwards = b2.Synapses(readout, feed, "w : 1", on_post="w += 1")
    backwards.connect()
    network.add(backwards)
    with pytest.raises(ValueError, match="does not spike: give it a threshold"):
        Wiring(network, backwards, null=0, w_max=1.0)

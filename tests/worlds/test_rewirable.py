"""Synapses as their author connected them, made rewirable by padding that changes nothing."""

import numpy as np
import pytest
import torch

b2 = pytest.importorskip("brian2")
from brian2 import ms  # noqa: E402

import rewire  # noqa: E402
from rewire import when  # noqa: E402
from rewire.worlds.brian import drive, padding, queues, rewirable, wiring  # noqa: E402

STDP = """w : 1
          dapre/dt = -apre / (20*ms) : 1 (event-driven)
          dapost/dt = -apost / (20*ms) : 1 (event-driven)"""
ON_PRE = "v_post += w; apre += 0.02; w = clip(w + apost, 0, 0.5)"
ON_POST = "apost -= 0.021; w = clip(w + apre, 0, 0.5)"


@pytest.fixture(autouse=True)
def numpy_target():
    b2.prefs.codegen.target = "numpy"
    yield
    b2.prefs.codegen.target = "numpy"


class Net:
    """Thirty inputs onto the middle of twenty cells, and the last cells onto all, at 1 ms."""

    def __init__(self, seed=1, delays=False):
        b2.seed(seed)
        clock = dict(clock=b2.Clock(1 * ms, name="ticks"))
        self.inputs = b2.PoissonGroup(40, 40 * b2.Hz, name="inputs", **clock)
        self.cells = b2.NeuronGroup(20, "dv/dt = (0.5 - v) / (20*ms) : 1", threshold="v > 1",
                                    reset="v = 0", method="exact", name="cells",
                                    **clock)  # fmt: skip
        self.ahead = b2.Synapses(self.inputs[5:35], self.cells[4:16], STDP, on_pre=ON_PRE,
                                 on_post=ON_POST, name="ahead", **clock)  # fmt: skip
        self.lateral = b2.Synapses(self.cells[12:], self.cells, "w : 1", on_pre="v_post -= w",
                                   name="lateral", **clock)  # fmt: skip
        for synapses in (self.ahead, self.lateral):
            synapses.connect(p=0.3)
            synapses.w = "0.05 + 0.3 * rand()"
        if delays:
            self.ahead.delay = "int(5 * rand()) * ms"
            self.ahead.post.delay = "int(3 * rand()) * ms"
        self.spikes = b2.SpikeMonitor(self.cells, name="spikes")
        self.network = b2.Network(self.inputs, self.cells, self.ahead, self.lateral, self.spikes)

    def run(self, duration=200 * ms, seed=7):
        b2.seed(seed)
        self.network.run(duration, namespace={})
        return np.array(self.spikes.i), np.array(self.spikes.t), np.array(self.ahead.w)


BIRTHS = {"delay": 2 * ms, "post.delay": 0 * ms}


@pytest.mark.parametrize("native, delays", [
    (True, True), pytest.param(False, True, marks=pytest.mark.slow),
    pytest.param(True, False, marks=pytest.mark.slow),
])  # fmt: skip
def test_padding_changes_no_spike_and_no_weight(native, delays, monkeypatch):
    if not native:
        for module in (padding, queues, wiring):
            monkeypatch.setattr(module, "kernels", None)
    plain = Net(delays=delays)
    i, t, w = plain.run()
    assert len(i) > 100 and not np.array_equal(w, Net(delays=delays).ahead.w)
    padded = Net(delays=delays)
    births = BIRTHS if delays else None
    for synapses, some in ((padded.ahead, births), (padded.lateral, None)):
        rewirable(synapses, network=padded.network, slots=25, w_max=0.5, births=some)
    assert len(padded.ahead) == 25 * 12 and len(padded.lateral) == 25 * 20
    i_padded, t_padded, w_padded = padded.run()
    assert np.array_equal(i, i_padded) and np.array_equal(t, t_padded)
    assert np.array_equal(w, w_padded[: len(w)]) and not w_padded[len(w) :].any()


def test_the_graph_is_the_authors_and_counts_are_exact():
    net = Net()
    pre, post = np.array(net.ahead.i), np.array(net.ahead.j)
    world = rewirable(net.ahead, network=net.network, w_max=0.5, slots=20)
    graph = world.graph()
    assert sorted(graph.keys.tolist()) == sorted((post * 30 + pre).tolist())
    assert [p.name for p in world.space.projections] == ["ahead"]
    rule = rewire.RigL(when=when.every(10), fraction=0.5)
    session = rewire.Session(world, graph, rule, span=100)
    drive(session, duration=100 * ms)
    held = world.graph()
    assert session.edges == len(pre) and session.history.formed == session.history.dropped > 20
    assert torch.equal(held.keys, session.graph.keys)
    assert torch.equal(held["weight"], session.graph["weight"])
    # what Brian2 shows of the slots in use is where they come from
    used = world.wiring.pre - net.ahead.source.start < 30
    assert used.sum() == len(pre)
    assert np.array_equal(np.array(net.ahead.i)[used], world.wiring.pre[used] - 5)


def test_queues_of_brian2_rewire_to_the_same_bits_as_ours(monkeypatch):
    runs = []
    for native in (True, False):
        if not native:
            for module in (padding, queues, wiring):
                monkeypatch.setattr(module, "kernels", None)
        net = Net(delays=True)
        world = rewirable(net.ahead, network=net.network, w_max=0.5, births=BIRTHS)
        assert hasattr(world.wiring.synapses.pre.queue, "retarget") == native
        rule = rewire.StructuralPlasticity(
            attempts=0.2, p_elim_dep=0.5, p_elim_pot=0.2, p_form=1.0, initial="given"
        )
        session = rewire.Session(world, world.graph(), rule, seed=3)
        drive(session, duration=200 * ms)
        assert session.history.formed > 100
        runs.append((net.spikes.i[:], net.spikes.t[:], world.wiring.w.copy(),
                     session.graph.digest()))  # fmt: skip
    for one, other in zip(*runs, strict=True):
        assert np.array_equal(one, other)


def test_a_padded_run_continues_to_the_same_bits_from_its_saved_state():
    rule = rewire.StructuralPlasticity(attempts=0.2, p_elim_dep=0.5, p_elim_pot=0.2, p_form=1.0,
                                       initial="given")  # fmt: skip

    def fresh():
        net = Net(delays=True)
        world = rewirable(net.ahead, network=net.network, w_max=0.5, births=BIRTHS)
        return rewire.Session(world, world.graph(), rule, seed=3)

    whole = fresh()
    drive(whole, duration=60 * ms)
    saved = whole.world.wiring.state_dict(), whole.state_dict()
    drive(whole, duration=60 * ms)
    resumed = fresh()
    resumed.world.wiring.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    drive(resumed, duration=60 * ms)
    assert resumed.graph.digest() == whole.graph.digest() and whole.history.formed > 50
    assert np.array_equal(resumed.world.wiring.w, whole.world.wiring.w)


def test_synapses_without_a_weight_are_rewired_by_rules_that_move_none():
    net = Net()
    plain = b2.Synapses(net.inputs, net.cells, on_pre="v_post += 0.1", dt=1 * ms, name="plain")
    plain.connect(p=0.2)
    net.network.add(plain)
    with pytest.raises(
        ValueError, match="has no weight 'w': .*weight=None where all transmit alike"
    ):
        rewirable(plain, network=net.network)
    world = rewirable(plain, network=net.network, weight=None, slots=15)
    rule = rewire.StructuralPlasticity(attempts=0.2, p_elim_pot=0.5, initial="given")
    session = rewire.Session(world, world.graph(), rule)
    drive(session, duration=50 * ms)
    assert session.history.formed > 20 and (session.graph["weight"] == 1).all()
    for rule in (rewire.DeepR(eta=1e-3), rewire.StructuralPlasticity(birth=0.2)):
        with pytest.raises(
            ValueError, match="writes weights, and the synapses of this brian world"
        ):
            rewire.Session(world, session.graph, rule)


def other(model="w : 1", on_pre="v_post += w", on_post=None, **more):
    net = Net()
    synapses = b2.Synapses(net.inputs, net.cells, model, on_pre=on_pre, on_post=on_post,
                           dt=1 * ms, name="other", **more)  # fmt: skip
    synapses.connect(p=0.3)
    if "w" in synapses.variables:
        synapses.w = 0.1
    net.network.add(synapses)
    net.other = synapses
    return net


@pytest.mark.parametrize("made, options, message", [
    ({}, {"slots": 3}, "slots = 3, and a neuron of .* has .. synapses of 'other' already"),
    ({"on_post": "w = w + 0.1"}, {}, "pathway 'post' of 'other' changes 'w', up to a bound"),
    ({"on_pre": "v_post += w / N_incoming"}, {}, "reads 'N_incoming', which would count empty"),
    ({"model": "w : 1\ns = w + 1 : 1"}, {"weight": "s"}, "has no weight 's'"),
    ({"model": "w : 1\ndx/dt = -x/(5*ms) + xi*(5*ms)**-0.5 : 1 (clock-driven)", "method": "euler"},
     {}, "draws random numbers for all synapses"),
    ({"model": "w : 1\ntau : second"}, {}, None),
])  # fmt: skip
def test_what_padding_would_change_is_refused_by_name(made, options, message):
    net = other(**made)
    if message is None:
        net.other.variables["tau"].get_value()[:] = np.arange(len(net.other))
        message = "'tau' of 'other' stands from 0 to .* say births="
    with pytest.raises(ValueError, match=message):
        rewirable(net.other, network=net.network, **options)


def recurrent(condition):
    """The last cells onto all: neuron 12 is unit 0 of the sources, unit 12 of the targets."""
    net = Net()
    synapses = b2.Synapses(net.cells[12:], net.cells, "w : 1", on_pre="v_post += w", dt=1 * ms,
                           name="recurrent")  # fmt: skip
    synapses.connect(condition=condition, p=0.4)
    synapses.w = 0.1
    net.network.add(synapses)
    return net, synapses


def selves(graph):
    _, pre, post = graph.locate()
    return int((pre + 12 == post).sum())


@pytest.mark.parametrize("rule", [
    rewire.StructuralPlasticity(rate=2e4, slots=7, partner="uniform",
                                p_elim_dep=0.2, p_elim_pot=0.2),
    rewire.StructuralPlasticity(rate=2e4, slots=7, partner="uniform", initial="given",
                                p_elim_dep=0.2, p_elim_pot=0.2),
    rewire.SET(when=when.every(2), fraction=0.5),
    rewire.HomeostaticGrowth(eta=-1.0, growth=400.0, tau=0.05, epsilon=1.5),
], ids=lambda rule: rule.name)  # fmt: skip
def test_what_was_connected_without_autapses_stays_without(rule):
    found = {}
    for autapses in (None, True):
        net, synapses = recurrent("i + 12 != j")
        world = rewirable(synapses, network=net.network, w_max=0.2, slots=7, autapses=autapses,
                          multapses=False)  # fmt: skip
        assert ("never connect to themselves" in world.summary) == (autapses is None)
        session = rewire.Session(world, world.graph(), rule, seed=2)
        drive(session, duration=60 * ms)
        assert session.history.formed > 20
        found[autapses] = selves(session.graph)
    assert found[None] == 0 and (found[True] > 0 or isinstance(rule, rewire.HomeostaticGrowth))


def test_autapses_that_are_there_may_form_and_are_refused_where_none_are_wanted():
    net, synapses = recurrent("i + 12 == j or rand() < 0.3")
    with pytest.raises(ValueError, match="autapses=False, and . synapses of 'recurrent' join"):
        rewirable(synapses, network=net.network, w_max=0.2, autapses=False)
    net, synapses = recurrent("i + 12 == j or rand() < 0.3")
    assert "may connect to themselves" in rewirable(synapses, network=net.network).summary
    net, synapses = recurrent("i + 12 != j")
    world = rewirable(synapses, network=net.network)
    with pytest.raises(ValueError, match="autapses=True lets neurons connect to themselves"):
        rewire.Session(world, world.graph(), rewire.SynapticSampling())


def test_sums_over_synapses_pass_where_a_weight_of_zero_adds_nothing():
    def summed(expression):
        inputs = b2.PoissonGroup(10, 50 * b2.Hz, dt=1 * ms)
        cells = b2.NeuronGroup(5, "dv/dt = (2*g - v) / (10*ms) : 1\ng : 1", threshold="v > 1",
                               reset="v = 0", method="euler", dt=1 * ms)  # fmt: skip
        model = f"""w : 1
                    ds/dt = -s / (50*ms) : 1 (clock-driven)
                    g_post = {expression} : 1 (summed)"""
        synapses = b2.Synapses(inputs, cells, model, on_pre="s += 1", method="exact", dt=1 * ms)
        b2.seed(5)
        synapses.connect(p=0.5)
        synapses.w = "rand()"
        spikes = b2.SpikeMonitor(cells)
        return b2.Network(inputs, cells, synapses, spikes), synapses, spikes

    found = []
    for padded in (False, True):
        network, synapses, spikes = summed("w * s")
        if padded:
            rewirable(synapses, network=network, slots=10)
        b2.seed(6)
        network.run(200 * ms)
        found.append((spikes.i[:], spikes.t[:]))
    assert len(found[0][0]) > 20
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    network, synapses, _ = summed("1 + w * s")
    with pytest.raises(ValueError, match="sums '1 . w . s' into 'g_post' over all synapses"):
        rewirable(synapses, network=network)
    with pytest.raises(ValueError, match="sums '1 . w . s' into 'g_post' over all synapses"):
        wiring.Wiring(network, synapses, null=9, w_max=1.0)
    network, synapses, _ = summed("w * s")
    synapses.run_regularly("w = clip(w + 0.01, 0, 1)", dt=10 * ms)
    with pytest.raises(ValueError, match="changes 'w' in all synapses at any time, in empty slots"):
        rewirable(synapses, network=network, w_max=1.0)


def test_code_that_runs_over_all_synapses_is_refused_where_it_draws_or_writes_into_neurons():
    for code, fine in (("w = 0.5 * w + 0.05", True), ("w = 0.1 * rand()", False),
                       ("v_post += 0.1", False)):  # fmt: skip
        net = other()
        net.other.run_regularly(code, dt=10 * ms)
        if fine:
            assert rewirable(net.other, network=net.network, w_max=1.0).space.possible == 800
        else:
            with pytest.raises(ValueError, match="runs over all synapses, and draws random"):
                rewirable(net.other, network=net.network, w_max=1.0)


def test_queues_that_cannot_be_replaced_are_refused_before_anything_is_connected(monkeypatch):
    net = Net()
    queue = type("Queue", (), {"get_capsule": None})()
    monkeypatch.setattr(net.ahead.pre, "queue", queue)
    authored = len(net.ahead)
    with pytest.raises(ValueError, match="from Brian2 2.10 on compiled code reads spike queues"):
        rewirable(net.ahead, network=net.network, w_max=0.5)
    assert len(net.ahead) == authored


@pytest.mark.parametrize("options, message", [
    ({}, "say w_max="), ({"w_max": 0.5, "period": 1.5e-4 * b2.second}, "no multiple of the time"),
    ({"w_max": 0.5, "births": {"tau": 1}}, "births names 'tau'"),
    ({"w_max": 0.5, "sources": {"in": slice(0, 99)}}, "is no range of neurons"),
])  # fmt: skip
def test_what_is_refused_leaves_the_synapses_as_they_were(options, message):
    net = Net()
    authored = len(net.ahead)
    with pytest.raises(ValueError, match=message):
        rewirable(net.ahead, network=net.network, **options)
    assert len(net.ahead) == authored
    assert rewirable(net.ahead, network=net.network, w_max=0.5).wiring.authored == authored


def test_synapses_are_made_rewirable_once():
    net = Net()
    rewirable(net.ahead, network=net.network, w_max=0.5)
    with pytest.raises(ValueError, match="'ahead' has been made rewirable already: use that world"):
        rewirable(net.ahead, network=net.network, w_max=0.5)

"""What new synapses of a Brian2 network carry, whose spikes are seen, and which weights are held.

All networks here run at 1 ms; scripted spikes come from SpikeGeneratorGroups.
"""

import importlib.util
from dataclasses import dataclass, field
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch

b2 = pytest.importorskip("brian2")
from brian2 import Hz, ms, mV, volt  # noqa: E402

import rewire  # noqa: E402
from rewire.graph import Edit, Graph  # noqa: E402
from rewire.worlds.brian.loop import drive  # noqa: E402
from rewire.worlds.brian.wiring import Wiring  # noqa: E402
from rewire.worlds.brian.world import Brian  # noqa: E402

_spec = importlib.util.spec_from_file_location(
    "spiking_nets", Path(__file__).with_name("spiking_nets.py")
)
nets = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(nets)

TARGET = """dg/dt = -g / (5*ms) : 1
            o : 1"""
# Brian2's own idiom of STDP, of its documentation
STDP = """w : 1
          dapre/dt = -apre / (20*ms) : 1 (event-driven)
          dapost/dt = -apost / (20*ms) : 1 (event-driven)"""
ON_PRE = "g_post += w\napre += 0.1\nw = clip(w + apost, 0, 1)"
ON_POST = "apost -= 0.1\nw = clip(w + apre, 0, 1)"


@pytest.fixture(autouse=True)
def numpy_target():
    b2.prefs.codegen.target = "numpy"
    b2.defaultclock.dt = 1 * ms
    yield
    b2.defaultclock.dt = 0.1 * ms


@dataclass(frozen=True, kw_only=True)
class Script(rewire.Rule):
    """Edits at given ticks: tick -> (keys dropped, keys added), and weights that are set."""

    budget = "reported"
    edits: dict = field(default_factory=dict, hash=False)
    weights: dict = field(default_factory=dict, hash=False)
    birth: float = 0.1

    def update(self, graph, signals, state, rng, clock):
        drop, add = self.edits.get(clock.total, ((), ()))
        rows = graph.find(torch.tensor(drop, dtype=torch.int64))[0]
        keys = torch.tensor(add, dtype=torch.int64)
        weight = self.weights.get(clock.total)
        written = {} if weight is None else {
            "weight": torch.full((len(graph),), weight, dtype=torch.float64)
        }  # fmt: skip
        return Edit(drop=rows, add=keys, birth={"weight": self.birth}, set=written), state


class Net:
    """Sources 0-3 and the null neuron 4 in a SpikeGeneratorGroup; two targets of two slots each.

    spikes, fired: (neurons, ms) of the sources and the targets; pre: the source of each slot.
    """

    def __init__(self, spikes=((), ()), fired=((), ()), *, model=STDP, on_pre=ON_PRE,
                 on_post=ON_POST, pre=(4, 4, 4, 4), w=0.5, setup=None, delays=None, w_max=1.0,
                 **options):  # fmt: skip
        self.source = b2.SpikeGeneratorGroup(5, spikes[0], spikes[1] * ms, name="born_source")
        driver = b2.SpikeGeneratorGroup(2, fired[0], fired[1] * ms, name="born_driver")
        self.target = b2.NeuronGroup(
            2, TARGET + "\nfire : 1", threshold="fire > 0", reset="fire = 0", method="exact",
            name="born_target",
        )  # fmt: skip
        # "start" comes before thresholds, so that targets fire at the step of the script
        spur = b2.Synapses(driver, self.target, on_pre="fire_post = 1", name="born_spur")
        driver.when = "before_start"
        spur.pre.when = "start"
        spur.connect(j="i")
        self.synapses = b2.Synapses(
            self.source, self.target, model, on_pre=on_pre, on_post=on_post, delay=delays,
            name="born_synapses",
        )  # fmt: skip
        self.synapses.connect(i=np.array(pre), j=[0, 0, 1, 1])
        self.synapses.w = np.where(np.array(pre) == 4, 0, 1) * w
        if setup is not None:
            setup(self.synapses)
        self.network = b2.Network(self.source, driver, self.target, spur, self.synapses)
        self.wiring = Wiring(self.network, self.synapses, null=4, w_max=w_max, **options)
        self.world = Brian(self.wiring, sources={"in": slice(0, 4)}, targets={"out": slice(0, 2)})

    def run(self, edits=None, duration=40, **options):
        script = Script(edits=edits or {}, **options)
        self.session = rewire.Session(self.world, self.world.graph(), script)
        drive(self.session, duration=duration * ms)
        return self

    def value(self, name):
        return self.synapses.variables[name].get_value()


# -- what a newborn carries ----------------------------------------------------------------------


def test_an_event_driven_trace_of_a_newborn_is_0_until_its_own_spikes():
    """Source 0 fires at 5, its slot goes to source 1 at the end of step 10, the target fires at
    15: the silent newborn has no coincidence to learn from."""
    net = Net(([0], [5]), ([0], [15]), pre=(0, 4, 4, 4)).run({11: ([0], [1])})
    assert net.value("w")[0] == 0.1 and net.value("apre")[0] == 0


def test_a_newborns_event_driven_trace_follows_its_own_spikes():
    net = Net(([0, 1], [5, 12]), ([0], [15]), pre=(0, 4, 4, 4)).run({11: ([0], [1])})
    assert net.value("w")[0] == pytest.approx(0.1 + 0.1 * exp(-3 / 20), abs=1e-15)


def test_a_postsynaptic_trace_from_before_its_birth_is_not_a_newborns():
    """The target fires at 8 and at 15: only the second reaches the synapse that is born at 10."""
    net = Net(([0, 1], [5, 20]), ([0, 0], [8, 15]), pre=(0, 4, 4, 4)).run({11: ([0], [1])})
    assert net.value("w")[0] == pytest.approx(0.1 - 0.1 * exp(-5 / 20), abs=1e-15)


def test_an_equation_with_a_resting_value_relaxes_from_the_birth_on():
    model = "w : 1\ndx/dt = (1 - x) / (20*ms) : 1 (event-driven)"
    net = Net(([0, 1], [5, 20]), model=model, on_pre="g_post += w * x", on_post=None,
              pre=(0, 4, 4, 4), births={"x": 0.25}).run({11: ([0], [1])})  # fmt: skip
    # the birth is at the end of step 10, the spike at step 20
    assert net.value("x")[0] == pytest.approx(1 - 0.75 * exp(-10 / 20), abs=1e-15)


COUNTING = {"model": "w : 1\ncount : 1\nu : 1 (constant)", "on_pre": "count += 0.02",
            "on_post": None}  # fmt: skip


def test_a_parameter_of_a_newborn_is_what_all_synapses_began_with():
    def setup(synapses):
        synapses.u = 0.5

    net = Net(([0, 0, 0, 1], [2, 4, 6, 20]), pre=(0, 4, 4, 4), setup=setup, **COUNTING)
    net.run({11: ([0], [1])})
    assert net.value("count")[0] == 0.02 and net.value("u").tolist() == [0.5] * 4
    assert net.wiring.births["count"] == 0 and net.wiring.births["u"] == 0.5


def test_births_give_a_newborn_values_or_functions_of_its_pair():
    births = {"u": lambda pre, post: 10 * pre + post, "count": 0.3}
    net = Net(pre=(0, 4, 4, 4), births=births, **COUNTING)
    net.run({11: ([0], [1]), 12: ([], [4 + 3])})
    assert net.value("u")[[0, 2]].tolist() == [10, 31]
    assert net.value("count")[[0, 2]].tolist() == [0.3, 0.3]


def delayed(*steps):
    def setup(synapses):
        synapses.delay = np.array(steps) * ms

    return {"setup": setup, "model": "w : 1\nlast : 1", "on_pre": "last = t / ms\ng_post += w",
            "on_post": None}  # fmt: skip


def test_a_newborns_delay_is_that_of_its_pair():
    """Source 0 reaches its target in 9 ms, what takes its slot in 2 + the source's number."""
    births = {"delay": lambda pre, post: (2 + pre) * ms}
    net = Net(([0, 1, 3], [1, 20, 21]), pre=(0, 4, 4, 4), births=births, **delayed(9, 2, 2, 2))
    net.run({16: ([0], [1]), 18: ([], [3])})
    assert net.value("last")[:2].tolist() == [23, 26]
    assert (net.synapses.delay / ms)[:2].tolist() == [3, 5]


def test_a_delay_longer_than_all_before_arrives_in_time_and_after_a_pause():
    net = Net(([1, 1], [20, 60]), pre=(0, 4, 4, 4), births={"delay": 30 * ms},
              **delayed(2, 2, 2, 2))  # fmt: skip
    net.run({16: ([0], [1])}, duration=55)
    assert net.value("last")[0] == 50
    drive(net.session, duration=50 * ms)
    assert net.value("last")[0] == 90


def test_every_pathway_has_delays_of_its_own():
    """Pathways "pre" and "late" from the source, and "post" from the target; in-flight events of
    all of them are gone with their synapse."""

    def setup(synapses):
        for pathway, steps in ((synapses.pre, 1), (synapses.late, 4), (synapses.post, 6)):
            pathway.delay = steps * ms

    model = "w : 1\na : 1\nb : 1\nc : 1"
    net = Net(
        ([0, 1], [9, 20]),
        ([0, 0], [8, 20]),
        model=model,
        pre=(0, 4, 4, 4),
        setup=setup,
        on_pre={"pre": "a = t / ms", "late": "b = t / ms"},
        on_post="c = t / ms",
        births={"late.delay": lambda pre, post: (7 + pre) * ms, "a": 0, "b": 0, "c": 0},
    )
    net.run({11: ([0], [1])}, duration=14.5)  # the events of 9 and 8 would arrive at 13 and 14
    assert [net.value(name)[0] for name in "abc"] == [0, 0, 0]
    drive(net.session, duration=25.5 * ms)
    assert [net.value(name)[0] for name in "abc"] == [21, 28, 26]


def test_what_nobody_says_of_a_newborn_is_refused_before_step_0():
    def differ(name, values):
        def setup(synapses):
            setattr(synapses, name, values)

        return setup

    full = (0, 1, 2, 3)
    with pytest.raises(ValueError, match=r"'u' .* from 1 to 4 .* births=\{'u': VALUE\}"):
        Net(setup=differ("u", [1, 2, 3, 4]), pre=full, **COUNTING)
    with pytest.raises(ValueError, match=r"'delay' .* from 0.001 to 0.004 .* births=\{'delay'"):
        Net(setup=differ("delay", [1, 2, 3, 4] * ms), pre=full)
    with pytest.raises(ValueError, match=r"'apre' .* at 0.5 .* would start at 0: say births="):
        Net(setup=differ("apre", 0.5), pre=full)
    Net(setup=differ("u", [1, 1, 2, 2]), pre=(0, 1, 4, 4), **COUNTING)  # empty slots say nothing
    Net(setup=differ("u", [1, 2, 3, 4]), pre=full, births={"u": 0}, **COUNTING)


def test_what_brian_computes_at_every_step_is_nothing_that_a_newborn_carries():
    model = "w : 1\nu : 1\ntwice = 2 * w : 1 (constant over dt)\nlastupdate : second"
    net = Net(model=model, on_pre="g_post += twice", on_post=None)
    assert net.wiring.births == {"u": 0.0, "delay": 0.0}


def test_births_that_do_not_fit_are_refused_before_step_0():
    for births, message in [
        ({"w": 0.2}, "births names the weight, 'w', which a new synapse has from its rule"),
        ({"v": 1.0}, r"births names 'v', which .* does not have .* it has \['apost', 'apre'"),
        ({"delay": 3.0 * volt}, "'delay'. is 3. V, but the variable has the unit s"),
        ({"apre": 3.0 * volt}, "'apre'. is 3. V, but the variable has no unit"),
        ({"delay": -1 * ms}, "'delay'. must be finite and 0 or more"),
        ({"delay": lambda pre, post: np.ones(3)}, r"gave an array of shape \(3,\) for 1 pairs"),
    ]:
        with pytest.raises(ValueError, match=message):
            Net(births=births)
    with pytest.raises(ValueError, match="all synapses of .* share that delay: leave delay= out"):
        Net(delays=1 * ms, births={"delay": 1 * ms})


def test_delays_are_saved_and_continued_with(tmp_path):
    def fresh():
        births = {"delay": lambda pre, post: (2 + 5 * pre) * ms}
        net = Net(([1, 1], [20, 30]), pre=(0, 4, 4, 4), births=births, **delayed(9, 2, 2, 2))
        script = Script(edits={16: ([0], [1])})
        net.session = rewire.Session(net.world, net.world.graph(), script)
        return net

    whole = fresh()
    drive(whole.session, duration=22 * ms)
    path = tmp_path / "c.safetensors"
    rewire.checkpoint.save(path, {"world": whole.wiring.state_dict(),
                                  "session": whole.session.state_dict()})  # fmt: skip
    drive(whole.session, duration=20 * ms)
    again = fresh()
    saved, _ = rewire.checkpoint.load(path)
    again.wiring.load_state_dict(saved["world"])
    again.session.load_state_dict(saved["session"])
    drive(again.session, duration=5.5 * ms)
    assert again.value("last")[0] == 27
    drive(again.session, duration=14.5 * ms)
    assert again.value("last")[0] == whole.value("last")[0] == 37


def test_synapses_that_are_added_after_the_wiring_are_refused():
    net = Net()
    session = rewire.Session(net.world, net.world.graph(), rewire.Static())
    net.synapses.connect(i=0, j=1)
    with pytest.raises(ValueError, match="has 5 synapses now, and had 4 when it was wired"):
        drive(session, duration=1 * ms)


# -- groups that begin elsewhere -----------------------------------------------------------------


class Parts:
    """One group of 40 neurons: sources 20-29, null 30; targets 35-38. Scripted spikes."""

    def __init__(self, spikes, *, pre=None, slots=3, w_max=0.2, **options):
        self.neurons = b2.NeuronGroup(40, nets.NEURONS + "\nmark : 1", threshold="fire > 0",
                                      reset="fire = 0\nr += 1\no += 1", method="exact")  # fmt: skip
        self.source, self.target = self.neurons[20:31], self.neurons[35:39]
        self.synapses = b2.Synapses(self.source, self.target, "w : 1", on_pre="g_post += w")
        pre = np.full(4 * slots, 10) if pre is None else np.array(pre)
        self.synapses.connect(i=pre, j=np.repeat(np.arange(4), slots))
        self.synapses.w = np.where(pre == 10, 0, w_max / 2)
        step = self.neurons.clock.variables["timestep"].get_value()
        fire = self.neurons.variables["fire"].get_value()

        def script():
            fire[spikes.get(int(step[0]), [])] = 1

        self.network = b2.Network(self.neurons, self.synapses, b2.NetworkOperation(script))
        self.wiring = Wiring(self.network, self.synapses, null=10, w_max=w_max, traces=("r", "o"),
                             **options)  # fmt: skip
        self.world = Brian(self.wiring, sources={"in": slice(0, 10)}, targets={"out": slice(0, 4)})


def test_partners_of_an_offset_subgroup_are_the_neurons_that_spiked():
    """Neurons 23 and 27 fire; neuron 5, which is the fifth of the whole group, does too."""
    net = Parts({k: [5, 23, 27] for k in range(0, 30)})
    rule = rewire.StructuralPlasticity(attempts=1.0, initial="given", partner="spiked",
                                       p_form=1.0, p_elim_dep=0.0, p_elim_pot=0.0)  # fmt: skip
    session = rewire.Session(net.world, net.world.graph(), rule)
    drive(session, duration=30 * ms)
    sources = session.graph.locate()[1]
    assert len(sources) == 12 and set(sources.tolist()) == {3, 7}
    outgoing = np.bincount(net.wiring.pre, minlength=31)
    assert np.array_equal(net.synapses.variables["N_outgoing"].get_value(), outgoing)


def test_signals_of_offset_subgroups_are_those_of_their_neurons():
    seen = {}

    @dataclass(frozen=True, kw_only=True)
    class Watcher(rewire.Rule):
        budget = "reported"
        needs = frozenset({"rate", "activity", "growth", "spiked"})

        def update(self, graph, signals, state, rng, clock):
            for name in ("rate", "activity", "spiked"):
                seen[name] = {p: signals.node(name, p) for p in ("in", "out")}
            seen["growth"] = signals.pair("growth", torch.arange(graph.possible)).view(4, 10)
            return Edit(), state

    net = Parts({k: [1, 15, 22, 36] for k in range(1, 20, 2)})
    session = rewire.Session(net.world, net.world.graph(), Watcher())
    drive(session, duration=20 * ms)
    assert seen["spiked"]["in"].nonzero().tolist() == [[2]]
    assert seen["spiked"]["out"].nonzero().tolist() == [[1]]
    assert seen["growth"].nonzero().tolist() == [[1, 2]]
    trace = net.neurons.variables["r"].get_value()[22], net.neurons.variables["o"].get_value()[36]
    assert float(seen["growth"][1, 2]) == trace[0] * trace[1]
    assert seen["activity"]["in"].nonzero().tolist() == [[2]]
    assert seen["activity"]["out"].nonzero().tolist() == [[1]]
    assert seen["rate"]["in"].nonzero().tolist() == [[2]]
    assert seen["rate"]["out"].nonzero().tolist() == [[1]]
    assert float(seen["rate"]["in"][2]) == float(seen["rate"]["out"][1])


# -- bounds --------------------------------------------------------------------------------------


def test_what_a_rule_writes_is_clipped_to_the_weights_bounds():
    net = Net(pre=(0, 4, 4, 4), w_max=0.6, w=0.6).run(
        {3: ([], [1])}, weights={5: 0.9}, birth=5.0, duration=4.5
    )
    assert net.value("w")[:2].tolist() == [0.6, 0.6]
    drive(net.session, duration=5 * ms)
    assert net.value("w")[:2].tolist() == [0.6, 0.6]
    assert net.session.graph["weight"].tolist() == [0.6, 0.6]
    net = Net(pre=(0, 4, 4, 4)).run({3: ([], [1])}, weights={5: -0.9}, birth=-5.0, duration=10)
    assert net.value("w")[:2].tolist() == [0.0, 0.0]


def test_the_noise_of_deep_r_stays_below_w_max():
    net = Parts({}, pre=[*range(6), *range(6)])
    rule = rewire.DeepR(eta=1e-2, l1=0.1, temperature=1e-1)
    session = rewire.Session(net.world, net.world.graph(), rule)
    drive(session, duration=60 * ms)
    weight = net.wiring.w
    assert weight.max() <= 0.2 and weight.min() >= 0 and session.history.dropped > 0


def test_synaptic_sampling_does_not_depend_on_the_unit_of_the_weights():
    """Potentiated by a fiftieth of w_max a step, up to w_max, whatever that is."""
    runs = {}
    for w_max in (1.0, 100.0):
        net = Parts({}, pre=[0, 1, 2] * 4, w_max=w_max)
        net.synapses.run_regularly("w = clip(w + w_max / 50, 0, w_max)", dt=1 * ms)
        net.synapses.namespace["w_max"] = w_max
        rule = rewire.SynapticSampling(eta=0.01, prior=0.1)
        session = rewire.Session(net.world, net.world.graph(), rule)
        drive(session, duration=60 * ms)
        assert net.wiring.w.max() == w_max
        runs[w_max] = session.topology.tolist(), net.wiring.w / w_max
    for keys, weight in runs.values():
        assert keys == runs[1.0][0] and weight == pytest.approx(runs[1.0][1], rel=1e-9)


def test_starting_weights_above_w_max_are_refused():
    with pytest.raises(ValueError, match="1 synapses start with a weight above w_max = 0.4"):
        Net(pre=(0, 4, 4, 4), w_max=0.4, w=0.5).run()


def test_w_max_may_have_a_unit_which_is_that_of_the_weight():
    volts = {"model": "w : volt", "on_pre": "g_post += w / mV", "on_post": None, "w": 1 * mV}
    net = Net(pre=(0, 1, 2, 3), w_max=4 * mV, **volts).run({3: ([0], [1])}, birth=1.0)
    assert net.wiring.w_max == 0.004 and net.value("w").max() == 0.004
    with pytest.raises(ValueError, match="w_max of the weight 'w' is 4. mV, .* has no unit"):
        Net(w_max=4 * mV)
    with pytest.raises(ValueError, match="w_max of the weight 'w' is 4. Hz, .* has the unit V"):
        Net(w_max=4 * Hz, **volts)
    for bad in (0.0, -1.0, np.inf, np.nan, np.ones(2)):
        with pytest.raises(ValueError, match="w_max is one finite number above 0"):
            Net(w_max=bad)


# -- what was accepted silently ------------------------------------------------------------------


def test_repeated_pairs_are_refused_where_multapses_are_not_allowed():
    net = Net(pre=(0, 0, 4, 4))
    ends = {"sources": {"in": slice(0, 4)}, "targets": {"out": slice(0, 2)}}
    once = Brian(net.wiring, **ends, multapses=False)
    with pytest.raises(ValueError, match="1 synapses join pairs .* first from 0 of 'in' to 0 of"):
        once.graph()
    assert len(Brian(net.wiring, **ends).graph()) == 2


def test_slices_that_overlap_or_leave_their_group_are_refused():
    net = Net()

    def world(sources, targets):
        return Brian(net.wiring, sources=sources, targets=targets)

    inputs, out = {"in": slice(0, 4)}, {"out": slice(0, 2)}
    with pytest.raises(ValueError, match="sources 'a' and 'b' overlap: both have neuron 1 of"):
        world({"a": slice(0, 2), "b": slice(1, 4)}, out)
    with pytest.raises(ValueError, match="targets 'a' and 'b' overlap: both have neuron 1 of"):
        world(inputs, {"a": slice(0, 2), "b": slice(1, 2)})
    for bad in (slice(0, 6), slice(2, 2), slice(0, 4, 2), slice(-2, 3)):
        with pytest.raises(ValueError, match="is no range of neurons of .* which has 5"):
            world({"in": bad}, out)
    with pytest.raises(ValueError, match="one name is one set of neurons, so give two"):
        world({"a": slice(0, 2)}, {"a": slice(0, 2)})
    assert world({"in": slice(None, 4)}, {"out": slice(None)}).space.possible == 8


def test_worlds_that_share_synapses_are_refused():
    net = Net()
    ends = {"sources": {"in": slice(0, 4)}, "targets": {"out": slice(0, 2)}}
    sessions = [rewire.Session(w, w.graph(), rewire.Static())
                for w in (net.world, Brian(net.wiring, **ends))]  # fmt: skip
    with pytest.raises(ValueError, match="disjoint copies, and these own synapses of the same"):
        drive(*sessions, duration=1 * ms)


def test_a_null_neuron_that_spikes_is_refused_as_it_does():
    net = Net(([0, 4], [3, 7]))
    with pytest.raises(ValueError, match="the null neuron, 4 of .*, spiked at step 7"):
        net.run()
    parts = Parts({4: [23], 6: [30, 38]})
    session = rewire.Session(parts.world, parts.world.graph(), rewire.Static())
    with pytest.raises(ValueError, match="the null neuron, 10 of .*, spiked at step 6"):
        drive(session, duration=10 * ms)


@pytest.mark.parametrize("signal, epsilon", [("rate", 5.0), ("activity", 20.0)])
def test_homeostatic_growth_runs_where_targets_are_no_sources(signal, epsilon):
    spikes = np.repeat(np.arange(4), 12), np.tile(np.arange(0, 36, 3), 4)
    net = Net(spikes, pre=(0, 1, 4, 4))
    rule = rewire.HomeostaticGrowth(signal=signal, epsilon=epsilon, eta=-1.0, growth=400.0,
                                    tau=0.05)  # fmt: skip
    session = rewire.Session(net.world, net.world.graph(), rule)
    drive(session, duration=30 * ms)
    assert session.history.formed > 0


@pytest.mark.parametrize("signal", ["rate", "activity"])
def test_targets_without_a_threshold_have_no_rate_and_say_so_before_step_0(signal):
    source = b2.PoissonGroup(5, 5 * Hz)
    target = b2.NeuronGroup(2, TARGET, method="exact", name="silent_targets")
    synapses = b2.Synapses(source, target, "w : 1", on_pre="g_post += w")
    synapses.connect(i=[4] * 4, j=[0, 0, 1, 1])
    wiring = Wiring(b2.Network(source, target, synapses), synapses, null=4, w_max=1.0)
    world = Brian(wiring, sources={"in": slice(0, 4)}, targets={"out": slice(0, 2)})
    rule = rewire.HomeostaticGrowth(signal=signal, epsilon=5.0, eta=-1.0, growth=400.0, tau=0.05)
    with pytest.raises(ValueError, match="'silent_targets' does not spike: give it a threshold"):
        rewire.Session(world, world.graph(), rule)


def test_spikes_that_a_generator_makes_between_steps_are_seen():
    """Of one step they come in the order of their times: 3 before 0, and 2 before 1."""
    seen = {}

    @dataclass(frozen=True, kw_only=True)
    class Watcher(rewire.Rule):
        budget = "reported"
        needs = frozenset({"spiked"})

        def update(self, graph, signals, state, rng, clock):
            spiked = torch.cat([signals.node("spiked", name) for name in ("a", "b")])
            if spiked.any():
                seen[clock.total - 1] = spiked.nonzero().squeeze(1).tolist()
            return Edit(), state

    net = Net(([3, 0, 2, 1, 0], [1.1, 1.7, 2.2, 2.6, 5.5]))
    world = Brian(net.wiring, sources={"a": slice(0, 2), "b": slice(2, 4)},
                  targets={"out": slice(0, 2)})  # fmt: skip
    drive(rewire.Session(world, Graph.empty(world.space), Watcher()), duration=10 * ms)
    assert seen == {1: [0, 3], 2: [1, 2], 5: [0]}

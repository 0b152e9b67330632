"""Programs of Brian2's cpp_standalone device rewire as the session does between time steps."""

import numpy as np
import pytest

b2 = pytest.importorskip("brian2")
import brian_programs as programs  # noqa: E402
from brian2 import ms  # noqa: E402
from brian_programs import SLOTS, STEPS, edits, network, standalone  # noqa: E402

import rewire  # noqa: E402
from rewire.limits import limited  # noqa: E402
from rewire.worlds.brian import Brian, Wiring, drive, rewirable  # noqa: E402

pytestmark = pytest.mark.usefixtures("runtime")
RULE = rewire.StructuralPlasticity.bogdan(
    slots=SLOTS, rate=3e4, p_elim_dep=0.5, p_elim_pot=0.1, sigma_form=0.4,
    sigma_form_lateral=0.3, birth=0.15,
)  # fmt: skip


def session_on(net, synapses, rules=None, **options):
    return programs.session_on(net, synapses, rules or [rewire.Static(), RULE], **options)


def test_a_standalone_program_makes_the_edits_of_a_run_and_its_log_replays(project):
    net, synapses = network()
    here = session_on(net, synapses, births={"scale": 0.5})
    start = here.graph
    drive(here, duration=STEPS * ms)

    def held(of):
        names = ("_synaptic_pre", "N_outgoing", "w", "scale", "xp", "lastupdate")
        return [np.array(of.variables[name].get_value(), float) for name in names]

    expected = held(synapses)
    standalone(project)
    net, synapses = network()
    there = session_on(net, synapses, births={"scale": 0.5})
    drive(there, duration=STEPS * ms)

    assert edits(there) == edits(here)
    assert here.history.formed > 500 and here.history.dropped > 500
    for ours, theirs in zip(held(synapses), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    assert there.clock.total == here.clock.total == STEPS // 2
    assert there.graph.keys.equal(here.graph.keys)
    assert there.graph["slot"].equal(here.graph["slot"])  # also of parallel synapses
    assert there.history.replay(start).keys.equal(there.graph.keys)
    assert (there.history.formed, there.history.dropped) == (
        here.history.formed,
        here.history.dropped,
    )
    with pytest.raises(ValueError, match="has begun already"):
        drive(there, duration=STEPS * ms)
    with pytest.raises(ValueError, match="has been built and run already"):
        session_on(net, synapses)


def test_a_null_neuron_that_spikes_ends_the_program(project):
    standalone(project)
    session = session_on(*network(busy=[11]))
    with pytest.raises(ValueError, match="null neuron, 70 of 'cells', spiked after tick 5"):
        drive(session, duration=STEPS * ms)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (rewire.AgeLimit(), "AgeLimit is not compiled, DeepR, HomeostaticGrowth, SET, Struct"),
        (
            rewire.DeepR(eta=0.1, scope="global", draw="layer"),
            "DeepR's draw='layer' is not compiled, draw='synapse' is",
        ),
        (rewire.HomeostaticGrowth(), "signal='activity' is not compiled, 'rate' is"),
        (rewire.StructuralPlasticity(partner="activity"), "partner='activity' is not compiled"),
        (rewire.StructuralPlasticity(partner="uniform", threshold=None), "with a threshold"),
        (
            rewire.StructuralPlasticity.bogdan(slots=SLOTS, when=rewire.every(2)),
            "the period of ticks is Wiring's",
        ),
        (
            [rewire.StructuralPlasticity.bogdan(slots=SLOTS)] * 2,
            "only one rule that acts is compiled",
        ),
    ],
)
def test_rules_that_are_not_compiled_are_refused_by_name_before_the_build(rule, said, tmp_path):
    standalone(tmp_path / "never")
    session = session_on(*network(), rules=rule)
    with pytest.raises(ValueError, match="cannot be rewired in a standalone program") as refused:
        drive(session, duration=STEPS * ms)
    assert said in str(refused.value) and "set_device('runtime')" in str(refused.value)
    assert not (tmp_path / "never").exists()


def test_limits_are_refused_also_those_that_the_world_came_with(tmp_path):
    standalone(tmp_path / "never")
    world = session_on(*network()).world
    world.space = limited(world.space, [rewire.Distance(most=0.9)])
    session = rewire.Session(world, world.graph(), rewire.Static())
    with pytest.raises(ValueError, match="limits are not compiled"):
        drive(session, duration=STEPS * ms)
    assert not (tmp_path / "never").exists()


def test_networks_that_only_the_program_knows_are_refused(tmp_path):
    standalone(tmp_path)
    with pytest.raises(ValueError, match="slots are to be known before: connect.. with arrays"):
        session_on(*network(connect={"p": 0.1}))
    net, synapses = network()
    synapses.w = "0.1*rand()"
    with pytest.raises(ValueError, match="computes 'w' of 'syn' as it runs"):
        session_on(net, synapses)
    net, synapses = network()
    with pytest.raises(ValueError, match="padded in running simulations alone"):
        rewirable(synapses, network=net)
    birth = {"scale": lambda pre, post: pre * 0.0}
    session = session_on(*network(), births=birth)
    with pytest.raises(ValueError, match=r"births\['scale'\] is a function"):
        drive(session, duration=STEPS * ms)


def test_what_standalone_programs_begin_with_is_read_from_what_they_will_do(tmp_path):
    standalone(tmp_path)
    net, synapses = network()
    synapses.scale = 3.0
    synapses.w[1] = 0.05
    wiring = session_on(net, synapses).world.wiring
    assert wiring.births == {"scale": 3.0, "xp": 0}
    assert wiring.w[1] == 0.05 and set(wiring.w[[0, 2]]) == {0.1}


def test_another_version_of_brian_is_refused(tmp_path, monkeypatch):
    standalone(tmp_path)
    net, synapses = network()
    monkeypatch.setattr(b2, "__version__", "2.11.0")
    with pytest.raises(ValueError, match=r"rewired with Brian2 2.9, and this is 2.11.0"):
        session_on(net, synapses)


def test_rates_that_a_program_does_not_count_are_refused(tmp_path):
    standalone(tmp_path / "never")
    sources = b2.NeuronGroup(4, "x : 1", threshold="x > 1", name="sources", dt=1 * ms)
    aims = b2.NeuronGroup(2, "x : 1", threshold="x > 1", name="aims", dt=0.5 * ms)
    synapses = b2.Synapses(sources, aims, "w : 1", on_pre="x_post += w", name="between")
    synapses.connect(i=[0, 3, 1, 3], j=[0, 0, 1, 1])
    synapses.w = 0.1
    wiring = Wiring(b2.Network(sources, aims, synapses), synapses, null=3, w_max=0.2)
    world = Brian(wiring, sources={"in": slice(0, 3)}, targets={"out": slice(0, 2)})
    session = rewire.Session(world, world.graph(), rewire.HomeostaticGrowth(signal="rate"))
    with pytest.raises(ValueError, match="reads rates, and the time step of 'aims' is not"):
        drive(session, duration=9 * ms)
    assert not (tmp_path / "never").exists()


def test_a_rule_made_of_a_compiled_one_is_refused(tmp_path):
    class Halving(rewire.SET):
        """What it changes, no program knows."""

    standalone(tmp_path)
    session = session_on(*network(), rules=Halving())
    with pytest.raises(ValueError, match="Halving is not compiled"):
        drive(session, duration=STEPS * ms)


def test_headers_of_programs_are_in_the_package():
    from rewire.worlds.brian.standalone import HEADERS, NATIVE

    assert all((NATIVE / name).is_file() for name in HEADERS)
    assert {"walk.hpp", "standalone/program.hpp", "standalone/deep_r.hpp"} <= {*HEADERS}

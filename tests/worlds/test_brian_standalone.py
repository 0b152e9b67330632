"""Programs of Brian2's cpp_standalone device rewire as the session does between time steps."""

import numpy as np
import pytest

b2 = pytest.importorskip("brian2")
from brian2 import ms  # noqa: E402

import rewire  # noqa: E402
from rewire.limits import limited  # noqa: E402
from rewire.worlds.brian import Brian, Wiring, drive, rewirable  # noqa: E402

FIRST, TARGETS, SLOTS, STEPS = 40, 30, 6, 400  # sources 0-39, targets 40-69, and the null neuron
NULL = FIRST + TARGETS
QUICKLY = ["-O0", "-std=c++11", "-w"]  # compiled, which is most of the time here


@pytest.fixture(autouse=True)
def runtime():
    b2.prefs.codegen.target = "numpy"
    flags = b2.prefs["codegen.cpp.extra_compile_args_gcc"]
    yield
    b2.device.reinit()
    b2.set_device("runtime")
    b2.prefs["codegen.cpp.extra_compile_args_gcc"] = flags


def standalone(path):
    b2.set_device("cpp_standalone", directory=str(path), with_output=False)


def network(connect=None, busy=()):
    """Neurons that spike by a script, plastic synapses with traces and a parameter of their own,
    and delays of both pathways."""
    rng = np.random.default_rng(0)
    script = (rng.random((STEPS + 1, NULL + 1)) < 0.04).astype(float)
    script[:, NULL] = 0
    script[list(busy), NULL] = 1
    cells = b2.NeuronGroup(
        NULL + 1, "do/dt = -o/(30*ms) : 1\nx : 1", threshold="script(t, i) > 0.5", reset="o += 1",
        method="exact", name="cells", namespace={"script": b2.TimedArray(script, dt=1 * ms)},
        clock=b2.Clock(1 * ms, name="ticking"),
    )  # fmt: skip
    synapses = b2.Synapses(
        cells, cells, "w : 1\nscale : 1\ndxp/dt = -xp/(20*ms) : 1 (event-driven)",
        on_pre="x_post += w*scale\nxp += 1\nw = clip(w - 0.03*o_post, 0, 0.2)",
        on_post="w = clip(w + 0.02*xp, 0, 0.2)", delay={"pre": 2 * ms, "post": 1 * ms},
        clock=cells.clock, name="syn",
    )  # fmt: skip
    pre = rng.integers(0, NULL, (TARGETS, SLOTS))
    pre[:, SLOTS // 2 :] = NULL
    if connect is None:
        synapses.connect(i=pre.ravel(), j=np.repeat(np.arange(FIRST, NULL), SLOTS))
    else:
        synapses.connect(**connect)
    synapses.w = np.where(pre.ravel() == NULL, 0, 0.1) if connect is None else 0.1
    synapses.scale = 2.0
    return b2.Network(cells, synapses, name="net"), synapses


def session_on(net, synapses, rules=None, **options):
    wiring = Wiring(net, synapses, null=NULL, w_max=0.2, period=2 * ms, **options)
    ends = {"in": slice(0, FIRST), "out": slice(FIRST, NULL)}
    places = np.random.default_rng(1)
    world = Brian(
        wiring, sources=ends, targets={"out": ends["out"]},
        projections={"ff": ("in", "out"), "lat": ("out", "out")},
        positions={"in": places.random((FIRST, 2)), "out": places.random((TARGETS, 2))},
    )  # fmt: skip
    rule = rewire.StructuralPlasticity.bogdan(
        slots=SLOTS, rate=3e4, p_elim_dep=0.5, p_elim_pot=0.1, sigma_form=0.4,
        sigma_form_lateral=0.3, birth=0.15,
    )  # fmt: skip
    return rewire.Session(world, world.graph(), rules or [rewire.Static(), rule], seed=5)


def edits(session):
    return [(r.total, r.step, r.rule, r.drop.tolist(), r.add.tolist()) for r in session.history]


def test_a_standalone_program_makes_the_edits_of_a_run_and_its_log_replays(tmp_path):
    net, synapses = network()
    here = session_on(net, synapses, births={"scale": 0.5})
    start = here.graph
    drive(here, duration=STEPS * ms)

    def held(of):
        names = ("_synaptic_pre", "N_outgoing", "w", "scale", "xp", "lastupdate")
        return [np.array(of.variables[name].get_value(), float) for name in names]

    expected = held(synapses)
    standalone(tmp_path)
    b2.prefs["codegen.cpp.extra_compile_args_gcc"] = QUICKLY
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


@pytest.mark.slow
def test_a_null_neuron_that_spikes_ends_the_program(tmp_path):
    standalone(tmp_path)
    b2.prefs["codegen.cpp.extra_compile_args_gcc"] = QUICKLY
    session = session_on(*network(busy=[11]))
    with pytest.raises(ValueError, match="null neuron, 70 of 'cells', spiked after tick 5"):
        drive(session, duration=STEPS * ms)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (rewire.SET(), "SET is not compiled, StructuralPlasticity and Static are"),
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


def test_headers_of_programs_are_in_the_package():
    from rewire.worlds.brian.standalone import HEADERS, NATIVE

    assert all((NATIVE / name).is_file() for name in HEADERS)

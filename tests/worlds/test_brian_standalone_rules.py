"""Each compiled rule makes the edits of a running simulation, at several settings."""

import numpy as np
import pytest
import torch

b2 = pytest.importorskip("brian2")
from brian2 import ms  # noqa: E402
from brian_programs import (  # noqa: E402
    NULL,
    SLOTS,
    STEPS,
    TARGETS,
    edits,
    network,
    session_on,
    standalone,
)  # fmt: skip

import rewire  # noqa: E402
from rewire.worlds.brian import drive  # noqa: E402

pytestmark = pytest.mark.usefixtures("runtime")


def distinct(sources, free):
    """Different sources for each target, and so many slots that are not in use."""
    rng = np.random.default_rng(2)
    pre = np.array([rng.permutation(sources)[:SLOTS] for _ in range(TARGETS)])
    pre[:, SLOTS - free :] = NULL
    return pre


CROWDED = dict(sources=SLOTS + 1, lateral=False, multapses=False)  # one partner is missing to each
CASES = {
    "set": (rewire.SET(when=rewire.every(5)), {}),
    "set-magnitude-noisy-births": (
        rewire.SET(fraction=rewire.cosine(0.95), drop="magnitude", birth=0.05,
                   when=rewire.every(3, stop=0.8)),
        dict(span=STEPS // 2, multapses=False, pre=distinct(70, 2)),
    ),
    "set-crowded": (
        rewire.SET(fraction=0.9, when=rewire.at_steps(7, 8, 50, 170)),
        CROWDED | {"pre": distinct(SLOTS + 1, 0)},
    ),
    "deep-r": (rewire.DeepR(eta=0.1, l1=0.02, temperature=1e-3), {}),
    "deep-r-global-every-third": (
        rewire.DeepR(eta=0.05, l1=0.1, noise=0.4, birth=0.1, scope="global", when=rewire.every(3)),
        dict(multapses=False, pre=distinct(70, 2)),
    ),
    "deep-r-cold": (rewire.DeepR(eta=0.1, l1=0.05, temperature=0.0), {}),
    "deep-r-crowded": (
        rewire.DeepR(eta=0.1, l1=0.05, temperature=2e-3),
        CROWDED | {"pre": distinct(SLOTS + 1, 0)},
    ),
    "homeostatic": (
        rewire.HomeostaticGrowth(signal="rate", epsilon=7.0, eta=1.0, growth=40.0, tau=0.05), {},
    ),
    "homeostatic-linear": (
        rewire.HomeostaticGrowth(signal="rate", curve="linear", epsilon=6.0, growth=9.0, tau=0.1,
                                 tau_vacant=0.5, birth=0.07, when=rewire.every(3)),
        dict(multapses=False, pre=distinct(70, 2)),
    ),
    "homeostatic-crowded": (
        rewire.HomeostaticGrowth(signal="rate", epsilon=6.0, eta=-1.0, growth=90.0, tau=0.02,
                                 tau_vacant=0.0, when=rewire.every(1)),
        CROWDED | {"pre": distinct(SLOTS + 1, 1)},
    ),
    "structural": (rewire.StructuralPlasticity.bogdan(slots=SLOTS, partner="population"), {}),
}  # fmt: skip


def run(rule, pre=None, **options):
    net, synapses = network(pre=pre)
    session = session_on(net, synapses, [rewire.Static(), rule], births={"scale": 0.5}, **options)
    start = session.graph
    drive(session, duration=STEPS * ms)
    return session, start, synapses


def assert_same(a, b, path=""):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for name in a:
            assert_same(a[name], b[name], f"{path}/{name}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}/{i}")
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), path
    else:
        assert a == b, path


@pytest.mark.parametrize("name", CASES)
def test_a_program_makes_the_edits_of_a_run_and_leaves_its_state(name, project):
    rule, options = CASES[name]
    here, _, there_w = run(rule, **options)
    expected = np.array(there_w.variables["w"].get_value())
    standalone(project)
    there, start, synapses = run(rule, **options)

    assert here.history.formed > 20 and here.history.dropped > 20
    assert edits(there) == edits(here)
    assert_same(there.state_dict(), here.state_dict())
    np.testing.assert_allclose(synapses.variables["w"].get_value(), expected, rtol=0, atol=1e-14)
    assert there.graph["slot"].equal(here.graph["slot"])
    assert there.history.replay(start).keys.equal(there.graph.keys)
    for end, counter in here.world.wiring._counters.items():
        found = there.world.wiring._counters[end]
        assert (found.rates == counter.rates).all() and (found.counted == counter.counted).all()


@pytest.mark.slow
def test_programs_compiled_with_the_flags_of_brian_make_the_same_edits(tmp_path):
    """-ffast-math among them, which is not to touch the numbers of the rules."""
    flags = list(b2.prefs["codegen.cpp.extra_compile_args_gcc"])
    assert "-ffast-math" in flags
    for rule, options in CASES.values():
        compare(rule, options, tmp_path, flags)


def compare(rule, options, path, flags):
    """In a function, so that names of networks that are gone are free again, and code the same."""
    here, *_ = run(rule, **options)
    standalone(path, flags)
    there, *_ = run(rule, **options)
    b2.device.reinit()
    b2.set_device("runtime")
    assert edits(there) == edits(here)
    assert_same(there.state_dict(), here.state_dict())

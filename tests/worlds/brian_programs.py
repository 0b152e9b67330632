"""A network for programs of Brian2's cpp_standalone device, which the same code serves, so that it
is compiled once."""

import gc

import brian2 as b2
import numpy as np
from brian2 import ms

import rewire
from rewire.worlds.brian import Brian, Wiring

FIRST, TARGETS, SLOTS, STEPS = 40, 30, 12, 400  # sources 0-39, targets 40-69, and the null neuron
NULL = FIRST + TARGETS
QUICKLY = ["-O0", "-std=c++11", "-w"]  # compiled, which is most of the time here


def standalone(path, flags=QUICKLY):
    gc.collect()  # names that are free again make the same code
    b2.prefs["codegen.cpp.extra_compile_args_gcc"] = flags
    b2.set_device("cpp_standalone", directory=str(path), with_output=False)


def network(connect=None, busy=(), pre=None):
    """Neurons that spike by a script, plastic synapses with traces and a parameter of their own,
    and delays of both pathways.

    pre: the source of each slot at the start, (TARGETS, SLOTS).
    """
    rng = np.random.default_rng(0)
    script = (rng.random((STEPS + 1, NULL + 1)) < 0.04).astype(float)
    script[:, NULL] = 0
    script[list(busy), NULL] = 1
    scripted = b2.TimedArray(script, dt=1 * ms, name="scripted")
    cells = b2.NeuronGroup(
        NULL + 1, "do/dt = -o/(30*ms) : 1\nx : 1", threshold="script(t, i) > 0.5", reset="o += 1",
        method="exact", name="cells", namespace={"script": scripted},
        clock=b2.Clock(1 * ms, name="ticking"),
    )  # fmt: skip
    synapses = b2.Synapses(
        cells, cells, "w : 1\nscale : 1\ndxp/dt = -xp/(20*ms) : 1 (event-driven)",
        on_pre="x_post += w*scale\nxp += 1\nw = clip(w - 0.03*o_post, 0, 0.2)",
        on_post="w = clip(w + 0.02*xp, 0, 0.2)", delay={"pre": 2 * ms, "post": 1 * ms},
        clock=cells.clock, name="syn",
    )  # fmt: skip
    if pre is None:
        pre = rng.integers(0, NULL, (TARGETS, SLOTS))
        pre[:, SLOTS // 2 :] = NULL
    if connect is None:
        synapses.connect(i=pre.ravel(), j=np.repeat(np.arange(FIRST, NULL), SLOTS))
    else:
        synapses.connect(**connect)
    synapses.w = np.where(pre.ravel() == NULL, 0, 0.1) if connect is None else 0.1
    synapses.scale = 2.0
    return b2.Network(cells, synapses, name="net"), synapses


def session_on(net, synapses, rules, *, sources=FIRST, lateral=True, multapses=True, span=None,
               **options):  # fmt: skip
    """sources: how many neurons are sources; lateral: whether the targets are others."""
    wiring = Wiring(net, synapses, null=NULL, w_max=0.2, period=2 * ms, **options)
    ends = {"in": slice(0, sources)} | ({"out": slice(FIRST, NULL)} if lateral else {})
    places = np.random.default_rng(1)
    world = Brian(
        wiring, sources=ends, targets={"out": slice(FIRST, NULL)}, multapses=multapses,
        projections={"ff": ("in", "out")} | ({"lat": ("out", "out")} if lateral else {}),
        positions={
            "in": places.random((FIRST, 2))[:sources], "out": places.random((TARGETS, 2))
        },
    )  # fmt: skip
    return rewire.Session(world, world.graph(), rules, seed=5, span=span)


def edits(session):
    return [(r.total, r.step, r.rule, r.drop.tolist(), r.add.tolist()) for r in session.history]

"""Running sessions inside a Brian2 network."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from ...streams import rng_for
from ...world import Run
from .standalone import drive_standalone
from .wiring import Wiring
from .world import Brian

if TYPE_CHECKING:
    import brian2 as b2

FOREVER = 1e6  # seconds, where sessions say when they are done
ORDER = 1000  # among what Brian2 runs at the end of a time step: rules come last


def drive(
    *sessions: Run,
    duration: b2.Quantity | None = None,
    report: str | Callable[..., None] | None = None,
    report_period: b2.Quantity | None = None,
    namespace: Mapping[str, Any] | None = None,
) -> None:
    """Run the network, and let the sessions rewire it, in one ``run()`` of Brian2.

    sessions: a :class:`rewire.Session` for each world, all of one network. Worlds on the same
        Synapses share one Wiring; each Synapses object has its own.
    duration: simulated time; None goes on until every session is done.
    report, report_period, namespace: as for ``Network.run``.

    Brian2's random numbers are seeded at the start and at every full simulated second, from the
    sessions' seeds and the time: runs repeat bit for bit, and where drives end at full seconds it
    makes no difference how many they are.
    """
    by_wiring = _by_wiring(sessions)
    first = by_wiring[0][0]
    b2, network = first.brian2, first.network
    if duration is None:
        if any(s.endless for s in sessions):
            raise ValueError("a session without an end needs a duration, such as 60 * second.")
        duration = FOREVER * b2.second
    if first.standalone:
        how = {"report": report, "namespace": namespace, "level": 3}
        how |= {} if report_period is None else {"report_period": report_period}
        drive_standalone(sessions, duration, "brian/" + str(sessions[0].seed), how)
        return
    for wiring, _ in by_wiring:
        wiring.look()
    label = "brian/" + "-".join(str(s.seed) for s in sessions)

    def reseed(step: int) -> None:
        b2.seed(rng_for(sessions[0].seed, label, step).key & 0xFFFFFFFF)

    def stop_if_done() -> None:
        if all(s.done for s in sessions):
            network.stop()

    operations = [
        b2.NetworkOperation(
            _ticking(wiring, its, reseed if wiring is first else None, stop_if_done),
            clock=wiring.clock,
            when="end",
            order=ORDER + at,
            name=f"rewire_{at}" if at else "rewire",
        )
        for at, (wiring, its) in enumerate(by_wiring)
    ]
    network.add(*operations)
    reseed(first.step)
    try:
        with runtime_target(b2):
            network.run(
                duration,
                report=report,
                report_period=10 * b2.second if report_period is None else report_period,
                namespace=namespace,
                level=1,
            )
        for wiring, _ in by_wiring:
            wiring.refuse_nan()
    finally:
        network.remove(*operations)
        # where stopped it is a view of the clock, whose time goes on
        network.t_ = float(np.asarray(network.t_))


def _ticking(
    wiring: Wiring,
    sessions: Sequence[Run],
    reseed: Callable[[int], None] | None,
    stop_if_done: Callable[[], None],
) -> Callable[[], None]:
    """What is done at the end of every time step: the rules' ticks, and new random numbers."""
    steps_a_second = round(1 / wiring.dt)
    now, often = wiring._clock, gcd(wiring.steps, steps_a_second)

    def tick() -> None:
        wiring.refuse_busy_null()
        step = now.item() + 1
        if step % often:
            return
        if step % wiring.steps == 0:
            wiring.ticking = True
            done = True
            for session in sessions:
                if not session.done:
                    session.plan()
                    session.tick()
                    done = done and session.done
            wiring.ticking = False
            wiring.settle()
            wiring.note()
            if done:
                stop_if_done()
        if step % steps_a_second == 0:
            wiring.refuse_nan()
            if reseed is not None:
                reseed(step)

    return tick


def _by_wiring(sessions: Sequence[Run]) -> list[tuple[Wiring, list[Run]]]:
    """The sessions of each wiring; all in one network."""
    worlds = [s.world for s in sessions]
    if not worlds or not all(isinstance(w, Brian) for w in worlds):
        raise ValueError("drive() takes one or more sessions in worlds made by Brian(...).")
    wirings = list({id(w.wiring): w.wiring for w in worlds}.values())
    if len({id(w.network) for w in wirings}) > 1:
        raise ValueError("drive() runs one network: its sessions' worlds must share one Network.")
    joined = [id(synapses) for w in wirings for synapses in w.joined]
    if len(set(joined)) < len(joined):
        raise ValueError(
            "worlds on the same Synapses must share one Wiring; of worlds whose slots are shared, "
            "only the world that share_slots() gave takes a session."
        )
    if len({w.dt for w in wirings}) > 1:
        raise ValueError(
            f"the sources of the sessions' synapses have different time steps, "
            f"{sorted({w.dt for w in wirings})} s: drive() takes one."
        )
    for wiring in wirings:
        _refuse_shared_slots([w for w in worlds if w.wiring is wiring])
    return [(w, [s for s in sessions if s.world.wiring is w]) for w in wirings]


def _refuse_shared_slots(worlds: Sequence[Brian]) -> None:
    owned = np.concatenate([w._own for w in worlds])
    if len(np.unique(owned)) < len(owned):
        raise ValueError(
            "worlds on one Wiring are disjoint copies, and these own synapses of the same targets: "
            "give each world targets of its own, or one session all the rules."
        )


@contextmanager
def runtime_target(b2: Any) -> Iterator[None]:
    """numpy where the user chose no target: "auto" compiles for half a minute unasked."""
    chosen = b2.prefs.codegen.target
    if chosen == "cython":
        compiler = (sysconfig.get_config_var("CXX") or "c++").split()[0]
        if shutil.which(compiler) is None:
            raise RuntimeError(
                f"the cython target needs a C++ compiler, and {compiler!r} is not there: install "
                "it, or set brian2.prefs.codegen.target = 'numpy'."
            )
    b2.prefs.codegen.target = "numpy" if chosen == "auto" else chosen
    try:
        yield
    finally:
        b2.prefs.codegen.target = chosen

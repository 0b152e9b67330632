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

    sessions: a :class:`rewire.Session` for each world on the same wiring.
    duration: simulated time; None goes on until every session is done.
    report, report_period, namespace: as for ``Network.run``.

    Brian2's random numbers are seeded at the start and at every full simulated second, from the
    sessions' seeds and the time: runs repeat bit for bit, and where drives end at full seconds it
    makes no difference how many they are.
    """
    wiring = _shared_wiring(sessions)
    b2, steps_a_second = wiring.brian2, round(1 / wiring.dt)
    if duration is None:
        if any(s.endless for s in sessions):
            raise ValueError("a session without an end needs a duration, such as 60 * second.")
        duration = FOREVER * b2.second
    wiring.look()
    label = "brian/" + "-".join(str(s.seed) for s in sessions)

    def reseed(step: int) -> None:
        b2.seed(rng_for(sessions[0].seed, label, step).key & 0xFFFFFFFF)

    now, often = wiring._clock, gcd(wiring.steps, steps_a_second)

    def tick() -> None:
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
                wiring.network.stop()
        if step % steps_a_second == 0:
            reseed(step)

    operation = b2.NetworkOperation(
        tick, clock=wiring.synapses.source.clock, when="end", order=ORDER, name="rewire"
    )
    wiring.network.add(operation)
    reseed(wiring.step)
    try:
        with _target(b2):
            wiring.network.run(
                duration,
                report=report,
                report_period=10 * b2.second if report_period is None else report_period,
                namespace=namespace,
                level=1,
            )
    finally:
        wiring.network.remove(operation)
        # where stopped it is a view of the clock, whose time goes on
        wiring.network.t_ = float(np.asarray(wiring.network.t_))


def _shared_wiring(sessions: Sequence[Run]) -> Wiring:
    worlds = [s.world for s in sessions]
    if not worlds or not all(isinstance(w, Brian) for w in worlds):
        raise ValueError("drive() takes one or more sessions in worlds made by Brian(...).")
    wirings = {id(w.wiring): w.wiring for w in worlds}
    if len(wirings) > 1:
        raise ValueError("drive() runs one network: its sessions' worlds must share one Wiring.")
    return next(iter(wirings.values()))


@contextmanager
def _target(b2: Any) -> Iterator[None]:
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

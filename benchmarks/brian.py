"""Cost of rewiring in Brian2: ``python -m benchmarks.brian [--json] [--quick]``.

============================= ========================================================= ======
name                          what it is                                                bar
============================= ========================================================= ======
``rewiring_over_static_1ms``  the map with rewiring at 10 kHz, batches of 1 ms / the    1.5
                              same network run by Brian2 alone
``rewiring_over_static_10ms`` the same with batches of 10 ms                            1.2
``times_real_time``           simulated / CPU seconds with rewiring, batches of 1 ms    >= 4
``ten_seeds_gain_10ms``       CPU of ten runs / of ten copies in one network, 10 ms     >= 1.5
``plain_over_plain``          two equal networks: the noise of this run
============================= ========================================================= ======

The map of Bogdan et al. (2018), N = 256, 32 slots, case 1, after a time to warm up; process CPU
time, variants interleaved in random order, medians of paired ratios. ``--target numpy`` measures
that code generation target instead of cython, which compiles for a minute the first time.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import brian2 as b2
import numpy as np
from brian2 import second

import rewire
from benchmarks.suite import Result, at_least, at_most, command
from benchmarks.timing import Times, interleaved, of_children, quiet, ratio
from rewire.models.spiking.topographic_map import TopographicMap
from rewire.native import kernels
from rewire.worlds.brian.loop import drive
from rewire.worlds.brian.standalone import FOLDER, SETTINGS
from rewire.worlds.brian.wiring import Wiring
from rewire.worlds.brian.world import Brian

SEEDS = 10
LARGER = {32: 5.0, 64: 2.0}  # side of a sheet -> simulated seconds a call
PROGRAMS = {16: 100.0, 64: 10.0}  # of programs of their own
MAP: dict[str, tuple[float, rewire.Rule | None]] = {  # period of ticks in ms, and rule
    "static": (1, rewire.Static()), "1ms": (1, None), "10ms": (10, None)
}  # fmt: skip
RULES: dict[str, rewire.Rule] = {  # in ticks of 1 ms
    "static": rewire.Static(),
    "structural_plasticity": rewire.StructuralPlasticity.bogdan(),
    "set": rewire.SET(when=rewire.every(100)),
    "deep_r": rewire.DeepR(eta=0.01, l1=0.01, temperature=1e-6),
    "homeostatic_growth": rewire.HomeostaticGrowth(
        signal="rate", curve="linear", epsilon=20.0, growth=1.0, tau=1.0, when=rewire.every(10)
    ),
}
OF_RULES = {16: 10.0, 64: 3.0}
BARS = {
    "rewiring_over_static_1ms": at_most(1.5),
    "rewiring_over_static_10ms": at_most(1.2),
    "times_real_time": at_least(4.0),
    "ten_seeds_gain_10ms": at_least(1.5),
}


def sessions_on(
    side: int, period: float, replicates: int = 1, rule: rewire.Rule | None = None
) -> list[rewire.Session]:
    """Structural plasticity on copies of the map; ``period`` of its ticks in ms."""
    p = TopographicMap(side=side)
    built = p.build(seed=1, replicates=replicates)
    wiring = Wiring(
        built.network, built.synapses, null=built.null, w_max=p.g_max, period=period * b2.ms
    )
    rule = rule or rewire.StructuralPlasticity.bogdan(rate=1e4 * p.size / 256)
    out = []
    for r in range(replicates):
        ends = {"in": built.sources[r], "out": built.targets[r]}
        world = Brian(
            wiring,
            sources=ends,
            targets={"out": ends["out"]},
            projections={"ff": ("in", "out"), "lat": ("out", "out")},
            positions={"in": p.positions, "out": p.positions},
        )
        out.append(rewire.Session(world, world.graph(), rule, seed=r))
    return out


def measure(
    quick: bool = False,
    target: str | None = None,
    only: str | None = None,
    projects: str | None = None,
) -> Result:
    """Every ratio.

    quick: seconds instead of minutes, on a small map: shows that it runs, measures nothing, and
        builds a program only where ``only`` asks for it.
    target: of code generation; cython unless ``quick``.
    only: a part: "runtime", "sizes", "standalone" or "rules".
    projects: a folder in which programs are built and stay, so that the next time compiles less.
    """
    b2.prefs.codegen.target = target or ("numpy" if quick else "cython")
    found: Result = dict.fromkeys(BARS)
    if only in (None, "runtime"):
        found |= running(quick)
    if only in (None, "sizes"):
        for side, length in ({5: 0.05} if quick else LARGER).items():
            found |= by_size(side, length, 2 if quick else 5)
    if only == "standalone" or (only is None and not quick):
        found |= programs(quick, projects)
    if only == "rules" or (only is None and not quick):
        found |= compiled_rules(quick, projects)
    found["target"], found["native"] = b2.prefs.codegen.target, int(kernels is not None)
    return found


def driving(sessions: list[rewire.Session], length: float) -> Callable[[], None]:
    return lambda: drive(*sessions, duration=length * second)


def simulating(network: b2.Network, length: float) -> Callable[[], None]:
    return lambda: network.run(length * second, namespace={})


def running(quick: bool) -> Result:
    """Simulations of 256 neurons a layer that run in this process."""
    side, warm, length, repetitions = (4, 0.02, 0.05, 2) if quick else (16, 20.0, 20.0, 7)
    plain = [TopographicMap(side=side).build(seed=1).network for _ in range(2)]
    rewired = {p: sessions_on(side, p) for p in (1, 10)}
    ten = sessions_on(side, 10, SEEDS)
    for network in plain:
        network.run(warm * second, namespace={})
    for sessions in (*rewired.values(), ten):
        drive(*sessions, duration=warm * second)
    times = interleaved(
        {
            "plain": simulating(plain[0], length),
            "again": simulating(plain[1], length),
            "1ms": driving(rewired[1], length),
            "10ms": driving(rewired[10], length),
            "ten": driving(ten, length),
        },
        repetitions,
    )
    events = rewired[1][0].history.churn()
    late = events[events[:, 0] > warm * 1e3, 1:].sum()
    spent = {name: float(np.median(t)) / length for name, t in times.items()}
    return {
        "rewiring_over_static_1ms": ratio(times, "1ms", "plain"),
        "rewiring_over_static_10ms": ratio(times, "10ms", "plain"),
        "times_real_time": 1 / spent["1ms"],
        "ten_seeds_gain_10ms": SEEDS * ratio(times, "10ms", "ten"),
        "plain_over_plain": ratio(times, "again", "plain"),
        "plain_cpu_per_second": spent["plain"],
        "rewiring_1ms_cpu_per_second": spent["1ms"],
        "rewiring_10ms_cpu_per_second": spent["10ms"],
        "ten_seeds_10ms_cpu_per_second": spent["ten"],
        "changes_per_second": float(late) / (length * (repetitions + 1)),
    }


def by_size(side: int, length: float, repetitions: int) -> Result:
    """Simulations of larger sheets that run in this process, with and without rewiring."""
    network = TopographicMap(side=side).build(seed=1).network
    rewired = {p: sessions_on(side, p) for p in (1, 10)}
    variants = {
        "plain": simulating(network, length),
        "1ms": driving(rewired[1], length),
        "10ms": driving(rewired[10], length),
    }
    times = interleaved(variants, repetitions)  # the first calls of all warm up
    size = side**2
    return {
        f"rewiring_over_static_1ms_{size}": ratio(times, "1ms", "plain"),
        f"rewiring_over_static_10ms_{size}": ratio(times, "10ms", "plain"),
        **_spent(times, length, f"{{}}_{size}_cpu_per_second"),
    }


def _spent(times: Times, length: float, name: str) -> Result:
    return {name.format(variant): float(np.median(t)) / length for variant, t in times.items()}


def programs(quick: bool, projects: str | None) -> Result:
    """Standalone programs, beside simulations of the same 256 neurons that run in this process."""
    found: Result = {}
    side, length, repetitions = (4, 0.05, 2) if quick else (16, 10.0, 5)
    here = sessions_on(side, 1)
    drive(*here, duration=length * second)
    there = interleaved({"1ms": driving(here, length)}, repetitions)
    spent = float(np.median(there["1ms"])) / length
    for side, length in ({4: 0.05} if quick else PROGRAMS).items():
        size = side**2
        with tempfile.TemporaryDirectory() as project:
            kept = Path(project if projects is None else projects) / str(side)
            times, compiled = program(side, length, kept, repetitions, MAP)
        found |= _spent(times, length, f"standalone_{{}}_{size}_cpu_per_second")
        found[f"standalone_over_static_1ms_{size}"] = ratio(times, "1ms", "static")
        found[f"standalone_over_static_10ms_{size}"] = ratio(times, "10ms", "static")
        found[f"standalone_compiled_in_{size}"] = compiled
    smallest, largest = min(PROGRAMS), max(PROGRAMS)
    if quick:
        smallest = largest = 4
    own = found[f"standalone_1ms_{smallest**2}_cpu_per_second"]
    most = found[f"standalone_1ms_{largest**2}_cpu_per_second"]
    assert isinstance(own, float) and isinstance(most, float)
    return found | {
        "runtime_1ms_cpu_per_second": spent,
        "standalone_gain_1ms": spent / own,
        "standalone_4096_times": 1 / most,
    }


def compiled_rules(quick: bool, projects: str | None) -> Result:
    """Each rule that is compiled: in this process at 256 neurons a layer, and in programs."""
    found: Result = {}
    repetitions = 2 if quick else 3
    for side, length in ({4: 0.05} if quick else OF_RULES).items():
        size = side**2
        rules = RULES | {"structural_plasticity": attempts_of(side)}
        if side == min(OF_RULES) or quick:
            times = from_the_start(side, rules, length, repetitions)
            found |= _spent(times, length, f"{{}}_runtime_{size}_cpu_per_second")
        with tempfile.TemporaryDirectory() as project:
            kept = Path(project if projects is None else projects) / f"rules_{side}"
            variants = {n: (1.0, rule) for n, rule in rules.items()}
            times, found[f"compiled_in_{size}"] = program(side, length, kept, repetitions, variants)
        found |= _spent(times, length, f"{{}}_standalone_{size}_cpu_per_second")
        for name in rules:
            found[f"{name}_over_static_{size}"] = ratio(times, name, "static")
            spent = found.get(f"{name}_runtime_{size}_cpu_per_second")
            if isinstance(spent, float):
                found[f"{name}_gain_{size}"] = spent * length / float(np.median(times[name]))
    return found


def attempts_of(side: int) -> rewire.Rule:
    """Structural plasticity with as many attempts for each neuron as the published map."""
    return rewire.StructuralPlasticity.bogdan(rate=1e4 * side**2 / 256)


def from_the_start(
    side: int, rules: Mapping[str, rewire.Rule], length: float, repetitions: int
) -> Times:
    """CPU seconds in this process, of a new map each time, simulated for a little before."""
    times = {name: np.empty(repetitions) for name in rules}
    with quiet():
        for r in range(repetitions):
            for name, rule in rules.items():
                gc.collect()  # names that are free again make the same code
                sessions = sessions_on(side, 1, rule=rule)
                drive(*sessions, duration=10 * b2.ms)
                start = time.process_time()
                drive(*sessions, duration=length * second)
                times[name][r] = time.process_time() - start
                del sessions
    return times


def program(
    side: int,
    length: float,
    project: Path,
    repetitions: int,
    variants: Mapping[str, tuple[float, rewire.Rule | None]],
) -> tuple[Times, float]:
    """CPU seconds of the map's program at each period of ticks in ms, with each rule; and the CPU
    seconds of its compilation. What is told to the program differs, not its code."""
    settings, compiled = dict[str, bytes](), 0.0
    b2.set_device("cpp_standalone", build_on_run=False)
    try:
        for name, (period, rule) in variants.items():
            b2.device.reinit()
            gc.collect()  # names that are free again make the same code, which is compiled already
            b2.device.activate(directory=str(project), with_output=False)
            start = of_children()
            drive(*sessions_on(side, period, rule=rule), duration=length * second)
            compiled = max(compiled, (of_children() - start) * 1e-9)
            settings[name] = (project / FOLDER / SETTINGS).read_bytes()

        def run(name: str) -> Callable[[], None]:
            def again() -> None:
                (project / FOLDER / SETTINGS).write_bytes(settings[name])
                b2.device.run(str(project), with_output=False)

            return again

        times = interleaved({n: run(n) for n in settings}, repetitions, clock=of_children)
        return times, compiled - float(np.median(times["static"]))
    finally:
        b2.device.reinit()
        b2.set_device("runtime")


def main(arguments: Sequence[str] | None = None) -> int:
    target = {"choices": ["cython", "numpy"], "help": "code generation target"}
    only = {"choices": ["runtime", "sizes", "standalone", "rules"], "help": "measure a part"}
    projects = {"metavar": "DIR", "help": "where programs are built, and stay"}
    return command(
        "brian", __doc__, measure, BARS, arguments, target=target, only=only, projects=projects
    )


if __name__ == "__main__":
    sys.exit(main())

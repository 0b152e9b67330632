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

import sys
from collections.abc import Callable, Sequence

import brian2 as b2
import numpy as np
from brian2 import second

import rewire
from benchmarks.suite import Result, at_least, at_most, command
from benchmarks.timing import interleaved, ratio
from rewire.models.spiking.topographic_map import TopographicMap
from rewire.native import kernels
from rewire.worlds.brian.loop import drive
from rewire.worlds.brian.wiring import Wiring
from rewire.worlds.brian.world import Brian

SEEDS = 10
BARS = {
    "rewiring_over_static_1ms": at_most(1.5),
    "rewiring_over_static_10ms": at_most(1.2),
    "times_real_time": at_least(4.0),
    "ten_seeds_gain_10ms": at_least(1.5),
}


def sessions_on(side: int, period: float, replicates: int = 1) -> list[rewire.Session]:
    """Structural plasticity on copies of the map; ``period`` of its ticks in ms."""
    p = TopographicMap(side=side)
    built = p.build(seed=1, replicates=replicates)
    wiring = Wiring(
        built.network, built.synapses, null=built.null, w_max=p.g_max, period=period * b2.ms
    )
    rule = rewire.StructuralPlasticity.bogdan(rate=1e4 * p.size / 256)
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


def measure(quick: bool = False, target: str | None = None) -> Result:
    """Every ratio.

    quick: seconds instead of minutes, on a small map: shows that it runs, measures nothing.
    target: of code generation; cython unless ``quick``.
    """
    b2.prefs.codegen.target = target or ("numpy" if quick else "cython")
    side, warm, length, repetitions = (4, 0.02, 0.05, 2) if quick else (16, 20.0, 20.0, 7)
    plain = [TopographicMap(side=side).build(seed=1).network for _ in range(2)]
    rewired = {p: sessions_on(side, p) for p in (1, 10)}
    ten = sessions_on(side, 10, SEEDS)

    def driving(sessions: list[rewire.Session]) -> Callable[[], None]:
        return lambda: drive(*sessions, duration=length * second)

    for network in plain:
        network.run(warm * second, namespace={})
    for sessions in (*rewired.values(), ten):
        drive(*sessions, duration=warm * second)
    times = interleaved(
        {
            "plain": lambda: plain[0].run(length * second, namespace={}),
            "again": lambda: plain[1].run(length * second, namespace={}),
            "1ms": driving(rewired[1]),
            "10ms": driving(rewired[10]),
            "ten": driving(ten),
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
        "target": b2.prefs.codegen.target,
        "native": int(kernels is not None),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    target = {"choices": ["cython", "numpy"], "help": "code generation target"}
    return command("brian", __doc__, measure, BARS, arguments, target=target)


if __name__ == "__main__":
    sys.exit(main())

"""Fair ratios on a shared machine: one thread, CPU time, variants interleaved, paired medians."""

from __future__ import annotations

import gc
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

Times = dict[str, np.ndarray]  # variant -> CPU seconds a call, one number for each repetition


@contextmanager
def quiet() -> Iterator[None]:
    """One thread and no garbage collector, as before afterwards."""
    threads, collecting = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(1)
    gc.disable()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if collecting:
            gc.enable()


def interleaved(
    variants: Mapping[str, Callable[[], object]],
    repetitions: int,
    calls: int = 1,
    prepare: Callable[[], object] | None = None,
    clock: Callable[[], int] = time.process_time_ns,
) -> Times:
    """CPU seconds a call of each variant, every variant once in each repetition.

    Each repetition runs ``calls`` calls of every variant in a row, in a random order, so that drift
    and neighbours meet all alike; where there are several, an uncounted one warms its caches after
    the variant before it. The first repetition is not counted. ``prepare`` runs before each
    repetition, outside the clock. ``clock``: nanoseconds of CPU so far, by default this process's.
    """
    names, order = list(variants), np.random.default_rng(0)
    times = {name: np.empty(repetitions) for name in names}
    with quiet():
        for r in range(-1, repetitions):
            if prepare is not None:
                prepare()
            for name in (names[j] for j in order.permutation(len(names))):
                call = variants[name]
                if calls > 1:
                    call()
                start = clock()
                for _ in range(calls):
                    call()
                if r >= 0:
                    times[name][r] = (clock() - start) / calls * 1e-9
            gc.collect()
    return times


def of_children() -> int:
    """Nanoseconds of CPU that processes started from here have taken, of those that ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)  # finer than the 10 ms of os.times
    return round((spent.ru_utime + spent.ru_stime) * 1e9)


def ratio(times: Times, this: str, to: str) -> float:
    """Median over repetitions of the paired ratio of two variants."""
    return float(np.median(times[this] / times[to]))


def machine() -> str:
    """The processor's name and its number of cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line.partition(":") for line in info.read_text().splitlines()]
        name = next((said.strip() for what, _, said in lines if "model name" in what), name)
    return f"{name}, {os.cpu_count()} cores"


def load() -> float:
    """How busy the machine is: processes that run or wait for a core, over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0

"""Two workers against one: ``python -m benchmarks.workers [--json] [--quick]``.

``two_workers_gain`` is the wall time of four trainings by one worker over that by two, of the
engine of ``rewire run``: LeNet-300-100 under DEEP R at density .05 on mnist5k, edges alone; the bar
is 1.75. It says nothing where another process wants the cores: above a load of 1.5 it is null, and
``two_workers`` says so.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.suite import Result, at_least, command
from benchmarks.timing import load
from rewire.experiments import kinds
from rewire.experiments.engines import outcome
from rewire.experiments.engines.registry import local
from rewire.experiments.engines.run import run_cells

BARS = {"two_workers_gain": at_least(1.75)}
BUSY, CELLS = 1.5, 4


def seconds(workers: int, steps: int) -> float:
    """Wall seconds from the first fork to the last result."""
    experiment = kinds.load(
        "quickstart",
        [f"steps={steps}", f"seeds={CELLS}", "densities=[0.05]", 'rules=["DeepR"]',
         'world="sparse"', "contrasts=[]"],
    )  # fmt: skip
    cells, work = kinds.plan(experiment), kinds.work(experiment)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        ended = run_cells(cells, out=Path(folder), engine=local(workers), work=work)
        spent = time.perf_counter() - start
    if len(ended) != CELLS or outcome.exit_code(ended):
        raise RuntimeError("; ".join(o.message for o in ended.values() if not o.ok))
    return spent


def measure(quick: bool = False) -> Result:
    """The gain, or why it was not measured.

    quick: short trainings, on a busy machine too: shows that it runs.
    """
    cores = os.cpu_count() or 1
    if not quick and (load() > BUSY or cores < 2):
        said = f"not measured: load {load():.1f} of {cores} cores, above {BUSY}"
        return {"two_workers_gain": None, "two_workers": said}
    steps, repetitions = (20, 1) if quick else (20_000, 3)
    spent: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repetitions):
        for workers in spent:
            spent[workers].append(seconds(workers, steps))
    return {
        "two_workers_gain": median(a / b for a, b in zip(spent[1], spent[2], strict=True)),
        "two_workers": f"load {load():.1f} at the end",
        "one_worker_s": median(spent[1]),
        "two_workers_s": median(spent[2]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    return command("workers", __doc__, measure, BARS, arguments)


if __name__ == "__main__":
    sys.exit(main())

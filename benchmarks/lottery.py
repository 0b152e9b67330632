"""A lottery of 21 levels: ``python -m benchmarks.lottery [--json] [--quick] [--open-lth PATH]``.

================================== ==================================================== ======
name                               what it is                                           bar
================================== ==================================================== ======
``imp_over_open_lth``              our iterations a CPU second / open_lth's fastest     10
``imp_over_open_lth_slowest``      the same over the slowest of its runs
``imp_over_masked``                the same over ours under masks
================================== ==================================================== ======

The preset lenet-mnist-short with one seed and all of its 21 levels, as ``rewire run`` trains it:
LeNet-300-100, MNIST, batch 60, Adam, 2,000 iterations a level, 5,000 validation examples every 100
iterations and the test set twice a level, checkpoints and logs included. "auto" holds layers below
density .6 as edges, in evaluation too.

open_lth's figure is that of LeNet-300-100 at batch 60 with Adam on an AMD EPYC with AVX-512, one
thread, CPU time, four runs: 171 to 207 iterations a second, evaluation included. It is of another
day, and ``open_lth`` says so. With ``--open-lth`` a checkout that runs here is measured instead, in
CPU time, its start not counted: as many levels of as many iterations, evaluated once an epoch, as
it does by default. It needs its data in ~/open_lth_datasets.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite import Result, at_least, command
from rewire.experiments import data, kinds, store
from rewire.experiments.engines import outcome
from rewire.experiments.engines.registry import local
from rewire.experiments.engines.run import run_cells
from rewire.experiments.errors import DataError

BARS = {"imp_over_open_lth": at_least(10.0)}
LEVELS, ITERATIONS = 21, 2000
REFERENCE = 171.0, 207.0  # iterations a CPU second of open_lth, slowest and fastest of four runs
SAID = "not of this run: 171 to 207 it/s in four runs on an AMD EPYC, one thread"


def lottery(
    world: str, digits: str, levels: int, iterations: int, folder: Path
) -> list[dict[str, Any]]:
    """Rows of the levels of one replicate, the dense one first, trained in forked processes."""
    experiment = kinds.load(
        "lenet-mnist-short",
        [
            f'world="{world}"',
            f'data.name="{digits}"',
            f"data.validation={5000 if digits == 'mnist' else 500}",
            f"steps={iterations}",
            f"evaluate_every={min(100, iterations)}",
            "seeds=1",
            f"densities=[{0.8 ** (levels - 1.5)}]",  # the last level goes half as far
            'rules=["IMP"]',
        ],
    )
    cells = kinds.plan(experiment)
    ended = run_cells(cells, out=folder, engine=local(1), work=kinds.work(experiment))
    if outcome.exit_code(ended):
        raise RuntimeError("; ".join(o.message for o in ended.values() if not o.ok))
    return [row for row in store.results(folder) if row["label"] == "IMP"]


def iterations_per_second(rows: Sequence[dict[str, Any]], iterations: int) -> float:
    """Iterations a CPU second of the process, evaluation and all else included."""
    return iterations * len(rows) / max(row["cpu_seconds"] for row in rows)


def open_lth(checkout: Path, levels: int, iterations: int) -> float:
    """Iterations a CPU second of ``open_lth.py lottery`` in a checkout, its start not counted.

    Raises RuntimeError with what it printed where it fails.
    """
    start = _cpu_of_open_lth(checkout, 1, 1)
    return (levels * iterations - 1) / (_cpu_of_open_lth(checkout, levels, iterations) - start)


def _cpu_of_open_lth(checkout: Path, levels: int, iterations: int) -> float:
    """CPU seconds of one call, whose results go to a home of its own: it skips what it finds."""
    before = _children()
    with tempfile.TemporaryDirectory() as home:
        datasets = Path.home() / "open_lth_datasets"
        if datasets.exists():
            (Path(home) / datasets.name).symlink_to(datasets)
        done = subprocess.run(
            [sys.executable, "open_lth.py", "lottery", "--default_hparams=mnist_lenet_300_100",
             f"--levels={levels - 1}", f"--training_steps={iterations}it", "--batch_size=60",
             "--optimizer_name=adam", "--lr=1.2e-3"],
            cwd=checkout, env=os.environ | {"HOME": home, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"open_lth in {checkout} failed:\n{done.stderr[-2000:]}")
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(quick: bool = False, open_lth: Path | None = None) -> Result:
    """Every number.

    quick: three levels of 40 iterations on mnist5k.
    open_lth: a checkout to measure.
    """
    digits, levels, iterations = ("mnist5k", 3, 40) if quick else ("mnist", LEVELS, ITERATIONS)
    if missing := _missing(digits):
        return {"imp_over_open_lth": None, "open_lth": f"not measured: {missing}"}
    rows, speed = {}, {}
    for world in ("auto", "masked"):
        with tempfile.TemporaryDirectory() as folder:
            rows[world] = lottery(world, digits, levels, iterations, Path(folder))
        speed[world] = iterations_per_second(rows[world], iterations)
    _check(rows["auto"], rows["masked"], levels)
    slow, fast = REFERENCE
    said = SAID
    if open_lth is not None:
        slow = fast = _measured(open_lth, levels, iterations)
        said = f"measured in {open_lth.name}"
    return {
        "imp_over_open_lth": speed["auto"] / fast,
        "imp_over_open_lth_slowest": speed["auto"] / slow,
        "imp_over_masked": speed["auto"] / speed["masked"],
        "imp_iterations_per_s": speed["auto"],
        "imp_masked_iterations_per_s": speed["masked"],
        "open_lth_iterations_per_s": fast,
        "open_lth": said,
        "imp_levels": levels,
        "imp_last_density": rows["auto"][-1]["density"],
        "imp_last_test_accuracy": rows["auto"][-1]["test_accuracy"],
        "imp_masked_last_test_accuracy": rows["masked"][-1]["test_accuracy"],
    }


_measured: Callable[[Path, int, int], float] = open_lth


def _missing(digits: str) -> str | None:
    """Why the images cannot be read here, or None."""
    try:
        data.load(digits)
    except DataError as error:
        return str(error)
    return None


def _check(auto: Sequence[Any], masked: Sequence[Any], levels: int) -> None:
    """Both lotteries have the levels asked for, at equal densities, and learn as well."""
    if not len(auto) == len(masked) == levels:
        raise AssertionError(f"{len(auto)} and {len(masked)} levels in place of {levels}.")
    for a, b in zip(auto, masked, strict=True):
        if a["density"] != b["density"]:
            raise AssertionError(f"density {a['density']} on edges, {b['density']} under masks.")
        if abs(a["test_accuracy"] - b["test_accuracy"]) > 0.02:
            raise AssertionError(
                f"test accuracy at density {a['density']:.3f} is {a['test_accuracy']:.4f} on edges "
                f"and {b['test_accuracy']:.4f} under masks."
            )


def main(arguments: Sequence[str] | None = None) -> int:
    path = {"type": Path, "metavar": "PATH", "help": "a checkout of open_lth that runs here"}
    return command("lottery", __doc__, measure, BARS, arguments, open_lth=path)


if __name__ == "__main__":
    sys.exit(main())

"""Every suite, and every bar, in one run: ``python -m benchmarks [all | NAME ...]``.

Each suite runs in a process of its own, one after the other, and prints one flat object; this
prints them together, each name behind its suite's and a dot: ``core.masked_step_over_dense``. Those
that have a bar are followed by ``.bar`` and ``.met``. A peer that is not installed leaves a null,
and a row that says why. What all suites share, machine, versions and date, stands once; ``load``
and ``seconds`` are of each. With ``--out`` the file grows with every suite that is done.

Exit status 0, also where bars are missed; 1 if a suite crashes, which is in its row ``error``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite import table

ROOT = Path(__file__).parents[1]
SUITES = {
    "core": "training steps, updates and selections, beside plain torch and peers",
    "sparse": "linear layers and LeNet-300-100 on edges, beside dense ones and SparseProp",
    "sparse_blocks": "layers and MLPs whose edges are whole blocks, beside row by row and dense",
    "sparse_conv": "convolutions and ResNet-20 on edges, beside dense ones and SparseProp",
    "spiking": "spiking layers on edges in one call, beside torch step by step",
    "wide": "DEEP R in nets wider than memory, and how a step grows with its edges",
    "lottery": "21 levels of LeNet on MNIST, beside open_lth",
    "workers": "two workers beside one, on a quiet machine",
    "graph": "measures and null models of a million edges, beside networkx",
    "brian": "rewiring in Brian2 beside a network that is not rewired",
}
NEEDS = {"brian": "brian2"}
SHARED = (
    "machine", "python", "neurorewire", "torch", "numpy", "brian2", "date", "threads", "quick",
)  # fmt: skip

Run = Callable[[Sequence[str]], subprocess.CompletedProcess[str]]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def gather(
    names: Iterable[str], options: Sequence[str], lottery: Sequence[str] = (), run: Run = _run
) -> Iterable[dict[str, Any]]:
    """All that is known after each suite: one flat object that grows.

    options: of every suite. lottery: of that one.
    """
    shared: dict[str, Any] = {}
    rows: dict[str, Any] = {}
    for name in names:
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            rows[f"{name}.why"] = f"not measured: {NEEDS[name]} is not installed"
            continue
        start = time.perf_counter()
        own = lottery if name == "lottery" else ()
        done = run([sys.executable, "-m", f"benchmarks.{name}", "--json", *options, *own])
        if done.returncode:
            rows[f"{name}.error"] = _last_line(done.stderr) or f"exit status {done.returncode}"
            print(done.stderr, file=sys.stderr)
        else:
            found = json.loads(done.stdout)
            shared |= {k: found.pop(k) for k in SHARED if k in found}
            rows |= {f"{name}.{k}": v for k, v in found.items()}
        rows[f"{name}.seconds"] = round(time.perf_counter() - start, 1)
        yield {**shared, **rows}
    yield {**shared, **rows}


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def main(arguments: Sequence[str] | None = None) -> int:
    suites = "\n".join(f"  {name:12} {what}" for name, what in SUITES.items())
    parser = argparse.ArgumentParser(prog="python -m benchmarks", epilog=f"suites:\n{suites}",
                                     description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("suites", nargs="*", default="all", metavar="all | NAME",
                        choices=["all", *SUITES], help="which suites, all by default")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    parser.add_argument("--quick", action="store_true", help="a minute, small: measures nothing")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON object here")
    parser.add_argument("--open-lth", metavar="PATH", help="a checkout of open_lth to measure")
    given = parser.parse_args(arguments)
    names = list(SUITES) if "all" in given.suites else list(dict.fromkeys(given.suites))
    lottery = ["--open-lth", str(Path(given.open_lth).resolve())] if given.open_lth else []
    result: dict[str, Any] = {}
    for result in gather(names, ["--quick"] * given.quick, lottery):
        if given.out is not None:
            given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1) if given.json else table(result))
    return int(any(name.endswith(".error") for name in result))


if __name__ == "__main__":
    sys.exit(main())

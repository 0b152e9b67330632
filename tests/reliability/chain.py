"""A parent to kill: the pool on cells that hash a counter, checkpointed like a training run.

``python chain.py SPEC.json`` runs the cells of the specification and prints one JSON object a line:
the events of the run, then ``{"outcomes": ...}``; it exits as ``rewire run`` does. Cells write what
real ones do (metrics.jsonl, truncated at resume to the checkpoint's offset), note their process id
in OUT/pids, and note in OUT/intruders when another process worked in their folder meanwhile.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rewire.experiments.engines import registry
from rewire.experiments.engines.outcome import Interrupted, exit_code
from rewire.experiments.engines.run import run_cells
from rewire.experiments.errors import DataError
from rewire.experiments.store import CellStore


@dataclasses.dataclass(frozen=True)
class ChainCell:
    hash: str
    parents: dict
    weight: float = 1.0
    steps: int = 20
    pause: float = 0.0  # seconds a step
    act: str = ""

    @property
    def label(self):
        return f"cell {self.hash}"


def chain(cell, folder, parents, emit, should_stop):
    out = folder.parent.parent
    pid = out / "pids" / cell.hash
    pid.parent.mkdir(exist_ok=True)
    _replace(pid, str(os.getpid()))
    with open(out / "starts", "a") as starts:
        starts.write(cell.hash + "\n")
    state_path, store = folder / "state.json", CellStore(folder)
    state = {"step": 0, "digest": "".join(sorted(read_result(p) for p in parents.values()))}
    state["offset"] = 0
    if state_path.exists():
        state = json.loads(state_path.read_text())
    store.truncate(state["offset"])
    act(cell, folder, emit)
    while state["step"] < cell.steps:
        if should_stop() and cell.act != "stubborn":
            return
        time.sleep(cell.pause)
        step = state["step"] + 1
        digest = hashlib.blake2b(f"{cell.hash} {step} {state['digest']}".encode()).hexdigest()
        line = {"event": "eval", "step": step, "steps": cell.steps, "digest": digest}
        store.append(line)
        emit(line)
        state = {"step": step, "digest": digest, "offset": store.size()}
        if pid.read_text() != str(os.getpid()):
            (out / "intruders").write_text(cell.hash)
        _replace(state_path, json.dumps(state))
    (folder / "result").write_text(state["digest"])
    store.append({"event": "end", "levels": 1, "stopped": None})


def _replace(path, text):
    part = path.with_suffix(".tmp")  # the folder is ours alone; a leftover is overwritten
    part.write_text(text)
    part.replace(path)


def read_result(folder):
    return (folder / "result").read_text()


def act(cell, folder, emit):
    """Misbehave as the cell says."""
    first = not (folder / "tried").exists()
    (folder / "tried").touch()
    match cell.act:
        case "data error":
            raise DataError("no such file: digits.gz")
        case "bug":
            raise ZeroDivisionError("one by nought")
        case "disk":
            raise OSError(28, "No space left on device")
        case "die once" if first:
            os.kill(os.getpid(), signal.SIGKILL)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash":
            print("a word before the end", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "flood":
            for i in range(30_000):
                emit({"event": "eval", "step": 0, "steps": 1, "i": i, "padding": "x" * 100})
            emit({"event": "level", "level": 0, "row": "y" * 300_000})
        case "print":
            print("printed")
            os.write(2, b"and from a library\n")


def silent(cell, folder, parents, emit, should_stop):
    """Returns as if all were done."""


class Parent:
    """The test's side: a parent process in a session of its own, and what it has said so far."""

    def __init__(self, out, cells, workers=2, **spec):
        self.out = Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.cells = cells
        path = self.out.with_name(f"{self.out.name}.spec.json")
        path.write_text(json.dumps({"cells": cells, "out": str(out), "workers": workers, **spec}))
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.events = []

    def until(self, cell=None, event="eval"):
        """Read on until this event of this (or any) cell has come; returns it."""

        def is_it(heard):
            return heard.get("event") == event and cell in (None, heard["cell"])

        for heard in filter(is_it, self.events):
            return heard
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if is_it(self.events[-1]):
                return self.events[-1]
        raise AssertionError(f"no {event} of {cell}; stderr: {self.process.stderr.read()}")

    def end(self, timeout=60):
        """Wait; returns (exit code, outcomes by hash or None)."""
        output, self.stderr = self.process.communicate(timeout=timeout)
        self.events += [json.loads(line) for line in output.splitlines() if line.endswith("}")]
        last = self.events[-1] if self.events else {}
        return self.process.returncode, last.get("outcomes")

    def child(self, cell):
        return int((self.out / "pids" / cell).read_text())

    def kill(self, signum=signal.SIGKILL, *, group=False):
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, signum)

    def living_children(self, patience=1.0):
        """Process ids of cells that are still alive after so many seconds."""
        deadline = time.monotonic() + patience
        while True:
            alive = living(self.out)
            if not alive or time.monotonic() > deadline:
                return alive
            time.sleep(0.01)


def living(out):
    """Process ids of the cells that live; a pid file is replaced, never half written."""
    files = [path for path in Path(out).glob("pids/*") if path.suffix != ".tmp"]
    return [pid for pid in (int(path.read_text()) for path in files) if _alive(pid)]


def _alive(pid):
    try:
        return "Z" != Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def cell(hash, *parents, **more):
    """The specification of a cell that needs these others."""
    return {"hash": hash, "parents": {f"of {p}": p for p in parents}, **more}


def run(out, cells, **spec):
    """Run the cells in a parent of their own to the end; returns (parent, exit code, outcomes)."""
    parent = Parent(out, cells, **spec)
    code, outcomes = parent.end()
    assert outcomes is not None, parent.stderr
    return parent, code, outcomes


def statuses(outcomes):
    return {hash: outcome["status"] for hash, outcome in outcomes.items()}


def starts(out):
    """Hashes of the cells that were begun, once for each attempt."""
    return (Path(out) / "starts").read_text().split()


def diamonds(n, **more):
    """n groups of four cells: one parent, two children of it, one that needs both."""
    cells = []
    for i in range(n):
        a, b, c, d = (f"{name}{i}" for name in "abcd")
        cells += [
            {"hash": a, "parents": {}, **more},
            {"hash": b, "parents": {"start": a}, **more},
            {"hash": c, "parents": {"start": a}, **more},
            {"hash": d, "parents": {"left": b, "right": c}, **more},
        ]
    return cells


def snapshot(out):
    """Every byte under OUT/cells, by relative path."""
    root = Path(out) / "cells"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def say(object):
    print(json.dumps(object), flush=True)


def main():
    spec = json.loads(Path(sys.argv[1]).read_text())
    cells = [ChainCell(**cell) for cell in spec.pop("cells")]
    out, workers = Path(spec.pop("out")), spec.pop("workers")
    slow_reader = spec.pop("slow_reader", 0.0)
    engine = spec.pop("engine", "local")
    if engine == "processes":
        from processes import Processes

        host = Processes(workers)
    else:
        host = registry.engine(engine, workers)
    work = {"chain": chain, "silent": silent}[spec.pop("work", "chain")]

    def report(hash, event):
        if slow_reader:
            time.sleep(slow_reader)
        if event["event"] != "eval" or event["step"] <= 1:
            say({"cell": hash, **event, "time": time.monotonic()})

    out.mkdir(parents=True, exist_ok=True)
    try:
        outcomes = run_cells(cells, out=out, engine=host, work=work, on_event=report, **spec)
        code = exit_code(outcomes)
    except Interrupted as stopped:
        outcomes, code = stopped.outcomes, stopped.exit_code
        print(stopped, file=sys.stderr)
    say({"outcomes": {hash: vars(outcome) for hash, outcome in outcomes.items()}})
    sys.exit(code)


if __name__ == "__main__":
    main()

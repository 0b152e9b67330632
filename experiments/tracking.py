"""What cells report, written to a tracker: one of its runs for each cell.

The tracker lives in a process of its own, fed with lines of JSON: trackers start threads, and the
engine forks. It is no part of a cell's identity, and a run goes on without one that fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rewire import trackers
from rewire.names import unknown

from .engines.outcome import Event, Outcome
from .engines.schedule import Cell
from .errors import ConfigError
from .progress import Reporter

PACKAGES = {
    "tensorboard": "tensorboard", "trackio": "trackio", "mlflow": "mlflow", "wandb": "wandb",
}  # fmt: skip
PLACES = frozenset(
    {"event", "level", "round", "step", "total", "steps", "levels", "attempt", "seed"}
)
WAIT = 120.0  # seconds that a tracker may take to write what is left


def check(kind: str) -> None:
    """Raise ConfigError for what is no tracker, or whose package is missing."""
    if kind not in trackers.KINDS:
        raise ConfigError(unknown("tracker", kind, trackers.KINDS))
    package = PACKAGES.get(kind)
    if package is not None and find_spec(package) is None:
        raise ConfigError(
            f"the tracker {kind!r} needs the package {package!r}, which is not installed: "
            'pip install "neurorewire[trackers]"'
        )


def numbers_of(event: Event) -> tuple[int, dict[str, float]] | None:
    """The step of an event, counted over all rounds, and its numbers; None for one without.

    >>> numbers_of({"event": "eval", "step": 5, "total": 25, "level": 1, "val_loss": 0.5})
    (25, {'val_loss': 0.5})
    >>> numbers_of({"event": "start", "attempt": 1}) is None
    True
    """
    step = event.get("total", event.get("step"))
    numbers = {
        name: float(value)
        for name, value in event.items()
        if name not in PLACES and isinstance(value, int | float) and not isinstance(value, bool)
    }
    return (int(step), numbers) if step is not None and numbers else None


class Tracking:
    """A reporter that also hands the numbers of events to a tracker.

    warn: called with what went wrong; the run goes on.
    """

    def __init__(self, reporter: Reporter, kind: str, folder: Path, warn: Callable[[str], None]):
        self._reporter, self._kind, self._folder, self._warn = reporter, kind, folder, warn
        self._process: subprocess.Popen[str] | None = None
        self._names: dict[str, str] = {}

    def start(self, cells: Sequence[Cell]) -> None:
        self._reporter.start(cells)
        self._names = {c.hash: f"{c.label}-{c.hash}".replace("/", "-") for c in cells}
        command = [sys.executable, "-m", __name__, self._kind, str(self._folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    def event(self, cell_hash: str, event: Event) -> None:
        self._reporter.event(cell_hash, event)
        entry = numbers_of(event)
        if entry is not None and cell_hash in self._names:
            self._send({"run": self._names[cell_hash], "step": entry[0], "numbers": entry[1]})

    def tick(self) -> None:
        self._reporter.tick()

    def finish(self, outcomes: Mapping[str, Outcome]) -> None:
        self._reporter.finish(outcomes)
        self._close()

    def _send(self, entry: Mapping[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(json.dumps(entry) + "\n")
            self._process.stdin.flush()
        except OSError:  # it ended
            self._close()

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            _, errors = process.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
        if process.returncode:
            last = (errors or "").strip().rpartition("\n")[2]
            self._warn(f"the tracker {self._kind!r} failed, its numbers are incomplete: {last}")


def main(kind: str, folder: str) -> None:
    """Write the lines of the standard input to the runs of a tracker."""
    runs: dict[str, trackers.Tracker] = {}
    for line in sys.stdin:
        entry = json.loads(line)
        name = entry["run"]
        if name not in runs:
            runs[name] = trackers.opened(kind, folder, name)
        runs[name].log(entry["step"], entry["numbers"])
    for tracker in runs.values():
        tracker.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])

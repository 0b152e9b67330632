"""The life of a resumable cell: it begins or resumes, records, saves, stops, ends.

A cell's folder is always at one of its checkpoints: metrics and edits are appended and forced to
the disk before a checkpoint that knows both sizes, and what comes after it is cut off at resume.
"""

from __future__ import annotations

import os
import resource
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rewire
from rewire.caveats import RuleWarning

from .cells import Cell
from .engines.outcome import Emit
from .store import CellStore

TIMES = ("seconds", "cpu_seconds")


def checkpoint_seconds() -> float:
    """Seconds of training between checkpoints: 10, or $REWIRE_CHECKPOINT_SECONDS."""
    return float(os.environ.get("REWIRE_CHECKPOINT_SECONDS", "10"))


def due(since: float, saving: float) -> bool:
    """Whether it is time to save, ``since`` seconds after the last time, which took ``saving``.

    Where nobody says how often, saving takes at most a fiftieth of the time.

    >>> due(since=11.0, saving=0.1), due(since=11.0, saving=0.3)
    (True, False)
    """
    at_least = 0.0 if "REWIRE_CHECKPOINT_SECONDS" in os.environ else 50 * saving
    return since > max(checkpoint_seconds(), at_least)


class CellRun:
    """One cell from where its folder stands to its end, or until ``should_stop``.

    What differs between kinds is in four methods: `work` goes on to the end, `state` is what a
    checkpoint holds beside times and sizes, `resume` takes it back, `flush` writes what waits.
    """

    costs: tuple[str, ...] = ()  # what a cell spends, besides time
    packages: tuple[str, ...] = ("torch",)  # distributions whose versions its cell.json names
    device = "cpu"

    def __init__(
        self, cell: Cell, folder: Path, emit: Emit, should_stop: Callable[[], bool]
    ) -> None:
        self.cell, self.emit, self.should_stop = cell, emit, should_stop
        self.store = CellStore(folder)
        self.checkpoints = self.store.checkpoints
        self.spent: dict[str, Any] = {}
        self.restart_costs()
        self._saved_at, self._saving = 0.0, 0.0
        self._timed = 0.0, 0.0  # wall and processor time up to which `spent` counts

    # -- what a kind says -----------------------------------------------------------------------

    def work(self, saved: Mapping[str, Any] | None) -> bool:
        """Go on to the end, from a checkpoint or from the start; False when asked to stop first."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of this kind."""
        raise NotImplementedError

    def flush(self) -> None:
        """Append whatever a checkpoint will count on."""

    @property
    def levels(self) -> int:
        """How many levels a finished cell has."""
        raise NotImplementedError

    # -- the life -------------------------------------------------------------------------------

    def run(self) -> None:
        """Begin, or resume; work; then save where it was stopped, or end.

        What its rule is warned of was said before any cell ran. Raises StoreError and
        CheckpointError (exit 5) for a damaged folder.
        """
        self._create()
        self._timed = time.perf_counter(), time.process_time()
        saved = self.checkpoints.load_newest()
        # a kill may have come after lines that no checkpoint knows
        self.store.truncate(saved["metrics"] if saved else 0)
        self.store.edit_log.truncate(saved.get("edits", 0) if saved else 0)
        if saved is not None:
            self.spent = dict(saved["spent"])
        self._saved_at = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuleWarning)
            ended = self.work(saved)
        if ended:
            self._end()
        else:
            self.save()

    def _create(self) -> None:
        import torch

        versions = {"neurorewire": rewire.__version__, **{p: version(p) for p in self.packages}}
        self.store.create(
            {
                "config": dict(self.cell.config),
                "label": self.cell.label,
                "parents": list(self.cell.parents.values()),
                "versions": versions,
                "threads": torch.get_num_threads(),
                "device": self.device,
            }
        )

    def _end(self) -> None:
        self.flush()
        self.store.append({"event": "end", "levels": self.levels, "stopped": None})
        self.store.sync()
        self.store.close()
        self.checkpoints.clear()
        self.emit({"event": "end"})

    # -- while it works -------------------------------------------------------------------------

    def record(self, event: Mapping[str, Any], **displayed: Any) -> None:
        """Write an event down and report it; ``displayed``: for the progress display."""
        self.store.append(event)
        self.emit({**event, **displayed})

    def level_row(self, level: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """The row of a level: what it is of, ``values``, then what it cost and its cell."""
        return {
            "event": "level",
            "rule": self.cell.rule,
            "label": self.cell.label,
            "seed": self.cell.seed,
            "level": level,
            **values,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "cell": self.store.hash,
        }

    def restart_costs(self) -> None:
        """Nothing spent yet."""
        self.spent = dict.fromkeys((*self.costs, *TIMES), 0)

    def note_times(self) -> None:
        """Count the time since the last call as spent."""
        now = time.perf_counter(), time.process_time()
        for name, before, at in zip(TIMES, self._timed, now, strict=True):
            self.spent[name] += at - before
        self._timed = now

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return due(time.monotonic() - self._saved_at, self._saving)

    def save_if_due(self) -> None:
        if self.is_due():
            self.save()

    def save(self) -> None:
        """Write a checkpoint, and before it what it counts on."""
        began = time.monotonic()
        self.flush()
        self.store.sync()
        self.note_times()
        sizes = {"metrics": self.store.size(), "edits": self.store.edit_log.size()}
        self.checkpoints.save({**self.state(), "spent": self.spent, **sizes})
        self._saved_at = time.monotonic()
        self._saving = self._saved_at - began

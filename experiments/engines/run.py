"""The local engine: runs cells in this process or in forked workers."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StoreError
from ..store import CellStore
from .attempt import LOG, _count, _last_words, _remove_if_empty, _write_error
from .outcome import Outcome
from .schedule import Schedule

if TYPE_CHECKING:
    from .outcome import Event, Status, Work
    from .schedule import Cell


def is_finished(folder: Path) -> bool:
    """Whether the cell there is finished; a damaged one is not, and its own work will say why."""
    try:
        return CellStore(folder).finished
    except StoreError:
        return False


class _Run:
    """The cells of one call, what became of them, and who is told."""

    def __init__(
        self,
        cells: Sequence[Cell],
        out: Path,
        work: Work,
        finished: Callable[[Path], bool],
        on_event: Callable[[str, Event], None] | None,
        on_tick: Callable[[], None] | None,
    ) -> None:
        self.cells = {cell.hash: cell for cell in cells}
        self.root = Path(out) / "cells"
        self.work = work
        self.tell = on_event or (lambda hash, event: None)
        self.tick = on_tick or (lambda: None)
        self.outcomes: dict[str, Outcome] = {}
        self._finished = finished
        needed = {parent for cell in cells for parent in cell.parents.values()}
        self.done_before = [hash for hash in {**self.cells, **dict.fromkeys(needed)}
                            if self.finished(hash)]  # fmt: skip
        self.schedule = Schedule(cells, self.done_before)

    def folder(self, hash: str) -> Path:
        return self.root / hash

    def finished(self, hash: str) -> bool:
        return self._finished(self.folder(hash))

    def parents(self, cell: Cell) -> dict[str, Path]:
        return {role: self.folder(hash) for role, hash in cell.parents.items()}

    def settle_finished(self) -> None:
        for hash in self.done_before:
            if hash in self.cells:
                _remove_if_empty(self.folder(hash) / LOG)
                self._record(Outcome(hash, "skipped"))

    def settle(self, outcome: Outcome) -> None:
        """Record how a cell ended; what needed it becomes ready or blocked."""
        self._record(outcome)
        if outcome.status == "finished":
            self.schedule.finish(outcome.cell)
        elif outcome.status == "failed":
            label = self.cells[outcome.cell].label
            for hash in self.schedule.fail(outcome.cell):
                message = f"needs {label} ({outcome.cell}), which failed"
                self._record(Outcome(hash, "blocked", outcome.exit_code, message=message))
        else:  # stopped: nothing that needs it will start now
            del self.schedule.remaining[outcome.cell]

    def _record(self, outcome: Outcome) -> None:
        self.outcomes[outcome.cell] = outcome
        fields = {name: value for name, value in vars(outcome).items() if name != "cell"}
        self.tell(outcome.cell, {"event": "outcome", **fields})

    def ordered(self) -> dict[str, Outcome]:
        return {hash: self.outcomes[hash] for hash in self.cells}

    def ended(
        self, cell: Cell, code: int, *, stopping: bool, attempts: int, seconds: float
    ) -> Outcome:
        """The outcome of an attempt that returned ``code`` (negative: killed by that signal)."""

        def outcome(status: Status, code: int, kind: str = "", message: str = "") -> Outcome:
            return Outcome(cell.hash, status, code, attempts, seconds, kind, message)

        if self.finished(cell.hash):  # also when death came between its last line and its exit
            _remove_if_empty(self.folder(cell.hash) / LOG)
            return outcome("finished", 0)
        if stopping and (code <= 0 or code > 128):
            return outcome("stopped", code)
        folder = self.folder(cell.hash)
        if code < 0 or code > 128:
            name = signal.Signals(abs(code) % 128).name
            hint = " (often the system, out of memory: try fewer workers)" if code == -9 else ""
            message = (
                f"killed by {name}{hint} in {_count(attempts, 'attempt')}{_last_words(folder)}"
            )
            _write_error(folder, "Killed", message, 1)
            return outcome("failed", 1, "Killed", message)
        if code == 0:
            message = "the work returned, but the cell's metrics.jsonl has no end event"
            _write_error(folder, "Unfinished", message, 1)
            return outcome("failed", 1, "Unfinished", message)
        try:
            error = json.loads((folder / "error.json").read_text())
            return outcome("failed", code, str(error["kind"]), str(error["message"]))
        except (OSError, ValueError, KeyError, TypeError):
            message = f"exit code {code}, and no error.json{_last_words(folder)}"
            return outcome("failed", code, "Unknown", message)

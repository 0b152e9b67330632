"""The run: all cells of an experiment, in order, to their ends, whichever the engine.

A cell is a resumable process, which makes the rest simple: an attempt that is killed starts again
where its last checkpoint was, and the same command run again skips what is finished and continues
what is not.

What ``work(cell, folder, parents, emit, should_stop)`` may rely on, and must do:

- ``folder`` exists and no other process has it: its lock is held until this process is dead.
- It draws every random number from seeds of its own; a fork inherits the parent's generators.
- ``emit(event)`` never blocks. A parent that cannot keep up loses ``eval`` events, never a result:
  those are in the folder.
- ``should_stop()`` costs less than a microsecond; once it is true, ``work`` finishes its
  step, writes a checkpoint and returns.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import BUG, StoreError, signal_name, signal_of
from ..store import CellStore
from ..threads import one_thread
from .engine import Engine, Job
from .outcome import Event, Interrupted, Outcome, Status, Work
from .remains import LOG, is_finished, last_printed, remove_if_empty, write_error
from .schedule import Cell, Schedule
from .stopping import StopSignals

TICK = 0.1  # seconds between two calls of on_tick


def run_cells(
    cells: Sequence[Cell],
    *,
    out: Path,
    engine: Engine,
    work: Work,
    on_event: Callable[[str, Event], None] | None = None,
    on_tick: Callable[[], None] | None = None,
    grace: float = 20.0,
    retries: int = 2,
) -> dict[str, Outcome]:
    """Train all cells that are not finished yet and say how each one ended, by hash.

    As many cells as the engine has room for train at a time, one thread each, always the ready
    cells with the longest remaining path of weights first. engine: made for this call, by
    `registry.engine` or `registry.local`; it is closed at the end.

    A cell that a signal killed is started again up to ``retries`` times. An error ends its cell
    alone: it is written to the folder's error.json, the cells that need this one are ``blocked``,
    all others go on. SIGINT, SIGTERM and SIGHUP ask the cells once to finish their step and
    write a checkpoint, wait up to ``grace`` seconds, and raise `Interrupted`; another SIGINT ends
    them at once. Whatever ends this process, its children end with it.

    ``on_event(hash, event)`` gets what the cells emit, and the run's own
    ``{"event": "start", "attempt": n}`` and ``{"event": "outcome", "status": ..., ...}``;
    ``on_tick()`` is called about ten times a second. Both run in this thread.

    >>> from types import SimpleNamespace
    >>> from rewire.experiments.engines.in_process import InProcess
    >>> def work(cell, folder, parents, emit, should_stop):
    ...     CellStore(folder).append({"event": "end"})
    >>> cell = SimpleNamespace(hash="a", label="a", parents={}, weight=1.0)
    >>> run_cells([cell], out=Path("run"), engine=InProcess(), work=work)["a"].status
    'finished'

    Raises ConfigError for cells that wait for one that is not there, or for each other.
    """
    run = _Run(cells, out, on_event, on_tick)
    run.settle_finished()
    if not run.schedule.remaining:
        return run.ordered()
    with StopSignals() as stop, one_thread():
        try:
            with engine:
                _Drive(run, engine, work, stop, grace, retries).to_the_end()
        except KeyboardInterrupt:
            if not stop.signum:
                raise
    for hash in run.schedule.remaining:
        run.outcomes[hash] = Outcome(hash, "waiting")
    if stop.signum:
        raise Interrupted(stop.signum, run.ordered())
    return run.ordered()


class _Run:
    """The cells of one call, what became of them, and who is told."""

    def __init__(
        self,
        cells: Sequence[Cell],
        out: Path,
        on_event: Callable[[str, Event], None] | None,
        on_tick: Callable[[], None] | None,
    ) -> None:
        self.cells = {cell.hash: cell for cell in cells}
        self.root = Path(out) / "cells"
        self.tell = on_event or (lambda hash, event: None)
        self.outcomes: dict[str, Outcome] = {}
        self._on_tick = on_tick or (lambda: None)
        self._ticked = 0.0
        needed = {parent for cell in cells for parent in cell.parents.values()}
        self.done_before = [hash for hash in {**self.cells, **dict.fromkeys(needed)}
                            if is_finished(self.folder(hash))]  # fmt: skip
        self.schedule = Schedule(cells, self.done_before)

    def folder(self, hash: str) -> Path:
        return self.root / hash

    def parents(self, cell: Cell) -> dict[str, Path]:
        return {role: self.folder(hash) for role, hash in cell.parents.items()}

    def pass_on(self, hash: str, event: Event) -> None:
        """An event of a cell; the ticks go on where an engine is busy with one cell's events."""
        self.tell(hash, event)
        if time.monotonic() - self._ticked >= TICK:
            self.tick()

    def tick(self) -> None:
        self._ticked = time.monotonic()
        self._on_tick()

    def settle_finished(self) -> None:
        for hash in self.done_before:
            if hash in self.cells:
                remove_if_empty(self.folder(hash) / LOG)
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


class _Drive:
    """The loop that keeps an engine busy, and starts again what was killed."""

    def __init__(
        self,
        run: _Run,
        engine: Engine,
        work: Work,
        stop: StopSignals,
        grace: float,
        retries: int,
    ) -> None:
        self.run = run
        self.engine = engine
        self.work = work
        self.stop = stop
        self.grace = grace
        self.retries = retries
        self.jobs: dict[str, Job] = {}  # those that run now, by hash
        self.attempts: dict[str, int] = {}
        self.started: dict[str, float] = {}  # when the present attempt began
        self.seconds: dict[str, float] = {}  # of all attempts that ended
        self.patience_ends = float("inf")

    def to_the_end(self) -> None:
        try:
            while True:
                if self.stop.signum:
                    self._ask_to_stop()
                else:
                    self._start_ready()
                if not self.jobs:
                    return
                for job, code in self.engine.poll():
                    self._end(job, code)
                self.run.tick()
        finally:
            self._give_up()

    def _start_ready(self) -> None:
        while len(self.jobs) < self.engine.capacity and (cell := self.run.schedule.pop()):
            job = self._job(cell)
            try:
                self.engine.start(job)
            except OSError as error:
                if not self.jobs:
                    raise StoreError(f"the system refuses to start a worker: {error}") from error
                self.run.schedule.put_back(cell.hash)  # until one of those that run has ended
                return
            self.attempts[cell.hash] = job.number
            self.started[cell.hash] = time.monotonic()
            self.jobs[cell.hash] = job
            self.run.tell(cell.hash, {"event": "start", "attempt": job.number})

    def _job(self, cell: Cell) -> Job:
        return Job(
            cell,
            self.attempts.get(cell.hash, 0) + 1,
            self.run.folder(cell.hash),
            self.run.parents(cell),
            self.work,
            lambda event: self.run.pass_on(cell.hash, event),
            lambda: self.stop.signum != 0,
        )

    def _end(self, job: Job, code: int) -> None:
        """Settle the cell, or start it again."""
        hash = job.cell.hash
        del self.jobs[hash]
        seconds = self.seconds.get(hash, 0.0) + time.monotonic() - self.started[hash]
        self.seconds[hash] = seconds
        stopping = self.stop.signum != 0
        killed = signal_of(code) is not None
        retried = killed and not stopping and job.number <= self.retries
        if retried and not is_finished(job.folder):
            self.run.schedule.put_back(hash)
            return
        self.run.settle(outcome_of(job, code, stopping=stopping, seconds=seconds))

    def _ask_to_stop(self) -> None:
        """Once; and to be killed when the grace is over (the checkpoints of before then count)."""
        now = time.monotonic()
        if self.patience_ends == float("inf"):
            self.patience_ends = now + self.grace
            self.engine.stop()
        elif now > self.patience_ends:
            self.engine.stop(now=True)

    def _give_up(self) -> None:
        """After a second Ctrl-C or an error in this process: what runs is killed by `close`."""
        for hash, job in self.jobs.items():
            self.run.outcomes[hash] = Outcome(hash, "stopped", -signal.SIGKILL, job.number)
            self.run.schedule.remaining.pop(hash, None)


def outcome_of(job: Job, code: int, *, stopping: bool, seconds: float) -> Outcome:
    """The outcome of an attempt that returned ``code`` (negative: killed by that signal)."""
    folder = job.folder

    def outcome(status: Status, code: int, kind: str = "", message: str = "") -> Outcome:
        return Outcome(job.cell.hash, status, code, job.number, seconds, kind, message)

    signum = signal_of(code)
    if is_finished(folder):  # also when death came between its last line and its exit
        remove_if_empty(folder / LOG)
        return outcome("finished", 0)
    if stopping and (code == 0 or signum is not None):
        return outcome("stopped", code)
    if signum is not None:
        hint = " (often the system, out of memory: try fewer workers)" if code == -9 else ""
        attempts = f"{job.number} attempt{'s' * (job.number != 1)}"
        message = f"killed by {signal_name(signum)}{hint} in {attempts}{last_printed(folder)}"
        write_error(folder, "Killed", message, BUG)
        return outcome("failed", BUG, "Killed", message)
    if code == 0:
        message = "the work returned, but the cell's metrics.jsonl has no end event"
        write_error(folder, "Unfinished", message, BUG)
        return outcome("failed", BUG, "Unfinished", message)
    try:
        error = CellStore(folder).error or {}
        return outcome("failed", code, str(error["kind"]), str(error["message"]))
    except (StoreError, KeyError):
        message = f"exit code {code}, and no error.json{last_printed(folder)}"
        return outcome("failed", code, "Unknown", message)

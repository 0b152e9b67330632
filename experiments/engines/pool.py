"""Worker processes, forked from a parent that has imported torch and the data."""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import StoreError
from .child import _live_as_child
from .outcome import Outcome
from .stopping import _STOPPING

if TYPE_CHECKING:
    from .outcome import Event
    from .run import _Run
    from .schedule import Cell
    from .stopping import _StopSignals

POLL = 0.1  # seconds; the longest that a signal or a death goes unnoticed


# --- the pool -----------------------------------------------------------------------------------


@dataclass
class _Worker:
    """The parent's end of one child."""

    cell: Cell
    pid: int
    fd: int
    attempt: int
    started: float
    partial: bytes = b""
    open: bool = True  # the child still holds its end of the pipe

    def events(self, *, to_the_end: bool = False) -> Iterator[Event]:
        """What has arrived; at most a pipe's worth unless the child is dead."""
        while self.open:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return
            if not data:
                self.open = False
                return
            *lines, self.partial = (self.partial + data).split(b"\n")
            for line in lines:
                with suppress(ValueError):  # a line torn by the child's death
                    yield json.loads(line)
            if not to_the_end:
                return

    def exit_code(self) -> int | None:
        """None while it lives; the child is reaped by the call that returns a code."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None


class _Pool:
    """Children that live, and the loop that feeds, hears and buries them."""

    def __init__(
        self, run: _Run, stop: _StopSignals, size: int, grace: float, retries: int
    ) -> None:
        self.run = run
        self.stop = stop
        self.size = size
        self.grace = grace
        self.retries = retries
        self.attempts: dict[str, int] = {}
        self.spent: dict[str, float] = {}  # seconds of earlier attempts
        self.workers: list[_Worker] = []
        self.selector = selectors.DefaultSelector()
        self.patience_ends = float("inf")

    def drive(self) -> None:
        try:
            while True:
                if self.stop.signum:
                    self._ask_to_stop()
                else:
                    self._start_ready()
                if not self.workers:
                    return
                dying = any(not worker.open for worker in self.workers)
                for key, _ in self.selector.select(0.002 if dying else POLL):
                    self._hear(key.data)
                for worker in list(self.workers):
                    code = worker.exit_code()
                    if code is not None:
                        self._bury(worker, code)
                self.run.tick()
        finally:
            self._end_all()
            self.selector.close()

    def _start_ready(self) -> None:
        while len(self.workers) < self.size and (cell := self.run.schedule.pop()):
            attempt = self.attempts.get(cell.hash, 0) + 1
            try:
                worker = self._fork(cell, attempt)
            except OSError as error:
                if not self.workers:
                    raise StoreError(f"the system refuses to start a worker: {error}") from error
                self.run.schedule.put_back(cell.hash)  # until one of those that run has ended
                return
            self.attempts[cell.hash] = attempt
            self.workers.append(worker)
            self.selector.register(worker.fd, selectors.EVENT_READ, worker)
            self.run.tell(cell.hash, {"event": "start", "attempt": attempt})

    def _fork(self, cell: Cell, attempt: int) -> _Worker:
        mine, theirs = os.pipe()
        os.set_blocking(mine, False)
        os.set_blocking(theirs, False)
        sys.stdout.flush()  # else the child inherits what is still to be written
        sys.stderr.flush()
        parent = os.getpid()
        # Signals wait until the child has handlers of its own: none is lost to the parent's copy.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            with warnings.catch_warnings():
                # OpenMP's idle threads do not come along, and nothing of theirs is needed.
                warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                deaf = [mine, *(worker.fd for worker in self.workers)]
                _live_as_child(self.run, cell, theirs, deaf, parent, mask)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(theirs)
        return _Worker(cell, pid, mine, attempt, time.monotonic())

    def _hear(self, worker: _Worker, *, to_the_end: bool = False) -> None:
        for event in worker.events(to_the_end=to_the_end):
            self.run.tell(worker.cell.hash, event)
        if not worker.open:
            with suppress(KeyError):
                self.selector.unregister(worker.fd)

    def _bury(self, worker: _Worker, code: int) -> None:
        """Hear its last events, then settle the cell or start it again."""
        self._hear(worker, to_the_end=True)
        self._forget(worker)
        hash = worker.cell.hash
        self.spent[hash] = self.spent.get(hash, 0.0) + time.monotonic() - worker.started
        killed = code < 0 or code > 128
        stopping = bool(self.stop.signum)
        again = killed and not stopping and worker.attempt <= self.retries
        if again and not self.run.finished(hash):
            self.run.schedule.put_back(hash)
            return
        self.run.settle(
            self.run.ended(
                worker.cell,
                code,
                stopping=stopping,
                attempts=worker.attempt,
                seconds=self.spent[hash],
            )
        )

    def _forget(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        with suppress(KeyError):
            self.selector.unregister(worker.fd)
        os.close(worker.fd)

    def _ask_to_stop(self) -> None:
        """SIGTERM once; SIGKILL when the grace is over (the checkpoints of before then count)."""
        now = time.monotonic()
        if self.patience_ends == float("inf"):
            self.patience_ends = now + self.grace
            self._signal_all(signal.SIGTERM)
        elif now > self.patience_ends:
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, signum: int) -> None:
        for worker in self.workers:
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signum)

    def _end_all(self) -> None:
        """After a second Ctrl-C or an error in this process: nobody is left behind."""
        self._signal_all(signal.SIGKILL)
        for worker in list(self.workers):
            with suppress(ChildProcessError):
                os.waitpid(worker.pid, 0)
            self._forget(worker)
            self.run.outcomes[worker.cell.hash] = Outcome(
                worker.cell.hash, "stopped", -signal.SIGKILL, worker.attempt
            )
            self.run.schedule.remaining.pop(worker.cell.hash, None)

"""Worker processes forked from one warm parent: how the local engine trains cells.

Importing torch and reading the data cost more than many a training, so the parent does both once
and forks: one child per cell, which shares those pages until it writes to them, trains with one
thread, and leaves with ``os._exit``.

What the parent must not do before the fork: train (autograd refuses to run in a child of a process
whose own backward pass has started device threads) or touch CUDA (a forked child cannot use a
context it inherits; `fork.prepare_parent` lets ``torch.cuda.is_available`` ask the driver without
one).
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .child import live_as_fork
from .engine import Ended, Engine, Job
from .fork import import_what_children_would, refuse_cuda_before_fork
from .stopping import STOPPING

if TYPE_CHECKING:
    from .outcome import Event

POLL = 0.1  # seconds; the longest that a signal or a death goes unnoticed


@dataclass
class Worker:
    """The parent's end of one child."""

    job: Job
    pid: int
    fd: int
    partial: bytes = b""  # of a line whose rest is still to come
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


class Pool(Engine):
    """One forked child per attempt, ``workers`` of them at a time."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._workers: list[Worker] = []
        self._asked_to_stop = False
        self._frozen = False

    def __enter__(self) -> Pool:
        self._selector = selectors.DefaultSelector()
        refuse_cuda_before_fork()
        import_what_children_would()
        # A child's garbage collector leaves the parent's objects alone: their pages stay shared.
        # A heap that was frozen before stays so; some hundred objects Python 3.12 freezes itself.
        self._frozen = gc.get_freeze_count() < 10_000
        gc.collect()
        gc.freeze()
        return self

    def start(self, job: Job) -> None:
        worker = self._fork(job)
        self._workers.append(worker)
        self._selector.register(worker.fd, selectors.EVENT_READ, worker)

    def poll(self) -> Sequence[Ended]:
        dying = any(not worker.open for worker in self._workers)
        for key, _ in self._selector.select(0.002 if dying else POLL):
            self._pass_on(key.data)
        return [
            self._retire(worker, code)
            for worker in list(self._workers)
            if (code := worker.exit_code()) is not None
        ]

    def stop(self, *, now: bool = False) -> None:
        self._asked_to_stop = True
        self._signal_all(signal.SIGKILL if now else signal.SIGTERM)

    def close(self) -> None:
        self._signal_all(signal.SIGKILL)
        for worker in list(self._workers):
            with suppress(ChildProcessError):
                os.waitpid(worker.pid, 0)
            self._forget(worker)
        self._selector.close()
        # After a signal the heap stays frozen: without a last collection of all of torch the
        # process ends seconds sooner on a busy machine.
        if self._frozen and not self._asked_to_stop:
            gc.unfreeze()
        self._frozen = False

    def _fork(self, job: Job) -> Worker:
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        os.set_blocking(write_end, False)
        sys.stdout.flush()  # else the child inherits what is still to be written
        sys.stderr.flush()
        parent = os.getpid()
        # Signals wait until the child has handlers of its own: none is lost to the parent's copy.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        pid = -1
        try:
            with warnings.catch_warnings():
                # OpenMP's idle threads do not come along, and nothing of theirs is needed.
                warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                inherited = [read_end, *(worker.fd for worker in self._workers)]
                live_as_fork(job, write_end, inherited, parent, mask)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(write_end)
            if pid < 0:  # no child reads or writes
                os.close(read_end)
        return Worker(job, pid, read_end)

    def _pass_on(self, worker: Worker, *, to_the_end: bool = False) -> None:
        for event in worker.events(to_the_end=to_the_end):
            worker.job.emit(event)
        if not worker.open:
            with suppress(KeyError):
                self._selector.unregister(worker.fd)

    def _retire(self, worker: Worker, code: int) -> Ended:
        """Pass on the last events of a child that is dead and reaped."""
        self._workers.remove(worker)  # first: its id may be another process's by now
        try:
            self._pass_on(worker, to_the_end=True)
        finally:
            self._close(worker)
        return Ended(worker.job, code)

    def _forget(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self._close(worker)

    def _close(self, worker: Worker) -> None:
        with suppress(KeyError):
            self._selector.unregister(worker.fd)
        os.close(worker.fd)

    def _signal_all(self, signum: int) -> None:
        for worker in self._workers:
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signum)

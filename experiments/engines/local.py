"""The local engine: cells trained by single-thread workers forked from one warm parent.

Importing torch and reading the data cost more than many a training, so the parent does both once
and forks: one child per cell, which shares those pages until it writes to them, trains with one
thread, and leaves with ``os._exit``. A cell is a resumable process, which makes the rest simple: a
child that is killed starts again where its last checkpoint was, and the same command run again
skips what is finished and continues what is not.

What ``work(cell, folder, parents, emit, should_stop)`` may rely on, and must do:

- ``folder`` exists and no other process has it: its lock is held until this process is dead.
- It draws every random number from seeds of its own; a fork inherits the parent's generators.
- ``emit(event)`` never blocks. A parent that cannot keep up loses ``eval`` events, never a result:
  those are in the folder.
- ``should_stop()`` costs less than a microsecond; once it is true, ``work`` finishes its
  step, writes a checkpoint and returns.

What the parent must not do before the fork: train (autograd refuses to run in a child of a process
whose own backward pass has started device threads) or touch CUDA (a forked child cannot use a
context it inherits; `prepare_parent` lets ``torch.cuda.is_available`` ask the driver without one).
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import heapq
import json
import os
import select
import selectors
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NoReturn, Protocol

from rewire.experiments.errors import ConfigError, Locked, RewireError, StoreError
from rewire.experiments.store import CellStore, write_json
from rewire.experiments.threads import one_thread, single_thread

Event = dict[str, Any]
Emit = Callable[[Event], None]
Status = Literal["finished", "skipped", "failed", "blocked", "stopped", "waiting"]

PENDING_LIMIT = 1 << 20  # bytes of events that a child keeps for a parent that does not read
LOCK_PATIENCE = 15.0  # seconds to wait for the last moments of a folder's previous owner
LOG = "output.log"  # in the cell's folder: what its training printed, if it did
POLL = 0.1  # seconds; the longest that a signal or a death goes unnoticed


class Cell(Protocol):
    """What the engine knows of a cell: a name for its folder, what it waits for, what it costs."""

    @property
    def hash(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def parents(self) -> Mapping[str, str]:
        """Role -> hash of a cell that has to be finished first."""

    @property
    def weight(self) -> float:
        """Estimated cost, in any unit that all cells share."""


Work = Callable[[Any, Path, dict[str, Path], Emit, Callable[[], bool]], None]


@dataclass(frozen=True)
class Outcome:
    """How one cell ended.

    ``finished`` now, ``skipped`` because it was finished before, ``failed`` with an exit code,
    ``blocked`` by a parent that failed, ``stopped`` by a signal, or still ``waiting`` for its turn
    at that moment.
    """

    cell: str
    status: Status
    exit_code: int = 0
    attempts: int = 0
    seconds: float = 0.0
    kind: str = ""
    message: str = ""

    @property
    def ok(self) -> bool:
        return self.status in ("finished", "skipped")


class Interrupted(RewireError):
    """A signal stopped the run; every cell that had started has a checkpoint to continue from."""

    def __init__(self, signum: int, outcomes: dict[str, Outcome]) -> None:
        done = sum(outcome.ok for outcome in outcomes.values())
        super().__init__(
            f"stopped by {signal.Signals(signum).name} with {done} of {len(outcomes)} cells "
            "finished; the same command continues"
        )
        self.signum = signum
        self.exit_code = 128 + signum
        self.outcomes = outcomes


def exit_code(outcomes: Mapping[str, Outcome]) -> int:
    """What the command should return: 0, or the code of the first cell that failed."""
    return next((o.exit_code for o in outcomes.values() if o.status == "failed"), 0)


def fork_available() -> bool:
    """False on Windows, and on macOS, whose system libraries do not survive a fork."""
    return hasattr(os, "fork") and sys.platform != "darwin"


def prepare_parent() -> None:
    """Call before anything asks for CUDA: lets torch look for a GPU without claiming it."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")


def is_finished(folder: Path) -> bool:
    """Whether the cell there is finished; a damaged one is not, and its own work will say why."""
    try:
        return CellStore(folder).finished
    except StoreError:
        return False


def run_cells(
    cells: Sequence[Cell],
    *,
    out: Path,
    workers: int,
    work: Work,
    finished: Callable[[Path], bool] = is_finished,
    on_event: Callable[[str, Event], None] | None = None,
    on_tick: Callable[[], None] | None = None,
    grace: float = 20.0,
    retries: int = 2,
) -> dict[str, Outcome]:
    """Train all cells that are not finished yet and say how each one ended, by hash.

    ``workers`` children train at a time, one thread each, always the ready cells with the longest
    remaining path of weights first. With ``workers=0``, or where processes cannot fork, the cells
    are trained one by one in this process: for a debugger, and without protection from crashes.

    A child that a signal killed is started again up to ``retries`` times. An error ends its cell
    alone: it is written to the folder's error.json, the cells that need this one are ``blocked``,
    all others go on. SIGINT, SIGTERM and SIGHUP ask the children once to finish their step and
    write a checkpoint, wait up to ``grace`` seconds, and raise `Interrupted`; another SIGINT ends
    them at once. Whatever ends this process, its children end with it.

    ``on_event(hash, event)`` gets what the cells emit, and the engine's own
    ``{"event": "start", "attempt": n}`` and ``{"event": "outcome", "status": ..., ...}``;
    ``on_tick()`` is called about ten times a second. Both run in this thread.
    """
    run = _Run(cells, out, work, finished, on_event, on_tick)
    run.settle_finished()
    if not run.schedule.remaining:
        return run.ordered()
    pooled = workers > 0 and fork_available()
    with _StopSignals() as stop, one_thread():
        try:
            if pooled:
                _refuse_cuda_before_fork()
                _import_what_children_would()
                with _frozen_heap(stop):
                    _Pool(run, stop, min(workers, len(run.cells)), grace, retries).drive()
            else:
                _drive_in_process(run, stop)
        except KeyboardInterrupt:
            if not stop.signum:
                raise
    for hash in run.schedule.remaining:
        run.outcomes[hash] = Outcome(hash, "waiting")
    if stop.signum:
        raise Interrupted(stop.signum, run.ordered())
    return run.ordered()


# --- what is to be done -------------------------------------------------------------------------


class Schedule:
    """Which cell next: of those whose parents are finished, the one with the most work behind it.

    The rank of a cell is the weight of the heaviest chain of unfinished cells that starts with it;
    equal ranks keep the order given.
    """

    def __init__(self, cells: Iterable[Cell], finished: Iterable[str] = ()) -> None:
        self._cells: dict[str, Cell] = {}
        for cell in cells:
            self._cells.setdefault(cell.hash, cell)
        done = set(finished)
        self.remaining = {hash: None for hash in self._cells if hash not in done}  # in order
        self._waits_for = {
            hash: set(self._cells[hash].parents.values()) - done for hash in self.remaining
        }
        self._children: dict[str, list[str]] = {hash: [] for hash in self.remaining}
        for hash, parents in self._waits_for.items():
            for parent in parents:
                if parent not in self._children:
                    raise ConfigError(
                        f"cell {hash} ({self._cells[hash].label}) needs cell {parent}, which is "
                        "neither among the cells to run nor finished in this folder"
                    )
                self._children[parent].append(hash)
        self._place = {hash: place for place, hash in enumerate(self.remaining)}
        self._rank = self._ranks()
        self._ready: list[tuple[float, int, str]] = []
        for hash, parents in self._waits_for.items():
            if not parents:
                self.put_back(hash)

    def _ranks(self) -> dict[str, float]:
        """Longest path to the end of each cell, from the leaves up (Kahn's order, backwards)."""
        rank: dict[str, float] = {}
        open_children = {hash: len(children) for hash, children in self._children.items()}
        leaves = [hash for hash, n in open_children.items() if n == 0]
        while leaves:
            hash = leaves.pop()
            behind = max((rank[child] for child in self._children[hash]), default=0.0)
            rank[hash] = self._cells[hash].weight + behind
            for parent in self._waits_for[hash]:
                open_children[parent] -= 1
                if open_children[parent] == 0:
                    leaves.append(parent)
        if len(rank) < len(self.remaining):
            circle = [hash for hash in self.remaining if hash not in rank]
            raise ConfigError(f"cells wait for each other in a circle; look among {circle[:5]}")
        return rank

    def pop(self) -> Cell | None:
        """The next cell to start, or None while none is ready."""
        return self._cells[heapq.heappop(self._ready)[2]] if self._ready else None

    def put_back(self, hash: str) -> None:
        heapq.heappush(self._ready, (-self._rank[hash], self._place[hash], hash))

    def finish(self, hash: str) -> None:
        del self.remaining[hash]
        for child in self._children[hash]:
            self._waits_for[child].discard(hash)
            if not self._waits_for[child]:
                self.put_back(child)

    def fail(self, hash: str) -> list[str]:
        """Take the cell out, and all that need it; returns those."""
        del self.remaining[hash]
        blocked, look = [], [hash]
        while look:
            for child in self._children[look.pop()]:
                if child in self.remaining:
                    del self.remaining[child]
                    blocked.append(child)
                    look.append(child)
        return blocked


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


# --- one attempt at one cell, in whichever process ----------------------------------------------


def _attempt(
    run: _Run, cell: Cell, emit: Emit, should_stop: Callable[[], bool], *, log: bool
) -> int:
    """Do the work of one cell; returns its exit code, and leaves an error.json if that is not 0."""
    folder = run.folder(cell.hash)
    try:
        with ExitStack() as stack:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(folder, should_stop))
            if should_stop():
                return 0
            if log:
                stack.enter_context(_output_to(folder / LOG))
            (folder / "error.json").unlink(missing_ok=True)
            run.work(cell, folder, run.parents(cell), emit, should_stop)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        code = _code_of(error)
        trace = traceback.format_exc() if code == 1 else None
        _write_error(folder, type(error).__name__, str(error), code, trace)
        return code
    return 0


def _code_of(error: BaseException) -> int:
    if isinstance(error, RewireError):
        return error.exit_code
    checkpoint = sys.modules.get("rewire.checkpoint")  # never imported, never raised
    damaged = checkpoint is not None and isinstance(error, checkpoint.CheckpointError)
    return 5 if damaged or isinstance(error, OSError) else 1


def _write_error(
    folder: Path, kind: str, message: str, code: int, trace: str | None = None
) -> None:
    error = {"kind": kind, "message": message, "exit_code": code}
    if trace is not None:
        error["traceback"] = trace
    with suppress(StoreError):  # a full disk may be the very error; the exit code still says so
        write_json(folder / "error.json", error)


def _last_words(folder: Path) -> str:
    """What a dead child printed last, for the message; a crash's first line says most."""
    try:
        lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    if not lines:
        return ""
    words = next((line for line in lines if line.startswith("Fatal Python error")), lines[-1])
    return f"; its last words in {LOG}: {words}"


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" + ("" if n == 1 else "s")


def _drive_in_process(run: _Run, stop: _StopSignals) -> None:
    while not stop.signum and (cell := run.schedule.pop()):
        hash = cell.hash
        run.tell(hash, {"event": "start", "attempt": 1})
        started = time.monotonic()

        def emit(event: Event, hash: str = hash) -> None:
            run.tell(hash, event)
            run.tick()

        code = _attempt(run, cell, emit, lambda: bool(stop.signum), log=False)
        seconds = time.monotonic() - started
        run.settle(run.ended(cell, code, stopping=bool(stop.signum), attempts=1, seconds=seconds))


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


# --- the child's side ---------------------------------------------------------------------------


def _live_as_child(
    run: _Run, cell: Cell, pipe: int, deaf: list[int], parent: int, mask: Iterable[int]
) -> NoReturn:
    """From the fork to ``os._exit``: nothing of the parent's stack is ever returned to."""
    code = 1
    try:
        _die_with_parent(parent)
        stop = _Flag()
        for signum in _STOPPING:
            signal.signal(signum, stop.note)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for fd in deaf:
            os.close(fd)
        single_thread()
        emit = _Mouth(pipe)

        def should_stop() -> bool:
            return stop.signum != 0 or os.getppid() != parent

        code = _attempt(run, cell, emit, should_stop, log=True)
        if code == 0 and stop.signum and not run.finished(cell.hash):
            code = 128 + stop.signum
        emit.close()
    except BaseException as error:  # ours, not the cell's
        _write_error(
            run.folder(cell.hash), type(error).__name__, str(error), 1, traceback.format_exc()
        )
    finally:
        os._exit(code)


class _Flag:
    """The first signal that asked to stop, or 0."""

    def __init__(self) -> None:
        self.signum = 0

    def note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum


class _Mouth:
    """Events as lines into a pipe that is never waited for.

    What the pipe does not take at once is kept for the next call. While something is kept, further
    ``eval`` events are dropped (the next one says more), others are kept too, up to a megabyte.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.kept = b""

    def __call__(self, event: Event) -> None:
        self.flush()
        if self.kept and (event.get("event") == "eval" or len(self.kept) > PENDING_LIMIT):
            return
        self.kept += json.dumps(event, default=float).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        try:
            while self.kept:
                self.kept = self.kept[os.write(self.fd, self.kept) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody listens any more
            self.kept = b""

    def close(self, patience: float = 1.0) -> None:
        deadline = time.monotonic() + patience
        self.flush()
        while self.kept and (left := deadline - time.monotonic()) > 0:
            select.select([], [self.fd], [], left)
            self.flush()


def _die_with_parent(parent: int) -> None:
    """The kernel kills this process when its parent dies, however that happens (Linux).

    SIGKILL and not a request: whoever opens the folder next must find nobody in it, and a cell may
    be killed at any instant anyway. Elsewhere ``should_stop`` notices the new parent's id.
    """
    if sys.platform == "linux" and _LIBC is not None:
        _LIBC.prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before the call above
        os._exit(1)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@contextmanager
def _locked(folder: Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """An advisory lock on the folder itself, which the kernel drops when this process is dead.

    A worker whose parent was killed may still be inside its last write when the next parent's
    worker arrives; that one waits here.
    """
    try:
        import fcntl
    except ImportError:  # Windows: run.lock alone has to do
        yield
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + LOCK_PATIENCE
        while not should_stop():
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Locked(
                        f"{folder} is still in use by another process after {LOCK_PATIENCE:.0f} s; "
                        "wait for it or end it, then run the same command again"
                    ) from None
                time.sleep(0.02)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(fd)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Whatever is printed, by Python or by a library, goes to a file; an empty one is removed."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(null)
    sys.stdin = open(0, closefd=False)
    sys.stdout = open(1, "w", buffering=1, closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")
    faulthandler.enable(2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _remove_if_empty(path)


def _remove_if_empty(path: Path) -> None:
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


# --- signals, threads, memory of the parent -----------------------------------------------------

_STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class _StopSignals(_Flag):
    """While entered, SIGINT, SIGTERM and SIGHUP are noted instead of fatal.

    A SIGINT after the first signal raises KeyboardInterrupt; one within 0.3 s is its echo (a
    wrapper that passes on what the terminal has sent to the whole group already). Outside the main
    thread Python allows no handlers, and the caller's stay.
    """

    def __init__(self) -> None:
        super().__init__()
        self.since = 0.0
        self._previous: dict[int, Any] = {}

    def note(self, signum: int, frame: FrameType | None) -> None:
        if not self.signum:
            self.signum = signum
            self.since = time.monotonic()
        elif signum == signal.SIGINT and time.monotonic() - self.since > 0.3:
            raise KeyboardInterrupt

    def __enter__(self) -> _StopSignals:
        with suppress(ValueError):  # not the main thread
            for signum in _STOPPING:
                nohup = signum != signal.SIGINT and signal.getsignal(signum) == signal.SIG_IGN
                if not nohup:
                    self._previous[signum] = signal.signal(signum, self.note)
        return self

    def __exit__(self, *exc: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def _frozen_heap(stop: _Flag) -> Iterator[None]:
    """A child's garbage collector leaves the parent's objects alone, so their pages stay shared.

    After a signal the heap stays frozen: without a last collection of all of torch the process
    ends seconds sooner on a busy machine.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not stop.signum:
            gc.unfreeze()


def _import_what_children_would() -> None:
    """A first optimiser imports torch's compiler: half a second that every cell would pay."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.optim.SGD([torch.zeros(1)])


def _refuse_cuda_before_fork() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise RuntimeError(
            "CUDA was initialised before the workers were forked, and they could not use it; call "
            "prepare_parent() first and keep tensors on the CPU until work() runs, or workers=0"
        )

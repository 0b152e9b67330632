"""One attempt at a cell: its lock, its log, its error."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Locked, RewireError, StoreError
from ..store import write_json

if TYPE_CHECKING:
    from .outcome import Emit
    from .run import _Run
    from .schedule import Cell

LOCK_PATIENCE = 15.0  # seconds to wait for the last moments of a folder's previous owner
LOG = "output.log"  # in the cell's folder: what its training printed, if it did


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

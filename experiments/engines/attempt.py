"""One attempt at one cell, in whichever process: its lock, its log, its error."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BUG, Locked, exit_code_of
from ..store import CellStore
from .remains import LOG, remove_if_empty, write_error

if TYPE_CHECKING:
    from .engine import Job
    from .outcome import Emit

LOCK_PATIENCE = 15.0  # seconds to wait for the last moments of a folder's previous owner


def attempt(job: Job, emit: Emit, should_stop: Callable[[], bool], *, log: bool) -> int:
    """Do the work of one cell; returns its exit code, and leaves an error.json if that is not 0.

    log: send whatever is printed meanwhile to a file in the cell's folder.
    """
    folder = job.folder
    try:
        with ExitStack() as stack:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(folder, should_stop))
            if should_stop():
                return 0
            if log:
                stack.enter_context(_output_to(folder / LOG))
            CellStore(folder).clear_error()
            job.work(job.cell, folder, dict(job.parents), emit, should_stop)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        code = exit_code_of(error)
        trace = traceback.format_exc() if code == BUG else None
        write_error(folder, type(error).__name__, str(error), code, trace)
        return code
    return 0


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
    # The descriptors, not only sys.stdout: C code writes to those, and a crash does too.
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
        remove_if_empty(path)

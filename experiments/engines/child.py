"""The life of a worker process, from fork to exit."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from ..threads import single_thread
from .attempt import _attempt, _write_error
from .stopping import _STOPPING, _Flag

if TYPE_CHECKING:
    from .outcome import Event
    from .run import _Run
    from .schedule import Cell

PENDING_LIMIT = 1 << 20  # bytes of events that a child keeps for a parent that does not read


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

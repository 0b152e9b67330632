"""The life of a worker process: it trains one cell, reports through a pipe, and exits."""

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

from ..errors import BUG, after_signal
from ..threads import single_thread
from .attempt import attempt
from .remains import is_finished, write_error
from .stopping import STOPPING, StopFlag

if TYPE_CHECKING:
    from .engine import Job
    from .outcome import Event

PENDING_LIMIT = 1 << 20  # bytes of events that a child keeps for a parent that does not read


def live_as_fork(
    job: Job, pipe: int, inherited: list[int], parent: int, mask: Iterable[int]
) -> NoReturn:
    """From the fork to ``os._exit``: nothing of the parent's stack is ever returned to.

    inherited: descriptors of the parent's that this process must not hold open. mask: the signal
    mask to go back to as soon as the handlers here are set.
    """
    code = BUG
    try:
        signal.set_wakeup_fd(-1)
        code = live(job, pipe, parent, inherited, mask)
    except BaseException as error:  # ours, not the cell's
        write_error(job.folder, type(error).__name__, str(error), BUG, traceback.format_exc())
    finally:
        os._exit(code)


def live(
    job: Job, pipe: int, parent: int, inherited: Iterable[int] = (), mask: Iterable[int] = ()
) -> int:
    """Attempt the cell in this process, which is there for nothing else; returns its exit code.

    Events go to ``pipe`` as JSON lines. A stop signal, or the parent's death, lets the cell write a
    checkpoint and end.
    """
    _die_with_parent(parent)
    stop = StopFlag()
    for signum in STOPPING:
        signal.signal(signum, stop.note)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for fd in inherited:
        os.close(fd)
    single_thread()
    events = EventPipe(pipe)

    def should_stop() -> bool:
        return stop.signum != 0 or os.getppid() != parent

    code = attempt(job, events, should_stop, log=True)
    if code == 0 and stop.signum and not is_finished(job.folder):
        code = after_signal(stop.signum)
    events.close()
    return code


class EventPipe:
    """Events as lines into a pipe that is never waited for.

    What the pipe does not take at once is kept for the next call. While something is pending,
    further ``eval`` events are dropped (the next one says more), others are kept too, up to a
    megabyte.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.pending = b""

    def __call__(self, event: Event) -> None:
        self.flush()
        if self.pending and (event.get("event") == "eval" or len(self.pending) > PENDING_LIMIT):
            return
        self.pending += json.dumps(event, default=float).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        try:
            while self.pending:
                self.pending = self.pending[os.write(self.fd, self.pending) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody listens any more
            self.pending = b""

    def close(self, patience: float = 1.0) -> None:
        """Wait so many seconds at most for a parent to read what is pending."""
        deadline = time.monotonic() + patience
        self.flush()
        while self.pending and (left := deadline - time.monotonic()) > 0:
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

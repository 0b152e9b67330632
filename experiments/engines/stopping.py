"""Signals that ask a run to stop."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from types import FrameType
from typing import Any

STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
ECHO = 0.3  # seconds within which a second SIGINT is the first one, passed on by a wrapper


class StopFlag:
    """The first signal that asked to stop, or 0."""

    def __init__(self) -> None:
        self.signum = 0

    def note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum


class StopSignals(StopFlag):
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
        elif signum == signal.SIGINT and time.monotonic() - self.since > ECHO:
            raise KeyboardInterrupt

    def __enter__(self) -> StopSignals:
        with suppress(ValueError):  # not the main thread
            for signum in STOPPING:
                # nohup has SIGHUP ignored, and it shall stay so
                ignored = signum != signal.SIGINT and signal.getsignal(signum) == signal.SIG_IGN
                if not ignored:
                    self._previous[signum] = signal.signal(signum, self.note)
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler if handler is not None else signal.SIG_DFL)

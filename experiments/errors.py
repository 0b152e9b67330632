"""Errors that end a command, and the exit codes that a script can rely on: their one home."""

from __future__ import annotations

import signal
import sys

# What the process returns, of a worker as of the command. A run returns the code of the first of
# its cells that failed; 128 plus a signal's number follows that signal.
EXIT_CODES = {
    0: "finished, or nothing was left to do",
    1: "a bug: the traceback says where",
    2: "the command line or an experiment file asks for something that is not there",
    3: "a data set is missing, or a file is not what its name says",
    4: "a training diverged to NaN or infinity",
    5: "a file cannot be read or written, or a run folder is damaged",
    6: "another process works in the run folder",
    129: "stopped by SIGHUP, the end of the terminal; the same command continues",
    130: "stopped by SIGINT, Ctrl-C; the same command continues",
    143: "stopped by SIGTERM; the same command continues",
}
BUG, FILES = 1, 5


class RewireError(Exception):
    """Base of all errors that are the user's to mend; ``exit_code`` is what the process returns."""

    exit_code = BUG


class ConfigError(RewireError):
    """The command line or an experiment file asks for something that is not there (exit 2)."""

    exit_code = 2


class DataError(RewireError):
    """A data set is missing, or a file is not what its name says (exit 3)."""

    exit_code = 3


class Diverged(RewireError):
    """Training produced NaN or infinity (exit 4)."""

    exit_code = 4


class StoreError(RewireError):
    """The run folder cannot be read or written, or is damaged (exit 5)."""

    exit_code = FILES


class Locked(RewireError):
    """Another process works in this run folder (exit 6)."""

    exit_code = 6


def exit_code_of(error: BaseException) -> int:
    """The exit code that an error ends its process with, a worker's or the command's.

    >>> exit_code_of(DataError("no such file: digits.gz"))
    3
    >>> exit_code_of(OSError(28, "No space left on device")), exit_code_of(OSError("no source"))
    (5, 1)

    An OSError with a number is the operating system's answer (5). One without is a message of some
    library's Python code: a bug (1), whose traceback is needed to find it.
    """
    if isinstance(error, RewireError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 130
    checkpoint = sys.modules.get("rewire.checkpoint")  # never imported, never raised
    if checkpoint is not None and isinstance(error, checkpoint.CheckpointError):
        return FILES
    files = sys.modules.get("rewire.files.errors")
    if files is not None and isinstance(error, files.GraphFileError):
        return DataError.exit_code
    starts = sys.modules.get("rewire.models.spiking.connectivity_file")
    if starts is not None and isinstance(error, starts.ConnectivityFileError):
        return DataError.exit_code
    return FILES if isinstance(error, OSError) and error.errno is not None else BUG


def after_signal(signum: int) -> int:
    """The exit code of a process that a signal asked to stop, and that obeyed."""
    return 128 + signum


def signal_of(code: int) -> int | None:
    """The signal that ended a process with this exit code, or None.

    >>> signal_of(-9), signal_of(143), signal_of(5), signal_of(255)
    (9, 15, None, None)
    """
    if code < 0:
        return -code
    return code - 128 if code - 128 in signal.valid_signals() else None


def signal_name(signum: int) -> str:
    """Its name, or its number where it has none (the real-time ones)."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"

"""What an attempt leaves in the folder of its cell, beside its results: an error and a log."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..errors import StoreError
from ..store import CellStore

LOG = "output.log"  # in the cell's folder: what its training printed, if it did


def is_finished(folder: Path) -> bool:
    """Whether the cell there is finished; a damaged one is not, and its own work will say why."""
    try:
        return CellStore(folder).finished
    except StoreError:
        return False


def write_error(folder: Path, kind: str, message: str, code: int, trace: str | None = None) -> None:
    """Write error.json, with the traceback of a bug."""
    with suppress(StoreError):  # a full disk may be the very error; the exit code still says so
        CellStore(folder).write_error(kind, message, code, trace)


def last_printed(folder: Path) -> str:
    """What a dead child printed last, for the message; a crash's first line says most."""
    try:
        lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    if not lines:
        return ""
    line = next((line for line in lines if line.startswith("Fatal Python error")), lines[-1])
    return f"; its last words in {LOG}: {line}"


def remove_if_empty(path: Path) -> None:
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()

"""The one error of files that hold no graph, and what turns others into it."""

from __future__ import annotations

import errno
import pickle
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.parsers.expat import ExpatError

from ..graph import NotAGraph

LOOSE_UNITS = 1_000_000  # that a file may declare beyond one for each of its bytes


class GraphFileError(ValueError):
    """A file is not the graph that its name or format says: what was found, what to do."""


_DAMAGE = (
    NotAGraph, ExpatError, UnicodeError, zipfile.BadZipFile, zlib.error, struct.error, EOFError,
    KeyError, ValueError, TypeError, IndexError, OverflowError, RecursionError, MemoryError,
    AttributeError, NotImplementedError, RuntimeError, pickle.UnpicklingError, AssertionError,
    SyntaxError, tokenize.TokenError,
)  # fmt: skip


@contextmanager
def reading(path: Path, name: str) -> Iterator[None]:
    """What goes wrong inside is a GraphFileError that names the file; the system's answers stay.

    >>> with reading(Path("cells.json"), "node-link"):
    ...     int("seven")
    Traceback (most recent call last):
    rewire.files.errors.GraphFileError: cells.json cannot be read as node-link: invalid ...
    """
    try:
        yield
    except GraphFileError as error:
        if str(path) in str(error):
            raise
        raise GraphFileError(f"{path} cannot be read as {name}: {error}") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # EINVAL: a damaged archive led before the file
            raise
        raise GraphFileError(f"{path} cannot be read as {name}: {error}") from error
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise GraphFileError(f"{path} cannot be read as {name}: {reason}") from error


def check_units(path: Path, *sizes: int) -> None:
    """Raise GraphFileError where a file declares far more units than it has bytes."""
    total, most = sum(sizes), LOOSE_UNITS + path.stat().st_size
    if any(size < 0 for size in sizes) or total > most:
        raise GraphFileError(
            f"{path} declares {' + '.join(map(str, sizes))} units, in {path.stat().st_size} bytes; "
            f"from 0 to {most} are read from such a file."
        )

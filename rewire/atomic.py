"""Files that are the old one or the new one, whole, whatever kills the writer.

Only the standard library, so that programs which never touch a tensor can use it.
"""

import errno
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Buffer = bytes | bytearray | memoryview

_HOST = os.uname().nodename
_DAY = 86_400.0
_count = itertools.count()


def write_atomic(path: str | Path, *chunks: Buffer) -> None:
    """Replace ``path`` by the chunks, one after the other.

    The bytes go to a hidden file in the same folder, are forced to the disk, and only then take
    the name; the folder is forced to the disk last, so that after a return the new file survives a
    loss of power. After a crash at any point ``path`` holds the old bytes or the new ones. What
    dead writers left behind in the folder is removed on the way.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "notes.txt"
    ...     write_atomic(path, b"first ", b"and second")
    ...     path.read_text()
    'first and second'

    Raises OSError (disk full, no permission); ``path`` is then as it was.
    """
    with _taking_the_name(path) as temporary:
        with _descriptor(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            for chunk in chunks:
                write_all(fd, chunk)
            os.fsync(fd)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A hidden path beside ``path`` to write a file at, which then takes the name, whole.

    For writers that open files themselves; where one raises, ``path`` stays as it was.
    """
    with _taking_the_name(path) as temporary:
        yield temporary
        with _descriptor(temporary, os.O_RDONLY) as fd:
            os.fsync(fd)


@contextmanager
def _taking_the_name(path: str | Path) -> Iterator[Path]:
    path = Path(path)
    sweep(path.parent)
    temporary = path.parent / f".{path.name}~{_HOST}~{os.getpid()}~{next(_count)}.tmp"
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def write_all(fd: int, data: Buffer) -> None:
    """Write all of ``data``: a single ``os.write`` may stop early when a disk fills up."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: str | Path) -> None:
    """Force a folder's names to the disk; file systems that cannot do it are let off."""
    with _descriptor(folder, os.O_RDONLY) as fd:
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise


def sweep(folder: str | Path) -> int:
    """Remove what dead writers left in ``folder``; return how many files that was.

    A file is left behind when its process is gone; on another machine, whose processes cannot be
    seen, when it is a day old.
    """
    removed = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(".tmp") and _abandoned(entry):
                with suppress(OSError):
                    os.unlink(entry.path)
                    removed += 1
    return removed


def process_alive(pid: int) -> bool:
    """Whether a process of this machine runs; one that is dead but not yet reaped does not.

    >>> process_alive(os.getpid())
    True
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return True  # no /proc here, or gone this moment: the signal above was answered
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _abandoned(entry: os.DirEntry[str]) -> bool:
    parts = entry.name.removesuffix(".tmp").rsplit("~", 3)
    if len(parts) != 4 or not parts[2].isascii() or not parts[2].isdecimal():
        return False  # not one of ours
    _, host, pid, _ = parts
    if host == _HOST:
        return not process_alive(int(pid))
    with suppress(OSError):
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _DAY
    return False


@contextmanager
def _descriptor(path: str | Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        yield fd
    finally:
        os.close(fd)

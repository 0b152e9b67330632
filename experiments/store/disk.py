"""Files of a run: small ones replaced whole, long ones appended to, all read with suspicion.

What is read may have been written by a stranger or cut short by a loss of power: sizes are capped
before memory is asked for, numbers are finite, and whatever is wrong is a StoreError that names
the file (and the line).
"""

import json
import math
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from rewire import atomic

from ..errors import StoreError

SCHEMA = 1  # of cell.json and experiment.json
MAX_JSON = 16 << 20  # bytes of one .json file
MAX_LINE = 1 << 20  # bytes of one event
MAX_LOG = 1 << 30  # bytes of one metrics.jsonl or edits.bin


def write_atomic(path: str | Path, content: bytes | str) -> None:
    """Replace a small file whole (see `rewire.atomic`). Raises StoreError; the old one stays."""
    data = content.encode() if isinstance(content, str) else content
    with blame(path, "written"):
        atomic.write_atomic(path, data)


def write_json(path: str | Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as indented JSON. Raises StoreError."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path, limit: int = MAX_JSON) -> Any:
    """Read a JSON file of at most ``limit`` bytes. Raises StoreError."""
    with blame(path, "read"), open(open_regular(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise StoreError(f"{path}: more than {limit} bytes; no file of ours is so long")
    return parse(data, str(path))


class AppendFile:
    """A file that only grows, until a resumed run cuts it back to its checkpoint.

    One writer at a time. Every `append` is one write; when the disk is full nothing of it stays.
    All methods raise StoreError where the disk or the file is not as it should be.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._fd: int | None = None

    def append(self, data: bytes) -> None:
        """Add ``data`` at the end."""
        fd = self._descriptor()
        with blame(self.path, "written"):
            before = os.fstat(fd).st_size
            try:
                atomic.write_all(fd, data)
            except OSError:
                os.ftruncate(fd, before)
                raise

    def sync(self) -> None:
        """Force what was appended to the disk."""
        if self._fd is not None:
            with blame(self.path, "written"):
                os.fsync(self._fd)

    def size(self) -> int:
        """Bytes; 0 where there is no file."""
        with blame(self.path, "read"):
            try:
                return self.path.stat().st_size
            except FileNotFoundError:
                return 0

    def truncate(self, size: int) -> None:
        """Cut back to ``size`` bytes, durably; a file shorter than that has lost something."""
        length = self.size()
        if length < size:
            raise StoreError(
                f"{self.path}: has {length} bytes where the checkpoint counts on {size}; "
                "remove this cell's folder to train it again"
            )
        if length == 0:
            return
        fd = self._descriptor()
        with blame(self.path, "cut"):
            os.ftruncate(fd, size)
            os.fsync(fd)

    @contextmanager
    def reader(self) -> Iterator[BinaryIO]:
        """The file, to read what is there from its beginning; empty where there is none."""
        if not self.path.exists():
            yield BytesIO()
            return
        with blame(self.path, "read"), open(open_regular(self.path), "rb") as file:
            yield file

    def read(self) -> bytes:
        """All of it; nothing where there is no file."""
        if self.size() > MAX_LOG:
            raise StoreError(f"{self.path}: more than {MAX_LOG} bytes; no cell writes so much")
        with self.reader() as file:
            return file.read(MAX_LOG)

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _descriptor(self) -> int:
        if self._fd is None:
            with blame(self.path, "opened"):
                flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
                self._fd = os.open(self.path, flags, 0o666)
                atomic.sync_folder(self.path.parent)
        return self._fd


class Lines(AppendFile):
    """An `AppendFile` of lines; the rest of a line that a killed writer left is cut off."""

    def truncate(self, size: int) -> None:
        """Cut back to ``size`` bytes, which must be the end of a line."""
        if 0 < size <= self.size():
            with blame(self.path, "read"), open(open_regular(self.path), "rb") as file:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    raise StoreError(f"{self.path}: byte {size} is inside a line, not after one")
        super().truncate(size)

    def _descriptor(self) -> int:
        if self._fd is None:
            fd = super()._descriptor()
            with blame(self.path, "read"):
                size = os.fstat(fd).st_size
                tail = os.pread(fd, MAX_LINE, max(0, size - MAX_LINE))
                if torn := len(tail) - (tail.rfind(b"\n") + 1):
                    os.ftruncate(fd, size - torn)
            return fd
        return self._fd


@contextmanager
def blame(path: str | Path, verb: str) -> Iterator[None]:
    """Turn the operating system's refusal into a StoreError that names the file."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: cannot be {verb} ({error.strerror})") from error


def open_regular(path: str | Path) -> int:
    """A descriptor for reading; a pipe or device under a file's name is refused, not waited on."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreError(f"{path}: is not a file")
    return fd


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with blame(path, "read"), open(open_regular(path), "rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_LOG:
            raise StoreError(f"{path}: more than {MAX_LOG} bytes; no cell writes so much")
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise StoreError(f"{path}, line {number}: longer than {MAX_LINE} bytes")
            if not line.endswith(b"\n"):
                return  # torn
            yield as_event(line, f"{path}, line {number}")


def event_line(event: Mapping[str, Any]) -> bytes:
    """An event as a line: JSON whose last member, ``crc``, is the checksum of what is before it.

    Raises ValueError for NaN and infinities, TypeError for what JSON does not know.
    """
    text = json.dumps(dict(event), separators=(",", ":"), allow_nan=False, default=as_number)
    body = text[:-1].encode()
    return body + _checksum(body) + b"\n"


def as_event(line: bytes, where: str) -> dict[str, Any]:
    """The event in a line. Raises StoreError if it is none, or not as it was written."""
    event = as_object(parse(line, where), where)
    if not isinstance(event.get("event"), str):
        raise StoreError(f"{where}: is no event: it has no 'event'")
    line = line.removesuffix(b"\n")
    if event.pop("crc", None) is None or line[-_CHECKSUM:] != _checksum(line[:-_CHECKSUM]):
        raise StoreError(f"{where}: is damaged: it does not match its checksum")
    return event


def _checksum(body: bytes) -> bytes:
    return b',"crc":"%08x"}' % zlib.crc32(body)


_CHECKSUM = len(_checksum(b""))


def parse(data: bytes, where: str) -> Any:
    try:
        return json.loads(data.decode(), parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise StoreError(f"{where}: nested too deeply") from None
    except ValueError as error:
        raise StoreError(f"{where}: is not JSON: {error}") from error


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no finite number")
    return value


def as_object(value: Any, where: str | Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StoreError(f"{where}: holds a {type(value).__name__} where an object belongs")
    return value


def check_schema(value: Mapping[str, Any], path: Path) -> None:
    schema = value.get("schema", SCHEMA)
    if type(schema) is not int or schema < 1:
        raise StoreError(f"{path}: has no schema number")
    if schema > SCHEMA:
        raise StoreError(
            f"{path}: has schema {schema} and this version of rewire reads up to {SCHEMA}; "
            "a newer one wrote it: update rewire"
        )


def as_number(value: Any) -> Any:
    """A number of numpy or torch as Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"an event holds numbers, text and lists of them, not {type(value).__name__}")

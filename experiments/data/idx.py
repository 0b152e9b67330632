"""The IDX format of MNIST and Fashion-MNIST, plain or gzipped.

A big-endian header (two zero bytes, a type code, the number of dimensions, one uint32 for each),
then the values, last dimension fastest, and nothing after them.
"""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import DataError

UBYTE = 0x08
TYPES = {
    UBYTE: "unsigned byte",
    0x09: "signed byte",
    0x0B: "short",
    0x0C: "int",
    0x0D: "float",
    0x0E: "double",
}


def read_idx(
    path: Path, shape: tuple[int, ...], *, sha256: str | None = None, remedy: str = ""
) -> np.ndarray:
    """The uint8 array of ``shape`` in an IDX file (gzipped where the name ends in ``.gz``).

    Never holds more than one byte beyond what ``shape`` needs, whatever the file claims.
    ``sha256`` is that of the uncompressed file, header included.

    Raises:
        DataError: the file cannot be read, is not IDX, holds another type or shape, is cut short,
            goes on after its end, or differs from ``sha256``. ``remedy`` ends the message.
    """

    def wrong(what: str) -> DataError:
        return DataError(f"{path}: {what}. {remedy}".rstrip())

    size = math.prod(shape)
    length = 4 + 4 * len(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(length)
            _check_header(header, shape, wrong)
            body = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
        raise wrong(f"cannot be read ({error})") from error
    if len(body) != size:
        follow = f"only {len(body):,} follow" if len(body) < size else "more follow"
        raise wrong(f"the header announces {size:,} bytes of values, {follow}")
    if sha256 is not None:
        digest = hashlib.sha256(header)
        digest.update(body)
        if digest.hexdigest() != sha256:
            raise wrong(f"its content has sha256 {digest.hexdigest()}, the original's is {sha256}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _check_header(header, shape, wrong) -> None:
    """Refuse a header that does not announce unsigned bytes of ``shape``."""
    if len(header) < 4 or header[:2] != b"\0\0" or header[2] not in TYPES:
        raise wrong(f"not an IDX file: it begins with {header[:4].hex(' ') or 'nothing'}")
    if header[2] != UBYTE:
        raise wrong(f"holds values of type {TYPES[header[2]]}, expected {TYPES[UBYTE]}")
    if header[3] != len(shape):
        raise wrong(f"has {header[3]} dimensions, expected {len(shape)}")
    if len(header) < 4 + 4 * len(shape):
        raise wrong(f"ends inside its header, after {len(header)} bytes")
    announced = struct.unpack(f">{len(shape)}I", header[4:])
    if announced != shape:
        raise wrong(f"has shape {_times(announced)}, expected {_times(shape)}")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

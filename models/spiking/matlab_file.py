"""Real matrices of a MATLAB 5 file, every byte of which may be wrong.

scipy.io.loadmat (1.17.1) ends the whole process with a bus error on some files of which a single
byte is damaged, so that a user's file cannot be given to it. Format: "MAT-File Format", The
MathWorks.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

HEADER = 128  # bytes
MATRIX, PACKED = 14, 15  # types of elements
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
           13: "u8"}  # fmt: skip
REAL_CLASSES = range(6, 16)  # of matrices: double to uint64
IS_COMPLEX = 0x08


class NotMatlab(ValueError):
    """The bytes are no MATLAB 5 file."""


def matrices(content: bytes, most_bytes: int) -> dict[str, np.ndarray]:
    """The real, dense matrices of a file by name; what else is in it is left out.

    Args:
        content: the file's bytes.
        most_bytes: that one packed element may unpack to.

    Raises:
        NotMatlab: they are no such file, or stop short.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise NotMatlab("no header of MATLAB 5")
    by_name = {}
    for kind, data in _elements(content[HEADER:], order):
        if kind == PACKED:
            (kind, data), *_ = [*_elements(_unpacked(data, most_bytes), order), (0, b"")]
        named = _matrix(data, order) if kind == MATRIX else None
        if named is not None:
            by_name[named[0]] = named[1]
    return by_name


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and data of one element after the other."""
    at = 0
    while at < len(content):
        if at + 8 > len(content):
            raise NotMatlab("an element stops short")
        kind, size = struct.unpack_from(order + "II", content, at)
        if kind >> 16:  # up to four bytes stand within the tag
            kind, size = kind & 0xFFFF, kind >> 16
            data, after = content[at + 4 : at + 4 + size], at + 8
            if size > 4:
                raise NotMatlab("a small element is too large")
        else:
            start = at + 8
            data = content[start : start + size]
            after = start + size + (0 if kind == PACKED else -size % 8)
        if len(data) < size:
            raise NotMatlab("an element stops short")
        yield kind, data
        at = after


def _unpacked(data: bytes, most_bytes: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, most_bytes)
    except zlib.error as error:
        raise NotMatlab(f"a packed element is damaged: {error}") from None
    if not unpacker.eof:
        raise NotMatlab(f"a packed element stops short, or unpacks to more than {most_bytes} bytes")
    return content


def _matrix(data: bytes, order: str) -> tuple[str, np.ndarray] | None:
    """Name and values of a matrix element; None for one that holds no plain real numbers."""
    parts = list(_elements(data, order))
    if len(parts) < 4 or len(parts[0][1]) != 8:
        return None
    flags = struct.unpack(order + "I", parts[0][1][:4])[0]
    if flags & 0xFF not in REAL_CLASSES or flags >> 8 & IS_COMPLEX:
        return None
    kind, numbers = parts[3]
    if kind not in NUMBERS or len(parts[1][1]) % 4:
        return None
    shape = tuple(np.frombuffer(parts[1][1], f"{order}i4").tolist())
    width = np.dtype(NUMBERS[kind]).itemsize
    if min(shape, default=-1) < 0 or math.prod(shape) * width != len(numbers):
        raise NotMatlab("a matrix has more or fewer numbers than its size says")
    values = np.frombuffer(numbers, order + NUMBERS[kind])
    return parts[2][1].decode("latin-1"), values.reshape(shape, order="F")

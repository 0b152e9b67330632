"""Arrays of numpy in files, checked before memory is given to them."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .errors import GraphFileError

LOOSE_BYTES = 2**28  # that a file may unpack to whatever its own size
MOST_PACKED = 50  # times its size that a larger one may unpack to


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name. Raises GraphFileError for bombs, objects and damage."""
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
        check_unpacked(path, archive)
        for member in members:
            with archive.open(member) as file:
                _check(f"{path}: {member.filename}", file, member.file_size)
        named = {}
        for member in members:
            with archive.open(member) as file:
                named[member.filename.removesuffix(".npy")] = np.lib.format.read_array(
                    file, allow_pickle=False
                )
        return named


def check_unpacked(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise GraphFileError where an archive unpacks to far more than its own size."""
    check_bytes(path, sum(m.file_size for m in archive.infolist()))


def check_bytes(path: Path, total: int) -> None:
    """Raise GraphFileError where a file says to hold far more bytes than it has."""
    if total > max(LOOSE_BYTES, MOST_PACKED * path.stat().st_size):
        raise GraphFileError(
            f"{path} unpacks to {total / 2**30:.1f} GiB from {path.stat().st_size:,} bytes: "
            "it is not read. Write it with less compression."
        )


def array(path: Path) -> np.ndarray:
    """The array of an npy file."""
    with open(path, "rb") as file:
        _check(str(path), file, path.stat().st_size)
    with open(path, "rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _check(name: str, file: Any, size: int) -> None:
    """Raise GraphFileError where an array's head asks for other bytes than there are."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise GraphFileError(f"{name} has the version {version} of numpy's format.")
    shape, _, dtype = read[version](file)
    if dtype.hasobject:
        raise GraphFileError(f"{name} holds pickled objects, which may run any code: not read.")
    bytes_ = math.prod(shape) * dtype.itemsize
    if any(n < 0 for n in shape) or bytes_ != size - file.tell():
        raise GraphFileError(
            f"{name} declares the shape {shape} of {dtype}, {bytes_} bytes, and has "
            f"{size - file.tell()}: it is cut short, or made up."
        )

"""HDF5 files, looked through before anything of them is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .errors import GraphFileError
from .zips import check_bytes

DEEPEST = 32


def check(path: Path, group: Any) -> None:
    """Raise GraphFileError for links to other files, and for more bytes than the file can hold."""
    check_bytes(path, sum(_sizes(group, 0)))


def _sizes(group: Any, depth: int) -> list[int]:
    if depth > DEEPEST:
        raise GraphFileError(f"it nests more than {DEEPEST} groups.")
    sizes: list[int] = []
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise GraphFileError(f"{name!r} is a link to elsewhere, which is not followed.")
        item = group[name]
        if isinstance(item, h5py.Group):
            sizes += _sizes(item, depth + 1)
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise GraphFileError(f"{name!r} lies in other files, which are not read.")
            sizes.append(item.size * item.dtype.itemsize if item.size else 0)
    return sizes


def numbers(group: Any, name: str) -> np.ndarray:
    """A dataset of numbers with one axis."""
    values = group[name]
    if not isinstance(values, h5py.Dataset) or values.ndim != 1 or values.dtype.kind not in "biuf":
        raise GraphFileError(f"{name!r} is no list of numbers.")
    return values[...]

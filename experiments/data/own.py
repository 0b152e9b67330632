"""Data of one's own by name: ``folder:PATH``, and ``own:DIGEST`` for what was given from Python."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from ..errors import DataError
from .arrays import Arrays
from .folder import read_folder
from .objects import arrays_of
from .source import Source

FOLDER, OWN = "folder:", "own:"

_registered: dict[str, Arrays] = {}  # by digest


def is_own(name: str) -> bool:
    """Whether it is the name of somebody's own data."""
    return name.startswith((FOLDER, OWN))


def register(value: Any) -> str:
    """The name of data given from Python, for as long as this process lives.

    >>> import numpy as np
    >>> register((np.arange(24.0).reshape(12, 2), np.arange(12) % 3))
    'own:9ba47a15c3c0fa15'

    Raises DataError for what is no data set.
    """
    arrays = arrays_of(value)
    arrays.source("")  # says what is wrong with it
    _registered[arrays.digest] = arrays
    return OWN + arrays.digest


def absolute(name: str) -> str:
    """The same name for whatever the current folder is."""
    if not name.startswith(FOLDER):
        return name
    return FOLDER + str(Path(name.removeprefix(FOLDER)).expanduser().absolute())


def source_of(name: str) -> Source:
    """The source of a name. Raises DataError where there are no such data, or they are broken."""
    return _source(name, _arrays(name))


def _arrays(name: str) -> Arrays:
    if name.startswith(FOLDER):
        return read_folder(Path(absolute(name).removeprefix(FOLDER)))
    digest = name.removeprefix(OWN)
    if digest not in _registered:
        raise DataError(
            f"the data {name} were given from Python, and not to this process: run the script that "
            "gives them, or store them as files and name them folder:PATH"
        )
    return _registered[digest]


@functools.lru_cache(maxsize=4)
def _source(name: str, arrays: Arrays) -> Source:
    return arrays.source(name)

"""Engines by name: the one built in, and those of installed packages."""

from __future__ import annotations

from rewire.names import unknown

from .. import installed
from ..errors import ConfigError
from .engine import Engine
from .fork import fork_available
from .in_process import InProcess
from .pool import Pool

ENTRY_POINTS = "rewire.engines"
ENGINES: dict[str, type[Engine]] = {"local": Pool if fork_available() else InProcess}


def available() -> dict[str, type[Engine]]:
    """All engines by name, those of installed packages included.

    >>> "local" in available()
    True

    Raises ConfigError for a package that cannot be used.
    """
    return installed.available("engine", ENTRY_POINTS, ENGINES, Engine)  # type: ignore[type-abstract]


def engine(name: str, workers: int) -> Engine:
    """The engine called ``name``, for so many workers; 0 is this process, whatever the name.

    >>> engine("local", workers=3).capacity
    3

    Raises ConfigError where none has the name.
    """
    engines = ENGINES if name in ENGINES else available()  # local runs beside a broken package
    if name not in engines:
        raise ConfigError(unknown("engine", name, engines))
    return engines[name](workers) if workers > 0 else InProcess()


def local(workers: int) -> Engine:
    """The engine of this machine."""
    return engine("local", workers)

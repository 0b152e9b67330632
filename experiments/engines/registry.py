"""Engines by name: the one built in, and those of installed packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from rewire.names import unknown

from ..errors import ConfigError
from .engine import Engine
from .fork import fork_available
from .in_process import InProcess
from .pool import Pool

ENTRY_POINTS = "rewire.engines"
Factory = Callable[[int], Engine]  # takes the number of workers


def local(workers: int) -> Engine:
    """Forked workers; with ``workers=0``, or where processes cannot fork, this process."""
    return Pool(workers) if workers > 0 and fork_available() else InProcess()


ENGINES: dict[str, Factory] = {"local": local}


def available() -> dict[str, Factory | EntryPoint]:
    """All engines by name; those of other packages not yet imported. Built-in names stay ours.

    >>> "local" in available()
    True
    """
    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    return {**others, **ENGINES}


def engine(name: str, workers: int) -> Engine:
    """The engine called ``name``, for so many workers.

    >>> engine("local", workers=3).capacity
    3

    Raises ConfigError where none has the name, or where the package that brings it is broken.
    """
    engines = available()
    if name not in engines:
        raise ConfigError(unknown("engine", name, engines))
    factory = engines[name]
    made_by = factory
    if isinstance(factory, EntryPoint):
        try:
            factory = factory.load()
        except Exception as error:  # a package of somebody's may fail in any way
            raise ConfigError(
                f"the engine {name} of the entry point {made_by.value} cannot be imported: "
                f"{type(error).__name__}: {error}. Mend or uninstall that package."
            ) from error
    instance = factory(workers)
    if not isinstance(instance, Engine):
        raise ConfigError(
            f"the engine {name} makes a {type(instance).__name__}, expected a "
            "rewire.experiments.engines.engine.Engine"
        )
    return instance

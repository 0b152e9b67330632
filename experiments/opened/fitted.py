"""Graphs of a run or a file on a neuromorphic platform."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rewire.hardware import Fit, Target, fit, named

from ..choice import Choice
from ..config.toml import literal, read
from ..errors import ConfigError, DataError
from .places import graphs_at


def target_of(name: str, file: Path | None, pairs: Sequence[str]) -> Target:
    """The target of that name, with the limits of a file and of key=value pairs.

    Raises ConfigError where the target or a limit is not known, or a value is none of a limit.

    >>> target_of("loihi1", None, ["chips=2"]).chips
    2
    """
    limits: dict[str, Any] = {} if file is None else read(file)
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{pair!r} should read key=value, for example chips=48")
        limits[key.strip()] = literal(value)
    try:
        return named(name).with_limits(limits)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def fitted(
    place: Path, choice: Choice, target: Target
) -> Iterator[tuple[dict[str, Any], str, Fit]]:
    """(names, title, fit) of each graph of a place. Raises DataError for senseless weights."""
    for one in graphs_at(place, choice):
        try:
            yield one.names, one.title, fit(one.graph, target)
        except ValueError as error:
            raise DataError(f"{one.title}: {error}") from None

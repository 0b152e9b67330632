"""Classes that installed packages bring, by entry point: rules, worlds and limits alike."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TypeVar

T = TypeVar("T")


def with_installed(
    group: str, built_in: Mapping[str, type[T]], base: type[T]
) -> dict[str, type[T]]:
    """``built_in`` and the classes that packages register under an entry point group, by name.

    >>> from rewire.limits import FanIn, Limit
    >>> list(with_installed("rewire.no_such_group", {"FanIn": FanIn}, Limit))
    ['FanIn']

    Raises ValueError where a package registers a name that is taken, or a class that is not derived
    from ``base``.
    """
    classes = dict(built_in)
    for point in entry_points(group=group):
        loaded = point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise ValueError(
                f"the entry point {point.value!r} ({group}) is not a subclass of "
                f"rewire.{base.__name__}."
            )
        if point.name in classes:
            what = group.rpartition(".")[2].removesuffix("s")
            raise ValueError(
                f"{point.value!r} registers the {what} {point.name!r}, which is taken."
            )
        classes[point.name] = loaded
    return classes

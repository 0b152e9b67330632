"""What installed packages bring, by entry point: rules, worlds, limits, measures and sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

T = TypeVar("T")


def with_installed(
    group: str, built_in: Mapping[str, type[T]], base: type[T], *, beside: type | None = None
) -> dict[str, type[T]]:
    """``built_in`` and the classes that packages register under an entry point group, by name.

    beside: base of other classes that packages register in the same group; they are left out.

    >>> from rewire.limits import FanIn, Limit
    >>> list(with_installed("rewire.no_such_group", {"FanIn": FanIn}, Limit))
    ['FanIn']

    Raises ValueError where a package registers a name that is taken, or a class that is not derived
    from ``base``.
    """
    classes = dict(built_in)
    for point in entry_points(group=group):
        loaded = point.load()
        if beside is not None and isinstance(loaded, type) and issubclass(loaded, beside):
            continue
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


def installed_functions(group: str) -> dict[str, Callable[..., Any]]:
    """What packages register under an entry point group, sorted by name, loaded.

    In the place of one that cannot be loaded stands a function that raises the reason when it is
    called: a broken package costs its own name only.

    >>> installed_functions("rewire.no_such_group")
    {}
    """
    points = sorted(entry_points(group=group), key=lambda point: point.name)
    return {point.name: _load(point) for point in points}


def _load(point: EntryPoint) -> Callable[..., Any]:
    try:
        return point.load()
    except Exception as error:
        reason = error

    def fails(*_: Any) -> Any:
        raise reason

    return fails

"""Classes that installed packages bring to experiments, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from rewire.plugins import with_installed

from .errors import ConfigError

T = TypeVar("T")


def available(
    what: str, group: str, built_in: Mapping[str, type[T]], base: type[T]
) -> dict[str, type[T]]:
    """``built_in`` and the classes that packages register under an entry point group.

    what: an engine or a task, for the message. Raises ConfigError for a package that cannot be
    used, whatever its failure.

    >>> available("number", "rewire.no_such_group", {"whole": int}, int)
    {'whole': <class 'int'>}
    """
    try:
        return with_installed(group, built_in, base)
    except Exception as error:  # a package of somebody's may fail in any way
        raise ConfigError(
            f"an installed {what} cannot be used: {str(error).rstrip('.')}. "
            "Mend or uninstall that package."
        ) from error

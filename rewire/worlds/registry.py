"""Worlds by name: those here, and those of installed packages.

A package adds its own by the entry point group ``rewire.worlds``, whose value is a subclass of
:class:`rewire.World`::

    [project.entry-points."rewire.worlds"]
    regression = "my_package:Regression"

The stacked world is none of them: its replicates are made together, by ``Stacked(models, ...)``.
"""

from __future__ import annotations

from importlib import import_module

from ..names import unknown
from ..plugins import with_installed
from ..world import World

# name -> package or module, and the class in it; the package brings the world's signals
BUILT_IN = {
    "bare": (".bare", "Bare"),
    "masked": (".masked", "Masked"),
    "sparse": (".sparse", "Sparse"),
    "brian": (".brian", "Brian"),
}


def available() -> dict[str, type[World]]:
    """Every world by name, those of installed packages included; Brian2 itself is not imported.

    >>> available()["masked"]
    <class 'rewire.worlds.masked.world.Masked'>

    Raises ValueError where a package's world takes a built-in name or is no World.
    """
    built_in = {name: _built_in(name) for name in BUILT_IN}
    return with_installed("rewire.worlds", built_in, World)  # type: ignore[type-abstract]


def get(name: str) -> type[World]:
    """The world of that name. Raises ValueError with the nearest name where there is none.

    >>> get("sparse").name
    'sparse'
    >>> get("mask")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: there is no world 'mask' (did you mean 'masked'?); one of bare, masked, ...
    """
    if name in BUILT_IN:  # without importing the others
        return _built_in(name)
    worlds = available()
    if name not in worlds:
        raise ValueError(unknown("world", name, worlds))
    return worlds[name]


def sharded() -> type[World]:
    """The masked world of a model on which ``fully_shard`` was called."""
    return import_module(".masked.sharded", __package__).ShardedMasked


def _built_in(name: str) -> type[World]:
    module, kind = BUILT_IN[name]
    return getattr(import_module(module, __package__), kind)

"""Brian2, imported when a spiking model is first built and not before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

TARGETS = ("numpy", "cython")


def brian2() -> Any:
    """The module brian2.

    Raises:
        ImportError: it is not installed, or does not import with this numpy.
    """
    try:
        return import_module("brian2")
    except Exception as error:  # with a numpy too new for it, brian2 fails with AttributeError
        raise ImportError(
            f"spiking models need Brian2, which cannot be imported ({error}): "
            'pip install "neurorewire[spiking]".'
        ) from error


@contextmanager
def code_target(target: str) -> Iterator[Any]:
    """Brian2 with this way to run code, "numpy" or "cython"; the user's preference comes back.

    numpy needs no compiler; cython is faster after a first run that compiles for half a minute.

    >>> with code_target("numpy") as b2:
    ...     b2.prefs.codegen.target
    'numpy'
    """
    if target not in TARGETS:
        raise ValueError(f"target = {target!r}: choose one of {', '.join(TARGETS)}.")
    b2 = brian2()
    before = b2.prefs.codegen.target
    b2.prefs.codegen.target = target
    try:
        yield b2
    finally:
        b2.prefs.codegen.target = before

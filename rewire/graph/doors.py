"""Functions of the floors above that methods of a graph call, imported when one is called.

A graph knows no files and no models; its methods are only the shortest way to functions that do.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

# method -> module, and the function in it
_DOORS = {"of": ("rewire.graph_of", "of"), "save": ("rewire.files", "write_graph")}


def door(method: str) -> Callable[..., Any]:
    """The function behind a method.

    >>> door("save").__name__
    'write_graph'
    """
    module, function = _DOORS[method]
    return getattr(import_module(module), function)

"""Models of one's own, given as a callable: a name by which `build` finds each of them.

A function or class that can be imported is "module:name". Another one (of a script, a notebook, a
lambda) is "own:name-digest", known to this process alone; the digest is of its source and of what
it has bound, so that another function is another name.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

OWN = "own:"
DIGITS = 12  # of a digest in a name
PLAIN = (str, bytes, bool, int, float, complex, type(None))

_builders: dict[str, Callable[..., nn.Module]] = {}


def register(builder: Callable[..., nn.Module]) -> str:
    """The name of a callable that builds a model.

    >>> from rewire.models import mlp
    >>> register(mlp.mlp)
    'rewire.models.mlp:mlp'
    >>> register(lambda classes: nn.Linear(8, classes)).partition("-")[0]
    'own:lambda'

    Raises:
        ValueError: it is a built model, no callable, or has bound what has no digest.
    """
    if isinstance(builder, nn.Module):
        raise ValueError(
            f"it is a {type(builder).__name__} that is already built: give a function that builds "
            "one, so that each seed draws weights of its own"
        )
    if not callable(builder):
        raise ValueError(
            f"it is a {type(builder).__name__}: give a function that returns an nn.Module"
        )
    if _importable(builder):
        return f"{builder.__module__}:{builder.__qualname__}"
    label = getattr(builder, "__name__", type(builder).__name__).strip("<>")
    name = f"{OWN}{label}-{_digest(builder)}"
    _builders[name] = builder
    return name


def registered(name: str) -> Callable[..., nn.Module]:
    """The callable of a name that `register` returned in this process.

    Raises:
        ValueError: there is none.
    """
    if name not in _builders:
        raise ValueError(
            f"{name} is a function that was given from Python, and not to this process: run the "
            "script that gives it, or put it into a module and name it package.module:function"
        )
    return _builders[name]


def _importable(builder: Any) -> bool:
    """Whether another process finds the very object by its module and name."""
    module, name = getattr(builder, "__module__", None), getattr(builder, "__qualname__", "")
    if module in (None, "__main__") or not name.isidentifier():
        return False
    try:
        return getattr(importlib.import_module(module), name, None) is builder
    except ImportError:
        return False


def _digest(builder: Any) -> str:
    parts = "\n".join(_parts(builder))
    return hashlib.sha256(parts.encode()).hexdigest()[:DIGITS]


def _parts(value: Any) -> list[str]:
    """What tells one function from another: source, defaults, and what it closes over."""
    if isinstance(value, functools.partial):
        bound = [*value.args, *(x for item in sorted(value.keywords.items()) for x in item)]
        return [*_parts(value.func), *(part for one in bound for part in _bound(one))]
    if isinstance(value, type):
        return [value.__qualname__, _source(value)]
    if not inspect.isfunction(value):
        raise ValueError(
            f"it is a {type(value).__name__}, which cannot be told from another one: give a "
            "function, or put it into a module"
        )
    closed = [cell.cell_contents for cell in value.__closure__ or ()]
    bound = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values(), *closed]
    return [value.__qualname__, _source(value), *(part for one in bound for part in _bound(one))]


def _bound(value: Any) -> list[str]:
    if isinstance(value, PLAIN):
        return [repr(value)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(part for one in value for part in _bound(one))]
    if isinstance(value, dict):
        return ["dict", *(part for item in value.items() for one in item for part in _bound(one))]
    if _importable(value):
        return [f"{value.__module__}:{value.__qualname__}"]
    return _parts(value)


def _source(value: Any) -> str:
    """The text of a function or class; of a function without a file, what it was compiled to."""
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        code = getattr(value, "__code__", None)
        if code is None:
            raise ValueError(
                f"the source of {value.__qualname__} is not at hand: put it into a module"
            ) from None
        constants = [c for c in code.co_consts if isinstance(c, PLAIN)]
        return f"{code.co_code.hex()} {constants!r} {code.co_names!r}"

"""Arguments of public calls, checked where they are made: their names first, then their values.

A name that is not known, or one that is missing, is refused with the nearest one and what there is;
a value by the type hint of its argument, as the fields of rules are (`fields`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from .calls import Advice, bound
from .fields import hints_in, lacking
from .names import short

F = TypeVar("F", bound=Callable[..., Any])


def checked(
    *by_hint: str, instead: Advice | None = None, needs: Advice | None = None
) -> Callable[[F], F]:
    """A function whose arguments are checked before it runs.

    by_hint: those whose values are checked by their type hints too; others check their own.
    instead: what to write for an argument that it does not have, by that argument's name.
    needs: what an argument that has to be given is, by its name.

    >>> @checked("seed", instead={"sparsity": "say density=0.1 for sparsity=0.9"})
    ... def attach(model: str, *, density: float = 1.0, seed: int = 0): ...
    >>> attach("lenet", sparsity=0.9)
    Traceback (most recent call last):
    ...
    TypeError: attach has no argument 'sparsity': say density=0.1 for sparsity=0.9.
    >>> attach("lenet", sead=3)
    Traceback (most recent call last):
    ...
    TypeError: attach has no argument 'sead' (did you mean 'seed'?); it takes model, density, seed.
    >>> attach("lenet", seed="3")
    Traceback (most recent call last):
    ...
    ValueError: attach(seed='3'): expected a whole number.

    Raises TypeError for names, ValueError for values.
    """

    def decorate(function: F) -> F:
        name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
        signature = inspect.signature(function)

        @wraps(function)
        def checked_first(*args: Any, **values: Any) -> Any:
            arguments = bound(name, signature, args, values, instead or {}, needs or {})
            chosen = {key: arguments[key] for key in by_hint if key in arguments}
            if chosen:
                check_values(name, function, chosen)
            return function(*args, **values)

        return cast(F, checked_first)

    return decorate


def check_values(name: str, function: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError for a value that the type hint of a function's argument does not take."""
    hints = hints_in(function)
    for argument, value in values.items():
        if (lack := lacking(hints.get(argument, Any), value)) is not None:
            raise ValueError(f"{name}({argument}={short(value)}): expected {lack}.")

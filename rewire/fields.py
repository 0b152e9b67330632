"""Fields of frozen values, checked where an object is made: their type, words and range.

A field is checked by its type hint: a word against a ``Literal``, a number for being one (finite;
whole where the hint is int), and for its `Range` where the hint is ``Annotated`` with one.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from math import inf, isfinite, isinf
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Self

from .calls import refuse_misfit
from .names import did_you_mean, short


@dataclass(frozen=True)
class Range:
    """Which numbers a field takes: from ``low`` to ``high``, both included unless said otherwise.

    above, below: whether ``low``, or ``high``, itself is left out. infinite: whether infinity is
    taken. A schedule's numbers at both ends are in it as well.

    >>> print(Range(0, 1), Range(0, above=True), Range(0), sep=", ")
    a number from 0 to 1, a number above 0, a number from 0 up
    """

    low: float = -inf
    high: float = inf
    above: bool = False
    below: bool = False
    infinite: bool = False

    def holds(self, number: float) -> bool:
        if isinf(number) and not self.infinite:
            return False
        over = number > self.low if self.above else number >= self.low
        return over and (number < self.high if self.below else number <= self.high)

    def __str__(self) -> str:
        if self.high == inf:
            return (
                f"a number above {self.low:g}" if self.above else f"a number from {self.low:g} up"
            )
        if self.above or self.below:
            left, right = "(" if self.above else "[", ")" if self.below else "]"
            return f"a number in {left}{self.low:g}, {self.high:g}{right}"
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Only:
    """The one value that a field takes, and why it has no other.

    >>> import rewire
    >>> rewire.Powerpropagation(when=rewire.every(10))
    Traceback (most recent call last):
    ...
    ValueError: Powerpropagation.when = Every(n=10, first=None, stop=None): expected every(1), \
since w follows theta after each step; until= ends the pruning.
    """

    value: Any
    words: str  # the value, as its user writes it
    why: str

    def __str__(self) -> str:
        return f"{self.words}, since {self.why}"


NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Share = Annotated[float, Range(0, 1)]
Length = Annotated[float, Range(0, above=True, infinite=True)]
Steps = Annotated[int, Range(0)]
Count = Annotated[int, Range(1)]
Size = Annotated[int, Range(0)]


class Checked:
    """Base of frozen dataclasses that refuse a senseless value of a field by the field's name.

    >>> import rewire
    >>> rewire.DeepR(scope="layers")
    Traceback (most recent call last):
    ...
    ValueError: DeepR.scope = 'layers': expected 'layer' or 'global' (did you mean 'layer'?).
    >>> rewire.DeepR(l1=float("nan"))
    Traceback (most recent call last):
    ...
    ValueError: DeepR.l1 = nan: expected a number from 0 up.
    """

    def __new__(cls, *args: Any, **values: Any) -> Self:
        refuse_misfit(cls, args, values, lambda name, value: _takes(cls, name, value))
        return super().__new__(cls)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = cls.__dict__.get("__post_init__")
        if own is None:
            return

        @wraps(own)
        def checked_first(self: Any) -> None:
            check(self)
            self._complete()
            own(self)

        cls.__post_init__ = checked_first  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        check(self)
        self._complete()

    def _complete(self) -> None:
        """Fill in what one field leaves to another; the fields are checked."""


def check(value: Any) -> None:
    """Raise ValueError for the first field of a dataclass that its type hint does not take."""
    hints = hints_of(type(value))
    for field in fields(value):
        number = getattr(value, field.name, None)
        hint = hints.get(field.name, Any)
        if (lack := lacking(hint, number)) is not None:
            raise ValueError(
                f"{type(value).__name__}.{field.name} = {short(number)}: expected {lack}."
            )


def _takes(cls: type, name: str, value: Any) -> bool:
    """Whether the field of a class, by its name, takes a value, as far as its type hint says."""
    hint = hints_of(cls).get(name, Any)
    return hint is not Any and lacking(hint, value) is None


_HINTS: dict[type, dict[str, Any]] = {}


def hints_of(cls: type) -> dict[str, Any]:
    """The type hints of a class's fields, as far as their names can be resolved."""
    if cls not in _HINTS:
        hints: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            names = vars(sys.modules.get(base.__module__, types.ModuleType("")))
            hints |= _resolved(vars(base).get("__annotations__", {}), names)
        _HINTS[cls] = hints
    return _HINTS[cls]


_HINTS_IN: dict[Callable[..., Any], dict[str, Any]] = {}


def hints_in(function: Callable[..., Any]) -> dict[str, Any]:
    """The type hints of a function's arguments, as far as their names can be resolved."""
    function = inspect.unwrap(function)
    if function not in _HINTS_IN:
        hints = function.__annotations__
        _HINTS_IN[function] = _resolved(hints, getattr(function, "__globals__", {}))
    return _HINTS_IN[function]


def _resolved(hints: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Type hints that may be texts, by name; Any for one that cannot be resolved."""
    resolved = dict[str, Any]()
    for name, hint in hints.items():
        try:
            resolved[name] = eval(hint, dict(names)) if isinstance(hint, str) else hint
        except Exception:  # a name that only a type checker, or a function, knows
            resolved[name] = Any
    return resolved


def lacking(hint: Any, value: Any) -> str | None:
    """What was expected in the place of a value that a type hint does not take; None for others."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _beyond(parts[1:], parts[0], value)
    if origin in (typing.Union, types.UnionType):
        lacks = [lacking(part, value) for part in parts]
        if None in lacks:
            return None
        return _joined(dict.fromkeys(lack for lack in lacks if lack))
    if origin is Literal:
        if any(value == word and type(value) is type(word) for word in parts):
            return None
        hint_of = did_you_mean(value, parts) if isinstance(value, str) else ""
        return _joined(map(repr, parts)) + hint_of
    if origin in (tuple, Sequence, list):
        return _of_sequence(origin, parts, value)
    if origin is Mapping:
        return _of_mapping(parts, value)
    if origin is Callable or hint is Callable:
        return None if callable(value) else "a function"
    return _of_type(hint, value)


def _beyond(meta: Sequence[Any], hint: Any, value: Any) -> str | None:
    """As `lacking`, of a hint with ranges, or with the only value that it takes."""
    if only := next((m for m in meta if isinstance(m, Only) and value != m.value), None):
        return str(only)
    ranges = [m for m in meta if isinstance(m, Range)]
    infinite = isinstance(value, Real) and isinf(float(value))  # which the ranges take or not
    lack = None if ranges and infinite else lacking(hint, value)
    if lack is not None and not ranges:
        return lack
    for range_ in ranges:
        if lack is not None or not all(range_.holds(number) for number in _numbers(value)):
            return str(range_).replace("a number", "a whole number" if hint is int else "a number")
    return None


def _numbers(value: Any) -> Iterator[float]:
    """The numbers that a range is about: the value, or those at both ends of a schedule."""
    if isinstance(value, Real):
        yield float(value)
    else:
        for name in ("start", "end"):
            if isinstance(number := getattr(value, name, None), Real):
                yield float(number)


def _of_sequence(origin: Any, parts: Sequence[Any], value: Any) -> str | None:
    if isinstance(value, str):
        return f"several values, in a tuple or a list: write [{value!r}]"
    if not isinstance(value, Sequence):
        return "several values, in a tuple or a list"
    each = parts[0] if len(parts) == 2 and parts[1] is ... else None
    if len(parts) == 1 and origin is not tuple:
        each = parts[0]
    lacks = [lacking(each, v) for v in value] if each is not None else []
    wrong = next((lack for lack in lacks if lack), None)
    return f"each to be {wrong}" if wrong else None


def _of_mapping(parts: Sequence[Any], value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return "a table, {name: value}"
    for key, item in value.items():
        for part, one in zip(parts, (key, item), strict=False):
            if (lack := lacking(part, one)) is not None:
                return f"{lack} at {short(key)}"
    return None


_NUMBERS: Mapping[Any, str] = {float: "a number", int: "a whole number"}


def _of_type(hint: Any, value: Any) -> str | None:
    if hint is float or hint is int:
        is_number = isinstance(value, Real if hint is float else Integral)
        if is_number and not isinstance(value, bool) and isfinite(float(value)):
            return None
        return _NUMBERS[hint]
    if hint is None or hint is type(None):
        return None if value is None else "None"
    if not isinstance(hint, type):  # Any, a type variable
        return None
    try:
        fits = isinstance(value, hint) or (hint is bool and type(value).__name__ == "bool")
    except TypeError:  # a protocol that cannot be asked
        return None
    words = {str: "a text", bool: "True or False"}
    if hint.__name__ == "When":
        every = isinstance(value, int) and value > 0
        written = f"rewire.every({value if every else 100})"
        return None if fits else f"a When, one of rewire.when: write {written}"
    if hint.__name__ == "Schedule":
        return None if fits else "a Schedule, one of rewire.when"
    return None if fits else words.get(hint, f"a {hint.__name__}")


def _joined(words: Any) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last

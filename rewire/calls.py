"""What a call was given, by the names of its parameters, or why that fits none of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from .names import did_you_mean, short

Advice = Mapping[str, str]


def bound(
    name: str,
    signature: inspect.Signature,
    args: tuple[Any, ...],
    values: Mapping[str, Any],
    instead: Advice,
    needs: Advice,
) -> Mapping[str, Any]:
    """The arguments of a call by name; TypeError in our words where they do not fit."""
    try:
        return signature.bind(*args, **values).arguments
    except TypeError:
        raise TypeError(_misfit(name, signature, args, values, instead, needs)) from None


def _misfit(
    name: str,
    signature: inspect.Signature,
    args: tuple[Any, ...],
    values: Mapping[str, Any],
    instead: Advice,
    needs: Advice,
) -> str:
    """Why a call does not fit a signature."""
    parameters = {n: p for n, p in signature.parameters.items() if n != "self"}
    args = args[len(signature.parameters) - len(parameters) :]
    takes = ", ".join(parameters) or "nothing"
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for argument in () if open_ended else values:
        if argument in instead and argument not in parameters:
            return f"{name} has no argument {argument!r}: {instead[argument]}."
        if argument not in parameters:
            hint = did_you_mean(argument, parameters)
            return f"{name} has no argument {argument!r}{hint}; it takes {takes}."
    by_place = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(args) > len(by_place):
        at_most = f"at most {len(by_place)} arguments" if by_place else "no argument"
        count = "one was" if len(args) == 1 else f"{len(args)} were"
        return f"{name} takes {at_most} without a name, and {count} given; it takes {takes}."
    if twice := [n for n in by_place[: len(args)] if n in values]:
        return f"{name}({twice[0]}=) is given twice, by its place and by its name."
    missing = [
        n for n, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and n not in values and n not in by_place[: len(args)]
    ]  # fmt: skip
    what = "; ".join(f"{n}= is {needs[n]}" for n in missing if n in needs)
    return f"{name} needs {', '.join(f'{n}=' for n in missing)}" + (f": {what}." if what else ".")


@cache
def signature_of(cls: type) -> inspect.Signature:
    return inspect.signature(cls)


def refuse_misfit(
    cls: type,
    args: tuple[Any, ...],
    values: Mapping[str, Any],
    fits: Callable[[str, Any], bool],
) -> None:
    """Refuse the fields that a class of checked values does not take, by place or by name.

    fits: whether a field, by its name, takes a value. Raises TypeError. What is missing altogether
    is for Python to say: a copy begins with nothing.
    """
    if not args and not values:
        return
    signature = signature_of(cls)
    parameters = signature.parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in values:
        if key not in parameters:
            raise TypeError(unknown_field(cls, key, parameters))
    if args and all(p.kind is p.KEYWORD_ONLY for p in parameters.values()):
        names = (n for n, p in parameters.items() if n not in values and fits(n, args[0]))
        meant = next(names, None) or next(iter(parameters), "name")
        raise TypeError(
            f"{cls.__name__} takes its fields by name: write {cls.__name__}({meant}="
            f"{short(args[0])}) for {short(args[0])}; it takes {', '.join(parameters)}."
        )
    bound(cls.__name__, signature, args, values, {}, {})


def unknown_field(cls: type, key: str, known: Iterable[str]) -> str:
    """Why a class of checked values does not take a field."""
    return no_parameter(cls.__name__, key, known)


def no_parameter(name: str, key: str, known: Iterable[str]) -> str:
    """The same of a class by its name."""
    known = list(known)
    return (
        f"{name} has no parameter {key!r}{did_you_mean(key, known)}; it takes {', '.join(known)}."
    )

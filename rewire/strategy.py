"""Frozen values that the plain tables of experiment files are written from and read to."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

from .when import Schedule, When, from_table, to_table


@dataclass(frozen=True)
class Plain:
    """Frozen dataclasses that the plain tables of experiment files are written from and read to."""

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """One from plain values, as in an experiment file.

        Raises ValueError that lists every unknown field (with the nearest known one), every value
        of a wrong type, and what the rule itself refuses.
        """
        from pydantic import ConfigDict, TypeAdapter, ValidationError

        known = {f.name: f for f in fields(cls)}
        hints = typing.get_type_hints(cls)
        good, problems = {}, []
        for key, given in table.items():
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                problems.append(
                    f"{cls.__name__} has no parameter {key!r}{hint}; it takes {', '.join(known)}."
                )
                continue
            try:
                if _is_schedule(hints[key]) and isinstance(given, str | dict):
                    given = from_table(given)
                elif (kind := _strategy(hints[key])) and isinstance(given, Mapping):
                    given = kind.from_table(given)
                elif hints[key] is When and isinstance(given, int):
                    given = from_table(given)
                adapter = TypeAdapter(hints[key], config=_config(hints[key], ConfigDict))
                good[key] = adapter.validate_python(given)
            except ValidationError as e:
                said = e.errors()[0]["msg"]
                problems.append(f"{cls.__name__}.{key} = {given!r}: {said}.")
            except ValueError as e:
                problems.append(f"{cls.__name__}.{key}: {e}")
        missing = [
            name for name, f in known.items()
            if name not in table and f.default is MISSING and f.default_factory is MISSING
        ]  # fmt: skip
        problems += [f"{cls.__name__}.{name} is missing: it has no default." for name in missing]
        if not problems:
            try:
                return cls(**good)
            except ValueError as e:
                problems.append(str(e))
        raise ValueError("\n".join(problems))

    def to_table(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain values."""
        out = {}
        for f in fields(self):
            here = getattr(self, f.name)
            default = f.default if f.default is not MISSING else None
            if f.default_factory is not MISSING:
                default = f.default_factory()
            if here != default:
                out[f.name] = _plain(here)
        return out


@dataclass(frozen=True)
class Strategy:
    """A part of a rule that can be exchanged: a frozen value, ``{kind = "Name", ...}`` in a file.

    A class of yours that derives from one that a rule's field takes can stand in that field.
    """

    @classmethod
    def from_table(cls, table: Any) -> Strategy:
        """The strategy that ``table`` describes, of this class or one derived from it.

        Raises ValueError, naming the kinds there are, for another.
        """
        known = {c.__name__: c for c in _derived(cls)}
        kind = table.get("kind") if isinstance(table, Mapping) else None
        if kind not in known:
            raise ValueError(
                f"{table!r} is none: write {{ kind = ..., ... }} with one of {', '.join(known)}."
            )
        rest = {k: v for k, v in table.items() if k != "kind"}
        taken = [f.name for f in fields(known[kind])]
        if unknown := sorted(set(rest) - set(taken)):
            raise ValueError(f"{kind} has no {unknown[0]!r}; it takes {', '.join(taken)}.")
        return known[kind](**rest)

    def to_table(self) -> dict[str, Any]:
        """The plain form, from which :meth:`from_table` makes it again."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"kind": type(self).__name__, **{k: v for k, v in held.items() if v is not None}}


def _derived(base: type[Strategy]) -> list[type[Strategy]]:
    """Classes derived from one, at whatever remove."""
    below = base.__subclasses__()
    return [c for each in below for c in (each, *_derived(each))]


def _is_schedule(hint: Any) -> bool:
    parts = typing.get_args(hint) or (hint,)
    return any(isinstance(p, type) and issubclass(p, When | Schedule) for p in parts)


def _strategy(hint: Any) -> type[Strategy] | None:
    parts = typing.get_args(hint) or (hint,)
    return next((p for p in parts if isinstance(p, type) and issubclass(p, Strategy)), None)


def _config(hint: Any, make: Any) -> Any:
    """pydantic refuses a config for dataclasses, which bring their own."""
    return (
        None
        if isinstance(hint, type) and issubclass(hint, When | Schedule | Strategy)
        else make(arbitrary_types_allowed=True)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, When | Schedule):
        return to_table(value)
    if isinstance(value, Strategy):
        return value.to_table()
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value

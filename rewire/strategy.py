"""Frozen values that the plain tables of experiment files are written from and read to."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, ClassVar, Self

from .calls import unknown_field
from .fields import Checked
from .when import Schedule, When, from_table, to_table


@dataclass(frozen=True)
class Plain(Checked):
    """Frozen dataclasses that the plain tables of experiment files are written from and read to.

    >>> import rewire
    >>> rule = rewire.RigL.from_table({"fraction": {"cosine": 0.2}, "when": 50})
    >>> rule.when
    Every(n=50, first=None, stop=None)
    >>> rule.to_table()
    {'when': {'every': 50}, 'fraction': {'cosine': 0.2, 'stop': 1.0}}
    >>> rewire.RigL.from_table({"fractoin": 0.2})
    Traceback (most recent call last):
    ...
    ValueError: RigL has no parameter 'fractoin' (did you mean 'fraction'?); it takes ...

    What it says of itself, for `rewire rules` and `rewire cite`:

    kind:   in a word or two, e.g. "during training, constant budget".
    source: "Authors year, arXiv:NUMBER" (or doi:...), or "control: what it is for".
    bibtex: the full BibTeX entry of that source; without it, one is made of ``source``, with no
            title.

    And for experiments:

    version: raised by whoever changes what it computes from the same fields. From 2 on it is part
             of a cell's hash, so that no result of an earlier version stands for a later one.
    """

    kind: ClassVar[str] = ""
    source: ClassVar[str] = ""
    bibtex: ClassVar[str] = ""
    version: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def versions(self) -> dict[str, int]:
        """Versions other than 1, by name, of the rules that it is made of.

        >>> import rewire
        >>> rewire.Static().versions
        {}
        """
        return {} if self.version == 1 else {type(self).__name__: self.version}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """One from plain values, as in an experiment file.

        Raises ValueError that lists every unknown field (with the nearest known one), every value
        of a wrong type, and what the class itself refuses.
        """
        known = {f.name: f for f in fields(cls)}
        hints = typing.get_type_hints(cls)
        values, problems = dict[str, Any](), list[str]()
        for key, plain in table.items():
            if key not in known:
                problems.append(unknown_field(cls, key, known))
                continue
            try:
                values[key] = _read(hints[key], plain)
            except ValueError as error:
                problems.append(f"{cls.__name__}.{key}{_sentence(error, plain)}")
        missing = [name for name, f in known.items() if name not in table and _required(f)]
        problems += [f"{cls.__name__}.{name} is missing: it has no default." for name in missing]
        if not problems:
            try:
                return cls(**values)
            except ValueError as error:
                problems.append(str(error))
        raise ValueError("\n".join(problems))

    @classmethod
    def deviations(cls) -> tuple[str, ...]:
        """Where it differs from its paper or its authors' code, as its docstring lists them.

        >>> import rewire
        >>> rewire.ProsPr.deviations()[0]
        "The authors' code treats the momentum after the first step as a constant; here the ..."
        >>> rewire.Static.deviations()
        ()
        """
        _, title, rest = (inspect.getdoc(cls) or "").partition("\nDeviations:\n")
        items = list[str]()
        for line in rest.split("\n") if title else ():
            if not line.startswith(("- ", "  ")):
                break
            if line.startswith("- "):
                items.append(line[2:])
            else:
                items[-1] += f" {line.strip()}"
        return tuple(items)

    def to_table(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            f.name: _plain(values[f.name])
            for f in fields(self)
            if values[f.name] != self._default(f)
        }

    def _default(self, field: Field[Any]) -> Any:
        """What a field is where nobody sets it; None where it has to be set."""
        if field.default_factory is not MISSING:
            return field.default_factory()
        return None if field.default is MISSING else field.default


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _read(hint: Any, plain: Any) -> Any:
    """The value of a field with that type hint. Raises ValueError (pydantic's is one)."""
    from pydantic import ConfigDict, TypeAdapter

    if _is_schedule(hint) and isinstance(plain, str | dict):
        plain = from_table(plain)
    elif (kind := _strategy(hint)) and isinstance(plain, Mapping):
        plain = kind.from_table(plain)
    elif hint is When and isinstance(plain, int):
        plain = from_table(plain)
    # pydantic refuses a config for dataclasses, which bring their own
    own = isinstance(hint, type) and issubclass(hint, When | Schedule | Strategy)
    config = None if own else ConfigDict(arbitrary_types_allowed=True)
    return TypeAdapter(hint, config=config).validate_python(plain)


def _sentence(error: ValueError, plain: Any) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return f" = {plain!r}: {error.errors()[0]['msg']}."
    return f": {error}"


@dataclass(frozen=True)
class Strategy(Checked):
    """A part of a rule that can be exchanged: a frozen value, ``{kind = "Name", ...}`` in a file.

    A class of yours that derives from one that a rule's field takes can stand in that field.
    """

    @classmethod
    def from_table(cls, table: Any) -> Strategy:
        """The strategy that ``table`` describes, of this class or one derived from it.

        Raises ValueError, naming the kinds there are, for another.
        """
        known = {c.__name__: c for c in derived(cls)}
        kind = table.get("kind") if isinstance(table, Mapping) else None
        if kind not in known:
            raise ValueError(
                f"{table!r} is none: write {{ kind = ..., ... }} with one of {', '.join(known)}."
            )
        values = {k: v for k, v in table.items() if k != "kind"}
        names = [f.name for f in fields(known[kind])]
        if unknown := sorted(set(values) - set(names)):
            raise ValueError(f"{kind} has no {unknown[0]!r}; it takes {', '.join(names)}.")
        return known[kind](**values)

    def to_table(self) -> dict[str, Any]:
        """The plain form, from which :meth:`from_table` makes it again."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"kind": type(self).__name__, **{k: v for k, v in values.items() if v is not None}}


Base = typing.TypeVar("Base")


def derived(base: type[Base]) -> list[type[Base]]:
    """Classes derived from one, at whatever remove, as far as they are loaded."""
    below = base.__subclasses__()
    return [c for each in below for c in (each, *derived(each))]


def _is_schedule(hint: Any) -> bool:
    parts = typing.get_args(hint) or (hint,)
    return any(isinstance(p, type) and issubclass(p, When | Schedule) for p in parts)


def _strategy(hint: Any) -> type[Strategy] | None:
    parts = typing.get_args(hint) or (hint,)
    return next((p for p in parts if isinstance(p, type) and issubclass(p, Strategy)), None)


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

"""Which values of a rule's fields a search tries: declared beside each field, whoever searches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from math import inf, isfinite
from numbers import Real
from typing import Annotated, Any, Literal, TypeVar, get_args

from .fields import hints_of
from .when import Every, Fraction, Schedule, When

Value = str | bool | int | float
T = TypeVar("T")


@dataclass(frozen=True)
class Tunable:
    """What a search tries of a field whose hint is ``Annotated`` with it: a range, or choices.

    low, high: the range of a number, both included; of a schedule its start, of `Every` its period.
    log:     whether its logarithm is spread evenly.
    choices: the values themselves, where there is no range.

    >>> from rewire.rules import SET
    >>> tunables(SET)["fraction"]
    Tunable(low=0.05, high=0.5, log=False, choices=())
    """

    low: float = -inf
    high: float = inf
    log: bool = False
    choices: tuple[Value, ...] = ()

    def __post_init__(self) -> None:
        if self.choices:
            if self.low != -inf or self.high != inf or self.log:
                raise ValueError("Tunable takes a range or choices, not both.")
            if len({*self.choices}) < max(2, len(self.choices)):
                raise ValueError(f"Tunable chooses among different values, not {self.choices}.")
        elif not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"Tunable goes from {self.low} to {self.high}: give a lower and a higher number, "
                "or choices."
            )
        elif self.log and self.low <= 0:
            raise ValueError(f"Tunable has no logarithm of {self.low}: begin above 0.")

    def holds(self, value: Any) -> bool:
        """Whether a field's value is one that may be tried.

        >>> Tunable(0.1, 0.5).holds(0.3), Tunable(25, 400).holds(Every(10))
        (True, False)
        """
        if self.choices:
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        number = number_of(value)
        return isinstance(number, Real) and self.low <= float(number) <= self.high


Period = Annotated[When, Tunable(25, 400, log=True)]
Replaced = Annotated[Fraction, Tunable(0.05, 0.5)]
Scoped = Annotated[Literal["layer", "global"], Tunable(choices=("layer", "global"))]
AnyScope = Annotated[
    Literal["layer", "global", "lamp"], Tunable(choices=("layer", "global", "lamp"))
]


def tunables(cls: type) -> dict[str, Tunable]:
    """What a search tries of a class's fields, by name.

    Raises ValueError for a field whose default no search would try.
    """
    hints, spaces = hints_of(cls), dict[str, Tunable]()
    for field in fields(cls):
        space = next((m for m in get_args(hints.get(field.name)) if isinstance(m, Tunable)), None)
        if space is None:
            continue
        if field.default is not MISSING and not space.holds(field.default):
            raise ValueError(
                f"{cls.__name__}.{field.name}: its default {field.default!r} lies outside what a "
                f"search tries of it, {space}."
            )
        spaces[field.name] = space
    return spaces


def number_of(value: Any) -> Any:
    """What is varied of a field's value: a schedule's start, a period, or the value itself.

    >>> from rewire.when import Cosine
    >>> number_of(Cosine(0.3, 0.75)), number_of(Every(100)), number_of("layer")
    (0.3, 100, 'layer')
    """
    if isinstance(value, Schedule):
        return getattr(value, "start", None)
    return value.n if isinstance(value, Every) else value


def is_whole(value: Any) -> bool:
    """Whether what is varied of a field's value is a whole number.

    >>> is_whole(Every(100)), is_whole(0.3), is_whole(True)
    (True, False, False)
    """
    return type(number_of(value)) is int


def with_values(rule: T, values: Mapping[str, Value]) -> T:
    """A rule with other values of its tunable fields; what else a schedule says stays.

    Raises ValueError for what the rule refuses.

    >>> from rewire.rules import RigL
    >>> with_values(RigL(), {"fraction": 0.2, "when": 50}).to_table()
    {'when': {'every': 50, 'stop': 0.75}, 'fraction': {'cosine': 0.2, 'stop': 0.75}}
    """
    changes = {name: _placed(getattr(rule, name), value) for name, value in values.items()}
    return replace(rule, **changes)  # type: ignore[type-var]


def _placed(before: Any, value: Value) -> Any:
    if isinstance(before, Schedule):
        return replace(before, start=value)  # type: ignore[call-arg]
    return replace(before, n=int(value)) if isinstance(before, Every) else value

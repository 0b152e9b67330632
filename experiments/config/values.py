"""The types of an experiment file's values: what each may be, and the sentence where it is not.

Values are checked strictly: no text where a number belongs, no number out of range.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from rewire.names import did_you_mean, short

MAX_SEEDS = 10_000


class Table(BaseModel):
    """A table of a file: frozen, and without keys of its own making."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Count = Annotated[int, Field(ge=1, le=10**12)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _period(value: Any) -> int | str:
    if value == "epoch" or (type(value) is int and 1 <= value <= 10**12):
        return value
    raise ValueError(f"should be a number of steps (1 or more) or 'epoch', found {short(value)}")


Period = Annotated[
    int | Literal["epoch"],
    PlainValidator(_period),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "epoch"}]}),
]

DISTRIBUTIONS = ("erk", "er", "uniform", "balanced", "imp")


def _distribution(value: Any) -> str | dict[str, float]:
    if isinstance(value, str):
        if value in DISTRIBUTIONS:
            return value
        names = ", ".join(DISTRIBUTIONS)
        raise ValueError(f"there is no distribution {value!r}{did_you_mean(value, DISTRIBUTIONS)}; "
                         f"one of {names}, or a table of parameter pattern -> density")  # fmt: skip
    if not isinstance(value, dict) or not value:
        raise ValueError(f"should be a name or a table of pattern -> density, found {short(value)}")
    for pattern, density in value.items():
        if type(density) not in (int, float) or not 0 < density <= 1:
            raise ValueError(
                f"the density of {pattern!r} should be in (0, 1], not {short(density)}"
            )
    return {pattern: float(density) for pattern, density in value.items()}


def _seeds(value: Any) -> list[int]:
    if type(value) is int and 1 <= value <= MAX_SEEDS:
        return list(range(value))
    if isinstance(value, list) and value and all(type(s) is int and s >= 0 for s in value):
        if len(set(value)) < len(value):
            raise ValueError(f"each seed once, found {short(value)}")
        if len(value) <= MAX_SEEDS and max(value) < 2**63:
            return value
    raise ValueError(
        f"should be a count (1 to {MAX_SEEDS:,}) or a list of non-negative integers, "
        f"found {short(value)}"
    )


def _densities(value: Any) -> list[float]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"should be a list of fractions of edges kept, found {short(value)}")
    for density in value:
        if type(density) is not float or not 0 < density < 1:
            raise ValueError(
                f"a density is above 0 and below 1 (Dense is 1), found {short(density)}"
            )
    if len(set(value)) < len(value):
        raise ValueError(f"each density once, found {short(value)}")
    return sorted(value, reverse=True)


def _name(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        return value
    raise ValueError(
        f"names a folder: letters, digits, '.', '_' and '-', at most 64; found {short(value)}"
    )


Name = Annotated[str, PlainValidator(_name), WithJsonSchema({"type": "string"})]
Distribution = Annotated[
    str | dict[str, float],
    PlainValidator(_distribution),
    WithJsonSchema({"anyOf": [{"enum": list(DISTRIBUTIONS)}, {"type": "object"}]}),
]
Densities = Annotated[
    list[float],
    PlainValidator(_densities),
    WithJsonSchema({"type": "array", "items": {"type": "number"}}),
]
Seeds = Annotated[
    list[int],
    PlainValidator(_seeds),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "array"}]}),
]
Contrasts = list[Annotated[list[str], Field(min_length=2, max_length=2)]]


def _limits(value: Any) -> list[dict[str, Any]]:
    from rewire.limits import from_tables

    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise ValueError(
            f"should be a list of tables, e.g. {{ limit = 'FanIn', most = 32 }}, not {short(value)}"
        )
    from_tables(value)
    return value


def _task(value: Any) -> dict[str, Any]:
    from ..tasks import of_table, table_of

    if not isinstance(value, str | dict) or not value:
        raise ValueError(f"should be a name or a table with a name, found {short(value)}")
    return table_of(of_table(value))


TaskTable = Annotated[
    dict[str, Any],
    PlainValidator(_task),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]}),
]

Limits = Annotated[
    list[dict[str, Any]],
    PlainValidator(_limits),
    WithJsonSchema({"type": "array", "items": {"type": "object", "required": ["limit"]}}),
]

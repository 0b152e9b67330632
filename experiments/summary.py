"""The few numbers that a run ends with on the command line: means over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any


@dataclass(frozen=True)
class Summary:
    """A table of text: one line for each rule."""

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """The mean of a number over seeds, and its standard deviation where there are several.

    >>> mean_and_spread([1.0, 3.0], 2), mean_and_spread([1.0], 1), mean_and_spread([], 1)
    ('2.00 +- 1.41', '1.0', '')
    """
    if not values:
        return ""
    spread = f" +- {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def over_seeds(count: int) -> str:
    """What a title says of numbers that are means over so many seeds."""
    return f", mean +- standard deviation over {count} seeds" if count > 1 else ""


def of_columns(
    what: str, rows: Iterable[Mapping[str, Any]], names: Sequence[str], digits: int
) -> Summary:
    """Means over the rows of each label, a column for each name."""
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    columns = {label: [[r[n] for r in own if r.get(n) is not None] for n in names]
               for label, own in by_label.items()}  # fmt: skip
    most = max((len(values) for own in columns.values() for values in own), default=0)
    lines = [
        [label, *(mean_and_spread(values, digits) for values in own)]
        for label, own in columns.items()
    ]
    titles = [name.replace("_", " ") for name in names]
    return Summary(f"\n{what}{over_seeds(most)}:", ["rule", *titles], lines)

"""A table as values, for the pages' one table macro."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One cell: its text, its class in the style sheet, and its ``data-`` attributes.

    note: what follows the text in small letters.
    """

    text: str
    kind: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One row: its heading, the cells after it, and ``data-`` attributes; ``note`` as in `Cell`."""

    head: str
    cells: list[Cell]
    data: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Table:
    """titles: of all columns. label: what a reader who cannot see the table hears.

    grouped: whether a line sets the rows of one heading apart from the next.
    """

    titles: Sequence[str]
    rows: list[Row]
    label: str
    kind: str = ""
    grouped: bool = False


def of_mappings(rows: Sequence[Mapping[str, Any]], label: str) -> Table:
    """A table of plain rows, as the section of a package may return them: keys are the titles.

    >>> table = of_mappings([{"rule": "SET", "share": 0.25}], "shares")
    >>> table.titles, table.rows[0].head, table.rows[0].cells[0].text
    (['rule', 'share'], 'SET', '0.25')
    """
    titles = list(rows[0])
    lines = [[_text(row.get(title)) for title in titles] for row in rows]
    return Table(titles, [Row(head, [Cell(t) for t in texts]) for head, *texts in lines], label)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

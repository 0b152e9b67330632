"""Tables and JSON of the command line. Rich is imported when the first table is drawn."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .metric import ACCURACY, Metric

if TYPE_CHECKING:
    from rich.console import Console

LEFT = ("cell", "rule", "after", "what", "found", "")  # columns of text; numbers stand right


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """Rows as a table of some of their columns, or whole as JSON."""
    rows = list(rows)
    if as_json:
        print_json(rows, indent=1)
        return
    from rich.markup import escape

    table = new_table(*columns, left=True)
    for row in rows:
        values = (row[column] for column in columns)
        texts = (", ".join(v) if isinstance(v, list) else str(v) for v in values)
        table.add_row(*map(escape, texts))
    console().print(table)


def new_table(*columns: str, left: bool = False) -> Any:
    """A table without rules; with ``left`` all its columns hold text."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title_justify="left")
    for i, column in enumerate(columns):
        text = left or i == 0 or column in LEFT
        table.add_column(
            column, justify="left" if text else "right", overflow="fold", no_wrap=i == 0
        )
    return table


def shown(name: str, value: Any, metric: Metric = ACCURACY) -> str:
    """A value of the column ``name`` of a result, as text. metric: of the result's task.

    >>> shown("test_accuracy", 0.9512), shown("edges", 26658), shown("val_loss", None)
    ('95.12 %', '26,658', '')
    """
    if value is None:
        return ""
    if name in (metric.test, metric.at_early_stop, metric.validation, metric.train):
        return metric.text(value)
    if name.endswith("accuracy"):
        return ACCURACY.text(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def size(n_bytes: float) -> str:
    """Bytes for reading.

    >>> size(999), size(26_658_000)
    ('999 B', '27 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def print_json(value: Any, indent: int | None = None) -> None:
    print(json.dumps(value, indent=indent, ensure_ascii=False))


def console() -> Console:
    """Standard output as it is now; tests and pipes replace it."""
    from rich.console import Console

    # a file or a pipe has no edge to fold lines at
    return Console(width=None if sys.stdout.isatty() else 160)

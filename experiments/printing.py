"""Tables and JSON of the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# --- how things are shown ---


def _list(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], json: bool) -> int:
    rows = list(rows)
    if json:
        _print_json(rows, indent=1)
        return 0
    table = _table(*columns, left=True)
    for row in rows:
        cells = (row[c] for c in columns)
        table.add_row(*(", ".join(c) if isinstance(c, list) else str(c) for c in cells))
    _console().print(table)
    return 0


def _table(*columns: str, left: bool = False) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", title_justify="left")
    words = ("cell", "rule", "after", "what", "found", "")
    for i, column in enumerate(columns):
        text = left or i == 0 or column in words
        table.add_column(
            column, justify="left" if text else "right", overflow="fold", no_wrap=i == 0
        )
    return table


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name.startswith("test") or name.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(
        value, float) else str(value)  # fmt: skip


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n\n")[0].replace("\n", " ")


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _print_json(value: Any, indent: int | None = None) -> None:
    import json

    print(json.dumps(value, indent=indent, ensure_ascii=False))


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # a file or a pipe has no edge to fold lines at
    return Console(stderr=stderr, width=None if stream.isatty() else 160)

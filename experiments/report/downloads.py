"""The numbers of figures as files: of a page's buttons, and of ``rewire export``."""

from __future__ import annotations

import base64
import numbers
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .. import store
from .style import Inline, Numbers

DIGITS = 7  # significant ones of a fraction


def plain(rows: Numbers) -> list[dict[str, Any]]:
    """Rows of plain numbers and texts, fractions to `DIGITS` significant digits.

    >>> plain([{"label": "SET", "step": 1234567890, "z": 1 / 3}])
    [{'label': 'SET', 'step': 1234567890, 'z': 0.3333333}]
    """
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(f"{value:.{DIGITS}g}") if isinstance(value, numbers.Real) else value


def to_csv(rows: Numbers) -> str:
    """The numbers of a figure as a file holds them."""
    return store.to_csv(plain(rows))


def attributes(shown: Inline | Sequence[Inline | Mapping[str, Any]], name: str) -> Markup:
    """What a ``<figure>`` tells the page's script: the name of its files, and its numbers as CSV.

    shown: its drawings, or the rows of numbers themselves. The CSV is deflated, in base64: a page
    of many seeds would be twice as large otherwise.
    """
    rows = list(_rows([shown] if isinstance(shown, Inline) else shown))
    named = Markup(' data-name="{}"').format(name)
    if not rows:
        return named
    deflated = base64.b64encode(zlib.compress(to_csv(rows).encode(), 9)).decode()
    return named + Markup(' data-csv="{}"').format(deflated)


def _rows(shown: Iterable[Inline | Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for one in shown:
        if isinstance(one, Inline):
            yield from one.numbers
        else:
            yield one

"""Rows as texts: the cells of every table of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .judging import Judged
from .paper import Protocol, Row

SIGNS = {"%": " %", "pp": " pp", "x": "×"}
MINUS = "−"


def number(value: float | None, unit: str = "", signed: bool = False) -> str:
    """A value in a row's unit.

    >>> number(98.354, "%"), number(-0.5, "pp", signed=True), number(2.51, "x"), number(1234.5)
    ('98.35 %', '−0.50 pp', '2.51×', '1,234')
    """
    if value is None or not math.isfinite(value):
        return "–"
    sign = "+" if signed and value > 0 else ""
    if unit in ("%", "pp", "x"):
        digits = f"{value:.2f}"
    else:
        digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    end = SIGNS.get(unit, f" {unit}" if unit else "")
    return f"{sign}{digits}{end}".replace("-", MINUS)


def published(row: Row) -> str:
    if row.published is None:
        return "–"
    if isinstance(row.published, str):
        return row.published
    return number(row.published, row.unit, signed=_signed(row))


def wanted(row: Row, protocol: Protocol) -> str:
    """What holds.

    >>> from .paper import Selector
    >>> row = Row(name="a", claim="b", of=Selector(experiment="c"), expected=96.2, tolerance=0.3,
    ...           unit="%", certainty="mem")
    >>> wanted(row, "short")
    '96.20 ± 0.30 %'
    """
    low, high = row.bounds(protocol)
    if row.expected is not None:
        middle = number((low + high) / 2, row.unit, signed=_signed(row))
        end = SIGNS.get(row.unit, f" {row.unit}" if row.unit else "")
        away = number((high - low) / 2, row.unit).removesuffix(end)
        return f"{middle.removesuffix(end)} ± {away}{end}"
    if math.isinf(high):
        return f"≥ {number(low, row.unit)}"
    if math.isinf(low):
        return f"≤ {number(high, row.unit)}"
    return f"{number(low, row.unit)} to {number(high, row.unit)}"


def measured(row: Row, judged: Judged) -> str:
    """The mean with its interval at 95 %."""
    if judged.mean is None:
        return judged.reason or "–"
    text = number(judged.mean, row.unit, signed=_signed(row))
    if judged.low is not None and judged.high is not None:
        half = number((judged.high - judged.low) / 2, row.unit)
        text += f" ± {half}"
    if judged.means is not None:
        unit = "%" if row.unit == "pp" else "" if row.unit == "x" else row.unit
        parts = [number(mean, unit) for mean in judged.means]
        text += f" ({', '.join(parts)})"
    return text


def verdict(judged: Judged) -> str:
    """holds or fails, and how far beyond the spread of the seeds.

    >>> verdict(Judged("a", "holds", mean=1.0, n=3, clear=False))
    "holds, within the seeds' spread"
    """
    if judged.verdict == "not measured":
        return "not measured"
    if judged.significant:
        return f"{judged.verdict}, p = {judged.p:.2g}"
    if judged.n < 2 or judged.clear:
        return judged.verdict
    return f"{judged.verdict}, within the seeds' spread"


def effect(judged: Judged) -> str:
    """Hedges' g and the number of seeds.

    >>> effect(Judged("a", "holds", mean=1.0, n=3, g=2.123)), effect(Judged("a", "holds", n=1))
    ('2.1 (n = 3)', 'n = 1')
    """
    n = f"n = {judged.n}"
    if judged.g is None:
        return n
    g = f"{judged.g:.1f}" if abs(judged.g) < 100 else f"{judged.g:.0f}"
    return f"{g} ({n})".replace("-", MINUS)


def _signed(row: Row) -> bool:
    return row.minus is not None or row.order is not None


def minutes(record: Mapping[str, Any]) -> str:
    """CPU minutes of a record.

    >>> minutes({"cpu_seconds": 90}), minutes({"cpu_seconds": 4}), minutes({"cpu_seconds": 3600})
    ('1.5', '0.1', '60')
    """
    value = record["cpu_seconds"] / 60
    return f"{value:.0f}" if value >= 10 else f"{max(value, 0.1):.1f}"

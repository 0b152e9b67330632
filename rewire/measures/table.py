"""Measures of a graph as one table, each held against a null model."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .. import nulls
from ..names import unknown
from ..nulls import Null
from .measure import Measure, Refused

if TYPE_CHECKING:
    import pandas as pd

    from ..graph import Graph

Function: TypeAlias = "Callable[[Graph], float]"
AnyMeasure: TypeAlias = "str | Measure | type[Measure] | Function"
AnyNull: TypeAlias = "str | Null | type[Null]"
ROUNDING = 1e-9  # relative: what differs by less differs by the order of sums


@dataclass(frozen=True)
class Row:
    """One number of a measure, and what a null model's draws have there.

    part:  name of a projection or population, "" for the whole network.
    mean, sd, low, high: of the draws, low and high their 2.5 and 97.5 percentiles.
    z:     (value - mean) / sd, None where the draws do not vary.
    p:     two-sided, (1 + draws at least as far from their mean) / (draws + 1).
    draws: draws that have this number, 0 without a null model.
    note:  why there is no value, no mean or no z.
    """

    measure: str
    part: str
    value: float | None
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    z: float | None = None
    p: float | None = None
    draws: int = 0
    note: str = ""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of measures; ``null`` names what they are held against, "" for nothing.

    >>> from rewire.analysis.examples import two_layers
    >>> from rewire.measures import measure
    >>> table = measure(two_layers(), ["LayerDensity"])
    >>> table["LayerDensity", "fc2"].value
    0.5
    """

    rows: tuple[Row, ...]
    null: str = ""
    seed: int = 0

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str | tuple[str, str]) -> Row:
        """The row of a measure, or of (measure, part). Raises KeyError where there is none."""
        measure, part = (name, "") if isinstance(name, str) else name
        for row in self.rows:
            if (row.measure, row.part) == (measure, part):
                return row
        names = dict.fromkeys(row.measure for row in self.rows)
        if measure not in names:
            raise KeyError(unknown("measure", measure, names))
        parts = [row.part for row in self.rows if row.measure == measure]
        raise KeyError(unknown(f"part of {measure}", part, parts))

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary a row."""
        return [asdict(row) for row in self.rows]

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame, one row each. Raises ImportError where pandas is not installed."""
        return frame_of(self.to_dicts(), COLUMNS)

    def to_csv(self, path: str | Path | None = None) -> str:
        """As CSV, empty where there is no number; written to ``path`` if given."""
        return csv_of(self.to_dicts(), COLUMNS, path)

    def to_json(self, path: str | Path | None = None) -> str:
        """As a JSON object {null, seed, rows}; null where there is no finite number."""
        return json_of(self.to_dicts(), self, path)

    def __repr__(self) -> str:
        cells = [list(self._headings), *(self._cells(row) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = (
            "  ".join(
                cell.ljust(w) if k < 2 or k == len(row) - 1 else cell.rjust(w)
                for k, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        )
        against = f"against {self.null}, seed {self.seed}\n" if self.null else ""
        return against + "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(h)}</th>" for h in self._headings)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in self._cells(row)) + "</tr>"
            for row in self.rows
        )
        caption = f"against {escape(self.null)}, seed {self.seed}" if self.null else ""
        return (
            f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )

    @property
    def _headings(self) -> Sequence[str]:
        return COLUMNS if self.null else ("measure", "part", "value", "note")

    def _cells(self, row: Row) -> list[str]:
        return [_text(getattr(row, name)) for name in self._headings]


COLUMNS = tuple(f.name for f in fields(Row))


def table_of(
    graph: Graph, measures: Sequence[Measure | Function], null: Null | None, draws: int, seed: int
) -> Table:
    """:func:`rewire.measures.measure` of measures and a null model that are values already."""
    named = {label_of(one): one for one in measures}
    graph = graph.effective()
    if "weight" in graph.columns:
        graph = graph.only("weight")
    values = {label: _values(of, graph) for label, of in named.items()}
    if null is None:
        return Table(tuple(_rows(values, {})))
    drawn: dict[str, dict[str, list[float]]] = {label: {} for label in named}
    refusals: dict[str, str] = {}
    for one in null.sample(graph, draws, seed):
        for label, parts in values.items():
            if isinstance(parts, str):
                continue
            again = _values(named[label], one.effective())
            if isinstance(again, str):
                refusals.setdefault(label, again)
                continue
            for part, value in again.items():
                drawn[label].setdefault(part, []).append(value)
    rows = _rows(values, {k: (v, refusals.get(k, "")) for k, v in drawn.items()})
    return Table(tuple(rows), repr(null), seed)


def held_against(value: float, draws: Sequence[float]) -> dict[str, Any]:
    """mean, sd, z, p, draws and note of a number and some draws of it, as a :class:`Row` has them.

    >>> against = held_against(5.0, [1.0, 2.0, 3.0])
    >>> against["mean"], against["sd"], against["z"], against["p"]
    (2.0, 1.0, 3.0, 0.25)
    """
    numbers = np.array(draws, np.float64)
    finite = numbers[np.isfinite(numbers)]
    lost = len(numbers) - len(finite)
    note = f"{lost} of {len(numbers)} draws have no finite number" if lost else ""
    if not len(finite):
        return {"draws": 0, "note": note or "no draw has this part"}
    mean = float(finite.mean())
    scale = ROUNDING * max(abs(mean), float(np.abs(finite).max()))
    sd = float(finite.std(ddof=1)) if len(finite) > 1 else 0.0
    low, high = np.percentile(finite, [2.5, 97.5]).tolist()
    out = {"mean": mean, "sd": sd if sd > scale else 0.0, "low": low, "high": high}
    out |= {"draws": len(finite)}
    if not isfinite(value):
        return out | {"note": "the value is not finite"}
    far = int((np.abs(finite - mean) >= abs(value - mean) - scale).sum())
    out |= {"p": (1 + far) / (len(finite) + 1)}
    if sd > scale:
        return out | {"z": (value - mean) / sd, "note": note}
    return out | {"note": note or "all draws have the same number: no z"}


def _rows(
    values: Mapping[str, Mapping[str, float] | str],
    drawn: Mapping[str, tuple[Mapping[str, Sequence[float]], str]],
) -> Iterator[Row]:
    for label, parts in values.items():
        if isinstance(parts, str):
            yield Row(label, "", None, note=parts)
            continue
        of_draws, refusal = drawn.get(label, ({}, ""))
        for part, value in parts.items():
            against = held_against(value, of_draws.get(part, [])) if label in drawn else {}
            if refusal:
                against["note"] = "; ".join(filter(None, [against["note"], f"a draw: {refusal}"]))
            yield Row(label, part, value, **against)


def _values(of: Function | Measure, graph: Graph) -> Mapping[str, float] | str:
    """The numbers by part, or why there are none."""
    try:
        return of.of(graph) if isinstance(of, Measure) else {"": float(of(graph))}
    except Refused as refused:
        return str(refused)


def as_measures(
    measures: AnyMeasure | Sequence[AnyMeasure] | None, known: Mapping[str, type[Measure]]
) -> list[Measure | Function]:
    """Measures as values; None: all that are known. Raises ValueError for unknown names."""
    if measures is None:
        measures = list(known.values())
    elif isinstance(measures, str | Measure | type) or callable(measures):
        measures = [measures]
    out: list[Measure | Function] = []
    for one in measures:
        if isinstance(one, str):
            if one not in known:
                raise ValueError(unknown("measure", one, known))
            one = known[one]
        out.append(one() if isinstance(one, type) else one)
    return out


def label_of(one: Measure | Function) -> str:
    """A measure's name, and its fields where they differ from their defaults.

    >>> from rewire.measures import LayerDensity
    >>> label_of(LayerDensity())
    'LayerDensity'
    """
    if not isinstance(one, Measure):
        return getattr(one, "__name__", type(one).__name__)
    table = one.to_table()
    values = ", ".join(f"{name}={value!r}" for name, value in table.items())
    return f"{one.name}({values})" if values else one.name


def as_null(null: AnyNull | None) -> Null | None:
    """A null model as a value. Raises ValueError for an unknown name."""
    if isinstance(null, str):
        known = nulls.known()
        if null.lower() not in known:
            raise ValueError(unknown("null model", null, known))
        null = known[null.lower()]
    return null() if isinstance(null, type) else null


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def csv_of(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: str | Path | None
) -> str:
    """Rows as CSV, written to ``path`` if given."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return _written(out.getvalue(), path)


def json_of(rows: Sequence[Mapping[str, Any]], table: Table, path: str | Path | None) -> str:
    """Rows as JSON, and what they were held against, written to ``path`` if given."""
    finite = [{k: _finite(v) for k, v in row.items()} for row in rows]
    content = {"null": table.null, "seed": table.seed, "rows": finite}
    return _written(json.dumps(content, indent=1, allow_nan=False) + "\n", path)


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a DataFrame. Raises ImportError where pandas is not installed."""
    try:
        import pandas as pd
    except ImportError:
        raise ImportError(
            "to_pandas needs pandas (pip install pandas); to_dicts gives the same rows without."
        ) from None
    return pd.DataFrame(rows, columns=list(columns))

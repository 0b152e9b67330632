"""Measures over training, with a null model's draws at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .table import COLUMNS, Table, csv_of, frame_of, json_of

if TYPE_CHECKING:
    import pandas as pd

    from ..graph import Graph


@dataclass(frozen=True, eq=False)
class Course:
    """A table of measures at each of some steps.

    >>> from rewire.analysis.examples import two_layers
    >>> from rewire.measures import over_time
    >>> course = over_time([(0, two_layers()), (10, two_layers())], "LayerDensity", null="layers")
    >>> course.steps, course.values("LayerDensity", "fc2").tolist()
    ((0, 10), [0.5, 0.5])
    >>> low, high = course.band("LayerDensity", "fc2")
    >>> low.round(3).tolist(), high.tolist()
    ([0.333, 0.333], [0.5, 0.5])
    """

    steps: tuple[int, ...]
    tables: tuple[Table, ...]

    def column(self, name: str, measure: str, part: str = "") -> np.ndarray:
        """A column of the tables at each step, (T,); NaN where there is no number."""
        rows = [self._row(table, measure, part) for table in self.tables]
        numbers = [None if row is None else getattr(row, name) for row in rows]
        return np.array([np.nan if x is None else x for x in numbers], np.float64)

    def values(self, measure: str, part: str = "") -> np.ndarray:
        """A measure at each step, (T,). Raises KeyError where no table has it."""
        return self.column("value", measure, part)

    def band(self, measure: str, part: str = "") -> tuple[np.ndarray, np.ndarray]:
        """The 2.5 and 97.5 percentiles of the null model's draws at each step, each (T,)."""
        return self.column("low", measure, part), self.column("high", measure, part)

    def _row(self, table: Table, measure: str, part: str) -> Any:
        try:
            return table[measure, part]
        except KeyError:
            if not any((r.measure, r.part) == (measure, part) for t in self.tables for r in t):
                raise
            return None

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary for each row of each step."""
        return [
            {"step": step, **row}
            for step, table in zip(self.steps, self.tables, strict=True)
            for row in table.to_dicts()
        ]

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame, long form. Raises ImportError where pandas is not installed."""
        return frame_of(self.to_dicts(), ("step", *COLUMNS))

    def to_csv(self, path: str | Path | None = None) -> str:
        """As CSV, long form; written to ``path`` if given."""
        return csv_of(self.to_dicts(), ("step", *COLUMNS), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """As a JSON object {null, seed, rows}; null where there is no finite number."""
        table = self.tables[0] if self.tables else Table(())
        return json_of(self.to_dicts(), table, path)


def course_of(graphs: Iterable[tuple[int, Graph]], table: Callable[[Graph], Table]) -> Course:
    """The course of what ``table`` says of each graph."""
    steps, tables = [], []
    for step, graph in graphs:
        steps.append(step)
        tables.append(table(graph))
    return Course(tuple(steps), tuple(tables))

"""What selectors read: rows of results, of evaluations and of analyses, and the values in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rewire.names import did_you_mean

from ..errors import ConfigError
from ..metric import Metric
from ..tasks import metric_of
from .paper import Selector

Values = dict[int, float]  # by seed


@dataclass(frozen=True)
class Tables:
    """Rows of the runs of a protocol, by the name of their experiment or analysis.

    evals: rows of evaluations, by the name of the experiment, for figures over steps.
    """

    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    evals: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @cached_property
    def seeds(self) -> int:
        """The seeds of the experiment that has most."""
        return max((len({r["seed"] for r in rows}) for rows in self.rows.values()), default=0)

    def at(self, s: Selector) -> list[Mapping[str, Any]]:
        """The rows that fit a selector, whatever their density where it says "best".

        Raises ConfigError for a column that no row has.
        """
        rows = list(self.rows.get(s.table, ()))
        for column, value in s.columns.items():
            self._check(column, rows, s)
            rows = [row for row in rows if _alike(row.get(column), value)]
        if isinstance(s.density, float):
            rows = [row for row in rows if _alike(_density(row), s.density)]
        return rows

    def column(self, s: Selector, column: str | None) -> str:
        """The column that is read: the one asked for, or the task's own of the test set."""
        asked = s.column or column
        if asked is not None:
            return asked
        if s.analysis is not None:
            raise ConfigError(f"{s}: say which column of the analysis is meant")
        return self.metric(s).test

    def metric(self, s: Selector) -> Metric:
        return metric_of(next(iter(self.rows.get(s.table, ())), {}))

    def values(self, s: Selector, column: str | None = None) -> Values:
        """A value for each seed.

        Raises ConfigError where several rows of one seed fit, or none has the column.
        """
        name, rows = self.column(s, column), self.at(s)
        self._check(name, rows, s)
        if s.density == "best":
            rows = self._best(rows, name, s)
        values: Values = {}
        for row in rows:
            value = row.get(name)
            if value is None:
                continue
            if row["seed"] in values:
                raise ConfigError(
                    f"{s}: several rows of seed {row['seed']} fit. Say more, as density = ..."
                )
            values[row["seed"]] = float(value)
        return values

    def _best(
        self, rows: Iterable[Mapping[str, Any]], column: str, s: Selector
    ) -> list[Mapping[str, Any]]:
        groups: dict[float, list[Mapping[str, Any]]] = {}
        for row in rows:
            if (density := _density(row)) is not None:
                groups.setdefault(density, []).append(row)
        lower = column.endswith(("loss", "step")) or self.metric(s).lower

        def mean(own: Sequence[Mapping[str, Any]]) -> float:
            return sum(float(row[column]) for row in own) / len(own)

        return (min if lower else max)(groups.values(), key=mean, default=[])

    def _check(self, column: str, rows: Sequence[Mapping[str, Any]], s: Selector) -> None:
        if rows and all(column not in row for row in rows):
            known = list(dict.fromkeys(name for row in rows for name in row))
            raise ConfigError(
                f"{s}: there is no column {column!r}{did_you_mean(column, known)}; there are "
                f"{', '.join(known)}"
            )


def _density(row: Mapping[str, Any]) -> float | None:
    return row["requested_density"] if "requested_density" in row else row.get("density")


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, float | int) and isinstance(b, float | int) and not isinstance(a, bool):
        return abs(a - b) <= 1e-9 * max(abs(a), abs(b))
    return bool(a == b)

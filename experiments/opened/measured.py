"""Measures of many graphs as one long table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rewire import measures as measures_of
from rewire import nulls
from rewire.names import unknown
from rewire.nulls.start import Start

from ..errors import ConfigError
from .chosen import Found

if TYPE_CHECKING:
    from rewire.measures.table import AnyNull

START = "start"


def measured(
    graphs: Sequence[Found],
    names: Sequence[str],
    null: str | None,
    draws: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """One row for each graph, measure and part, as `rewire.measures.measure` makes it.

    Raises ConfigError for names that are not known, and where a null means nothing for a graph.
    """
    check(names, null, draws)
    for one in graphs:
        against = _null_of(null, one, graphs)
        try:
            table = measures_of.measure(
                one.graph, list(names) or None, null=against, draws=draws, seed=seed
            )
        except ValueError as error:
            raise ConfigError(f"{one.title}: {error}") from None
        for row in table.to_dicts():
            if null is None:
                row = {name: row[name] for name in ("measure", "part", "value", "note")}
            yield {**one.names, **row}


def check(names: Sequence[str], null: str | None, draws: int) -> None:
    """Raise ConfigError for a measure or a null model that is not known."""
    known = measures_of.known()
    for name in names:
        if name not in known:
            raise ConfigError(unknown("measure", name, known))
    null_names = (*nulls.known(), START)
    if null is not None and null.lower() not in null_names:
        raise ConfigError(unknown("null model", null, dict.fromkeys(null_names)))
    if draws < 1:
        raise ConfigError(f"--draws is {draws}; it takes a number of graphs, 1 or more")


def _null_of(null: str | None, one: Found, graphs: Sequence[Found]) -> AnyNull | None:
    """The null model; for "start" the graphs that the cells of a graph's kind began with."""
    if null is None or null.lower() != START:
        return null
    if one.cell is None:
        raise ConfigError(f"--null start: {one.title} is a file, and no rule began with it")
    alike = [
        other.cell
        for other in graphs
        if other.cell is not None
        and other.cell.label == one.cell.label
        and other.cell.densities == one.cell.densities
        and other.cell.level == one.cell.level
    ]
    return Start([cell.start for cell in alike])

"""The processor time that the trainings of a run took, each counted once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..opened import OpenedCell, OpenedRun

COST = "cpu_seconds"


def cpu_seconds(run: OpenedRun) -> float:
    """CPU seconds of all cells; what a row inherits from its ancestors is not counted again."""
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for row in run.rows():
        by_cell.setdefault(row["cell"], []).append(row)
    return sum(
        _own(cell, by_cell[cell.hash], by_cell) for cell in run.cells if cell.hash in by_cell
    )


def _own(
    cell: OpenedCell, rows: Iterable[Mapping[str, Any]], by_cell: Mapping[str, list[dict[str, Any]]]
) -> float:
    costs = {row.get("level", 0): float(row.get(COST) or 0.0) for row in rows}
    parents = cell.config.get("parents", {})
    parents = parents if isinstance(parents, Mapping) else {}
    before = {
        row.get("level", 0): float(row.get(COST) or 0.0)
        for row in by_cell.get(parents.get("ticket") or parents.get("dense") or "", ())
    }
    if "ticket" in parents:  # every level starts from what its ticket cost
        return sum(max(cost - before.get(level, 0.0), 0.0) for level, cost in costs.items())
    return max(max(costs.values(), default=0.0) - before.get(0, 0.0), 0.0)

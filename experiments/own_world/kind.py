"""Worlds of installed packages: the kind of experiment that names one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..config.problems import Problems
from ..engines.outcome import Work
from ..kind import Costs, Kind, Page, Plan, Rows
from ..summary import Summary, of_columns


class OwnWorld(Kind):
    cells = ("own_world",)

    @property
    def worlds(self) -> Collection[str]:  # type: ignore[override]
        from rewire.worlds.registry import BUILT_IN, available

        return [name for name in available() if name not in BUILT_IN]

    @property
    def parse(self) -> Callable[[Mapping[str, Any], Problems], Any]:
        from .config import parse

        return parse

    @property
    def schema(self) -> Callable[[], dict[str, Any]]:
        from .config import schema

        return schema

    @property
    def check(self) -> Callable[[Any, Problems], None]:
        from .config import check

        return check

    @property
    def plan(self) -> Plan:
        from .cells import plan

        return plan

    @property
    def work(self) -> Callable[[Any], Work]:
        from .run import work

        return work

    @property
    def estimate(self) -> Costs:
        from .estimate import estimate

        return estimate

    def columns(self, rows: Rows) -> Sequence[str]:
        return ("label", "seed", "level", "density", "edges", "step", *_measures(rows), "seconds")

    def summary(self, rows: Rows) -> Summary:
        asked = [row for row in rows if row["requested_density"] is not None]
        titled = [{**r, "label": f"{r['label']} at {r['requested_density']:g}"} for r in asked]
        return of_columns("At the end", titled, _measures(rows), 4)

    @property
    def page(self) -> Page:
        from ..report import own_world

        return own_world


def _measures(rows: Rows) -> list[str]:
    """What the world measured, by name: the columns that every other row would not have."""
    from ..store import OWN_WORLD_ROW_FIELDS

    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name not in OWN_WORLD_ROW_FIELDS]

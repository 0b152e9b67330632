"""Worlds of installed packages: the kind of experiment that names one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cells import Cell, Estimate
from ..config.problems import Problems
from ..engines.outcome import Emit, Work
from ..kind import Kind, Page

if TYPE_CHECKING:
    from ..summary import Summary
    from .schema import OwnExperiment


class OwnWorld(Kind):
    cells = ("own_world",)

    @property
    def worlds(self) -> Collection[str]:  # type: ignore[override]
        from rewire.worlds.registry import BUILT_IN, available

        return [name for name in available() if name not in BUILT_IN]

    def parse(self, tree: Mapping[str, Any], problems: Problems) -> OwnExperiment | None:
        from . import config

        return config.parse(tree, problems)

    def schema(self) -> dict[str, Any]:
        from ..config.schema import with_choices
        from .schema import OwnExperiment

        return with_choices(OwnExperiment.model_json_schema())

    def check(self, experiment: OwnExperiment, problems: Problems) -> None:
        from . import config

        problems += config.unable(experiment)

    def plan(self, experiment: OwnExperiment, cells: Sequence[Cell]) -> list[Cell]:
        from .cells import plan

        return plan(experiment)

    def work(self, experiment: OwnExperiment) -> Work:
        from .run import run_cell

        def step(
            cell: Any,
            folder: Path,
            parents: dict[str, Path],
            emit: Emit,
            should_stop: Callable[[], bool],
        ) -> None:
            run_cell(cell, folder, emit, should_stop)

        return step

    def estimate(self, experiment: OwnExperiment, cells: Sequence[Cell]) -> Mapping[str, Estimate]:
        from .estimate import estimate

        return estimate(cells)

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        measures = _measures(rows)
        return ("label", "seed", "level", "density", "edges", "step", *measures, "seconds")

    def summary(self, rows: Sequence[Mapping[str, Any]]) -> Summary:
        from ..summary import of_columns

        asked = [row for row in rows if row["requested_density"] is not None]
        titled = [{**r, "label": f"{r['label']} at {r['requested_density']:g}"} for r in asked]
        return of_columns("At the end", titled, _measures(rows), 4)

    @property
    def page(self) -> Page:
        from ..report import own_world

        return own_world


def _measures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the world measured, by name: the columns that every other row would not have."""
    from ..store import OWN_WORLD_ROW_FIELDS

    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name not in OWN_WORLD_ROW_FIELDS]

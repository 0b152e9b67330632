"""Networks that live in Brian2: the kind of experiment with ``world = "brian"``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cells import Cell, Estimate
from ..config.problems import Problems
from ..engines.outcome import Emit, Work
from ..kind import Kind, Page

if TYPE_CHECKING:
    from ..summary import Summary
    from .schema import SpikingExperiment


class Spiking(Kind):
    worlds = ("brian",)
    cells = ("spiking",)
    mark = "simulated_seconds"
    packages = ("brian2",)

    def parse(self, tree: Mapping[str, Any], problems: Problems) -> SpikingExperiment | None:
        from . import config

        return config.parse(tree, problems)

    def schema(self) -> dict[str, Any]:
        from rewire.models import spiking

        from ..config.schema import with_choices
        from .schema import SpikingExperiment

        return with_choices(
            SpikingExperiment.model_json_schema(), "model", model=spiking.available()
        )

    def check(self, experiment: SpikingExperiment, problems: Problems) -> None:
        from . import config

        problems += config.unable(experiment)

    def plan(self, experiment: SpikingExperiment, cells: Sequence[Cell]) -> list[Cell]:
        from .cells import plan

        return plan(experiment)

    def work(self, experiment: SpikingExperiment) -> Work:
        from .trainer import run_cell

        def simulate(
            cell: Any,
            folder: Path,
            parents: dict[str, Path],
            emit: Emit,
            should_stop: Callable[[], bool],
        ) -> None:
            run_cell(cell, folder, emit, should_stop)

        return simulate

    def estimate(
        self, experiment: SpikingExperiment, cells: Sequence[Cell]
    ) -> Mapping[str, Estimate]:
        from .estimate import estimate

        return estimate(cells)

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        return ("label", "seed", "simulated_seconds", "sigma_aff_conn", "sigma_aff_weight",
                "ad_conn", "ad_weight", "rate_hz", "ff_synapses", "lateral_synapses",
                "events_per_s", "seconds")  # fmt: skip

    def summary(self, rows: Sequence[Mapping[str, Any]]) -> Summary:
        from ..summary import of_columns

        ends = [row for row in rows if row["level"] > 0]
        names = ("sigma_aff_conn", "ad_conn", "rate_hz", "ff_synapses", "events_per_s")
        return of_columns("The map at the end", ends, names, 3)

    @property
    def page(self) -> Page:
        from ..report.spiking import page

        return page

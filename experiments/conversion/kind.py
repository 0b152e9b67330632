"""Trained networks run as spiking ones: cells that the table ``[spikes]`` adds to trainings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cells import Cell, Estimate
from ..config.problems import Problems
from ..engines.outcome import Emit, Work
from ..kind import Kind

if TYPE_CHECKING:
    from ..config.schema import Experiment


class Conversion(Kind):
    cells = ("spikes",)
    mark = "spiking_accuracy"

    def check(self, experiment: Experiment, problems: Problems) -> None:
        from .config import problems_of

        problems += problems_of(experiment)

    def plan(self, experiment: Experiment, cells: Sequence[Cell]) -> list[Cell]:
        from .plan import plan

        return plan(experiment, cells)

    def work(self, experiment: Experiment) -> Work:
        from .run import run_cell

        dataset = experiment.dataset

        def convert(
            cell: Any,
            folder: Path,
            parents: dict[str, Path],
            emit: Emit,
            should_stop: Callable[[], bool],
        ) -> None:
            run_cell(cell, folder, parents, dataset, emit, should_stop)

        return convert

    def estimate(self, experiment: Experiment, cells: Sequence[Cell]) -> Mapping[str, Estimate]:
        from .estimate import estimate

        return estimate(experiment, cells)

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        return ("label", "seed", "density", "edges", "images", "ann_accuracy", "spiking_accuracy",
                "spikes_per_image", "events_per_image", "images_per_second")  # fmt: skip

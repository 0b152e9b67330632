"""Trainings of PyTorch models: the kind of experiment that names no world, or one of PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cells import Cell, Estimate
from ..config.problems import Problems
from ..engines.outcome import Emit, Work
from ..kind import Kind, Page
from ..summary import Summary

if TYPE_CHECKING:
    from ..config.schema import Experiment


class Trainings(Kind):
    worlds = ("masked", "sparse", "auto")
    cells = ("rule", "branch")
    mark = "test_accuracy"

    def parse(self, tree: Mapping[str, Any], problems: Problems) -> Experiment | None:
        from . import config

        return config.parse(tree, problems)

    def schema(self) -> dict[str, Any]:
        from ..config.schema import Experiment, available, with_choices

        tree = with_choices(
            Experiment.model_json_schema(),
            "train",
            model=available("model"),
            data=available("data"),
        )
        old = {**tree["properties"]["world"], "deprecated": True, "description": "now 'world'"}
        tree["properties"]["substrate"] = old
        return tree

    def check(self, experiment: Experiment, problems: Problems) -> None:
        from . import config

        config.check_whole(experiment, problems)

    def plan(self, experiment: Experiment, cells: Sequence[Cell]) -> list[Cell]:
        from ..building import n_train
        from .plan import plan

        return plan(experiment, n_train(experiment.data))

    def work(self, experiment: Experiment) -> Work:
        from ..machine import resolve_device
        from .trainer import run_cell

        device, dataset = resolve_device(experiment.device), experiment.dataset

        def train(
            cell: Any,
            folder: Path,
            parents: dict[str, Path],
            emit: Emit,
            should_stop: Callable[[], bool],
        ) -> None:
            run_cell(cell, folder, parents, dataset, emit, should_stop, device)

        return train

    def estimate(self, experiment: Experiment, cells: Sequence[Cell]) -> Mapping[str, Estimate]:
        from .estimate import estimate

        return estimate(experiment, cells)

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        return ("label", "seed", "level", "density", "edges", "step", "test_accuracy",
                "test_accuracy_at_early_stop", "val_loss", "updates", "seconds")  # fmt: skip

    def summary(self, rows: Sequence[Mapping[str, Any]]) -> Summary:
        from .summary import summary

        return summary(rows)

    @property
    def page(self) -> Page:
        from ..report.trainings import page

        return page

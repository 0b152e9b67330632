"""Trained networks run as spiking ones: cells that the table ``[spikes]`` adds to trainings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..config.problems import Problems
from ..engines.outcome import Work
from ..kind import Costs, Kind, Plan, Rows


class Conversion(Kind):
    cells = ("spikes",)
    mark = "spiking_accuracy"

    @property
    def check(self) -> Callable[[Any, Problems], None]:
        from .config import check

        return check

    @property
    def plan(self) -> Plan:
        from .plan import plan

        return plan

    @property
    def work(self) -> Callable[[Any], Work]:
        from .work import work

        return work

    @property
    def estimate(self) -> Costs:
        from .estimate import estimate

        return estimate

    def columns(self, rows: Rows) -> Sequence[str]:
        return ("label", "seed", "density", "edges", "images", "ann_accuracy", "spiking_accuracy",
                "spikes_per_image", "events_per_image", "images_per_second")  # fmt: skip

"""Loss and metric of a model on a part of the data that its cell was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..config.schema import Data
from ..data import Dataset, Split
from ..tasks import Task
from ..trainings.branch_start import table_of_data
from ..trainings.settings import settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .cell import OpenedCell


@dataclass(frozen=True, eq=False)
class Judge:
    """The data and the task of a cell."""

    data: Dataset
    task: Task

    def measure(self, model: nn.Module, part: str = "test", most: int | None = None) -> Any:
        """Mean loss and metric of a model in its present mode: (loss, metric).

        part: "train", "validation" or "test". most: as many of its first examples.
        """
        return measured(model, self.task, getattr(self.data, part), most)


def judge_of(cell: OpenedCell) -> Judge:
    """The data and the task that a cell was trained for; data are read once a process."""
    s = settings(cell.config)
    return Judge(_loaded(table_of_data(s)), s.task)


@lru_cache(maxsize=2)
def _loaded(data: Data) -> Dataset:
    return data.load()


def measured(
    model: Callable[[Tensor], Tensor], task: Task, split: Split, most: int | None = None
) -> tuple[float, float]:
    """Mean loss and metric over a part of the data.

    Raises ValueError for a part without a target that counts.
    """
    import torch

    with torch.no_grad():
        sums = task.sums(model, split, most)
    if not sums or not sums[1]:
        raise ValueError("there is no target that counts in this part of the data.")
    return sums[0] / sums[1] if math.isfinite(sums[0]) else math.nan, task.metric_of(sums)

"""Trained networks on every part of their data: the generalisation gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .analysis import Analysis

if TYPE_CHECKING:
    from ...opened import OpenedRun


@dataclass(frozen=True, kw_only=True)
class Evaluation(Analysis):
    """Loss and metric on the training, validation and test part at the end of training.

    Columns, for accuracy: ``train_loss``, ``train_accuracy``, ``val_...``, ``test_...``, and
    ``gap``, train minus test. Training inputs are not augmented.
    """

    def rows(self, run: OpenedRun) -> list[dict[str, Any]]:
        from ...opened.evaluating import judge_of

        rows = []
        for cell, density in self.cells(run):
            judge, model = judge_of(cell), cell.model()
            key = judge.task.judged_by.key
            row: dict[str, Any] = {"label": cell.label, "density": density, "seed": cell.seed}
            for part, short in (("train", "train"), ("validation", "val"), ("test", "test")):
                row[f"{short}_loss"], row[f"{short}_{key}"] = judge.measure(model, part)
            row["gap"] = row[f"train_{key}"] - row[f"test_{key}"]
            rows.append(row)
        return rows

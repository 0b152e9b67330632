"""The error barrier between copies of a network: instability analysis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .analysis import Analysis

if TYPE_CHECKING:
    from ...opened import OpenedRun


@dataclass(frozen=True, kw_only=True)
class Barrier(Analysis):
    """The error on the line between every two trainings of a run that differ in SGD noise alone
    (Frankle et al. 2020, arXiv:1912.05671); see ``rewire barrier``.

    Columns: ``rule`` and ``copy`` beside the label, ``k``, the step from which the noise differs;
    ``barrier``, the largest test error less the mean of both ends, ``train_barrier`` where
    asked for; ``error``, the mean test error of both ends; ``stable``, 1 for a barrier below 2 %.

    points: of the line. train: measure the training error as well. norms: "recomputed" or
    "interpolated" statistics of batch norms. examples: of each part of the data, at most.
    """

    points: int = 30
    train: bool = False
    norms: Literal["recomputed", "interpolated"] = "recomputed"
    examples: int | None = None

    def rows(self, run: OpenedRun) -> list[dict[str, Any]]:
        from ...interpolation import between, pairs_of

        parts = ("test", "train") if self.train else ("test",)
        rows = []
        for pair in pairs_of(run):
            if self.labels and pair.first.label not in self.labels:
                continue
            bar = between(
                pair.first,
                pair.second,
                points=self.points,
                parts=parts,
                norms=self.norms,
                examples=self.examples,
            )
            rows.append({
                **pair.names,
                "barrier": bar.height(),
                **({"train_barrier": bar.height("train")} if self.train else {}),
                "error": bar.ends(),
                "stable": float(bar.stable),
            })  # fmt: skip
        return rows

"""What an analysis is, and the trained cells that it looks at."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rewire.strategy import Plain

if TYPE_CHECKING:
    from ...opened import OpenedCell, OpenedRun


@dataclass(frozen=True, kw_only=True)
class Analysis(Plain):
    """A measurement of trained cells.

    labels: of which rules; none: of all.
    """

    labels: tuple[str, ...] = ()

    @abstractmethod
    def rows(self, run: OpenedRun) -> list[dict[str, Any]]:
        """What was measured: rows with ``label``, ``density``, ``seed``, and columns of their own.

        They are kept with the run and measured again only where its cells or the fields change.
        """

    def cells(self, run: OpenedRun) -> Iterator[tuple[OpenedCell, float]]:
        """The trained networks it looks at: a cell at one level, and the density asked for."""
        for cell, density in trained(run):
            if not self.labels or cell.label in self.labels:
                yield cell, density


def trained(run: OpenedRun) -> Iterator[tuple[OpenedCell, float]]:
    """Every finished cell of a run at each density that it was asked for, in the run's order."""
    for cell in run.cells:
        if cell.status != "finished":
            continue
        for density in cell.densities:
            level = cell.at_density(density)
            if level is not None:
                yield level, density

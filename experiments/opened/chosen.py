"""The graphs of a run that a choice means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choice import Choice
from .cell import OpenedCell

if TYPE_CHECKING:
    from rewire.graph import Graph


@dataclass(frozen=True, eq=False)
class Found:
    """One graph, and the columns that name it. cell: None where it comes from a file."""

    names: dict[str, Any]
    graph: Graph
    cell: OpenedCell | None = None

    @property
    def short(self) -> str:
        """What a picture calls it: the label of its cell, and its density; or the file."""
        names = self.names.values()
        if self.cell is None:
            return Path(str(next(iter(names)))).name
        density = self.names.get("density")
        return str(self.cell.label) + ("" if density is None else f", density {density:g}")

    @property
    def title(self) -> str:
        """What a table calls it."""
        _, *rest = (f"{k} {str(v)[:8]}" for k, v in self.names.items() if v is not None)
        return ", ".join([str(next(iter(self.names.values()))), *rest])


def graphs_of_cells(cells: Iterable[OpenedCell], choice: Choice) -> Iterator[Found]:
    """The graph of each cell that is chosen; of a ladder at each of its densities."""
    for cell in cells:
        yield from _graphs_of(cell, choice)


def _graphs_of(cell: OpenedCell, choice: Choice) -> Iterator[Found]:
    """The cell's graph; of one that visits several densities, at each unless one is chosen."""
    names = {"label": cell.label, "seed": cell.seed, "cell": cell.hash}
    if choice.step is not None or choice.level is not None:
        graph = cell.graph(step=choice.step, level=choice.level)
        at = {"step": choice.step} if choice.step is not None else {"level": choice.level}
        yield Found({**names, **at}, graph, cell)
    elif cell.level is not None or len(cell.densities) == 1:
        density = choice.density if choice.density is not None else cell.densities[0]
        yield Found({**names, "density": density}, cell.graph(), cell)
    elif not cell.densities:
        yield Found({**names, "density": None}, cell.graph(), cell)
    else:
        for density in cell.densities:
            at_density = cell.at_density(density)
            if at_density is not None:
                yield Found({**names, "density": density}, at_density.graph(), at_density)

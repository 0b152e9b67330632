"""A paper held against the cells that it would train, before the first of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rewire.names import did_you_mean

from .. import kinds
from ..cells import Cell
from ..errors import ConfigError
from . import analyses
from .paper import Paper, Protocol, Selector


def planned(paper: Paper, protocol: Protocol) -> dict[str, list[Cell]]:
    """The cells of each experiment of a protocol.

    Raises ConfigError with what is wrong in the experiments and analyses, and with every row or
    figure that reads what none of the cells gives.
    """
    cells = {}
    for name, tree in paper.trees(protocol).items():
        try:
            cells[name] = kinds.plan(kinds.load(tree))
        except ConfigError as error:
            raise ConfigError(f"{paper.name}, {protocol}.{name}: {error}") from None
    for table in paper.analyses:
        analyses.of_table(table.analysis, table.fields)
    problems = list(_problems(paper, protocol, cells))
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"{paper.name}, {protocol} protocol:\n{lines}")
    return cells


def _problems(
    paper: Paper, protocol: Protocol, cells: Mapping[str, Sequence[Cell]]
) -> Iterator[str]:
    for where, selectors in paper.asked(protocol):
        for s in selectors:
            if s.experiment is not None:  # analyses have labels and densities of their own
                yield from (f"{where}: {text}" for text in _unmet(s, cells[s.experiment]))


def _unmet(s: Selector, cells: Sequence[Cell]) -> Iterator[str]:
    label = s.columns.get("label")
    if label is None:
        return
    own = [cell for cell in cells if cell.label == label]
    if not own:
        known = list(dict.fromkeys(cell.label for cell in cells))
        yield (
            f"no cell of {s.experiment} has the label {label!r}{did_you_mean(label, known)}; there "
            f"are {', '.join(known)}"
        )
        return
    densities = {density for cell in own for density in _densities(cell)}
    if isinstance(s.density, float) and densities and s.density not in densities:
        listed = ", ".join(f"{d:g}" for d in sorted(densities, reverse=True))
        yield f"{label} of {s.experiment} has no density {s.density:g}; it has {listed}"


def _densities(cell: Cell) -> list[float]:
    """The densities of a cell's rows; those of a ladder begin with the dense training."""
    if cell.density is not None:
        return [cell.density]
    densities = cell.config.get("densities", ())
    return [1.0, *densities] if densities else []

"""Which trained networks a line is drawn between: copies that differ in SGD noise, two cells, or
the cells of two runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choice import Choice
from ..errors import ConfigError
from ..opened import OpenedRun

if TYPE_CHECKING:
    from ..opened import OpenedCell

NOISE = ("data", "augment", "from")  # of the table seeds_apart: what is no part of a network


@dataclass(frozen=True, eq=False)
class Pair:
    """Two networks at one density; step: the one from which their noise differs, where both are
    copies of one network, else None."""

    first: OpenedCell
    second: OpenedCell
    density: float | None
    step: int | None = None

    @property
    def names(self) -> dict[str, Any]:
        """The columns that name it. rule: what finds the first network's mask and weights."""
        return {
            "label": self.first.label,
            "copy": self.second.label,
            "rule": self.first.rule,
            "density": self.density,
            "seed": self.first.seed,
            "k": self.step,
        }


def pairs_of(run: OpenedRun) -> Iterator[Pair]:
    """Every two finished trainings of a run that differ in SGD noise alone, at each density.

    A `Sibling` and what it copies; and cells whose settings differ in the noise of ``seeds_apart``.
    """
    cells = {cell.hash: cell for cell in run.cells if cell.status == "finished"}
    for cell in cells.values():
        if cell.rule == "Sibling" and (of := cells.get(cell.config["parents"]["ticket"])):
            yield from _at_densities(of, cell, _start(cell, cells))
    for alike in _alike_but_for_noise(cells.values()):
        for first, second in combinations(alike, 2):
            parted = max(_parts_at(first), _parts_at(second))
            yield from _at_densities(first, second, max(parted, _start(first, cells)))


def pairs_at(places: Sequence[Path], choice: Choice) -> list[Pair]:
    """The pairs that paths stand for: the copies within one run, two cells (RUN/cells/HASH) at
    the densities that they share, or the cells of two runs with the same label, density and seed.

    Raises ConfigError where there is no pair, StoreError for what is no run.
    """
    if choice.level is not None or choice.step is not None:
        raise ConfigError("trained networks are compared: --level and --step choose no other")
    if len(places) not in (1, 2):
        raise ConfigError(f"one run, two runs or two cells are compared; {len(places)} were named")
    cells = [(place / "cell.json").exists() for place in places]
    if len(places) == 2 and all(cells):
        first, second = (OpenedRun(p.parent.parent).cell(cell=p.name) for p in places)
        pairs = list(_at_densities(first, second, None))
    elif any(cells):
        raise ConfigError("a cell is compared with a cell: give two of RUN/cells/HASH, or runs")
    elif len(places) == 2:
        pairs = list(_of_two_runs(*(OpenedRun(place) for place in places)))
    else:
        pairs = list(pairs_of(OpenedRun(places[0])))
    chosen = [pair for pair in pairs if _fits(pair, choice)]
    if not chosen:
        named = " and ".join(map(str, places))
        raise ConfigError(
            f"{named}: {len(pairs)} pairs of finished trainings, none of which fits {choice}. Two "
            "copies of a network are a rule and its Sibling, or rules whose seeds_apart differ"
        )
    return chosen


def _fits(pair: Pair, choice: Choice) -> bool:
    names = (pair.first.label, pair.first.rule, pair.second.label, pair.second.rule)
    return (
        (choice.rule is None or choice.rule in names)
        and (choice.density is None or choice.density == pair.density)
        and (choice.seed is None or choice.seed == pair.first.seed)
    )


def _of_two_runs(first: OpenedRun, second: OpenedRun) -> Iterator[Pair]:
    others = {(c.label, c.seed, c.densities): c for c in second.cells if c.status == "finished"}
    for cell in first.cells:
        other = others.get((cell.label, cell.seed, cell.densities))
        if cell.status == "finished" and other is not None:
            yield from _at_densities(cell, other, None)


def _at_densities(first: OpenedCell, second: OpenedCell, step: int | None) -> Iterator[Pair]:
    common = [density for density in first.densities if density in second.densities]
    for density in common:
        a, b = first.at_density(density), second.at_density(density)
        if a is not None and b is not None:
            yield Pair(a, b, density, step)


def _alike_but_for_noise(cells: Any) -> Iterator[list[OpenedCell]]:
    groups: dict[str, list[OpenedCell]] = {}
    for cell in cells:
        if cell.rule != "Sibling":
            config = dict(cell.config)
            apart = dict(config.pop("seeds_apart", None) or {})
            rest = {name: value for name, value in apart.items() if name not in NOISE}
            groups.setdefault(json.dumps([config, rest], sort_keys=True), []).append(cell)
    return (group for group in groups.values() if len(group) > 1)


def _parts_at(cell: OpenedCell) -> int:
    return (cell.config.get("seeds_apart") or {}).get("from", 0)


def _start(cell: OpenedCell, cells: Any) -> int:
    """The step at which a training begins: where a branch begins of its ticket's, else 0."""
    from ..trainings.settings import settings

    if cell.config.get("kind") != "branch":
        return 0
    branch = settings(cell.config).rule
    if branch.begins == "fresh":
        return 0
    ticket = cells.get(cell.config["parents"]["ticket"])
    return 0 if ticket is None else branch.starts_at(settings(ticket.config).rule)

"""An experiment as cells: the trainings it consists of, what each waits for, and their names.

A cell is one resumable process with a folder of its own, named by the hash of everything that
decides its result: nothing else is in its `config`, so the same training is never done twice.

- Dense: one cell per seed.
- A rule with a fixed budget: one per density and seed.
- A rule that visits densities (IMP): one per seed; it cuts its way down and makes one cut exactly
  to each density asked for. Level 0 of its ladder *is* the dense training: it waits for the Dense
  cell of its seed (role "dense") and starts from that one's end. Where the experiment has no Dense
  that trains alike, a Dense cell is planned all the same and shown under that name: it was
  trained, IMP's costs include it, and it is what IMP is compared with.
- A branch (RandomReinit, Shuffle, ...): one per seed and rule with tickets (role "ticket"), at its
  densities; one per cell of the rule that it names with ``of``; a mask's partner has role "other".
- With ``distribution = "imp"`` fixed budgets are spread over layers as IMP found them (role
  "counts").

Labels, titles, device and thread count are not part of a cell's identity; the hashes of the cells
it starts from are, and versions of its rule other than 1 (``versions``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1


@dataclass(frozen=True)
class Cell:
    """One training, or one ladder of them. `config` is plain JSON, defaults left out."""

    hash: str
    label: str  # the rule's label in the experiment; not part of the identity
    rule: str
    config: Mapping[str, Any]
    seed: int
    density: float | None  # the density asked for; 1 for Dense, None where a cell visits several
    parents: Mapping[str, str] = field(default_factory=dict)  # role -> hash
    weight: float = 1.0  # estimated cost in optimiser steps


def in_order(experiment: Any, cells: Iterable[Cell]) -> list[Cell]:
    """Cells as a reader expects them: by rule as the file lists them, density, seed."""
    labels = [entry.label for entry in experiment.rules]
    place = {label: i for i, label in enumerate(labels)}

    def key(cell: Cell) -> tuple[int, int, str, float, int]:
        # what the file does not list by name: a dense training before all, a branch by its rule
        named = [entry.label for entry in experiment.rules if entry.rule == cell.rule]
        at = place.get(cell.label, place[named[-1]] if named else -1)
        dense = 0 if cell.rule == "Dense" else 1
        return dense, at, cell.label, -(cell.density or 0.0), experiment.seeds.index(cell.seed)

    return sorted(cells, key=key)


def longest_chain_first(cells: list[Cell]) -> list[Cell]:
    """Sorted by the work that waits behind each cell, its own included; parents come first."""
    children: dict[str, list[Cell]] = {cell.hash: [] for cell in cells}
    for cell in cells:
        for parent in cell.parents.values():
            children[parent].append(cell)
    chains: dict[str, float] = {}

    def chain(cell: Cell) -> float:
        if cell.hash not in chains:
            behind = max((chain(child) for child in children[cell.hash]), default=0.0)
            chains[cell.hash] = cell.weight + behind
        return chains[cell.hash]

    return sorted(cells, key=chain, reverse=True)  # stable, and weights are above 0


KEY, NUMBER = 8, 4  # bytes on disk


@dataclass(frozen=True)
class Estimate:
    """Of one cell: seconds of one core, and bytes on disk when it is finished."""

    seconds: float
    bytes: int


def wall_seconds(cells: Sequence[Cell], by: Mapping[str, Estimate], workers: int) -> float:
    """At least the work spread over the workers, at least the longest chain of cells.

    >>> first = Cell("a", "Dense", "Dense", {}, seed=0, density=1.0)
    >>> second = Cell("b", "IMP", "IMP", {}, seed=0, density=None, parents={"dense": "a"})
    >>> costs = {"a": Estimate(10.0, bytes=0), "b": Estimate(30.0, bytes=0)}
    >>> wall_seconds([first, second], costs, workers=2)  # the second waits for the first
    40.0
    """
    chains: dict[str, float] = {}
    for cell in cells:  # parents come first
        before = max((chains.get(parent, 0.0) for parent in cell.parents.values()), default=0.0)
        chains[cell.hash] = before + by[cell.hash].seconds
    total = sum(by[cell.hash].seconds for cell in cells)
    return max(total / max(1, workers), max(chains.values(), default=0.0))

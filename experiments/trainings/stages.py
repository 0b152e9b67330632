"""The rounds of a cell and their budgets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

import rewire
from rewire.graph import Graph
from rewire.rule import Rule
from rewire.rule_budget import budget_of
from rewire.starting_graph import aimed, first_graph
from rewire.world import Trainable

from ..cell_run import TIMES
from ..data import Dataset
from ..errors import StoreError
from ..store import CellStore
from .branch_start import Twig, twigs
from .settings import Settings

COSTS = ("train_flops_dense", "train_flops_sparse", "updates", "formed", "dropped")


@dataclass(frozen=True)
class Stage:
    """One training of a cell.

    weights: label of the stream that the model is drawn from. graph: how its topology starts.
    parent: the dense training that it goes on from. before: what its ancestors cost.
    twig: where a branch begins.
    """

    rule: Rule
    graph: Callable[[Trainable, Settings], Graph]
    density: float | None = None
    level: int = 0
    weights: str = "model"
    parent: CellStore | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    twig: Twig | None = None

    def start(self, world: Trainable, s: Settings) -> tuple[Rule, Graph]:
        """The rule, and the edges that it begins with in this world."""
        graph = self.graph(world, s)
        budget = budget_of(self.rule)
        if budget.at_start:  # to the edges that others start with
            return budget.aimed(self.rule, graph.counts().tolist()), Graph.full(graph.space)
        return self.rule, graph


def stages_of(s: Settings, parents: Mapping[str, CellStore], data: Dataset) -> Iterator[Stage]:
    if s.kind == "branch":
        yield from _branches(s, parents, data)
        return
    budget = budget_of(s.rule)
    if budget.visits:
        rule = budget.towards(s.rule, s.densities)
        yield Stage(rule, _full, parent=parents.get("dense"))
    elif s.rule.name == "Dense":
        yield Stage(s.rule, _full, density=1.0)
    elif "counts" in parents:
        counts = _counts(parents["counts"], s.density)
        yield Stage(s.rule, lambda world, s: first_graph(world, s.density, counts, s.initial,
                                                          s.init_seed), s.density)  # fmt: skip
    else:
        rule = budget.towards(s.rule, (s.density,))  # type: ignore[arg-type]
        yield Stage(rule, _budgeted, s.density)


def _full(world: Trainable, s: Settings) -> Graph:
    return Graph.full(world.space)


def _budgeted(world: Trainable, s: Settings) -> Graph:
    _, start = aimed(s.rule, s.density, s.distribution)
    return first_graph(world, start, s.distribution, s.initial, s.init_seed)


def _branches(s: Settings, parents: Mapping[str, CellStore], data: Dataset) -> Iterator[Stage]:
    """A training at each requested density of what the cell branches off."""
    for twig in twigs(s, parents["ticket"], parents.get("other"), data):
        row = twig.row
        yield Stage(
            rewire.Static(),
            twig.graph,
            row["requested_density"],
            level=twig.level,
            weights=twig.stream,
            before={k: row[k] for k in (*COSTS, *TIMES)},
            twig=twig,
        )


def _counts(ticket: CellStore, density: float | None) -> list[int]:
    """Edges of each projection as the ticket has them at this density."""
    for row in ticket.events():
        if row["event"] == "level" and row["requested_density"] == density:
            tree, meta = ticket.read_level(row["level"])
            sizes = torch.tensor([math.prod(p["shape"]) for p in meta["projections"]])
            edges = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
            return torch.searchsorted(tree["keys"], edges).diff().tolist()
    raise StoreError(f"{ticket.path}: has no level at density {density}")
